/* Pruning the model for a cell, and what is said of it. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/base/memory.h"
#include "harness/cmd/run.h"
#include "harness/measure/journal.h"
#include "harness/measure/sweep.h"

/* Devices that hold the model together count together, whether they speak or not. */
static void print_layer_zeros(const struct run *r)
{
    const struct model *m = &r->model;
    struct buf line = {0};

    if (r->o.quiet && !m->comm)
        return;
    buf_addf(&line, "zeros in %%      q      k      v      o   gate     up   down\n");
    for (size_t i = 0; i < m->config.n_layers; i++) {
        buf_addf(&line, "  layer %3zu ", i);
        for (int l = 0; l < N_LINEARS; l++)
            buf_addf(&line, " %6.2f",
                     100 * (double)linear_zeros(m, i, l) / (double)linear_numel(m, i, l));
        buf_addf(&line, "\n");
        if (!r->o.quiet)
            fputs(buf_str(&line), stderr);
        line.n = 0;
    }
    buf_release(&line);
}

static void print_layer_shapes(const struct run *r)
{
    const struct model *m = &r->model;

    fprintf(stderr, "%zu layers of hidden size %zu: heads and neurons left\n", m->config.n_layers,
            m->config.hidden);
    for (size_t i = 0; i < m->config.n_layers; i++)
        fprintf(stderr, "  layer %3zu  %4zu %6zu\n", i, m->layers[i].shape.n_heads,
                m->layers[i].intermediate);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* What one layer took, and what that is for all layers of the shape. */
static void print_layer_times(const struct run *r, const struct sweep_times *t)
{
    size_t n = t->n_layers;
    double *v = xmalloc(n * sizeof(*v)), median;

    for (size_t i = 0; i < n; i++)
        v[i] = t->layers[i];
    qsort(v, n, sizeof(*v), by_value);
    median = (v[n / 2] + v[(n - 1) / 2]) / 2;
    fprintf(stderr, "  a layer: median %.3g s, %.3g to %.3g; the first %.3g, the last %.3g\n",
            median, v[0], v[n - 1], t->layers[0], t->layers[n - 1]);
    if (t->n_resumed)
        fprintf(stderr, "  %zu of %zu layers were there from an earlier run\n", t->n_resumed, n);
    if (r->n_shape_layers > n)
        fprintf(stderr, "  at the median, %zu layers take %.1f min\n", r->n_shape_layers,
                median * (double)r->n_shape_layers / 60);
    free(v);
}

/* What passed between host and device, and the memory that was in use. */
static void print_copies(const struct run *r, const struct sweep_times *t)
{
    const struct stream_times *c = &t->copies;
    double hidden = c->seconds > 0 ? 1 - c->waited / c->seconds : 1;

    fprintf(stderr,
            "  copies of layers and hidden states: %.2f GB in %.2f s, %.0f %% of it beside the "
            "computation; files waited for: %.2f s\n",
            c->nbytes / 1e9, c->seconds, 100 * (hidden > 0 ? hidden : 0),
            layer_store_waited(r->model.store));
    fprintf(stderr, "  at most %.2f GiB of the host\n", (double)host_memory_peak() / (1 << 30));
}

static void print_pruned(const struct run *r, const struct cell *c, const struct sweep_times *t)
{
    if (c->method->restructure)
        fprintf(stderr, "pruned in %.1f s, at most %.2f GiB\n", t->total,
                r->prune_nbytes / (1 << 30));
    else if (c->method->needs)
        fprintf(stderr,
                "pruned in %.1f s: forward passes %.1f, statistics %.1f, solving %.1f; at most "
                "%.2f GiB\n",
                t->total, t->forward, t->statistics, t->solve, r->prune_nbytes / (1 << 30));
    if (r->model.store || r->o.what == WHAT_PRUNE)
        print_layer_times(r, t);
    if (r->model.store)
        print_copies(r, t);
    if (c->method->restructure)
        print_layer_shapes(r);
}

size_t run_dropped(const struct run *r)
{
    return r->model.store ? layer_store_n_dropped(r->model.store) : 0;
}

/* Pruned layers go to --layer-dir, under the key of everything that they depend on. */
static int keep_layers(struct run *r, const struct cell *c)
{
    struct record id;
    char key[65];
    int rc;

    if (!r->o.layer_dir)
        return 0;
    run_identity(r, c, &id);
    rc = journal_cell_key(&id, key);
    record_release(&id);
    if (rc == 0)
        layer_store_keep(r->model.store, r->o.layer_dir, key);
    return rc;
}

/* What pruning took; it began with a call of memory_peak(). */
static void set_cost(struct run *r, const struct cell *c, double seconds)
{
    struct device *dev = r->dev;

    r->prune_seconds = r->prune_nbytes = NAN;
    if (!c->method->takes)
        return;
    r->prune_seconds = seconds;
    if (dev->ops->memory_peak)
        r->prune_nbytes = (double)dev->ops->memory_peak(dev);
}

int run_prune(struct run *r, const struct cell *c)
{
    struct prune_options p;
    struct sweep_times t;
    double start;

    if (r->weights_of && run_same_weights(r->weights_of, c))
        return 0;
    if (r->failed && run_same_weights(r->failed, c))
        return error("%s w%g: not pruned again, for the same failed before", c->method->name,
                     c->sparsity);
    r->weights_of = NULL;
    r->failed = c; /* until all went well */
    if (r->pruned && model_restore(&r->model) != 0)
        return -1;
    r->pruned = c->method->takes != 0;
    start = now_seconds();
    if (r->dev->ops->memory_peak)
        r->dev->ops->memory_peak(r->dev);
    if (run_deal_out(r, c) != 0) /* on layers that no store takes for pruned ones */
        return -1;
    p = run_prune_options(r, c);
    if (r->pruned && keep_layers(r, c) != 0)
        return -1;
    if (sweep_prune(&r->model, c->method, &p, r->calib.ids, r->calib.n_windows, r->calib.window,
                    &t) != 0)
        return -1;
    set_cost(r, c, now_seconds() - start);
    if (c->method->takes && !r->o.quiet)
        print_pruned(r, c, &t);
    if (c->method->takes && !c->method->restructure && !run_dropped(r))
        print_layer_zeros(r);
    sweep_times_release(&t);
    if (run_dropped(r) && (r->o.n_tasks || r->o.what & ~(unsigned)WHAT_PRUNE))
        return error("%zu pruned layers have found no room in host memory and are lost: give "
                     "--layer-dir DIR",
                     run_dropped(r));
    /* What is scored is what is saved. */
    if (r->o.save && save_round(&r->model, r->o.saving.dtype) != 0)
        return -1;
    r->weights_of = c;
    r->failed = NULL;
    return 0;
}
