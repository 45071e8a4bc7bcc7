/* What a tokenizer.json says beside its vocabulary. */
#include "harness/model/bpe_form.h"

#include <string.h>

#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/model/tokenizer_split.h"

static const cJSON *get(const cJSON *obj, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);

    return cJSON_IsNull(v) ? NULL : v;
}

static const char *get_string(const cJSON *obj, const char *key)
{
    const char *s = cJSON_GetStringValue(get(obj, key));

    return s ? s : "";
}

static int is_type(const cJSON *obj, const char *type)
{
    return strcmp(get_string(obj, "type"), type) == 0;
}

/* {"type": "ByteLevel"}; a missing use_regex means true. */
static int read_byte_level(const struct bpe_form *f, const cJSON *v, int *use_regex)
{
    int prefix;

    if (!is_type(v, "ByteLevel"))
        return error("%s: pre_tokenizer: '%s' is not known, only a Split and ByteLevel", f->path,
                     get_string(v, "type"));
    if (json_bool(v, "add_prefix_space", f->path, &prefix) != 0)
        return -1;
    if (prefix)
        return error("%s: pre_tokenizer: add_prefix_space is not known", f->path);
    *use_regex = 1;
    return json_has(v, "use_regex") ? json_bool(v, "use_regex", f->path, use_regex) : 0;
}

static int read_split(struct bpe_form *f, const cJSON *v)
{
    int invert;

    if (!is_type(v, "Split"))
        return error("%s: pre_tokenizer: '%s' is not known, only a Split and ByteLevel", f->path,
                     get_string(v, "type"));
    if (json_bool(v, "invert", f->path, &invert) != 0)
        return -1;
    if (invert || strcmp(get_string(v, "behavior"), "Isolated") != 0)
        return error("%s: pre_tokenizer: a Split other than Isolated is not known", f->path);
    f->split = get_string(get(v, "pattern"), "Regex");
    if (!f->split[0])
        return error("%s: pre_tokenizer: a Split without a Regex is not known", f->path);
    return 0;
}

static int read_pre_tokenizer(struct bpe_form *f, const cJSON *v)
{
    const cJSON *steps = get(v, "pretokenizers");
    int use_regex;

    if (steps && is_type(v, "Sequence") && cJSON_GetArraySize(steps) == 2) {
        if (read_split(f, steps->child) != 0 ||
            read_byte_level(f, steps->child->next, &use_regex) != 0)
            return -1;
        return use_regex ? error("%s: pre_tokenizer: two splits are not known", f->path) : 0;
    }
    if (is_type(v, "Sequence"))
        return error("%s: pre_tokenizer: only a Sequence of Split and ByteLevel is known", f->path);
    if (read_byte_level(f, v, &use_regex) != 0)
        return -1;
    f->split = split_gpt2;
    return use_regex ? 0
                     : error("%s: pre_tokenizer: ByteLevel without a split is not known", f->path);
}

/* The "single" of a TemplateProcessing: one special token at most, then the text. */
static int read_template(struct bpe_form *f, const cJSON *v)
{
    const cJSON *single = get(v, "single"), *first = single ? single->child : NULL;
    const cJSON *special = first ? get(first, "SpecialToken") : NULL,
                *text = special ? first->next : first;
    const cJSON *ids;

    if (!cJSON_IsArray(single) || !text || !get(text, "Sequence") || text->next || f->bos)
        return error("%s: post_processor: only one special token before the text is known",
                     f->path);
    if (!special)
        return 0;
    if (json_string(special, "id", f->path, &f->bos) != 0)
        return -1;
    ids = get(get(get(v, "special_tokens"), f->bos), "ids");
    if (cJSON_GetArraySize(ids) != 1 || !cJSON_IsNumber(ids->child))
        return error("%s: post_processor: '%s' has not one id", f->path, f->bos);
    f->bos_id = ids->child->valueint;
    return 0;
}

static int read_post_processor(struct bpe_form *f, const cJSON *v)
{
    const cJSON *step;

    if (!v || is_type(v, "ByteLevel"))
        return 0;
    if (is_type(v, "TemplateProcessing"))
        return read_template(f, v);
    if (!is_type(v, "Sequence"))
        return error("%s: post_processor: '%s' is not known", f->path, get_string(v, "type"));
    cJSON_ArrayForEach(step, get(v, "processors"))
    {
        if (is_type(step, "Sequence"))
            return error("%s: post_processor: a Sequence in a Sequence", f->path);
        if (read_post_processor(f, step) != 0)
            return -1;
    }
    return 0;
}

static int read_model(struct bpe_form *f, const cJSON *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const cJSON *dropout = get(model, "dropout"), *ignore = get(model, "ignore_merges");

    if (!is_type(model, "BPE"))
        return error("%s: the model is not a BPE", f->path);
    if (cJSON_IsTrue(get(model, "byte_fallback")))
        return error("%s: holds a SentencePiece vocabulary, which is read from the tokenizer.model "
                     "that belongs beside it",
                     f->path);
    if (dropout && !(cJSON_IsNumber(dropout) && dropout->valuedouble == 0))
        return error("%s: the model has a dropout", f->path);
    for (int i = 0; i < 2; i++)
        if (get_string(model, affixes[i])[0])
            return error("%s: the model has a %s", f->path, affixes[i]);
    if (ignore && !cJSON_IsBool(ignore))
        return error("%s: field 'ignore_merges' is not true or false", f->path);
    f->ignore_merges = cJSON_IsTrue(ignore);
    return 0;
}

int bpe_form_read(struct bpe_form *f, const cJSON *root)
{
    if (!cJSON_IsObject(root))
        return error("%s: not a JSON object", f->path);
    if (get(root, "normalizer"))
        return error("%s: normalizer: '%s' is not known", f->path,
                     get_string(get(root, "normalizer"), "type"));
    if (read_model(f, get(root, "model")) != 0)
        return -1;
    if (read_pre_tokenizer(f, get(root, "pre_tokenizer")) != 0)
        return -1;
    return read_post_processor(f, get(root, "post_processor"));
}
