/* One cell: prune, score, record. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/cmd/run_outcome.h"

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

/* ---- from the journal */

/* A checksum says that the bytes are those that were written, not that duo wrote them. */
static int is_measured(const struct measured *m)
{
    const double shares[] = {m->weight_zeros, m->act_zeros};
    const double counts[] = {m->n_params_left, m->prune_seconds, m->prune_nbytes};
    int good = 1;

    for (int i = 0; i < 2; i++)
        good &= isnan(shares[i]) || (shares[i] >= 0 && shares[i] <= 1);
    for (int i = 0; i < 3; i++)
        good &= isnan(counts[i]) || (counts[i] >= 0 && counts[i] <= 0x1p53);
    return good;
}

static int is_whole(struct run *r, struct outcome *o)
{
    struct journal *j = r->journal;
    size_t missing = 0;

    if (!j || !journal_get(j, o->key, "measured", &o->measured, sizeof(o->measured)) ||
        !is_measured(&o->measured))
        return 0;
    if (o->layers && !journal_get(j, o->key, "layers", o->layers, layers_nbytes(r)))
        return 0;
    for (size_t i = 0; i < r->o.n_tasks; i++)
        missing += evaluation_missing(&o->evals[i]);
    if (o->text)
        missing += divergence_missing(&o->diverging);
    return missing == 0;
}

void outcome_say(const struct run *r, size_t cell, const char *where)
{
    const struct cell *c = &r->cells[cell];

    if (!r->o.quiet)
        fprintf(stderr, "cell %zu of %zu: %s, weights %g %%, activations %g %%%s\n", cell + 1,
                r->n_cells, c->method->name, 100 * c->sparsity, 100 * c->act_sparsity, where);
}

int outcome_open(struct run *r, size_t cell, struct outcome *o)
{
    const struct cell *c = &r->cells[cell];

    *o = (struct outcome){.cell = c,
                          .number = cell,
                          .scores = xcalloc(r->o.n_tasks + 1, sizeof(*o->scores)),
                          .evals = xcalloc(r->o.n_tasks + 1, sizeof(*o->evals)),
                          .text = divergence_text(r, cell),
                          .measured = {NAN, NAN, NAN, NAN, NAN}};
    if (r->probe.n_layers)
        o->layers = xmalloc(layers_nbytes(r));
    run_identity(r, c, &o->identity);
    if (r->journal && journal_cell_key(&o->identity, o->key) != 0)
        return -1;
    for (size_t i = 0; i < r->o.n_tasks; i++) {
        evaluation_begin(&o->evals[i], &o->scores[i], &r->tasks[i], r->journal, o->key);
        o->evals[i].counted = c->act_sparsity > 0;
    }
    if (o->text)
        divergence_begin(&o->diverging, &o->divergence, o->text, r->journal, o->key);
    o->whole = is_whole(r, o);
    return 0;
}

void outcome_close(struct run *r, struct outcome *o)
{
    record_release(&o->identity);
    divergence_end(&o->diverging);
    divergence_release(&o->divergence);
    free(o->layers);
    for (size_t i = 0; i < r->o.n_tasks; i++)
        evaluation_release(&o->evals[i]);
    free(o->evals);
    for (size_t i = 0; i < r->o.n_tasks && r->base != o->scores; i++)
        scores_release(&o->scores[i]);
    if (r->base != o->scores)
        free(o->scores);
    *o = (struct outcome){0};
}

/* ---- computing */

/* Of each group, of all layers together. */
static void measure_groups(const struct run *r, struct group_sizes *out)
{
    const struct model *m = &r->model;

    *out = (struct group_sizes){0};
    for (int g = 0; g < N_GROUPS; g++)
        for (size_t i = 0; i < m->config.n_layers; i++) {
            struct tensor w = layer_group(&m->layers[i], (enum group)g);

            out->width[g] += w.data ? w.cols : 0;
            out->weights[g] += w.data ? tensor_numel(w) : 0;
        }
}

