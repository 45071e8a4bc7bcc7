/* Magnitude pruning: per matrix, zero |w| <= sort(|W|)[floor(numel s)]; no calibration. */
#include "prune/pruners.h"

static int prune(struct prune_job *job)
{
    const struct prune_options *o = job->options;
    struct mask_options mask = {o->sparsity, 0, o->nm_n, o->nm_m, job->comm};

    for (size_t i = 0; i < job->n_w; i++)
        job->dev->ops->mask_smallest(job->dev, job->w[i], (struct tensor){0}, &mask);
    return 0;
}

const struct pruner pruner_magnitude = {
    .name = "magnitude",
    .summary = "the smallest |w| of every matrix",
    .takes = TAKES_SPARSITY,
    .prune = prune,
};
