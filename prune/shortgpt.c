/* ShortGPT (Men et al. 2024, arXiv 2403.03853): whole layers of the lowest block influence
 * 1 - mean_t cos(h_t before, h_t after), all in one shot. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "prune/pruners.h"

struct cosines {
    struct device *dev;
    double *sum;          /* per layer */
    double *device, *row; /* of the rows of a pass */
    size_t cap;
};

static void add_cosines(void *arg, size_t layer, struct tensor before, struct tensor after)
{
    struct cosines *c = arg;

    if (c->cap < before.rows) {
        c->cap = before.rows;
        if (c->device)
            c->dev->ops->free(c->dev, c->device);
        c->device = c->dev->ops->alloc(c->dev, c->cap * sizeof(*c->device));
        c->row = xrealloc(c->row, c->cap * sizeof(*c->row));
    }
    c->dev->ops->row_cosine(c->dev, c->device, before, after);
    c->dev->ops->download(c->dev, c->row, c->device, before.rows * sizeof(*c->row));
    for (size_t i = 0; i < before.rows; i++)
        c->sum[layer] += c->row[i];
}

void shortgpt_influence(struct restructure_job *job, double *influence)
{
    size_t n = job->m->config.n_layers;
    struct cosines c = {.dev = job->m->dev, .sum = xcalloc(n, sizeof(*c.sum))};
    struct windows_view view = {.arg = &c, .layer = add_cosines};

    windows_look(job, &view);
    for (size_t i = 0; i < n; i++)
        influence[i] = 1 - c.sum[i] / (double)(job->n_windows * job->window);
    c.dev->ops->free(c.dev, c.device);
    free(c.sum);
    free(c.row);
}

static int restructure(struct restructure_job *job)
{
    size_t n = job->m->config.n_layers, n_remove = layers_to_remove(job), at = 0;
    double *influence = xmalloc(n * sizeof(*influence));
    int32_t *keep = xmalloc(n * sizeof(*keep));

    shortgpt_influence(job, influence);
    largest_scores(influence, n, n - n_remove, keep);
    for (size_t i = 0; i < n; i++)
        if (at < n - n_remove && (size_t)keep[at] == i)
            at++;
        else
            candidate_remove(job, (struct candidate){i, PART_LAYER});
    model_remove_empty_layers(job->m);
    free(influence);
    free(keep);
    return 0;
}

const struct pruner pruner_shortgpt = {
    .name = "shortgpt",
    .summary = "layers that turn the hidden states least, in one shot",
    .needs = NEED_WINDOWS,
    .takes = TAKES_SPARSITY | TAKES_CALIB,
    .restructure = restructure,
};
