/* WinoGrande, XL: which of two names a blank stands for. Scored the other way round than the rest:
 * each option makes a context, and what follows the blank is the one continuation of both. */
#include "tasks/tasks.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/text.h"

static int parse(const cJSON *line, const char *label, const char *where, struct document *out)
{
    const char *sentence, *answer, *blank, *rest, *options[2];
    struct buf text = {0};
    char *tail;
    size_t n;
    int i, rc = 0;

    (void)label;
    if (json_string(line, "sentence", where, &sentence) != 0 ||
        json_string(line, "option1", where, &options[0]) != 0 ||
        json_string(line, "option2", where, &options[1]) != 0 ||
        json_string(line, "answer", where, &answer) != 0)
        return -1;
    blank = strchr(sentence, '_');
    if (!blank)
        return error("%s: field 'sentence' has no '_'", where);
    if (strcmp(answer, "1") != 0 && strcmp(answer, "2") != 0)
        return error("%s: field 'answer' is '%s', not 1 or 2", where, answer);
    doc_add_string(out, "sentence", sentence);
    doc_add_string(out, "option1", options[0]);
    doc_add_string(out, "option2", options[1]);
    doc_add_string(out, "answer", answer);
    rest = blank + 1;
    n = text_strip(&rest, strlen(rest));
    buf_add(&text, rest, n);
    tail = buf_detach(&text);
    for (i = 0; rc == 0 && i < 2; i++) {
        text.n = 0;
        buf_add(&text, sentence, (size_t)(blank - sentence));
        buf_adds(&text, options[i]);
        rc = document_add(out, where, text.data, tail);
    }
    /* lm-eval's target of this task is the text that is scored, not the index of the answer. */
    out->gold = answer[0] - '1';
    out->target = tail;
    buf_release(&text);
    return rc;
}

const struct task task_winogrande = {
    .name = "winogrande",
    .version = "1.0",
    .summary = "which of two names a blank stands for",
    .set = "winogrande",
    .file = "winogrande_1.1/dev.jsonl",
    .n_expected = 1267,
    .metrics = TASK_ACC,
    .parse = parse,
};
