/* Running a model. */
#include "harness/model/session.h"

#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/model/parallel.h"
#include "harness/model/session_inside.h"

#define MAX_PICKED 4096 /* rows scored at a time */

struct sizes {
    size_t h, q, kv, m, e; /* hidden, query and key widths, intermediate, bytes of a weight */
};

static struct sizes sizes_of(const struct model *m)
{
    const struct llama_config *c = &m->config;

    return (struct sizes){c->hidden, c->n_heads * c->head_dim, c->n_kv_heads * c->head_dim,
                          c->intermediate, dtype_size(m->dtype)};
}

static size_t picked_rows(size_t max_rows)
{
    return max_rows < MAX_PICKED ? max_rows : MAX_PICKED;
}

size_t session_nbytes(const struct model *m, size_t max_rows, size_t n_pages, int cached)
{
    struct sizes z = sizes_of(m);
    size_t n = parallel_size(m);
    size_t row = z.h * 4 + (z.h + z.q + z.m + (z.q + 2 * z.kv + 2 * z.m) / n) * z.e;
    size_t pages = (cached ? m->config.n_layers : 1) * n_pages * KV_PAGE * 2 * z.kv / n * z.e;

    return max_rows * (row + 20 + parallel_row_nbytes(m)) + pages +
           picked_rows(max_rows) * (z.h * (4 + z.e) + 24);
}

void session_open(struct session *s, const struct model *m, size_t max_rows, size_t n_pages,
                  int cached)
{
    struct device *dev = m->dev;
    struct sizes z = sizes_of(m);
    size_t n = parallel_size(m), page = KV_PAGE * z.kv / n * z.e;

    *s = (struct session){.m = m, .max_rows = max_rows, .n_pages = n_pages, .cached = cached};
    s->max_picked = picked_rows(max_rows);
    s->n_kv = cached ? m->config.n_layers : 1;
    s->kv = xcalloc(s->n_kv, sizeof(*s->kv));
    for (size_t i = 0; i < s->n_kv; i++) {
        s->kv[i].k = dev->ops->alloc(dev, n_pages * page);
        s->kv[i].v = dev->ops->alloc(dev, n_pages * page);
    }
    s->x = device_tensor(dev, DTYPE_F32, max_rows, z.h);
    s->in = device_tensor(dev, m->dtype, max_rows, z.h);
    s->qkv = device_tensor(dev, m->dtype, max_rows, (z.q + 2 * z.kv) / n);
    s->attn = device_tensor(dev, m->dtype, max_rows, z.q);
    s->gate_up = device_tensor(dev, m->dtype, max_rows, 2 * z.m / n);
    s->act = device_tensor(dev, m->dtype, max_rows, z.m);
    s->picked = device_tensor(dev, DTYPE_F32, s->max_picked, z.h);
    s->final = device_tensor(dev, m->dtype, s->max_picked, z.h);
    s->scratch = dev->ops->alloc(dev, s->max_picked * 24);
    s->scoring_cap = max_rows + n;
    s->scoring = dev->ops->alloc(dev, s->scoring_cap * 20);
    parallel_open(s);
}

void session_close(struct session *s)
{
    struct device *dev = s->m ? s->m->dev : NULL;

    if (!dev)
        return;
    for (size_t i = 0; i < s->n_kv; i++) {
        dev->ops->free(dev, s->kv[i].k);
        dev->ops->free(dev, s->kv[i].v);
    }
    free(s->kv);
    device_tensor_free(dev, &s->x);
    device_tensor_free(dev, &s->in);
    device_tensor_free(dev, &s->qkv);
    device_tensor_free(dev, &s->attn);
    device_tensor_free(dev, &s->gate_up);
    device_tensor_free(dev, &s->act);
    device_tensor_free(dev, &s->picked);
    device_tensor_free(dev, &s->final);
    dev->ops->free(dev, s->scratch);
    dev->ops->free(dev, s->scoring);
    parallel_close(s);
    batch_release(&s->batch, dev);
    *s = (struct session){0};
}

