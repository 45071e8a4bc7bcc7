/* duo bench: prune in memory, score if asked to, and time the model against the dense one. */
#include "harness/cmd/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/rng.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/run_share.h"

#define MIN_SAMPLES 20
#define MAX_SAMPLES 10000
#define MAX_ERROR_PCT 0.5
#define READ_SECONDS 0.2

struct bench {
    struct run *r;
    const struct cell *cell;
    struct bench_models models;
    struct bench_scores scored, dense;
    size_t n_timed; /* works */
};

static void say(const struct run *r, const char *work)
{
    if (!r->o.quiet)
        fprintf(stderr, "timing %s\n", work);
}

/* Records what was timed; rc not 0: nothing was. */
static int finish(struct bench *b, struct bench_outcome *out, int rc)
{
    b->n_timed += rc == 0;
    rc = rc == 0 ? bench_add_records(b->r, b->cell, &b->models, out, b->scored, b->dense) : 0;
    bench_outcome_release(out);
    return rc;
}

static int time_products(struct bench *b)
{
    static const char *const names[N_PRODUCTS] = {
        "q, k, v", "o", "gate and up", "down", "the head", "the linears of a layer",
    };
    struct bench_outcome out;

    for (int what = 0; what < N_PRODUCTS; what++) {
        int wanted = what == PRODUCTS_LAYER ? WHAT_LAYER : WHAT_LINEARS;

        if (!(b->r->o.what & (unsigned)wanted))
            continue;
        say(b->r, names[what]);
        for (int warm = 0; warm < 2; warm++)
            if (finish(b, &out,
                       bench_products(&out, &b->models, (enum bench_products)what, warm)) != 0)
                return -1;
    }
    return 0;
}

/* The first ids of the text that is scored, or random ones where none is. */
static int32_t *prompt_of(const struct run *r, size_t n)
{
    int32_t *ids = xmalloc(n * sizeof(*ids));
    const struct ids *text = NULL;
    struct pcg32 g;

    for (size_t i = 0; i < r->o.n_tasks; i++)
        if (!r->tasks[i].task)
            text = &r->tasks[i].ids;
    pcg32_init(&g, r->o.seed, 1);
    for (size_t i = 0; i < n; i++)
        ids[i] = text && i < text->n ? text->v[i]
                                     : (int32_t)pcg32_below(&g, (uint32_t)r->model.config.n_vocab);
    return ids;
}

static int time_decoding(struct bench *b)
{
    const struct run_options *o = &b->r->o;
    int rc = 0;

    for (size_t i = 0; i < o->n_contexts && rc == 0 && o->what & WHAT_DECODE; i++) {
        int32_t *ids = prompt_of(b->r, o->contexts[i]);
        struct bench_outcome out;

        say(b->r, "decoding");
        rc = finish(b, &out, bench_decode(&out, &b->models, ids, o->contexts[i]));
        free(ids);
    }
    return rc;
}

static int time_batches(struct bench *b)
{
    const struct run_options *o = &b->r->o;
    struct bench_outcome out;

    if (o->what & WHAT_PREFILL) {
        say(b->r, "a prompt");
        if (finish(b, &out, bench_prefill(&out, &b->models, o->prompt)) != 0)
            return -1;
    }
    if (o->what & WHAT_WINDOWS) {
        say(b->r, "perplexity's windows");
        if (finish(b, &out, bench_windows(&out, &b->models, o->window, b->r->session.max_rows)) !=
            0)
            return -1;
    }
    return 0;
}

/* The model's weights under dense rules of their own. */
static struct model dense_view(const struct model *m)
{
    struct model view = *m;

    view.layers = xmalloc(m->config.n_layers * sizeof(*view.layers));
    memcpy(view.layers, m->layers, m->config.n_layers * sizeof(*view.layers));
    model_set_activation(&view, ACT_DENSE, 0);
    return view;
}

static int time_cell(struct bench *b)
{
    struct run *r = b->r;
    struct model view = dense_view(r->dense.dev ? &r->dense : &r->model);
    int rc;

    b->models.dense = &view;
    b->models.dense_is_pruned = !r->dense.dev && r->weight_zeros > 0;
    b->models.pruned = &r->model;
    b->models.act_sparsity = b->cell->act_sparsity;
    b->models.weight_zeros = r->weight_zeros;
    if (run_set_rules(r, b->cell) != 0) {
        free(view.layers);
        return -1;
    }
    progress_quiet(1); /* inside what is timed */
    rc = time_products(b) || time_decoding(b) || time_batches(b) ? -1 : 0;
    progress_quiet(r->o.quiet);
    model_set_activation(&r->model, ACT_DENSE, 0);
    free(view.layers);
    return rc;
}

/* After the cell was pruned and scored as eval does: times what is in memory. */
static int follow_cell(struct run *r, size_t i, size_t first, void *arg)
{
    struct bench *b = arg;

    if (r->o.what == WHAT_PRUNE)
        return 0;
    b->cell = &r->cells[i];
    b->scored = bench_scores_of(r, first);
    if (r->o.baseline && i == 0)
        b->dense = b->scored;
    /* The dense paths are timed beside every other cell. */
    if (r->o.baseline && i == 0 && r->n_cells > 1)
        return 0;
    if (!r->dense.dev && r->model.reshaped)
        return error(
            "no memory for the dense model beside the pruned one: nothing to compare with");
    return time_cell(b);
}

static int bench_cells(struct run *r)
{
    struct bench b = {.r = r, .dense = {NAN, NAN}};
    int rc;

    b.models.limits =
        (struct bench_limits){MIN_SAMPLES, MAX_SAMPLES, MAX_ERROR_PCT, r->o.time_limit};
    b.models.seed = r->o.seed;
    b.models.read_rate = bench_read_rate(r->dev, READ_SECONDS);
    rc = run_cells(r, follow_cell, &b);
    if (rc == 0 && !b.n_timed && r->o.what != WHAT_PRUNE)
        return error("nothing was timed: --context and --prompt are longer than the model allows, "
                     "or the weights are not on the device");
    if (r->records.n && output_write(&r->records, r->o.format, r->o.out) != 0)
        return -1;
    return rc;
}

int cmd_bench(int argc, char **argv)
{
    static struct run r;
    int rc = run_options_parse(&r.o, argc, argv);

    if (rc != 0)
        return rc > 0 ? 0 : 2;
    r.keep_dense = 1;
    run_share_roles(&r.o);
    rc = run_open(&r);
    if (rc == 0 && r.model.config.forms)
        rc = error("%s has lost parts already: bench times them beside the whole model: give that "
                   "with -m, and --method and --sparsity",
                   r.o.model);
    rc = rc != 0 || bench_cells(&r) != 0;
    run_close(&r);
    return rc;
}
