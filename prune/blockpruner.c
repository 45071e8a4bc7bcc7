/* BlockPruner (Zhong et al. 2024, arXiv 2406.10594): attention and MLP sub-blocks one by one, each
 * time the one without which the calibration perplexity of the model as it then is stays lowest,
 * until the parameters removed are as near to those asked for as whole sub-blocks come. */
#include "prune/pruners.h"

static int restructure(struct restructure_job *job)
{
    const enum part halves[] = {PART_ATTENTION, PART_MLP};
    double left = job->options->sparsity * (double)config_n_linear_params(&job->m->config);
    const struct layer *l = &job->m->layers[0];
    size_t a = layer_attention_params(l), b = layer_mlp_params(l), least = a < b ? a : b;
    struct candidate c;

    while (2 * left >= (double)least && windows_cheapest(job, SEARCH_WINDOWS, halves, 2, &c) &&
           2 * left >= (double)candidate_params(job, c)) {
        left -= (double)candidate_params(job, c);
        candidate_remove(job, c);
    }
    model_remove_empty_layers(job->m);
    return 0;
}

const struct pruner pruner_blockpruner = {
    .name = "blockpruner",
    .summary = "attention and MLP blocks one by one, by the calibration loss without them",
    .needs = NEED_WINDOWS,
    .takes = TAKES_SPARSITY | TAKES_CALIB,
    .restructure = restructure,
};
