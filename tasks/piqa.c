/* PIQA: an everyday physical goal and two ways to reach it. The labels are a file of their own. */
#include "tasks/tasks.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/json.h"

static int parse(const cJSON *line, const char *label, const char *where, struct document *out)
{
    const char *goal, *sol1, *sol2;
    struct buf context = {0};
    int rc;

    if (json_string(line, "goal", where, &goal) != 0 ||
        json_string(line, "sol1", where, &sol1) != 0 ||
        json_string(line, "sol2", where, &sol2) != 0)
        return -1;
    if (strcmp(label, "0") != 0 && strcmp(label, "1") != 0)
        return error("%s: the label is '%s', not 0 or 1", where, label);
    doc_add_string(out, "goal", goal);
    doc_add_string(out, "sol1", sol1);
    doc_add_string(out, "sol2", sol2);
    doc_add_int(out, "label", label[0] - '0');
    document_set_gold(out, label[0] - '0');
    buf_addf(&context, "Question: %s\nAnswer:", goal);
    rc = document_add(out, where, context.data, sol1);
    if (rc == 0)
        rc = document_add(out, where, context.data, sol2);
    buf_release(&context);
    return rc;
}

const struct task task_piqa = {
    .name = "piqa",
    .version = "1.0",
    .summary = "everyday physical goals, the better of two ways",
    .set = "piqa",
    .file = "valid.jsonl",
    .labels = "valid-labels.lst",
    .n_expected = 1838,
    .metrics = TASK_ACC | TASK_ACC_NORM,
    .parse = parse,
};
