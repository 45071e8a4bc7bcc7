/* SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774): optimal brain surgery with a fixed column
 * order, calibrated on dense inputs; all linears of a layer from one pass. */
#include "prune/pruners.h"

static int prune(struct prune_job *job)
{
    return obs_solve(job, 0);
}

const struct pruner pruner_sparsegpt = {
    .name = "sparsegpt",
    .summary = "optimal brain surgery on dense inputs",
    .needs = NEED_GRAM,
    .takes = TAKES_SPARSITY | TAKES_CALIB | TAKES_OBS,
    .order_act = 0,
    .prune = prune,
};