struct tensor rows_now(const struct session *s, struct tensor t, size_t cols)
{
    t.cols = cols;
    return tensor_rows(t, s->first_row, batch_now(s)->layout.n_rows);
}

/* The model may have become narrower since the session was opened. */
static void fit_width(struct session *s)
{
    s->x.cols = s->in.cols = s->picked.cols = s->final.cols = s->m->config.hidden;
}

void session_embed(struct session *s, struct tensor x)
{
    s->m->dev->ops->embed(s->m->dev, x, s->m->embed, s->batch.layout.ids);
}

/* Where the rules spare some rows of the batch, they are applied apart from the operation that
 * gives x, to the runs of rows that they are for. */
const struct act_rule *fused_rule(const struct session *s, const struct act_rule *rule)
{
    return batch_now(s)->n_spared.n ? NULL : rule;
}

void apply_apart(const struct session *s, struct tensor x, const struct act_rule *rule)
{
    const struct batch *b = batch_now(s);

    for (size_t i = 0; i < b->n_spared.n && rule->kind != ACT_DENSE; i++) {
        int32_t first = b->seg_row.v[i] + b->n_spared.v[i];
        int32_t end = i + 1 < b->seg_row.n ? b->seg_row.v[i + 1] : (int32_t)b->ids.n;
        struct tensor rows = tensor_rows(x, (size_t)first, (size_t)(end - first));

        if (rows.rows)
            s->m->dev->ops->sparsify(s->m->dev, rows, rows, rule);
    }
}

void layer_attention_input(struct session *s, const struct layer *l, struct tensor x,
                           struct tensor in)
{
    const struct act_rule *rule = &l->rules[GROUP_QKV];

    s->m->dev->ops->rmsnorm(s->m->dev, in, x, l->norm1, s->m->config.eps, fused_rule(s, rule));
    apply_apart(s, in, rule);
}

struct tensor attention_part(struct session *s, const struct layer *l, size_t index,
                             struct tensor in, struct tensor attn)
{
    struct device *dev = s->m->dev;
    struct kv_layer kv = s->kv[s->cached ? index : 0];
    struct tensor qkv = rows_now(s, s->qkv, l->qkv.rows), part = part_of(s, attn);
    const struct batch_layout *b = &batch_now(s)->layout;

    dev->ops->linear(dev, qkv, in, l->qkv, 0);
    dev->ops->kv_write(dev, kv, qkv, l->shape, s->m->cos_sin, b);
    dev->ops->attention(dev, part, qkv, kv, l->shape, s->m->cos_sin, b,
                        s->m->comm ? NULL : fused_rule(s, &l->rules[GROUP_O]));
    return part;
}

void layer_attention(struct session *s, const struct layer *l, size_t index, struct tensor in,
                     struct tensor attn)
{
    join_parts(s, attn, attention_part(s, l, index, in, attn), &l->rules[GROUP_O]);
    apply_apart(s, attn, &l->rules[GROUP_O]);
}

void layer_mlp_input(struct session *s, const struct layer *l, struct tensor x, struct tensor in)
{
    const struct act_rule *rule = &l->rules[GROUP_GATE_UP];

    s->m->dev->ops->rmsnorm(s->m->dev, in, x, l->norm2, s->m->config.eps, fused_rule(s, rule));
    apply_apart(s, in, rule);
}

struct tensor mlp_part(struct session *s, const struct layer *l, struct tensor in,
                       struct tensor act)
{
    struct device *dev = s->m->dev;
    struct tensor gate_up = rows_now(s, s->gate_up, l->gate_up.rows), part = part_of(s, act);

    dev->ops->linear_silu_mul(dev, part, gate_up, in, l->gate_up,
                              s->m->comm ? NULL : fused_rule(s, &l->rules[GROUP_DOWN]));
    return part;
}

