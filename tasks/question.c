/* AI2's form of a question, shared by ARC and OpenBookQA. */
#include "tasks/tasks.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/text.h"

/* Whether label is key without white space around it. */
static int is_answer(const char *label, const char *key)
{
    size_t n = text_strip(&key, strlen(key));

    return strlen(label) == n && memcmp(label, key, n) == 0;
}

/* One choice into the requests and the two lists of the document; *gold becomes its index if it is
 * the first that the key names. */
static int add_choice(const cJSON *choice, const char *context, const char *key, const char *where,
                      cJSON *texts, cJSON *labels, int *gold, struct document *out)
{
    const char *text, *label;

    if (json_string(choice, "text", where, &text) != 0 ||
        json_string(choice, "label", where, &label) != 0)
        return -1;
    if (*gold < 0 && is_answer(label, key))
        *gold = (int)out->n_choices;
    cJSON_AddItemToArray(texts, cJSON_CreateString(text));
    cJSON_AddItemToArray(labels, cJSON_CreateString(label));
    return document_add(out, where, context, text);
}

/* All choices; *gold is -1 if the key names none. */
static int add_choices(const cJSON *choices, const char *context, const char *key,
                       const char *where, int *gold, struct document *out)
{
    cJSON *texts = cJSON_CreateArray(), *labels = cJSON_CreateArray(), *both = cJSON_CreateObject();
    const cJSON *choice;

    if (!cJSON_AddItemToObject(both, "text", texts) ||
        !cJSON_AddItemToObject(both, "label", labels))
        die("no memory for the choices of a document");
    doc_add(out, "choices", both);
    *gold = -1;
    cJSON_ArrayForEach(choice, choices)
    {
        if (add_choice(choice, context, key, where, texts, labels, gold, out) != 0)
            return -1;
    }
    return 0;
}

int question_parse(const cJSON *line, const char *where, const char *stem_key, const char *prefix,
                   const char *suffix, size_t min, size_t max, struct document *out)
{
    const cJSON *question = cJSON_GetObjectItemCaseSensitive(line, "question"), *choices;
    struct buf context = {0};
    const char *stem, *key;
    int gold, rc;
    size_t n;

    if (!cJSON_IsObject(question))
        return error("%s: field 'question' is missing or not an object", where);
    if (json_string(question, "stem", where, &stem) != 0 ||
        json_array(question, "choices", where, &choices) != 0 ||
        json_string(line, "answerKey", where, &key) != 0)
        return -1;
    n = (size_t)cJSON_GetArraySize(choices);
    if (n < min || n > max)
        return error("%s: field 'choices' has %zu members, not %zu to %zu", where, n, min, max);
    doc_copy(out, line, "id");
    doc_add_string(out, stem_key, stem);
    buf_addf(&context, "%s%s%s", prefix, stem, suffix);
    rc = add_choices(choices, buf_str(&context), key, where, &gold, out);
    buf_release(&context);
    if (rc != 0)
        return rc;
    if (gold < 0)
        return error("%s: field 'answerKey' is '%s', which is no choice's label", where, key);
    doc_add_string(out, "answerKey", key);
    document_set_gold(out, gold);
    return 0;
}
