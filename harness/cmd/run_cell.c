/* One cell: prune, score, record. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/run.h"
#include "harness/measure/samples.h"
#include "harness/measure/stats.h"
#include "harness/measure/sweep.h"

static struct prune_options options_of(const struct run *r, const struct cell *c)
{
    const struct run_options *o = &r->o;

    return (struct prune_options){
        .sparsity = c->sparsity,
        .nm_n = o->nm_n,
        .nm_m = o->nm_m,
        .act_sparsity = c->act_sparsity,
        .alpha = isnan(o->alpha) ? c->method->alpha : o->alpha,
        .damp = o->damp,
        .order_act = o->order >= 0 ? o->order : c->method->order_act,
        .lazy_exact = o->lazy_exact,
        .block = o->block,
    };
}

static void recipe_fields(const struct run *r, const struct cell *c, struct record *out)
{
    const struct run_options *o = &r->o;
    struct prune_options p = options_of(r, c);
    unsigned takes = c->method->takes;
    char nm[32];

    record_set(&out->method, c->method->name);
    out->weight_sparsity = c->sparsity;
    out->act_sparsity = c->act_sparsity;
    if (c->act_sparsity > 0)
        record_set(&out->act_rule, "topk");
    if (takes & TAKES_SPARSITY && o->nm_m) {
        snprintf(nm, sizeof(nm), "%zu:%zu", o->nm_n, o->nm_m);
        record_set(&out->nm, nm);
    }
    if (takes & TAKES_ALPHA)
        out->alpha = p.alpha;
    if (takes & TAKES_OBS) {
        out->damp = p.damp;
        out->block = (double)p.block;
        record_set(&out->order, p.order_act ? "act" : "natural");
        record_set(&out->lazy, p.lazy_exact ? "exact" : "reference");
    }
    if (c->method->needs) {
        record_set(&out->calib, o->calib);
        record_set(&out->calib_sha256, r->calib.sha256);
        out->seed = (double)o->seed;
        record_set(&out->rng, o->python_rng ? "python" : "pcg");
    }
}

void run_identity(const struct run *r, const struct cell *c, struct record *out)
{
    const struct run_options *o = &r->o;

    record_init(out);
    record_stamp(out);
    record_set(&out->git, duo_git);
    record_set(&out->model, o->model);
    record_set(&out->model_sha256, r->model_sha256);
    record_set(&out->tokenizer_sha256, tokenizer_sha256(r->tokenizer));
    out->n_params = (double)config_n_params(&r->model.config);
    out->n_linear_params = (double)config_n_linear_params(&r->model.config);
    recipe_fields(r, c, out);
    record_set(&out->protocol, o->protocol->name);
    record_set(&out->backend, r->dev->ops->name);
    record_set(&out->device, r->dev->ops->describe(r->dev));
    record_set(&out->dtype, dtype_name(r->model.dtype));
    if (o->threads)
        out->threads = o->threads;
    if (o->limit > 0)
        out->limit = o->limit;
}

/* ---- pruning */

static void print_layer_zeros(const struct run *r)
{
    const struct model *m = &r->model;

    fprintf(stderr, "zeros in %%      q      k      v      o   gate     up   down\n");
    for (size_t i = 0; i < m->config.n_layers; i++) {
        fprintf(stderr, "  layer %3zu ", i);
        for (int l = 0; l < N_LINEARS; l++)
            fprintf(stderr, " %6.2f",
                    100 * (double)linear_zeros(m, i, l) /
                        (double)tensor_numel(m->layers[i].linears[l].w));
        fprintf(stderr, "\n");
    }
}

static int prune(struct run *r, const struct cell *c)
{
    struct prune_options p = options_of(r, c);
    struct sweep_times t;

    if (r->pruned && model_restore(&r->model, &r->checkpoint) != 0)
        return -1;
    r->pruned = c->method->takes != 0;
    if (sweep_prune(&r->model, c->method, &p, r->calib.ids, r->calib.n_windows, r->calib.window,
                    &t) != 0)
        return -1;
    if (c->method->takes && !r->o.quiet) {
        if (c->method->needs)
            fprintf(stderr, "pruned in %.1f s: forward passes %.1f, statistics %.1f, solving %.1f\n",
                    t.total, t.forward, t.statistics, t.solve);
        print_layer_zeros(r);
    }
    return 0;
}

/* ---- records */

/* Share of zeros among the inputs of the linears since the counter was set to 0. */
static double act_zeros(const struct run *r)
{
    const struct llama_config *k = &r->model.config;
    size_t width = 2 * k->hidden + k->n_heads * k->head_dim + k->intermediate;
    uint64_t n_zero;

    r->dev->ops->download(r->dev, &n_zero, r->model.n_act_zero, sizeof(n_zero));
    return (double)n_zero / (double)(r->session.n_rows_run * width * k->n_layers);
}

static int add_record(struct run *r, const struct record *base, const struct prepared *p,
                      const struct scores *s, const char *metric, struct estimate e)
{
    struct record rec;

    record_copy(&rec, base);
    record_set(&rec.task, p->name);
    record_set(&rec.version, p->version);
    record_set(&rec.data_sha256, p->data_sha256);
    record_set(&rec.metric, metric);
    rec.n = (double)p->n;
    rec.n_total = (double)p->n_total;
    rec.tokens = (double)s->n_tokens;
    rec.value = e.value;
    rec.stderr_ = e.se;
    rec.seconds = s->seconds;
    rec.bos = p->task ? r->o.protocol->bos : p->bos;
    if (!p->task)
        rec.window = (double)p->window;
    if (records_add(&r->records, &rec) != 0) {
        record_release(&rec);
        return -1;
    }
    return 0;
}

