/* Walks of the calibration streams through one layer, chunk by chunk. */
#include "harness/measure/sweep_pass.h"

int sweep_two_streams(const struct sweep *w)
{
    return (w->method->needs & NEED_RESIDUAL) != 0;
}

void sweep_book(struct sweep *w, double *kind)
{
    struct device *dev = w->m->dev;
    uint64_t unused;
    double now;

    dev->ops->download(dev, &unused, w->m->n_act_zero, sizeof(unused));
    now = now_seconds();
    *kind += now - w->clock;
    w->clock = now;
}

/* x: the group's input in the pruned stream; dense: in the dense stream, if there is one. */
static void collect(struct sweep *w, int group, struct tensor x, struct tensor dense)
{
    struct device *dev = w->m->dev;
    struct layer_stats *st = &w->stats[group];

    sweep_book(w, &w->times.forward);
    layer_stats_add(st, dev, x, dense, w->diff);
    sweep_book(w, &w->times.statistics);
}

/* ---- chunks */

/* Lays the windows of chunk c out as a batch. ids matter to the embedding alone. */
static struct chunk chunk_begin(struct sweep *w, const int32_t *ids, size_t c)
{
    size_t first = c * w->per_chunk, n = w->n_windows - first;

    n = n < w->per_chunk ? n : w->per_chunk;
    batch_clear(&w->s.batch);
    for (size_t i = 0; i < n; i++)
        batch_add(&w->s.batch, ids + (first + i) * w->window, w->window, -1);
    batch_upload(&w->s.batch, w->m->dev);
    hidden_go_to(&w->xs, c);
    if (sweep_two_streams(w)) {
        hidden_go_to(&w->xd, c);
        hidden_begin_copies(&w->xd);
    }
    hidden_begin_copies(&w->xs);
    return (struct chunk){first * w->window, n * w->window};
}

static size_t n_chunks(const struct sweep *w)
{
    return (w->n_windows + w->per_chunk - 1) / w->per_chunk;
}

static struct tensor rows(struct tensor t, struct chunk c)
{
    return tensor_rows(t, c.first, c.n);
}

/* The chunk's rows of the streams, to read; and to add to. */
static struct tensor xs_rows(const struct sweep *w)
{
    return hidden_rows(&w->xs);
}

static struct tensor xd_rows(const struct sweep *w)
{
    return hidden_rows(&w->xd);
}

static void add_to(struct sweep *w, struct hidden *x, struct tensor in, struct tensor weight)
{
    layer_add(&w->s, hidden_rows(x), in, weight);
    hidden_changed(x);
}

static struct tensor head_rows(struct tensor t, struct chunk c)
{
    return tensor_rows(t, 0, c.n);
}

/* The pass for each step of a layer; c's batch is uploaded. Passes 1 to 5 of sequential methods: */

void sweep_pass_qkv(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c), in_d = head_rows(w->in_d, c);

    layer_attention_input(&w->s, &w->m->layers[w->layer], xs_rows(w), in);
    if (sweep_two_streams(w))
        layer_attention_input(&w->s, &w->dense, xd_rows(w), in_d);
    collect(w, GROUP_QKV, in, in_d);
}

/* The pruned stream's attention output for this chunk, computed. */
static struct tensor sparse_attention(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c);
    struct tensor attn = w->as.data ? rows(w->as, c) : head_rows(w->s.attn, c);
    struct layer *l = &w->m->layers[w->layer];

    layer_attention_input(&w->s, l, xs_rows(w), in);
    layer_attention(&w->s, l, w->layer, in, attn);
    return attn;
}

void sweep_pass_o(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c), attn = sparse_attention(w, c);
    struct tensor attn_d = head_rows(w->attn_d, c);

    if (sweep_two_streams(w)) {
        layer_attention_input(&w->s, &w->dense, xd_rows(w), in);
        layer_attention(&w->s, &w->dense, w->layer, in, attn_d);
    }
    collect(w, GROUP_O, attn, attn_d);
    if (sweep_two_streams(w))
        add_to(w, &w->xd, attn_d, w->dense.o);
}

void sweep_pass_gate_up(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c), in_d = head_rows(w->in_d, c);
    struct layer *l = &w->m->layers[w->layer];

    add_to(w, &w->xs, w->as.data ? rows(w->as, c) : sparse_attention(w, c), l->o);
    layer_mlp_input(&w->s, l, xs_rows(w), in);
    if (sweep_two_streams(w))
        layer_mlp_input(&w->s, &w->dense, xd_rows(w), in_d);
    collect(w, GROUP_GATE_UP, in, in_d);
}

