/* 2SSP (Sandri et al. 2025, arXiv 2501.17771). First neurons of the MLPs, as many in every layer,
 * by the mean over the windows of the L2 norm over the tokens of their activation; then whole
 * attention blocks one by one, by the loss of the model without them on one window. How many
 * attentions: N = round(B s^((|MLP| / |attention|) / 1.5)) of B layers; the neurons make up the
 * rest of s. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "prune/pruners.h"

size_t two_ssp_attentions(size_t n_layers, double mlp, double attention, double sparsity)
{
    return (size_t)round((double)n_layers * pow(sparsity, mlp / attention / 1.5));
}

struct norms {
    struct device *dev;
    size_t window, m;
    struct tensor squares; /* 1 x m, of one window */
    float *host;
    double *sum; /* n_layers x m */
};

static void add_norms(void *arg, size_t layer, struct tensor x)
{
    struct norms *n = arg;

    for (size_t first = 0; first < x.rows; first += n->window) {
        n->dev->ops->zero(n->dev, n->squares.data, tensor_nbytes(n->squares));
        n->dev->ops->sum_squares(n->dev, n->squares, tensor_rows(x, first, n->window));
        n->dev->ops->download(n->dev, n->host, n->squares.data, tensor_nbytes(n->squares));
        for (size_t j = 0; j < n->m; j++)
            n->sum[layer * n->m + j] += sqrt((double)n->host[j]);
    }
}

void two_ssp_norms(struct restructure_job *job, double *score)
{
    const struct llama_config *k = &job->m->config;
    struct norms n = {
        .dev = job->m->dev, .window = job->window, .m = k->intermediate, .sum = score};
    struct windows_view view = {.arg = &n, .mlp = add_norms};

    for (size_t i = 0; i < k->n_layers * n.m; i++)
        score[i] = 0;
    n.squares = device_tensor(n.dev, DTYPE_F32, 1, n.m);
    n.host = xmalloc(n.m * sizeof(*n.host));
    windows_look(job, &view);
    for (size_t i = 0; i < k->n_layers * n.m; i++)
        score[i] /= (double)job->n_windows;
    device_tensor_free(n.dev, &n.squares);
    free(n.host);
}

/* Stage 1: all but n_keep neurons of every layer. */
static void remove_neurons(struct restructure_job *job, size_t n_keep)
{
    size_t n_layers = job->m->config.n_layers, m = job->m->config.intermediate;
    double *score = xmalloc(n_layers * m * sizeof(*score));
    int32_t *keep = xmalloc(m * sizeof(*keep));

    two_ssp_norms(job, score);
    for (size_t i = 0; i < n_layers; i++) {
        size_t before = layer_mlp_params(&job->m->layers[i]);

        largest_scores(score + i * m, m, n_keep, keep);
        layer_keep_neurons(job->m, i, keep, n_keep);
        progress_add(&job->progress, (double)(before - layer_mlp_params(&job->m->layers[i])));
    }
    free(score);
    free(keep);
}

static int restructure(struct restructure_job *job)
{
    const enum part attention[] = {PART_ATTENTION};
    const struct layer *l = &job->m->layers[0];
    size_t n = job->m->config.n_layers, m = job->m->config.intermediate;
    double a = (double)layer_attention_params(l), mlp = (double)layer_mlp_params(l);
    size_t n_attentions = two_ssp_attentions(n, mlp, a, job->options->sparsity);
    double rest = job->options->sparsity * (double)n * (a + mlp) - (double)n_attentions * a;
    double cut = rest / (double)n / (mlp / (double)m); /* neurons of a layer */
    struct candidate c;

    remove_neurons(job, width_near((double)m - cut, m));
    for (size_t i = 0; i < n_attentions; i++)
        if (windows_cheapest(job, 1, attention, 1, &c))
            candidate_remove(job, c);
    model_remove_empty_layers(job->m);
    return 0;
}

const struct pruner pruner_2ssp = {
    .name = "2ssp",
    .summary = "MLP neurons by their activations' norm, then attention blocks by the loss",
    .needs = NEED_WINDOWS,
    .takes = TAKES_SPARSITY | TAKES_CALIB,
    .restructure = restructure,
};