int outcome_compute(struct run *r, struct outcome *o)
{
    struct measured *m = &o->measured;
    struct act_count before = {0};
    int rc = run_prune(r, o->cell);

    if (rc != 0)
        return -1;
    r->weight_zeros = m->weight_zeros = run_dropped(r) ? NAN : model_zero_share(&r->model);
    m->n_params_left = run_dropped(r) ? NAN : (double)model_n_params_left(&r->model);
    m->prune_seconds = r->prune_seconds;
    m->prune_nbytes = r->prune_nbytes;
    measure_groups(r, &o->groups);
    if (run_set_rules(r, o->cell) != 0)
        return -1;
    if (o->layers)
        layer_probe_run(&r->probe, &r->session, o->layers);
    session_take_counts(&r->session, &before);
    for (size_t i = 0; i < r->o.n_tasks && rc == 0; i++) {
        rc = evaluation_run(&o->evals[i], &r->session);
        if (rc == 0 && evaluation_missing(&o->evals[i]) == 0)
            rc = evaluation_end(&o->evals[i]); /* the next task would be for nothing */
    }
    if (rc == 0 && o->text)
        rc = divergence_go(&o->diverging, &r->dense_session, &r->session);
    model_set_activation(&r->model, ACT_DENSE, 0);
    return rc;
}

/* Share of the linears' weights that met a zero input: the mean over the groups' shares of zero
 * inputs, each weighed by its weights. NaN where nothing ran. */
static double act_zeros(const struct run *r, const struct outcome *o)
{
    struct act_count c = {0};
    double sum = 0, n_weights = 0;

    for (size_t i = 0; i < r->o.n_tasks; i++) {
        for (int g = 0; g < N_GROUPS; g++)
            c.n_zero[g] += o->evals[i].counts.n_zero[g];
        c.n_rows += o->evals[i].counts.n_rows;
    }
    for (int g = 0; g < N_GROUPS; g++) {
        double n_inputs = (double)(c.n_rows * o->groups.width[g]);

        if (n_inputs > 0)
            sum += (double)c.n_zero[g] / n_inputs * (double)o->groups.weights[g];
        n_weights += (double)o->groups.weights[g];
    }
    return c.n_rows ? sum / n_weights : NAN;
}

int outcome_judge(struct run *r, struct outcome *o)
{
    int rc = 0;

    for (size_t i = 0; i < r->o.n_tasks && rc == 0; i++)
        rc = evaluation_end(&o->evals[i]);
    return rc;
}

int outcome_finish(struct run *r, struct outcome *o)
{
    int rc = outcome_judge(r, o);

    if (o->cell->act_sparsity > 0)
        o->measured.act_zeros = act_zeros(r, o);
    if (rc == 0 && r->journal) {
        journal_put(r->journal, o->key, "measured", &o->measured, sizeof(o->measured));
        if (o->layers)
            journal_put(r->journal, o->key, "layers", o->layers, layers_nbytes(r));
        journal_flush(r->journal);
    }
    return rc;
}

/* ---- telling */

int outcome_report(struct run *r, struct outcome *o)
{
    struct record *base = &o->identity;
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
    if (rc == 0 && o->text)
        rc = run_add_divergence(r, base, o->text, &o->divergence);
    if (rc == 0 && o->layers)
        rc = run_add_layers(r, base, o->layers);
    if (rc == 0 && r->o.baseline && o->number == 0)
        r->base = o->scores;
    return rc;
}

int run_cell(struct run *r, size_t cell)
{
    struct outcome o;
    int rc = outcome_open(r, cell, &o);

    outcome_say(r, cell, "");
    if (rc == 0 && !o.whole) {
        rc = outcome_compute(r, &o);
        if (rc == 0)
            rc = outcome_finish(r, &o);
    } else if (rc == 0) {
        rc = outcome_judge(r, &o);
    }
    if (rc == 0)
        rc = outcome_report(r, &o);
    outcome_close(r, &o);
    return rc;
}
