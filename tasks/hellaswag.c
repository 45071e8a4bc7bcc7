/* HellaSwag: the likely one of four endings of a scene. Half of the scenes were taken from WikiHow,
 * whose marks in square brackets have to go. */
#include "tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/text.h"

#define N_ENDINGS 4

/* Python's s.replace(from, to): one pass from the left, without overlap. */
static void replace(const char *s, const char *from, const char *to, struct buf *out)
{
    const char *hit;

    for (; (hit = strstr(s, from)); s = hit + strlen(from)) {
        buf_add(out, s, (size_t)(hit - s));
        buf_adds(out, to);
    }
    buf_adds(out, s);
}

/* Deletes the matches of \[.*?\], where . is not a newline. */
static void delete_brackets(const char *s, struct buf *out)
{
    size_t n;

    while (*s) {
        n = strcspn(s, "[");
        buf_add(out, s, n);
        s += n;
        n = strcspn(s, "]\n");
        /* No "]" on this line: no "[" before its end opens anything. */
        if (s[n] != ']')
            buf_add(out, s, n);
        s += s[n] == ']' ? n + 1 : n;
    }
}

/* P(text): what the task's prompts are made of. The caller frees it. */
static char *clean(const char *text)
{
    struct buf a = {0}, b = {0};
    size_t n = text_strip(&text, strlen(text));

    buf_add(&a, text, n);
    replace(buf_str(&a), " [title]", ". ", &b);
    buf_release(&a);
    delete_brackets(buf_str(&b), &a);
    buf_release(&b);
    replace(buf_str(&a), "  ", " ", &b);
    buf_release(&a);
    return buf_detach(&b);
}

/* P(activity_label + ": " + ctx_a + " " + capitalised ctx_b). The caller frees it. */
static char *make_query(const char *activity, const char *ctx_a, const char *ctx_b)
{
    struct buf raw = {0};
    char *query;

    buf_addf(&raw, "%s: %s ", activity, ctx_a);
    text_capitalize(ctx_b, strlen(ctx_b), &raw);
    query = clean(raw.data);
    buf_release(&raw);
    return query;
}

/* A string member that may be missing or null: then "". */
static int optional(const cJSON *line, const char *key, const char *where, const char **out)
{
    *out = "";
    return json_has(line, key) ? json_string(line, key, where, out) : 0;
}

/* The publisher writes the label as a number, the hub as a string. -1 after error(). */
static int parse_label(const cJSON *line, const char *where)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(line, "label");
    int64_t n;

    if (cJSON_IsString(v)) {
        const char *s = v->valuestring;

        if (s[0] < '0' || s[0] >= '0' + N_ENDINGS || s[1])
            return error("%s: field 'label' is '%s', not 0 to %d", where, s, N_ENDINGS - 1);
        return s[0] - '0';
    }
    return json_int(line, "label", where, 0, N_ENDINGS - 1, &n) == 0 ? (int)n : -1;
}

/* The document after lm-eval's process_docs: the hub's fields, then query, choices and gold. */
static int parse_document(const cJSON *line, const char *where, struct document *out)
{
    static const char *const keys[] = {"activity_label", "ctx_a", "ctx_b", "ctx"};
    const char *text[4];
    char *query;
    size_t i;

    doc_copy(out, line, "ind");
    for (i = 0; i < 4; i++) {
        if (optional(line, keys[i], where, &text[i]) != 0)
            return -1;
        doc_add_string(out, keys[i], text[i]);
    }
    doc_copy(out, line, "endings");
    doc_copy(out, line, "source_id");
    doc_copy(out, line, "split");
    doc_copy(out, line, "split_type");
    doc_add_string(out, "label", out->target);
    query = make_query(text[0], text[1], text[2]);
    doc_add_string(out, "query", query);
    free(query);
    return 0;
}

static int parse(const cJSON *line, const char *label, const char *where, struct document *out)
{
    const cJSON *endings, *ending;
    cJSON *choices;
    const char *query;
    int gold = parse_label(line, where);

    (void)label;
    if (gold < 0 || json_array(line, "endings", where, &endings) != 0)
        return -1;
    if (cJSON_GetArraySize(endings) != N_ENDINGS)
        return error("%s: field 'endings' has %d members, not %d", where,
                     cJSON_GetArraySize(endings), N_ENDINGS);
    document_set_gold(out, gold);
    if (parse_document(line, where, out) != 0)
        return -1;
    query = cJSON_GetObjectItemCaseSensitive(out->doc, "query")->valuestring;
    choices = cJSON_CreateArray();
    doc_add(out, "choices", choices);
    cJSON_ArrayForEach(ending, endings)
    {
        char *choice;

        if (!cJSON_IsString(ending))
            return error("%s: field 'endings' holds something that is not a string", where);
        choice = clean(ending->valuestring);
        cJSON_AddItemToArray(choices, cJSON_CreateString(choice));
        document_add(out, where, query, choice);
        free(choice);
    }
    doc_add_int(out, "gold", gold);
    return 0;
}

const struct task task_hellaswag = {
    .name = "hellaswag",
    .version = "1.0",
    .summary = "the likely one of four endings of a scene",
    .set = "hellaswag",
    .file = "hellaswag_val.jsonl",
    .n_expected = 10042,
    .metrics = TASK_ACC | TASK_ACC_NORM,
    .parse = parse,
};
