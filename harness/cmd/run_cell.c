/* One cell: prune, score, record. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/cmd/run.h"

/* Share of the linears' weights that met a zero input since the counters were set to 0: the mean
 * over the groups' shares of zero inputs, each weighed by its weights. */
static double act_zeros(const struct run *r)
{
    const struct model *m = &r->model;
    uint64_t n_zero[N_GROUPS];
    double sum = 0, n_weights = 0;

    r->dev->ops->download(r->dev, n_zero, m->n_act_zero, sizeof(n_zero));
    for (int g = 0; g < N_GROUPS; g++) {
        size_t width = 0, weights = 0; /* of all layers together */

        for (size_t i = 0; i < m->config.n_layers; i++) {
            struct tensor w = layer_group(&m->layers[i], (enum group)g);

            width += w.data ? w.cols : 0;
            weights += w.data ? tensor_numel(w) : 0;
        }
        if (width)
            sum += (double)n_zero[g] / (double)(r->session.n_rows_run * width) * (double)weights;
        n_weights += (double)weights;
    }
    return sum / n_weights;
}

/* ---- the cell */

/* What a cell gives. */
struct outcome {
    struct scores *scores;        /* one per task */
    struct divergence divergence; /* where asked for */
    double *layers;               /* figures of the layers, N_LAYER_METRICS x n_layers, or NULL */
    struct measured {
        double weight_zeros, act_zeros, n_params_left, prune_seconds, prune_nbytes;
    } measured;
};

/* The text over which --divergence runs, NULL for a cell without it. */
static const struct prepared *divergence_text(const struct run *r, size_t cell)
{
    for (size_t i = 0; i < r->o.n_tasks && r->o.divergence && cell > 0; i++)
        if (!r->tasks[i].task)
            return &r->tasks[i];
    return NULL;
}

static size_t layers_nbytes(const struct run *r)
{
    return N_LAYER_METRICS * r->probe.n_layers * sizeof(double);
}

/* Everything from the journal; 1 if nothing is missing, so that the pruning can be skipped too. */
static int resume_all(struct run *r, struct outcome *o, const char *key,
                      const struct prepared *text)
{
    size_t i = 0;

    if (!r->journal || !journal_get(r->journal, key, "measured", &o->measured, sizeof(o->measured)))
        return 0;
    if (o->layers && !journal_get(r->journal, key, "layers", o->layers, layers_nbytes(r)))
        return 0;
    while (i < r->o.n_tasks && evaluate_resume(&o->scores[i], &r->tasks[i], r->journal, key))
        i++;
    if (i == r->o.n_tasks && (!text || divergence_resume(&o->divergence, text, r->journal, key)))
        return 1;
    while (i-- > 0)
        scores_release(&o->scores[i]);
    return 0;
}

static int compute_all(struct run *r, const struct cell *c, struct outcome *o, const char *key,
                       const struct prepared *text)
{
    struct measured *m = &o->measured;
    int rc = run_prune(r, c);

    if (rc != 0)
        return -1;
    r->weight_zeros = m->weight_zeros = run_dropped(r) ? NAN : model_zero_share(&r->model);
    m->n_params_left = run_dropped(r) ? NAN : (double)model_n_params_left(&r->model);
    m->prune_seconds = r->prune_seconds;
    m->prune_nbytes = r->prune_nbytes;
    if (run_set_rules(r, c) != 0)
        return -1;
    if (o->layers)
        layer_probe_run(&r->probe, &r->session, o->layers);
    r->dev->ops->zero(r->dev, r->model.n_act_zero, N_GROUPS * sizeof(uint64_t));
    r->session.n_rows_run = 0;
    for (size_t i = 0; i < r->o.n_tasks && rc == 0; i++)
        rc = evaluate(&o->scores[i], &r->tasks[i], &r->session, r->journal, key);
    if (c->act_sparsity > 0 && r->session.n_rows_run) /* else what the journal had stays */
        m->act_zeros = act_zeros(r);
    if (rc == 0 && r->journal) {
        journal_put(r->journal, key, "measured", m, sizeof(*m));
        if (o->layers)
            journal_put(r->journal, key, "layers", o->layers, layers_nbytes(r));
        journal_flush(r->journal);
    }
    if (rc == 0 && text)
        rc = divergence_run(&o->divergence, text, &r->dense_session, &r->session, r->journal, key);
    model_set_activation(&r->model, ACT_DENSE, 0);
    return rc;
}

/* Adds the records and writes the samples; base: the cell's identity. */
static int report(struct run *r, struct record *base, const struct outcome *o,
                  const struct prepared *text)
{
    int rc = 0;

    base->weight_zeros = o->measured.weight_zeros;
    base->act_zeros = o->measured.act_zeros;
    base->effective_params = o->measured.n_params_left;
    base->prune_seconds = o->measured.prune_seconds;
    base->prune_nbytes = o->measured.prune_nbytes;
    for (size_t i = 0; i < r->o.n_tasks && rc == 0; i++) {
        rc = run_add_scores(r, base, i, &o->scores[i]);
        if (rc == 0 && r->o.log_samples)
            rc = run_log_samples(r, base, &r->tasks[i], &o->scores[i]);
    }
    if (rc == 0 && text)
        rc = run_add_divergence(r, base, text, &o->divergence);
    if (rc == 0 && o->layers)
        rc = run_add_layers(r, base, o->layers);
    return rc;
}

int run_cell(struct run *r, size_t cell)
{
    const struct cell *c = &r->cells[cell];
    const struct prepared *text = divergence_text(r, cell);
    struct outcome o = {.scores = xcalloc(r->o.n_tasks + 1, sizeof(*o.scores)),
                        .measured = {NAN, NAN, NAN, NAN, NAN}};
    struct record base;
    char key[65] = "";
    int rc = 0;

    if (r->probe.n_layers)
        o.layers = xmalloc(layers_nbytes(r));
    run_identity(r, c, &base);
    if (!r->o.quiet)
        fprintf(stderr, "cell %zu of %zu: %s, weights %g %%, activations %g %%\n", cell + 1,
                r->n_cells, c->method->name, 100 * c->sparsity, 100 * c->act_sparsity);
    if (r->journal)
        rc = journal_cell_key(&base, key);
    if (rc == 0 && !resume_all(r, &o, key, text))
        rc = compute_all(r, c, &o, key, text);
    if (rc == 0)
        rc = report(r, &base, &o, text);
    record_release(&base);
    divergence_release(&o.divergence);
    free(o.layers);
    if (r->o.baseline && cell == 0 && rc == 0) {
        r->base = o.scores;
        return 0;
    }
    for (size_t i = 0; i < r->o.n_tasks; i++)
        scores_release(&o.scores[i]);
    free(o.scores);
    return rc;
}
