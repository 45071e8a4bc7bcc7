/* SLEB (Song et al. 2024, arXiv 2402.09025): layer after layer goes, each time the one without
 * which the calibration loss of the model as it then is stays lowest. */
#include <math.h>

#include "prune/pruners.h"

size_t layers_to_remove(const struct restructure_job *job)
{
    size_t all = job->m->config.n_layers;
    size_t n = (size_t)round(job->options->sparsity * (double)all);

    return n < all ? n : all - 1;
}

static int restructure(struct restructure_job *job)
{
    const enum part layer[] = {PART_LAYER};
    struct candidate c;

    for (size_t left = layers_to_remove(job); left > 0; left--)
        if (windows_cheapest(job, SEARCH_WINDOWS, layer, 1, &c))
            candidate_remove(job, c);
    model_remove_empty_layers(job->m);
    return 0;
}

const struct pruner pruner_sleb = {
    .name = "sleb",
    .summary = "layers one by one, by the calibration loss without them",
    .needs = NEED_WINDOWS,
    .takes = TAKES_SPARSITY | TAKES_CALIB,
    .restructure = restructure,
};