static int add_records(struct run *r, const struct record *base, const struct prepared *p,
                       const struct scores *s)
{
    if (!p->task)
        return add_record(r, base, p, s, "perplexity", stats_perplexity(s->nll, p->n));
    if (add_record(r, base, p, s, "acc", stats_mean(s->acc, p->n)) != 0)
        return -1;
    return p->task->metrics & TASK_ACC_NORM
               ? add_record(r, base, p, s, "acc_norm", stats_mean(s->acc_norm, p->n))
               : 0;
}

static int log_samples(const struct run *r, const struct record *cell, const struct prepared *p,
                       const struct scores *s)
{
    struct samples out = {0};
    char id[17];
    int rc;

    record_cell_id(cell, id);
    if (samples_open(&out, r->o.log_samples, p->name, id) != 0)
        return -1;
    for (size_t i = 0, rc_ = 0; i < p->n && !rc_; i++) {
        double ll[TASK_MAX_CHOICES];
        unsigned char greedy[TASK_MAX_CHOICES];
        struct sample x = {i, p->task ? &p->data.docs[i] : NULL, ll, greedy, NAN, NAN, NULL, NULL};

        if (!p->task) {
            rc_ = samples_add_window(&out, i, p->ids.v + i * p->window, p->window, s->nll[i]) != 0;
            continue;
        }
        for (size_t q = p->first[i]; q < p->first[i + 1]; q++) {
            ll[q - p->first[i]] = s->results[q].logprob;
            greedy[q - p->first[i]] = (unsigned char)s->results[q].greedy;
        }
        x.acc = s->acc[i];
        if (p->task->metrics & TASK_ACC_NORM)
            x.acc_norm = s->acc_norm[i];
        rc_ = samples_add(&out, &x) != 0;
    }
    rc = samples_close(&out);
    samples_abort(&out);
    return rc;
}

/* ---- the cell */

/* All tasks' results from the journal; 1 if nothing is missing, so that the pruning can be
 * skipped too. The measured zeros lie beside them. */
struct measured {
    double weight_zeros, act_zeros;
};

static int resume_all(struct run *r, struct scores *s, const char *key, struct measured *m)
{
    size_t i = 0;

    if (!r->journal || !journal_get(r->journal, key, "measured", m, sizeof(*m)))
        return 0;
    while (i < r->o.n_tasks && evaluate_resume(&s[i], &r->tasks[i], r->journal, key))
        i++;
    if (i == r->o.n_tasks)
        return 1;
    while (i-- > 0)
        scores_release(&s[i]);
    return 0;
}

static int compute_all(struct run *r, const struct cell *c, struct scores *s, const char *key,
                       struct measured *m)
{
    int rc = prune(r, c);

    if (rc != 0)
        return -1;
    m->weight_zeros = model_zero_share(&r->model);
    model_set_activation(&r->model, c->act_sparsity > 0 ? ACT_TOPK : ACT_DENSE, c->act_sparsity);
    r->dev->ops->zero(r->dev, r->model.n_act_zero, sizeof(uint64_t));
    r->session.n_rows_run = 0;
    for (size_t i = 0; i < r->o.n_tasks && rc == 0; i++)
        rc = evaluate(&s[i], &r->tasks[i], &r->session, r->journal, key);
    m->act_zeros = c->act_sparsity > 0 && r->session.n_rows_run ? act_zeros(r) : NAN;
    model_set_activation(&r->model, ACT_DENSE, 0);
    if (rc == 0 && r->journal)
        journal_put(r->journal, key, "measured", m, sizeof(*m));
    return rc;
}

int run_cell(struct run *r, size_t cell)
{
    const struct cell *c = &r->cells[cell];
    struct scores *s = xcalloc(r->o.n_tasks + 1, sizeof(*s));
    struct record base;
    struct measured m;
    char key[65] = "";
    int rc = 0;

    run_identity(r, c, &base);
    if (!r->o.quiet)
        fprintf(stderr, "cell %zu of %zu: %s, weights %g %%, activations %g %%\n", cell + 1,
                r->n_cells, c->method->name, 100 * c->sparsity, 100 * c->act_sparsity);
    if (r->journal)
        rc = journal_cell_key(&base, key);
    if (rc == 0 && !resume_all(r, s, key, &m))
        rc = compute_all(r, c, s, key, &m);
    base.weight_zeros = m.weight_zeros;
    base.act_zeros = m.act_zeros;
    base.effective_params = base.n_params - m.weight_zeros * base.n_linear_params;
    for (size_t i = 0; i < r->o.n_tasks && rc == 0; i++) {
        rc = add_records(r, &base, &r->tasks[i], &s[i]);
        if (rc == 0 && r->o.log_samples)
            rc = log_samples(r, &base, &r->tasks[i], &s[i]);
    }
    record_release(&base);
    if (r->o.baseline && cell == 0 && rc == 0) {
        r->base = s;
        return 0;
    }
    for (size_t i = 0; i < r->o.n_tasks; i++)
        scores_release(&s[i]);
    free(s);
    return rc;
}
