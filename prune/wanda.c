/* Wanda (Sun et al. 2023, arXiv 2306.11695): score |W_ij| sqrt(mean_t x_j^2), the floor(k s)
 * smallest of every output row; no update. The mean's constant factor does not change the order, so
 * the column norms serve as they are summed. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "prune/pruners.h"

static int prune(struct prune_job *job)
{
    struct device *dev = job->dev;
    const struct prune_options *o = job->options;
    struct mask_options mask = {o->sparsity, 1, o->nm_n, o->nm_m, job->comm};
    size_t k = job->w[0].cols;
    struct tensor norm = device_tensor(dev, DTYPE_F32, 1, k);
    float *host = xmalloc(k * sizeof(*host));

    dev->ops->download(dev, host, job->stats->sum_squares.data, k * sizeof(*host));
    for (size_t j = 0; j < k; j++)
        host[j] = sqrtf(host[j] / (float)job->stats->n_tokens);
    dev->ops->upload(dev, norm.data, host, k * sizeof(*host));
    for (size_t i = 0; i < job->n_w; i++)
        dev->ops->mask_smallest(dev, job->w[i], norm, &mask);
    device_tensor_free(dev, &norm);
    free(host);
    return 0;
}

const struct pruner pruner_wanda = {
    .name = "wanda",
    .summary = "the smallest |w| times input norm of every row",
    .needs = NEED_SUM_SQUARES,
    .takes = TAKES_SPARSITY | TAKES_CALIB,
    .prune = prune,
};
