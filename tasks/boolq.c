/* BoolQ in SuperGLUE's form: a passage and a yes-or-no question about it. */
#include "tasks/tasks.h"

#include "harness/base/buf.h"
#include "harness/base/json.h"

static int parse(const cJSON *line, const char *label, const char *where, struct document *out)
{
    const char *question, *passage;
    struct buf context = {0};
    int yes, rc;

    (void)label;
    if (json_string(line, "question", where, &question) != 0 ||
        json_string(line, "passage", where, &passage) != 0 ||
        json_bool(line, "label", where, &yes) != 0)
        return -1;
    doc_add_string(out, "question", question);
    doc_add_string(out, "passage", passage);
    doc_copy(out, line, "idx");
    doc_add_int(out, "label", yes);
    document_set_gold(out, yes);
    buf_addf(&context, "%s\nQuestion: %s?\nAnswer:", passage, question);
    rc = document_add(out, where, context.data, "no");
    if (rc == 0)
        rc = document_add(out, where, context.data, "yes");
    buf_release(&context);
    return rc;
}

const struct task task_boolq = {
    .name = "boolq",
    .version = "2.0",
    .summary = "yes-or-no questions about a passage",
    .set = "boolq",
    .file = "BoolQ/val.jsonl",
    .n_expected = 3270,
    .metrics = TASK_ACC,
    .parse = parse,
};