void layer_mlp_hidden(struct session *s, const struct layer *l, struct tensor in, struct tensor act)
{
    join_parts(s, act, mlp_part(s, l, in, act), &l->rules[GROUP_DOWN]);
    apply_apart(s, act, &l->rules[GROUP_DOWN]);
}

void layer_add(struct session *s, struct tensor x, struct tensor in, struct tensor w)
{
    if (s->m->comm)
        parallel_add(s, x, in, w);
    else
        s->m->dev->ops->linear(s->m->dev, x, in, w, 1);
}

/* x <- x basis^T, by way of `in` in the weights' type. */
static void change_basis(struct session *s, struct tensor x, struct tensor in, struct tensor basis)
{
    if (!basis.data)
        return;
    s->m->dev->ops->convert(s->m->dev, in, x);
    s->m->dev->ops->linear(s->m->dev, x, in, basis, 0);
}

static void add_bias(struct session *s, struct tensor x, struct tensor bias)
{
    if (bias.data)
        s->m->dev->ops->add_row(s->m->dev, x, bias);
}

void layer_attention_block(struct session *s, const struct layer *l, size_t index, struct tensor x)
{
    struct tensor in = rows_now(s, s->in, x.cols), attn = rows_now(s, s->attn, l->o.cols);

    if (layer_has_attention(l)) {
        layer_attention_input(s, l, x, in);
        layer_attention(s, l, index, in, attn);
        change_basis(s, x, in, l->attention_basis);
        layer_add(s, x, attn, l->o);
    }
    add_bias(s, x, l->o_bias);
}

void layer_mlp_block(struct session *s, const struct layer *l, struct tensor x)
{
    struct tensor in = rows_now(s, s->in, x.cols), act = rows_now(s, s->act, l->down.cols);

    if (layer_has_mlp(l)) {
        layer_mlp_input(s, l, x, in);
        layer_mlp_hidden(s, l, in, act);
        change_basis(s, x, in, l->mlp_basis);
        layer_add(s, x, act, l->down);
    }
    add_bias(s, x, l->down_bias);
}

void session_layers(struct session *s, struct tensor x, size_t first, size_t end)
{
    if (s->m->comm) {
        parallel_layers(s, x, first, end);
        return;
    }
    for (size_t i = first; i < end; i++) {
        const struct layer *l = model_layer(s->m, i);

        layer_attention_block(s, l, i, x);
        layer_mlp_block(s, l, x);
    }
}

void session_begin(struct session *s)
{
    if (batch_n_rows(&s->batch) > s->max_rows || s->batch.n_pages > s->n_pages)
        die("batch of %zu rows and %zu pages in a session of %zu and %zu", batch_n_rows(&s->batch),
            s->batch.n_pages, s->max_rows, s->n_pages);
    if (s->m->act_last_half && !s->cached)
        batch_spare_halves(&s->batch);
    batch_upload(&s->batch, s->m->dev);
    fit_width(s);
}

void session_forward(struct session *s)
{
    struct tensor x;

    session_begin(s);
    s->n_rows_run += batch_n_rows(&s->batch);
    x = rows_now(s, s->x, s->x.cols);
    session_embed(s, x);
    session_layers(s, x, 0, s->m->config.n_layers);
}

/* final[0 .. n) = norm(x[rows]); rows: on the device. */
static struct tensor pick(struct session *s, const int32_t *rows, size_t n)
{
    const struct model *m = s->m;
    struct device *dev = m->dev;
    struct tensor picked = tensor_rows(s->picked, 0, n), final = tensor_rows(s->final, 0, n);

    dev->ops->gather(dev, picked, s->x, rows);
    dev->ops->rmsnorm(dev, final, picked, m->norm, m->config.eps, NULL);
    return final;
}

/* Where the parts of s->scoring begin: logprob, is_top, targets, rows. */
struct scoring {
    double *logprob;
    int32_t *top, *target, *row;
};

