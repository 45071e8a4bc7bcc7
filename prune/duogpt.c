/* DuoGPT (NeurIPS 2025, arXiv 2506.20194): optimal brain surgery on sparsified inputs that also
 * corrects towards the dense model's output. alpha 0 is SparseGPT calibrated on sparse inputs. */
#include "prune/pruners.h"

static int prune(struct prune_job *job)
{
    return obs_solve(job, job->options->alpha);
}

const struct pruner pruner_duogpt = {
    .name = "duogpt",
    .summary = "optimal brain surgery on sparse inputs, corrected towards the dense output",
    .needs = NEED_GRAM | NEED_RESIDUAL,
    .takes = TAKES_SPARSITY | TAKES_CALIB | TAKES_OBS | TAKES_ALPHA,
    .sequential = 1,
    .order_act = 1,
    .alpha = 0.125,
    .prune = prune,
};