void sweep_pass_down(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c), act = head_rows(w->s.act, c);
    struct tensor act_d = head_rows(w->act_d, c);
    struct layer *l = &w->m->layers[w->layer];

    layer_mlp_input(&w->s, l, xs_rows(w), in);
    layer_mlp_hidden(&w->s, l, in, act);
    if (sweep_two_streams(w)) {
        layer_mlp_input(&w->s, &w->dense, xd_rows(w), in);
        layer_mlp_hidden(&w->s, &w->dense, in, act_d);
    }
    collect(w, GROUP_DOWN, act, act_d);
    if (sweep_two_streams(w))
        add_to(w, &w->xd, act_d, w->dense.down);
}

void sweep_pass_finish(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c), act = head_rows(w->s.act, c);
    struct layer *l = &w->m->layers[w->layer];

    layer_mlp_input(&w->s, l, xs_rows(w), in);
    layer_mlp_hidden(&w->s, l, in, act);
    add_to(w, &w->xs, act, l->down);
}

/* One-pass methods: every group's input of the layer as it was, the stream not yet moved. */
void sweep_pass_all(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c), attn = head_rows(w->s.attn, c);
    struct tensor act = head_rows(w->s.act, c), x = head_rows(w->s.x, c), from = xs_rows(w);
    struct layer *l = &w->m->layers[w->layer];

    w->m->dev->ops->copy(w->m->dev, x.data, from.data, tensor_nbytes(x));
    layer_attention_input(&w->s, l, x, in);
    collect(w, GROUP_QKV, in, in);
    layer_attention(&w->s, l, w->layer, in, attn);
    collect(w, GROUP_O, attn, attn);
    layer_add(&w->s, x, attn, l->o);
    layer_mlp_input(&w->s, l, x, in);
    collect(w, GROUP_GATE_UP, in, in);
    layer_mlp_hidden(&w->s, l, in, act);
    collect(w, GROUP_DOWN, act, act);
}

/* ... and then the pruned layer moves the stream. */
void sweep_pass_forward(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c), attn = head_rows(w->s.attn, c);
    struct layer *l = &w->m->layers[w->layer];

    layer_attention_input(&w->s, l, xs_rows(w), in);
    layer_attention(&w->s, l, w->layer, in, attn);
    add_to(w, &w->xs, attn, l->o);
    sweep_pass_finish(w, c);
}

/* A layer whose pruned weights are there already: both streams move on. */
void sweep_pass_resumed(struct sweep *w, struct chunk c)
{
    struct tensor in = head_rows(w->s.in, c), attn = head_rows(w->s.attn, c);
    struct tensor act = head_rows(w->s.act, c);

    sweep_pass_forward(w, c);
    if (!sweep_two_streams(w))
        return;
    layer_attention_input(&w->s, &w->dense, xd_rows(w), in);
    layer_attention(&w->s, &w->dense, w->layer, in, attn);
    add_to(w, &w->xd, attn, w->dense.o);
    layer_mlp_input(&w->s, &w->dense, xd_rows(w), in);
    layer_mlp_hidden(&w->s, &w->dense, in, act);
    add_to(w, &w->xd, act, w->dense.down);
}

void sweep_each_chunk(struct sweep *w, const int32_t *ids, sweep_pass *pass, double share)
{
    for (size_t i = 0; i < n_chunks(w); i++) {
        struct chunk c = chunk_begin(w, ids, i);

        pass(w, c);
        sweep_book(w, &w->times.forward);
        progress_add(&w->progress, share * (double)c.n);
    }
}

/* ---- the first states */

void sweep_embed(struct sweep *w, const int32_t *ids)
{
    for (size_t i = 0; i < n_chunks(w); i++) {
        struct tensor xs;

        chunk_begin(w, ids, i);
        xs = xs_rows(w);
        session_embed(&w->s, xs);
        hidden_changed(&w->xs);
        if (sweep_two_streams(w)) {
            w->m->dev->ops->copy(w->m->dev, xd_rows(w).data, xs.data, tensor_nbytes(xs));
            hidden_changed(&w->xd);
        }
    }
}
