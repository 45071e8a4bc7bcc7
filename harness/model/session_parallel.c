/* Running a model that several devices hold.
 *
 * A layer has four stages, each of which ends with a gather: attention's output, the residual
 * stream after o, the MLP's hidden state, the residual stream after down. */
#include "harness/backend/backend.h"
#include "harness/model/parallel.h"
#include "harness/model/session_inside.h"

#define HALVE_FROM 512 /* fewer rows are not worth two turns */

/* Bytes of the widest row that is gathered. */
static size_t gathered_width(const struct model *m)
{
    const struct llama_config *k = &m->config;
    size_t q = k->n_heads * k->head_dim, e = dtype_size(m->dtype), w = k->hidden * sizeof(float);

    w = w > q * e ? w : q * e;
    return w > k->intermediate * e ? w : k->intermediate * e;
}

size_t parallel_row_nbytes(const struct model *m)
{
    return m->comm ? gathered_width(m) + m->config.hidden / parallel_size(m) * sizeof(float) : 0;
}

/* Memory for what is gathered beside operations. */
static void *gather_alloc(const struct model *m, size_t nbytes)
{
    return m->comm->alloc ? m->comm->alloc(m->comm, nbytes) : m->dev->ops->alloc(m->dev, nbytes);
}

static void gather_free(const struct model *m, void *p)
{
    if (m->comm->free)
        m->comm->free(m->comm, p);
    else
        m->dev->ops->free(m->dev, p);
}

void parallel_open(struct session *s)
{
    const struct model *m = s->m;

    if (!m->comm)
        return;
    s->gathered = gather_alloc(m, s->max_rows * gathered_width(m));
    s->x_part = (struct tensor){NULL, DTYPE_F32, s->max_rows, m->config.hidden / parallel_size(m)};
    s->x_part.data = gather_alloc(m, tensor_nbytes(s->x_part));
}

void parallel_close(struct session *s)
{
    if (!s->m->comm)
        return;
    gather_free(s->m, s->gathered);
    gather_free(s->m, s->x_part.data);
    batch_release(&s->half[0], s->m->dev);
    batch_release(&s->half[1], s->m->dev);
}

/* Where the gather of the rows of now begins. */
static char *gathered_now(const struct session *s)
{
    return (char *)s->gathered + s->first_row * gathered_width(s->m);
}

struct tensor part_of(const struct session *s, struct tensor whole)
{
    const struct model *m = s->m;
    struct tensor part = whole;

    if (!m->comm)
        return whole;
    part.cols = whole.cols / parallel_size(m);
    part.data = gathered_now(s) + parallel_rank(m) * tensor_nbytes(part);
    return part;
}

/* What is gathered becomes whole rows, under the rule (NULL: none). */
static void take_gathered(struct session *s, struct tensor whole, const struct act_rule *rule)
{
    s->m->dev->ops->join(s->m->dev, whole, gathered_now(s), parallel_size(s->m),
                         rule ? fused_rule(s, rule) : NULL);
}

void join_parts(struct session *s, struct tensor whole, struct tensor part,
                const struct act_rule *rule)
{
    struct comm *c = s->m->comm;

    if (!c)
        return;
    c->all_gather(c, gathered_now(s), part.data, tensor_nbytes(part));
    take_gathered(s, whole, rule);
}

/* This device's columns of x. */
static struct tensor take_x_part(struct session *s, struct tensor x)
{
    struct tensor part = rows_now(s, s->x_part, x.cols / parallel_size(s->m));

    s->m->dev->ops->copy_columns(s->m->dev, part, 0, x, parallel_rank(s->m) * part.cols, part.cols);
    return part;
}

void parallel_add(struct session *s, struct tensor x, struct tensor in, struct tensor w)
{
    struct tensor part = take_x_part(s, x);

    s->m->dev->ops->linear(s->m->dev, part, in, w, 1);
    join_parts(s, x, part, NULL);
}

/* ---- all layers */

/* One half of the batch, or all of it, on its way through the layers. */
struct walk {
    int now;
    size_t first_row;
    struct tensor x, x_part, in, attn, act; /* its rows */
};

