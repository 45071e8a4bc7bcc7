/* OpenBookQA, main set: science facts applied to everyday situations. The question alone is the
 * context, without a frame around it. */
#include "tasks/tasks.h"

static int parse(const cJSON *line, const char *label, const char *where, struct document *out)
{
    (void)label;
    return question_parse(line, where, "question_stem", "", "", 4, 4, out);
}

const struct task task_openbookqa = {
    .name = "openbookqa",
    .version = "1.0",
    .summary = "science facts applied to everyday situations, 4 choices",
    .set = "openbookqa",
    .file = "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl",
    .n_expected = 500,
    .metrics = TASK_ACC | TASK_ACC_NORM,
    .parse = parse,
};
