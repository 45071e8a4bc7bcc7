/* SliceGPT (Ashkboos et al. 2024, arXiv 2401.15024): the residual stream narrower. RMSNorm without
 * its weights, which are folded into the linears behind it, does not see a rotation; so before
 * every attention and MLP the stream may stand in a basis of its own, the principal directions of
 * the calibration tokens' hidden states there, of which the smallest are deleted. Between two bases
 * the residual passes through a change of basis (attention_basis, mlp_basis of struct layer).
 *
 * P: width x h, orthonormal rows, the directions kept at a point. With P before the block, N behind
 * it: W <- W diag(g) P^T for what reads the stream, W <- N W for what writes it, change of basis N
 * P^T; the norms' weights become sqrt(h / width), eps h / width times as large, so that the mean of
 *   squares is still over h. Embedding: E P^T with the first P, head: W diag(g) P^T with the last.
 * Points are treated in order, each by what the blocks before it, sliced already, leave.
 *
 * The sparsity is that of the linears' parameters with the changes of basis, as for other methods;
 * the share of directions deleted is larger. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "prune/pruners.h"

size_t slicegpt_width(const struct llama_config *k, double sparsity)
{
    double h = (double)k->hidden, a = (double)config_n_linear_params(k) / (double)k->n_layers / h;
    /* A layer: a w + 2 w^2 = (1 - s) a h */
    double w = (sqrt(a * a + 8 * (1 - sparsity) * a * h) - a) / 4;
    size_t width = width_near(w, k->hidden);

    return width ? width : WIDTH_MULTIPLE;
}

struct slicing {
    struct restructure_job *job;
    struct model *m;
    struct session s;
    size_t h, width;
    struct tensor x;     /* all tokens x h, f32: the stream, in the source's basis */
    struct tensor gram;  /* h x h, of x */
    struct tensor basis; /* width x h: P of where x is */
};

/* ---- bases */

/* The directions of w->gram, which is then 0. 0, or error(). */
static int find_basis(struct slicing *w, struct tensor *basis, size_t layer)
{
    struct device *dev = w->m->dev;
    struct tensor v = device_tensor(dev, DTYPE_F32, w->h, w->h);
    struct tensor values = device_tensor(dev, DTYPE_F32, 1, w->h);
    int rc = 0;

    dev->ops->mirror(dev, w->gram);
    dev->ops->scale(dev, w->gram, 1 / (float)w->x.rows);
    if (!dev->ops->all_finite(dev, w->gram))
        rc = error("layer %zu: the hidden states are not finite", layer);
    else if (dev->ops->eigen(dev, v, values, w->gram) != 0)
        rc = error("layer %zu: no principal directions of the hidden states", layer);
    *basis = device_tensor(dev, DTYPE_F32, w->width, w->h);
    dev->ops->copy(dev, basis->data, v.data, tensor_nbytes(*basis));
    dev->ops->zero(dev, w->gram.data, tensor_nbytes(w->gram));
    device_tensor_free(dev, &v);
    device_tensor_free(dev, &values);
    return rc;
}

/* t <- t basis^T, or basis t if it is written; as large as that is, of the model's type. */
static void turn(struct slicing *w, struct tensor *t, struct tensor basis, int is_written)
{
    struct device *dev = w->m->dev;
    struct tensor from = device_tensor(dev, DTYPE_F32, t->rows, t->cols);
    struct tensor to = device_tensor(dev, DTYPE_F32, is_written ? basis.rows : t->rows,
                                     is_written ? t->cols : basis.rows);

    dev->ops->convert(dev, from, *t);
    if (is_written)
        dev->ops->multiply(dev, to, basis, from, 0);
    else
        dev->ops->multiply(dev, to, from, basis, 1);
    device_tensor_free(dev, &from);
    device_tensor_free(dev, t);
    *t = device_tensor(dev, w->m->dtype, to.rows, to.cols);
    dev->ops->convert(dev, *t, to);
    device_tensor_free(dev, &to);
}

/* What reads the stream behind a norm: its weights go into t, and the norm's become a constant. */
static void turn_reader(struct slicing *w, struct tensor *t, struct tensor *norm)
{
    struct device *dev = w->m->dev;
    struct tensor scaled = device_tensor(dev, DTYPE_F32, w->width, w->h);
    float *b = xmalloc(tensor_nbytes(scaled)), *g = xmalloc(w->h * sizeof(*g));

    dev->ops->download(dev, b, w->basis.data, tensor_nbytes(scaled));
    dev->ops->download(dev, g, norm->data, w->h * sizeof(*g));
    for (size_t i = 0; i < tensor_numel(scaled); i++)
        b[i] *= g[i % w->h];
    dev->ops->upload(dev, scaled.data, b, tensor_nbytes(scaled));
    turn(w, t, scaled, 0);
    device_tensor_free(dev, norm);
    *norm = device_tensor(dev, DTYPE_F32, 1, w->width);
    dev->ops->fill(dev, *norm, sqrtf((float)w->h / (float)w->width));
    device_tensor_free(dev, &scaled);
    free(b);
    free(g);
}

/* ---- the stream */

/* Calls step() for the rows of every pass, laid out as the session's batch. */
static void each_pass(struct slicing *w, size_t layer,
                      void (*step)(struct slicing *w, size_t layer, struct tensor x))
{
    const struct restructure_job *job = w->job;
    size_t per = windows_per_pass(w->m->dev, job->window);

    for (size_t first = 0; first < job->n_windows; first += per) {
        size_t n = job->n_windows - first < per ? job->n_windows - first : per;
        struct tensor x = tensor_rows(w->x, first * job->window, n * job->window);

        windows_lay(&w->s, job, first, n);
        step(w, layer, x);
        w->m->dev->ops->gram(w->m->dev, w->gram, x);
    }
}

