/* The sweep over the model.
 *
 * Hidden states of all calibration tokens are kept: the dense stream xd (only for methods that need
 * the residual) and the pruned model's stream xs. A layer is walked once per stream; what a later
 * group needs is computed again where that is cheap (the MLP's hidden state) or kept where there is
 * memory for it (the attention's output, as). The dense stream runs through a copy of the layer's
 * weights, since groups are pruned one by one under it. */
#include "harness/measure/sweep.h"

#include <stdio.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/measure/restructure.h"
#include "harness/measure/sweep_pass.h"
#include "harness/model/parallel.h"
#include "harness/model/reshape.h"

/* On the host all streams together stay below this; a device's own memory is used up to a half, and
 * what does not fit there is in host memory. */
#define HOST_STREAM_BYTES ((size_t)1 << 30)

static size_t group_width(const struct model *m, int group)
{
    if (group == GROUP_O)
        return m->config.n_heads * m->config.head_dim;
    return group == GROUP_DOWN ? m->config.intermediate : m->config.hidden;
}

static void stats_open(struct sweep *w, int group)
{
    layer_stats_init(&w->stats[group], w->m->dev, w->method->needs, group_width(w->m, group));
}

/* ---- pruning one group */

/* Can each device of a shared model prune its own rows of the group, with the bits that they have
 * in the whole? */
static int splits_rows(const struct sweep *w, int group)
{
    const struct layer *l = &w->m->layers[w->layer];

    for (int i = 0; i < N_LINEARS; i++)
        if ((int)l->linears[i].group == group && l->linears[i].w.rows % w->m->dev->ops->row_tile)
            return 0;
    return w->m->comm != NULL;
}

static int prune_group(struct sweep *w, int group)
{
    struct device *dev = w->m->dev;
    struct layer *l = &w->m->layers[w->layer];
    struct prune_job job = {
        .dev = dev, .options = w->options, .stats = &w->stats[group], .layer = w->layer};
    struct tensor into[3], from[3]; /* from: this device's rows, or everybody's: each prunes all */
    int split = splits_rows(w, group), rc;

    sweep_book(w, &w->times.forward);
    if (w->stats[group].gram.data)
        dev->ops->mirror(dev, w->stats[group].gram);
    for (int i = 0; i < N_LINEARS; i++) {
        struct linear *lin = &l->linears[i];

        if ((int)lin->group != group)
            continue;
        into[job.n_w] = lin->w;
        from[job.n_w] = split ? lin->w : parallel_whole(w->m, lin->w);
        job.names[job.n_w] = lin->name;
        job.w[job.n_w] = from[job.n_w];
        if (lin->w.dtype != DTYPE_F32) {
            struct tensor t = from[job.n_w];

            job.w[job.n_w] = device_tensor(dev, DTYPE_F32, t.rows, t.cols);
            dev->ops->convert(dev, job.w[job.n_w], t);
        }
        job.n_w++;
    }
    job.comm = split ? w->m->comm : NULL;
    rc = pruner_run(w->method, &job);
    for (size_t i = 0; i < job.n_w; i++) {
        if (rc == 0 && !parallel_least(w->m, (size_t)dev->ops->all_finite(dev, job.w[i])))
            rc = error("layer %zu %s: pruning gave values that are not finite", w->layer,
                       job.names[i]);
        if (rc == 0 && job.w[i].data != into[i].data)
            dev->ops->convert(dev, into[i], split ? job.w[i] : parallel_part(w->m, job.w[i]));
        if (job.w[i].data != from[i].data)
            device_tensor_free(dev, &job.w[i]);
        parallel_whole_free(w->m, &from[i], into[i]);
    }
    sweep_book(w, &w->times.solve);
    return rc;
}

/* ---- layers */

static int sequential_layer(struct sweep *w, const int32_t *ids)
{
    static const struct {
        int group;
        sweep_pass *pass;
        double share; /* of the layer's work, for the progress line */
    } step[] = {
        {GROUP_QKV, sweep_pass_qkv, 0.1},
        {GROUP_O, sweep_pass_o, 0.4},
        {GROUP_GATE_UP, sweep_pass_gate_up, 0.1},
        {GROUP_DOWN, sweep_pass_down, 0.3},
    };
    int rc = 0;

    for (int i = 0; i < 4 && rc == 0; i++) {
        stats_open(w, step[i].group);
        sweep_each_chunk(w, ids, step[i].pass, step[i].share);
        rc = prune_group(w, step[i].group);
        layer_stats_release(&w->stats[step[i].group], w->m->dev);
    }
    if (rc == 0 && w->layer + 1 < w->m->config.n_layers)
        sweep_each_chunk(w, ids, sweep_pass_finish, 0.1);
    return rc;
}

