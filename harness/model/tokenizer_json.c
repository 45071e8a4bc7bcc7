/* Hugging Face's tokenizer.json in LLaMA-3's form: byte-level BPE. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/model/bpe_form.h"
#include "harness/model/tokenizer.h"
#include "harness/model/tokenizer_bpe.h"

struct json_tokenizer {
    struct bpe *bpe;
    int32_t bos, eos;
};

/* Byte-level text: the printable bytes of Latin-1 stand for themselves, the 68 others, in order,
 * for U+0100 and on. Appends the bytes; -1 (no message) if s is not such text. */
static int add_bytes(struct buf *out, const char *s, size_t n)
{
    static const unsigned char printable[256] = {
        ['!' ... '~'] = 1, [0xa1 ... 0xac] = 1, [0xae ... 0xff] = 1};
    const uint8_t *p = (const uint8_t *)s;
    ucs4_t c;

    for (size_t i = 0; i < n;) {
        i += (size_t)u8_mbtouc_unsafe(&c, p + i, n - i);
        if (c < 256 && !printable[c])
            return -1;
        for (unsigned b = 0, other = 256; c >= 256 && b < 256; b++)
            if (!printable[b] && other++ == c)
                c = b;
        if (c >= 256)
            return -1;
        buf_addc(out, (char)c);
    }
    return 0;
}

/* Added tokens come first: one that the vocabulary repeats is then known as a special. */
static int add_specials(struct bpe *b, const char *path, const cJSON *list)
{
    const cJSON *t;

    if (list && !cJSON_IsArray(list))
        return error("%s: field 'added_tokens' is not a list", path);
    cJSON_ArrayForEach(t, list)
    {
        const char *content;
        int64_t id;
        int special;

        if (json_string(t, "content", path, &content) != 0 ||
            json_bool(t, "special", path, &special) != 0 ||
            json_int(t, "id", path, 0, BPE_MAX_IDS - 1, &id) != 0)
            return -1;
        if (!special)
            return error("%s: added token '%s' is not special: not known", path, content);
        if (bpe_add_token(b, id, content, strlen(content), BPE_SPECIAL) != 0)
            return -1;
    }
    return 0;
}

static int add_vocab(struct bpe *b, const char *path, const cJSON *vocab)
{
    struct buf bytes = {0};
    const cJSON *t;
    int rc = 0;

    if (!cJSON_IsObject(vocab))
        return error("%s: field 'vocab' is not an object", path);
    cJSON_ArrayForEach(t, vocab)
    {
        size_t n = strlen(t->string);
        double id = cJSON_IsNumber(t) ? t->valuedouble : -1;

        bytes.n = 0;
        if (!(id >= 0 && id < BPE_MAX_IDS && id == floor(id)))
            rc = error("%s: token '%s' has no id, or one out of range", path, t->string);
        else if (bpe_is_special(b, (int32_t)id, t->string))
            rc = 0;
        else if (add_bytes(&bytes, t->string, n) == 0)
            rc = bpe_add_token(b, (int64_t)id, buf_str(&bytes), bytes.n, BPE_TEXT);
        else
            rc = bpe_add_token(b, (int64_t)id, t->string, n, BPE_FOREIGN);
        if (rc != 0)
            break;
    }
    buf_release(&bytes);
    return rc;
}

/* The two halves of a rule, ["a", "b"] or "a b". */
static int merge_halves(const cJSON *m, const char *half[2], size_t n[2])
{
    const char *space;

    if (cJSON_IsString(m)) {
        half[0] = m->valuestring;
        space = strchr(half[0], ' ');
        if (!space || strchr(space + 1, ' '))
            return -1;
        half[1] = space + 1;
        n[0] = (size_t)(space - half[0]);
        n[1] = strlen(half[1]);
        return 0;
    }
    if (!cJSON_IsArray(m) || cJSON_GetArraySize(m) != 2 || !cJSON_IsString(m->child) ||
        !cJSON_IsString(m->child->next))
        return -1;
    for (int i = 0; i < 2; i++) {
        half[i] = i ? m->child->next->valuestring : m->child->valuestring;
        n[i] = strlen(half[i]);
    }
    return 0;
}

static int add_merge(struct bpe *b, const char *path, const cJSON *m, uint32_t rank,
                     struct buf *bytes)
{
    const char *half[2];
    size_t n[2], cut;
    int32_t left, right, into;

    bytes->n = 0;
    if (merge_halves(m, half, n) != 0)
        return error("%s: merge %u is not two tokens", path, rank);
    if (add_bytes(bytes, half[0], n[0]) != 0)
        return error("%s: merge %u: '%.*s' is no token", path, rank, (int)n[0], half[0]);
    cut = bytes->n;
    if (add_bytes(bytes, half[1], n[1]) != 0)
        return error("%s: merge %u: '%.*s' is no token", path, rank, (int)n[1], half[1]);
    left = bpe_find(b, buf_str(bytes), cut);
    right = bpe_find(b, buf_str(bytes) + cut, bytes->n - cut);
    into = bpe_find(b, buf_str(bytes), bytes->n);
    if (left < 0 || right < 0 || into < 0)
        return error("%s: merge %u of '%.*s' and '%.*s': one of them, or the two together, is no "
                     "token",
                     path, rank, (int)n[0], half[0], (int)n[1], half[1]);
    bpe_add_merge(b, left, right, into, rank);
    return 0;
}

