/* AI2 Reasoning Challenge, the easy and the challenge set: school science questions. */
#include "tasks/tasks.h"

static int parse(const cJSON *line, const char *label, const char *where, struct document *out)
{
    (void)label;
    return question_parse(line, where, "question", "Question: ", "\nAnswer:", 3, 5, out);
}

const struct task task_arc_easy = {
    .name = "arc_easy",
    .version = "1.0",
    .summary = "school science questions that simple methods answer, 3 to 5 choices",
    .set = "arc",
    .file = "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl",
    .n_expected = 2376,
    .metrics = TASK_ACC | TASK_ACC_NORM,
    .parse = parse,
};

const struct task task_arc_challenge = {
    .name = "arc_challenge",
    .version = "1.0",
    .summary = "school science questions that simple methods fail, 3 to 5 choices",
    .set = "arc",
    .file = "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Test.jsonl",
    .n_expected = 1172,
    .metrics = TASK_ACC | TASK_ACC_NORM,
    .parse = parse,
};