static struct scoring scoring_of(const struct session *s)
{
    struct scoring c = {.logprob = s->scoring};

    c.top = (int32_t *)(c.logprob + s->scoring_cap);
    c.target = c.top + s->scoring_cap;
    c.row = c.target + s->scoring_cap;
    return c;
}

static void score_rows(struct session *s, const struct scoring *c, size_t first, size_t end)
{
    struct device *dev = s->m->dev;

    for (size_t i = first; i < end; i += s->max_picked) {
        size_t k = end - i < s->max_picked ? end - i : s->max_picked;

        dev->ops->logprob(dev, c->logprob + i, c->top + i, pick(s, c->row + i, k), s->m->head,
                          c->target + i);
    }
}

/* Every device scores its share of the rows; the arrays have room for shares of one size. */
static void score_share(struct session *s, const struct scoring *c, size_t n)
{
    struct comm *comm = s->m->comm;
    size_t size = (size_t)comm->size, each = (n + size - 1) / size;
    size_t first = (size_t)comm->rank * each, end = first + each < n ? first + each : n;

    score_rows(s, c, first < n ? first : n, end);
    comm->all_gather(comm, c->logprob, c->logprob + first, each * sizeof(*c->logprob));
    comm->all_gather(comm, c->top, c->top + first, each * sizeof(*c->top));
}

void session_logprobs_begin(struct session *s, const int32_t *rows, const int32_t *targets,
                            size_t n)
{
    struct device *dev = s->m->dev;
    struct scoring c;

    if (n + parallel_size(s->m) > s->scoring_cap) { /* more than rows: requests share them */
        dev->ops->free(dev, s->scoring);
        s->scoring_cap = n + n / 2 + parallel_size(s->m);
        s->scoring = dev->ops->alloc(dev, s->scoring_cap * 20);
    }
    c = scoring_of(s);
    s->n_scoring = n;
    dev->ops->upload(dev, c.row, rows, n * sizeof(*rows));
    dev->ops->upload(dev, c.target, targets, n * sizeof(*targets));
    if (s->m->comm) {
        score_share(s, &c, n);
        return;
    }
    score_rows(s, &c, 0, n);
}

void session_logprobs_end(struct session *s, double *logprob, int32_t *is_top)
{
    struct device *dev = s->m->dev;
    struct scoring c = scoring_of(s);

    dev->ops->download(dev, logprob, c.logprob, s->n_scoring * sizeof(*logprob));
    dev->ops->download(dev, is_top, c.top, s->n_scoring * sizeof(*is_top));
}

void session_logprobs(struct session *s, const int32_t *rows, const int32_t *targets, size_t n,
                      double *logprob, int32_t *is_top)
{
    session_logprobs_begin(s, rows, targets, n);
    session_logprobs_end(s, logprob, is_top);
}

void session_take_counts(struct session *s, struct act_count *sum)
{
    struct device *dev = s->m->dev;
    uint64_t n_zero[N_GROUPS];

    dev->ops->download(dev, n_zero, s->m->n_act_zero, sizeof(n_zero));
    dev->ops->zero(dev, s->m->n_act_zero, sizeof(n_zero));
    for (int g = 0; g < N_GROUPS; g++)
        sum->n_zero[g] += n_zero[g];
    sum->n_rows += s->n_rows_run;
    s->n_rows_run = 0;
}

void session_logits(struct session *s, const int32_t *rows, size_t n, float *logits)
{
    struct device *dev = s->m->dev;
    struct tensor out = device_tensor(dev, DTYPE_F32, n, s->m->head.rows);

    if (n > s->max_picked)
        die("logits of %zu rows asked for, %zu fit", n, s->max_picked);
    dev->ops->upload(dev, s->scratch, rows, n * sizeof(*rows));
    dev->ops->linear(dev, out, pick(s, s->scratch, n), s->m->head, 0);
    dev->ops->download(dev, logits, out.data, tensor_nbytes(out));
    device_tensor_free(dev, &out);
}
