/* The unpruned model: the row that every other is compared with. */
#include "prune/pruners.h"

static int keep(struct prune_job *job)
{
    (void)job;
    return 0;
}

const struct pruner pruner_dense = {
    .name = "dense",
    .summary = "the unpruned weights",
    .prune = keep,
};