static void embed(struct slicing *w, size_t layer, struct tensor x)
{
    (void)layer;
    session_embed(&w->s, x);
}

static struct tensor shaped(struct tensor t, size_t rows, size_t cols)
{
    t.rows = rows;
    t.cols = cols;
    return t;
}

/* The sliced stream of x; x becomes what is left of it. */
static struct tensor slice(struct slicing *w, struct tensor x)
{
    struct device *dev = w->m->dev;
    struct tensor narrow = shaped(w->s.x, x.rows, w->width);

    dev->ops->multiply(dev, narrow, x, w->basis, 1);
    dev->ops->multiply(dev, x, narrow, w->basis, 0);
    return narrow;
}

static void attention(struct slicing *w, size_t layer, struct tensor x)
{
    const struct layer *l = &w->m->layers[layer];
    struct tensor in = shaped(w->s.in, x.rows, w->width);
    struct tensor attn = shaped(w->s.attn, x.rows, l->o.cols);

    layer_attention_input(&w->s, l, slice(w, x), in);
    layer_attention(&w->s, l, layer, in, attn);
    layer_add(&w->s, x, attn, l->o);
}

static void mlp(struct slicing *w, size_t layer, struct tensor x)
{
    const struct layer *l = &w->m->layers[layer];
    struct tensor in = shaped(w->s.in, x.rows, w->width);
    struct tensor act = shaped(w->s.act, x.rows, l->down.cols);

    layer_mlp_input(&w->s, l, slice(w, x), in);
    layer_mlp_hidden(&w->s, l, in, act);
    layer_add(&w->s, x, act, l->down);
}

/* Behind an attention or MLP: the next basis; what writes is turned to it. 0, or error(). */
static int change_basis(struct slicing *w, size_t layer, struct tensor *writer,
                        struct tensor *change)
{
    struct device *dev = w->m->dev;
    struct tensor next;

    if (find_basis(w, &next, layer) != 0) {
        device_tensor_free(dev, &next);
        return -1;
    }
    turn(w, writer, next, 1);
    *change = device_tensor(dev, DTYPE_F32, w->width, w->h);
    dev->ops->copy(dev, change->data, next.data, tensor_nbytes(next));
    turn(w, change, w->basis, 0);
    device_tensor_free(dev, &w->basis);
    w->basis = next;
    return 0;
}

static int slice_layer(struct slicing *w, size_t i)
{
    struct layer *l = &w->m->layers[i];
    size_t before = layer_attention_params(l) + layer_mlp_params(l);
    int rc;

    turn_reader(w, &l->qkv, &l->norm1);
    each_pass(w, i, attention);
    rc = change_basis(w, i, &l->o, &l->attention_basis);
    if (rc == 0) {
        turn_reader(w, &l->gate_up, &l->norm2);
        each_pass(w, i, mlp);
        rc = change_basis(w, i, &l->down, &l->mlp_basis);
    }
    layer_lay_linears(l);
    progress_add(&w->job->progress, (double)before - (double)layer_attention_params(l) -
                                        (double)layer_mlp_params(l) -
                                        2 * (double)(w->width * w->width));
    return rc;
}

/* Embedding and head, which may share their memory until now. first: the first basis. */
static void slice_ends(struct slicing *w, struct tensor first)
{
    struct model *m = w->m;
    struct tensor head = device_tensor(m->dev, m->dtype, m->head.rows, m->head.cols);

    m->dev->ops->copy(m->dev, head.data, m->head.data, tensor_nbytes(head));
    if (m->head.data != m->embed.data)
        device_tensor_free(m->dev, &m->head);
    turn_reader(w, &head, &m->norm);
    m->head = head;
    turn(w, &m->embed, first, 0);
}

int slicegpt_slice(struct restructure_job *job, size_t width)
{
    struct model *m = job->m;
    struct device *dev = m->dev;
    size_t h = m->config.hidden, per = windows_per_pass(dev, job->window);
    struct slicing w = {.job = job, .m = m, .h = h, .width = width};
    struct tensor first = {0};
    int rc;

    session_open(&w.s, m, per * job->window, per * batch_pages_for(0, job->window), 0);
    w.x = device_tensor(dev, DTYPE_F32, job->n_windows * job->window, h);
    w.gram = device_tensor(dev, DTYPE_F32, h, h);
    dev->ops->zero(dev, w.gram.data, tensor_nbytes(w.gram));
    each_pass(&w, 0, embed);
    rc = find_basis(&w, &w.basis, 0);
    first = device_tensor(dev, DTYPE_F32, width, h);
    dev->ops->copy(dev, first.data, w.basis.data, tensor_nbytes(first));
    m->reshaped = 1;
    m->config.hidden = width;
    m->config.eps *= (float)h / (float)width;
    for (size_t i = 0; i < m->config.n_layers && rc == 0; i++)
        rc = slice_layer(&w, i);
    if (rc == 0)
        slice_ends(&w, first);
    session_close(&w.s);
    device_tensor_free(dev, &first);
    device_tensor_free(dev, &w.x);
    device_tensor_free(dev, &w.gram);
    device_tensor_free(dev, &w.basis);
    return rc;
}

static int restructure(struct restructure_job *job)
{
    return slicegpt_slice(job, slicegpt_width(&job->m->config, job->options->sparsity));
}

const struct pruner pruner_slicegpt = {
    .name = "slicegpt",
    .summary = "a narrower residual stream: its principal directions at every block",
    .needs = NEED_WINDOWS,
    .takes = TAKES_SPARSITY | TAKES_CALIB,
    .restructure = restructure,
};