static int one_pass_layer(struct sweep *w, const int32_t *ids)
{
    int rc = 0;

    for (int g = 0; g < N_GROUPS; g++) {
        stats_open(w, g);
    }
    sweep_each_chunk(w, ids, sweep_pass_all, 0.6);
    for (int g = 0; g < N_GROUPS; g++) {
        if (rc == 0)
            rc = prune_group(w, g);
        layer_stats_release(&w->stats[g], w->m->dev);
    }
    if (rc == 0 && w->layer + 1 < w->m->config.n_layers)
        sweep_each_chunk(w, ids, sweep_pass_forward, 0.4);
    return rc;
}

/* One layer, or what an earlier run has left of it. */
static int prune_layer(struct sweep *w, const int32_t *ids)
{
    double begin = now_seconds();
    int is_last = w->layer + 1 == w->m->config.n_layers, rc = 0;

    model_layer(w->m, w->layer);
    if (sweep_two_streams(w))
        layer_copy(&w->dense, w->m, w->layer);
    if (model_layer_resume(w->m, w->layer)) {
        w->times.n_resumed++;
        if (!is_last)
            sweep_each_chunk(w, ids, sweep_pass_resumed, 1);
    } else {
        rc = w->method->sequential ? sequential_layer(w, ids) : one_pass_layer(w, ids);
        if (rc == 0)
            model_layer_changed(w->m, w->layer);
    }
    if (sweep_two_streams(w))
        layer_copy_free(&w->dense, w->m);
    w->times.layers[w->layer] = now_seconds() - begin;
    return rc;
}

/* ---- the whole */

/* Bytes of device memory that the streams may take. */
static size_t room_for_streams(const struct sweep *w)
{
    struct device *dev = w->m->dev;

    return parallel_least(w->m, dev->ops->is_host && !dev->memory_limit
                                    ? HOST_STREAM_BYTES
                                    : dev->ops->memory_free(dev) / 2);
}

static void streams_open(struct sweep *w)
{
    struct device *dev = w->m->dev;
    const struct llama_config *k = &w->m->config;
    size_t q = k->n_heads * k->head_dim, t = w->n_windows * w->window;
    size_t chunk = w->per_chunk * w->window, widest = k->intermediate, streams, room;
    int on_host;

    session_open(&w->s, w->m, chunk, w->per_chunk * batch_pages_for(0, w->window), 0);
    streams = (sweep_two_streams(w) ? 2 : 1) * t * k->hidden * sizeof(float);
    room = room_for_streams(w);
    on_host = streams > room && (!dev->ops->is_host || dev->memory_limit);
    hidden_open(&w->xs, dev, t, k->hidden, chunk, on_host);
    if (w->method->sequential && streams + t * q * dtype_size(w->m->dtype) <= room)
        w->as = device_tensor(dev, w->m->dtype, t, q);
    if (!sweep_two_streams(w))
        return;
    widest = k->hidden > widest ? k->hidden : widest;
    widest = q > widest ? q : widest;
    hidden_open(&w->xd, dev, t, k->hidden, chunk, on_host);
    w->in_d = device_tensor(dev, w->m->dtype, chunk, k->hidden);
    w->attn_d = device_tensor(dev, w->m->dtype, chunk, q);
    w->act_d = device_tensor(dev, w->m->dtype, chunk, k->intermediate);
    w->diff = device_tensor(dev, w->m->dtype, chunk, widest);
}

static void streams_close(struct sweep *w)
{
    struct tensor *all[] = {&w->as, &w->in_d, &w->attn_d, &w->act_d, &w->diff};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        device_tensor_free(w->m->dev, all[i]);
    hidden_close(&w->xs);
    hidden_close(&w->xd);
    session_close(&w->s);
}

/* Methods that need no calibration: every group as it stands. */
static int without_data(struct sweep *w)
{
    int rc = 0;

    for (w->layer = 0; w->layer < w->m->config.n_layers && rc == 0; w->layer++) {
        double begin = now_seconds();

        model_layer(w->m, w->layer);
        if (model_layer_resume(w->m, w->layer)) {
            w->times.n_resumed++;
            continue;
        }
        for (int g = 0; g < N_GROUPS && rc == 0; g++)
            rc = prune_group(w, g);
        if (rc == 0)
            model_layer_changed(w->m, w->layer);
        w->times.layers[w->layer] = now_seconds() - begin;
    }
    return rc;
}

/* Sequential methods calibrate on the inputs of the run to come, by exact top-k for all tokens,
 * whatever rule that will be; others on dense ones. */