static int add_merges(struct bpe *b, const char *path, const cJSON *merges)
{
    struct buf bytes = {0};
    const cJSON *m;
    uint32_t rank = 0;
    int rc = 0;

    if (!cJSON_IsArray(merges))
        return error("%s: field 'merges' is not a list", path);
    cJSON_ArrayForEach(m, merges)
    {
        /* The old text form's first line, which the reference skips wherever it stands. */
        if (cJSON_IsString(m) && strncmp(m->valuestring, "#version", 8) == 0)
            continue;
        rc = add_merge(b, path, m, rank++, &bytes);
        if (rc != 0)
            break;
    }
    buf_release(&bytes);
    return rc;
}

/* No special token's spelling may be a token of text as well. */
static int check_specials(const struct bpe *b, const char *path, const cJSON *list)
{
    struct buf bytes = {0};
    const cJSON *t;
    int rc = 0;

    cJSON_ArrayForEach(t, list)
    {
        const char *content = cJSON_GetObjectItemCaseSensitive(t, "content")->valuestring;

        bytes.n = 0;
        if (rc == 0 && add_bytes(&bytes, content, strlen(content)) == 0 &&
            bpe_find(b, buf_str(&bytes), bytes.n) >= 0)
            rc = error("%s: added token '%s' has another id in the vocabulary", path, content);
    }
    buf_release(&bytes);
    return rc;
}

/* The file does not say which token ends a text; these are the ones in use. */
static int32_t find_eos(const cJSON *list)
{
    static const char *const names[] = {"<|end_of_text|>", "<|endoftext|>", "</s>"};
    const cJSON *t;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        cJSON_ArrayForEach(
            t, list) if (strcmp(cJSON_GetObjectItemCaseSensitive(t, "content")->valuestring,
                                names[i]) == 0) return cJSON_GetObjectItemCaseSensitive(t, "id")
            ->valueint;
    return -1;
}

static int read_tokens(struct json_tokenizer *t, const struct bpe_form *f, const cJSON *root)
{
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(root, "model");
    const cJSON *specials = cJSON_GetObjectItemCaseSensitive(root, "added_tokens");
    const cJSON *vocab = cJSON_GetObjectItemCaseSensitive(model, "vocab");
    const cJSON *merges = cJSON_GetObjectItemCaseSensitive(model, "merges");

    if (add_specials(t->bpe, f->path, specials) != 0 || add_vocab(t->bpe, f->path, vocab) != 0 ||
        check_specials(t->bpe, f->path, specials) != 0 ||
        add_merges(t->bpe, f->path, merges) != 0 || bpe_finish(t->bpe) != 0)
        return -1;
    if (f->bos && !bpe_is_special(t->bpe, f->bos_id, f->bos))
        return error("%s: post_processor: '%s' is not the added token %d", f->path, f->bos,
                     f->bos_id);
    t->bos = f->bos ? f->bos_id : -1;
    t->eos = find_eos(specials);
    return 0;
}

static void close_json(void *state)
{
    struct json_tokenizer *t = state;

    bpe_close(t->bpe);
    free(t);
}

static void *open_json(const char *path, const void *data, size_t nbytes)
{
    struct json_tokenizer *t = xcalloc(1, sizeof(*t));
    struct bpe_form form = {.path = path};
    const uint8_t *bad = u8_check(data, nbytes);
    cJSON *root = NULL;
    int rc = -1;

    if (bad) {
        error("%s: not UTF-8 at byte %zu", path, (size_t)(bad - (const uint8_t *)data));
        goto out;
    }
    root = json_parse(data, nbytes, path);
    if (!root || bpe_form_read(&form, root) != 0)
        goto out;
    t->bpe = bpe_open(path, form.split, form.ignore_merges);
    if (t->bpe)
        rc = read_tokens(t, &form, root);
out:
    cJSON_Delete(root);
    if (rc == 0)
        return t;
    close_json(t);
    return NULL;
}

static int sniff(const void *data, size_t nbytes)
{
    const char *p = data;
    size_t i = 0;

    while (i < nbytes && p[i] && strchr(" \t\r\n", p[i]))
        i++;
    return i < nbytes && p[i] == '{';
}

static int encode(const void *state, const char *text, size_t nbytes, struct ids *out)
{
    return bpe_encode(((const struct json_tokenizer *)state)->bpe, text, nbytes, out);
}

static void decode(const void *state, int32_t id, struct buf *out)
{
    bpe_decode(((const struct json_tokenizer *)state)->bpe, id, out);
}

static size_t n_vocab(const void *state)
{
    return bpe_n_vocab(((const struct json_tokenizer *)state)->bpe);
}

static int32_t bos(const void *state)
{
    return ((const struct json_tokenizer *)state)->bos;
}

static int32_t eos(const void *state)
{
    return ((const struct json_tokenizer *)state)->eos;
}

const struct tokenizer_kind tokenizer_bpe_json = {
    .name = "bpe-json",
    .file = "tokenizer.json",
    .sniff = sniff,
    .open = open_json,
    .close = close_json,
    .encode = encode,
    .decode = decode,
    .n_vocab = n_vocab,
    .bos = bos,
    .eos = eos,
};
