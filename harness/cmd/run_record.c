/* The records of a cell: who it is, what it gave, how that stands against the dense run. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness/cmd/cmd.h"
#include "harness/cmd/environment.h"
#include "harness/cmd/run.h"
#include "harness/measure/paired.h"
#include "harness/measure/stats.h"

struct prune_options run_prune_options(const struct run *r, const struct cell *c)
{
    const struct run_options *o = &r->o;

    return (struct prune_options){
        .sparsity = c->sparsity,
        .nm_n = o->nm_n,
        .nm_m = o->nm_m,
        .act_sparsity = c->act_sparsity,
        .act_ratios = c->act_sparsity <= 0 ? NULL
                      : r->act_ratios      ? r->act_ratios
                                           : r->dealt.ratios,
        .alpha = isnan(o->alpha) ? c->method->alpha : o->alpha,
        .correct = o->correct,
        .refit_beta = o->refit_beta,
        .refit_steps = o->refit_steps,
        .damp = o->damp,
        /* N:M groups are columns as they lie: another order would scatter them. */
        .order_act = o->nm_m         ? 0
                     : o->order >= 0 ? o->order
                                     : c->method->order_act,
        .lazy_exact = o->lazy_exact,
        .block = o->block,
    };
}

static void act_fields(const struct run *r, const struct cell *c, struct record *out)
{
    static const char *const rules[] = {
        [ACT_TOPK] = "topk", [ACT_THRESHOLD] = "threshold", [ACT_WINA] = "wina"};

    if (c->act_sparsity <= 0)
        return;
    record_set(&out->act_rule, rules[r->o.act_rule]);
    if (run_options_deals_out(&r->o, c->method))
        record_set(&out->act_allocation, "greedy");
    if (r->act_ratios) {
        record_set(&out->act_allocation, "file");
        record_set(&out->act_ratios_sha256, r->act_ratios_sha256);
    }
    if (r->o.act_last_half)
        record_set(&out->act_part, "last-half");
}

void run_recipe(const struct run *r, const struct cell *c, struct record *out)
{
    const struct run_options *o = &r->o;
    struct prune_options p = run_prune_options(r, c);
    unsigned takes = c->method->takes;
    char nm[32];

    record_set(&out->method, c->method->name);
    out->weight_sparsity = c->sparsity;
    out->act_sparsity = c->act_sparsity;
    act_fields(r, c, out);
    if (takes & TAKES_SPARSITY && o->nm_m) {
        snprintf(nm, sizeof(nm), "%zu:%zu", o->nm_n, o->nm_m);
        record_set(&out->nm, nm);
    }
    if (takes & TAKES_ALPHA) {
        out->alpha = p.alpha;
        if (p.correct != CORRECT_ALL)
            record_set(&out->correct, p.correct == CORRECT_SCORE ? "score" : "update");
    }
    if (takes & TAKES_REFIT) {
        out->refit_beta = p.refit_beta;
        out->refit_steps = (double)p.refit_steps;
    }
    if (takes & TAKES_OBS) {
        out->damp = p.damp;
        out->block = (double)p.block;
        record_set(&out->order, p.order_act ? "act" : "natural");
        record_set(&out->lazy, p.lazy_exact ? "exact" : "reference");
    }
    if (c->method->needs || (c->act_sparsity > 0 && run_options_act_calibrates(o))) {
        record_set(&out->calib, o->calib);
        record_set(&out->calib_sha256, r->calib.sha256);
        out->seed = (double)o->seed;
        record_set(&out->rng, o->python_rng ? "python" : "pcg");
    }
}

/* Speeds are of so many devices; scores do not depend on their number. */
static void set_device(const struct run *r, struct record *out)
{
    struct buf text = {0};

    if (r->comm && r->o.command == RUN_BENCH)
        buf_addf(&text, "%d x ", r->comm->size);
    buf_adds(&text, r->dev->ops->describe(r->dev));
    record_set(&out->device, buf_str(&text));
    buf_release(&text);
}

void run_identity(const struct run *r, const struct cell *c, struct record *out)
{
    const struct run_options *o = &r->o;

    record_init(out);
    record_stamp(out);
    record_set(&out->git, duo_git);
    record_set(&out->command, o->command_line);
    environment_fields(out);
    record_set(&out->model, o->shape ? o->shape : o->model);
    record_set(&out->model_sha256, o->shape ? NULL : r->model_sha256);
    if (o->shape) {
        out->seed = (double)o->seed;
        record_warn(out, "synthetic weights: only speeds mean something");
    }
    record_set(&out->tokenizer_sha256, r->tokenizer ? tokenizer_sha256(r->tokenizer) : NULL);
    out->n_params = (double)config_n_params(&r->model.source);
    out->n_linear_params = (double)config_n_linear_params(&r->model.source);
    run_recipe(r, c, out);
    record_set(&out->protocol, o->protocol->name);
    record_set(&out->backend, r->dev->ops->name);
    set_device(r, out);
    record_set(&out->dtype, dtype_name(r->model.dtype));
    if (o->threads)
        out->threads = o->threads;
    if (o->limit > 0)
        out->limit = o->limit;
    if (o->save && run_saved_dtype(r) != r->model.dtype && run_saved_dtype(r) != DTYPE_F32)
        record_warn(out, "weights were rounded to %s before they were scored, as they are saved",
                    dtype_name(run_saved_dtype(r)));
}