static void set_rules(struct sweep *w)
{
    const struct prune_options *o = w->options;
    int sparse = w->method->sequential && o->act_sparsity > 0;

    model_set_activation(w->m, sparse ? ACT_TOPK : ACT_DENSE, o->act_sparsity);
    for (size_t i = 0; i < w->m->config.n_layers && sparse && o->act_ratios; i++)
        for (int g = 0; g < N_GROUPS; g++)
            model_set_rule(w->m, i, (enum group)g, ACT_TOPK,
                           o->act_ratios[i * N_GROUPS + (size_t)g], 0);
}

static int with_data(struct sweep *w, const int32_t *ids)
{
    size_t n_layers = w->m->config.n_layers;
    char what[64];
    int rc = 0;

    set_rules(w);
    streams_open(w);
    snprintf(what, sizeof(what), "prune by %s", w->method->name);
    progress_begin(&w->progress, what, "tokens x layers",
                   (double)(n_layers * w->n_windows * w->window));
    sweep_embed(w, ids);
    for (w->layer = 0; w->layer < n_layers && rc == 0; w->layer++)
        rc = prune_layer(w, ids);
    if (rc == 0)
        progress_end(&w->progress);
    streams_close(w);
    model_set_activation(w->m, ACT_DENSE, 0);
    return rc;
}

/* N:M groups must not be cut off by the end of a row, or of a block. */
static int check_nm(const struct model *m, const struct pruner *method,
                    const struct prune_options *o)
{
    if (!o->nm_m || !(method->takes & TAKES_SPARSITY))
        return 0;
    for (int g = 0; g < N_GROUPS; g++)
        if (group_width(m, g) % o->nm_m)
            return error("%zu:%zu: rows of %zu weights are no whole number of groups of %zu",
                         o->nm_n, o->nm_m, group_width(m, g), o->nm_m);
    if (method->takes & TAKES_OBS && o->block % o->nm_m)
        return error("%zu:%zu: blocks of %zu columns are no whole number of groups of %zu", o->nm_n,
                     o->nm_m, o->block, o->nm_m);
    return 0;
}

static int restructure(struct sweep *w, const int32_t *ids)
{
    struct restructure_job job = {.m = w->m,
                                  .options = w->options,
                                  .ids = ids,
                                  .n_windows = w->n_windows,
                                  .window = w->window};
    char what[64];

    if (reshape_check(w->m) != 0)
        return -1;
    model_set_activation(w->m, ACT_DENSE, 0);
    if (w->options->sparsity == 0)
        return 0;
    snprintf(what, sizeof(what), "prune by %s", w->method->name);
    progress_begin(&job.progress, what, "parameters",
                   w->options->sparsity * (double)config_n_linear_params(&w->m->config));
    if (w->method->restructure(&job) != 0)
        return -1;
    progress_end(&job.progress);
    return 0;
}

void sweep_times_release(struct sweep_times *t)
{
    free(t->layers);
    *t = (struct sweep_times){0};
}

int sweep_prune(struct model *m, const struct pruner *method, const struct prune_options *o,
                const int32_t *ids, size_t n_windows, size_t window, struct sweep_times *times)
{
    struct sweep w = {
        .m = m, .method = method, .options = o, .window = window, .n_windows = n_windows};
    double start = now_seconds();
    struct stream_times before, after;
    int rc;

    w.times.n_layers = m->config.n_layers;
    w.times.layers = xcalloc(m->config.n_layers, sizeof(double));
    m->dev->ops->stream_times(m->dev, &before);
    w.clock = start;
    if (!method->takes) { /* dense: every layer stays as it is */
        rc = 0;
    } else if (m->config.forms) {
        rc = error("the model has lost parts already: it can be scored, not pruned again");
    } else if (method->restructure) {
        rc = restructure(&w, ids);
    } else if (check_nm(m, method, o) != 0) {
        rc = -1;
    } else if (!method->needs) {
        rc = without_data(&w);
    } else {
        w.per_chunk = windows_per_pass(m->dev, window);
        w.per_chunk = w.per_chunk < n_windows ? w.per_chunk : n_windows;
        rc = with_data(&w, ids);
    }
    w.times.total = now_seconds() - start;
    m->dev->ops->stream_times(m->dev, &after);
    w.times.copies = (struct stream_times){.seconds = after.seconds - before.seconds,
                                           .waited = after.waited - before.waited,
                                           .nbytes = after.nbytes - before.nbytes};
    if (times && rc == 0)
        *times = w.times;
    else
        sweep_times_release(&w.times);
    return rc;
}