static void turn_to(struct session *s, const struct walk *w)
{
    s->now = w->now;
    s->first_row = w->first_row;
}

static void begin_walk(struct session *s, struct walk *w, int now, size_t first_row,
                       struct tensor x, const struct layer *l)
{
    *w = (struct walk){.now = now, .first_row = first_row};
    turn_to(s, w);
    w->x = tensor_rows(x, first_row, batch_now(s)->layout.n_rows);
    w->in = rows_now(s, s->in, x.cols);
    w->attn = rows_now(s, s->attn, l->o.cols);
    w->act = rows_now(s, s->act, l->down.cols);
    w->x_part = take_x_part(s, w->x);
}

/* in = the norm of the residual stream, of which the parts were gathered last; at first it is
 * whole.
 */
static void norm_gathered(struct session *s, const struct walk *w, struct tensor norm,
                          const struct act_rule *rule, int is_whole)
{
    const struct model *m = s->m;
    struct tensor parts = w->x;

    if (is_whole) {
        m->dev->ops->rmsnorm(m->dev, w->in, w->x, norm, m->config.eps, fused_rule(s, rule));
    } else {
        parts.data = gathered_now(s);
        m->dev->ops->rmsnorm_joined(m->dev, w->in, parts, parallel_size(m), norm, m->config.eps,
                                    fused_rule(s, rule));
    }
    apply_apart(s, w->in, rule);
}

/* Runs the stage and returns what is to be gathered. */
static struct tensor run_stage(struct session *s, struct walk *w, const struct layer *l,
                               size_t index, int stage, int is_first)
{
    struct device *dev = s->m->dev;

    switch (stage) {
    case 0:
        norm_gathered(s, w, l->norm1, &l->rules[GROUP_QKV], is_first);
        return attention_part(s, l, index, w->in, w->attn);
    case 1:
        take_gathered(s, w->attn, &l->rules[GROUP_O]);
        apply_apart(s, w->attn, &l->rules[GROUP_O]);
        dev->ops->linear(dev, w->x_part, w->attn, l->o, 1);
        return w->x_part;
    case 2:
        norm_gathered(s, w, l->norm2, &l->rules[GROUP_GATE_UP], 0);
        return mlp_part(s, l, w->in, w->act);
    default:
        take_gathered(s, w->act, &l->rules[GROUP_DOWN]);
        apply_apart(s, w->act, &l->rules[GROUP_DOWN]);
        dev->ops->linear(dev, w->x_part, w->act, l->down, 1);
        return w->x_part;
    }
}

/* The number of walks: two where the batch can be halved. */
static int begin_walks(struct session *s, struct walk w[2], struct tensor x, const struct layer *l)
{
    struct device *dev = s->m->dev;

    if (s->cached || batch_n_rows(&s->batch) < HALVE_FROM || batch_halve(&s->batch, s->half) < 2) {
        begin_walk(s, &w[0], 0, 0, x, l);
        return 1;
    }
    batch_upload(&s->half[0], dev);
    batch_upload(&s->half[1], dev);
    begin_walk(s, &w[0], 1, 0, x, l);
    begin_walk(s, &w[1], 2, s->half[0].layout.n_rows, x, l);
    return 2;
}

void parallel_layers(struct session *s, struct tensor x, size_t first, size_t end)
{
    struct comm *c = s->m->comm;
    struct walk w[2];
    int n = begin_walks(s, w, x, &s->m->layers[first]);

    for (size_t i = first; i < end; i++) {
        const struct layer *l = model_layer(s->m, i);

        for (int stage = 0; stage < 4; stage++)
            for (int h = 0; h < n; h++) {
                struct tensor part;

                turn_to(s, &w[h]);
                part = run_stage(s, &w[h], l, i, stage, i == first);
                c->begin(c, gathered_now(s), part.data, tensor_nbytes(part));
                if (n == 1)
                    c->wait(c);
            }
    }
    c->wait(c);
    for (int h = 0; h < n; h++) {
        turn_to(s, &w[h]);
        take_gathered(s, w[h].x, NULL);
    }
    s->now = 0;
    s->first_row = 0;
}