enum dtype run_saved_dtype(const struct run *r)
{
    return r->o.saving.dtype == SAVE_AS_READ ? checkpoint_dtype(&r->checkpoint)
                                             : (enum dtype)r->o.saving.dtype;
}

/* ---- what the cell gave */

/* A property of the question: the same whatever was resumed, shared or batched. */
static double n_input_tokens(const struct prepared *p)
{
    size_t n = p->task ? 0 : p->n * p->window;

    for (size_t i = 0; i < p->n_requests; i++)
        n += p->requests[i].n_ids - 1;
    return (double)n;
}

static void begin(struct record *rec, const struct run *r, const struct record *cell,
                  const struct prepared *p, const char *metric, struct estimate e)
{
    record_copy(rec, cell);
    record_set(&rec->task, p->name);
    record_set(&rec->version, p->version);
    record_set(&rec->data_sha256, p->data_sha256);
    record_set(&rec->metric, metric);
    rec->n = (double)p->n;
    rec->n_total = (double)p->n_total;
    rec->tokens = n_input_tokens(p);
    rec->value = e.value;
    rec->stderr_ = e.se;
    rec->bos = p->task ? r->o.protocol->bos : p->bos;
    if (!p->task)
        rec->window = (double)p->window;
}

static int end(struct run *r, struct record *rec, double seconds)
{
    rec->seconds = seconds;
    if (records_add(&r->records, rec) == 0)
        return 0;
    record_release(rec);
    return -1;
}

/* The dense cell came first, so its record is the first one of the task and metric. */
static void set_baseline(struct record *rec, const struct run *r, const char *metric)
{
    for (size_t i = 0; i < r->records.n && !rec->baseline; i++)
        if (strcmp(r->records.items[i].task, rec->task) == 0 &&
            strcmp(r->records.items[i].metric, metric) == 0)
            record_set(&rec->baseline, r->records.items[i].run_id);
}

static int add_accuracy(struct run *r, const struct record *cell, const struct prepared *p,
                        const struct scores *s, const char *metric, const double *x,
                        const double *dense)
{
    struct record rec;

    begin(&rec, r, cell, p, metric, stats_mean(x, p->n));
    if (dense) {
        set_baseline(&rec, r, metric);
        paired_accuracy(&rec, dense, x, p->n, r->o.seed);
    }
    return end(r, &rec, s->seconds);
}

static int add_perplexity(struct run *r, const struct record *cell, const struct prepared *p,
                          const struct scores *s, const double *dense)
{
    struct record rec;

    begin(&rec, r, cell, p, "perplexity", stats_perplexity(s->nll, p->n));
    if (dense) {
        set_baseline(&rec, r, "perplexity");
        paired_perplexity(&rec, dense, s->nll, p->n);
    }
    return end(r, &rec, s->seconds);
}

int run_add_scores(struct run *r, const struct record *cell, size_t task, const struct scores *s)
{
    const struct prepared *p = &r->tasks[task];
    const struct scores *dense = r->base ? &r->base[task] : NULL;

    if (!p->task)
        return add_perplexity(r, cell, p, s, dense ? dense->nll : NULL);
    if (add_accuracy(r, cell, p, s, "acc", s->acc, dense ? dense->acc : NULL) != 0)
        return -1;
    return p->task->metrics & TASK_ACC_NORM ? add_accuracy(r, cell, p, s, "acc_norm", s->acc_norm,
                                                           dense ? dense->acc_norm : NULL)
                                            : 0;
}

static int add_divergence(struct run *r, const struct record *cell, const struct prepared *p,
                          const struct divergence *d, const char *metric, const double *x)
{
    struct record rec;

    begin(&rec, r, cell, p, metric, stats_mean(x, p->n));
    set_baseline(&rec, r, "perplexity");
    return end(r, &rec, d->seconds);
}

int run_add_divergence(struct run *r, const struct record *cell, const struct prepared *p,
                       const struct divergence *d)
{
    return add_divergence(r, cell, p, d, "kl_divergence", d->kl) != 0 ||
                   add_divergence(r, cell, p, d, "same_top1", d->same_top) != 0
               ? -1
               : 0;
}

int run_add_layers(struct run *r, const struct record *cell, const double *figures)
{
    const struct layer_probe *p = &r->probe;
    const struct prepared *text = r->tasks;

    while (text->task)
        text++;
    for (int m = 0; m < N_LAYER_METRICS; m++) {
        const double *v = figures + (size_t)m * p->n_layers;
        struct record rec;

        if (isnan(v[0])) /* another width */
            continue;
        record_copy(&rec, cell);
        record_set(&rec.task, "layers");
        record_set(&rec.data_sha256, text->data_sha256);
        record_set(&rec.metric, layer_metric_names[m]);
        rec.tokens = (double)p->n_tokens;
        rec.bos = text->bos;
        rec.value = layer_probe_total(&r->model.source, (enum layer_metric)m, v);
        record_set_by_layer(&rec, v, p->n_layers);
        if (end(r, &rec, NAN) != 0)
            return -1;
    }
    return 0;
}
