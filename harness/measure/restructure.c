/* Calibration windows through the whole model. */
#include "harness/measure/restructure.h"

#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"

/* Tokens of a pass. */
#define PASS_ROWS_HOST 2048
#define PASS_ROWS_DEVICE 8192

size_t windows_per_pass(const struct device *dev, size_t window)
{
    size_t rows = dev->ops->is_host ? PASS_ROWS_HOST : PASS_ROWS_DEVICE;

    return window < rows ? rows / window : 1;
}

void windows_lay(struct session *s, const struct restructure_job *job, size_t first, size_t n)
{
    batch_clear(&s->batch);
    for (size_t i = 0; i < n; i++)
        batch_add(&s->batch, job->ids + (first + i) * job->window, job->window, -1);
    session_begin(s);
}

/* ---- passes */

static void passes_open(struct session *s, const struct restructure_job *job)
{
    size_t n = windows_per_pass(job->m->dev, job->window);

    session_open(s, job->m, n * job->window, n * batch_pages_for(0, job->window), 0);
}

/* Lays out up to a pass of windows from `first` on, of n in all; their number. */
static size_t pass_begin(struct session *s, const struct restructure_job *job, size_t first,
                         size_t n)
{
    size_t per = windows_per_pass(job->m->dev, job->window);

    per = n - first < per ? n - first : per;
    windows_lay(s, job, first, per);
    return per;
}

static void copy(struct restructure_job *job, struct tensor to, struct tensor from)
{
    job->m->dev->ops->copy(job->m->dev, to.data, from.data, tensor_nbytes(from));
}

/* ---- looking */

static struct tensor wide(struct tensor t, size_t rows, size_t cols)
{
    t.rows = rows;
    t.cols = cols;
    return t;
}

/* One layer as session_layers() runs it, with the view. before: as large as x. */
static void look_at_layer(struct restructure_job *job, struct session *s, size_t i, struct tensor x,
                          struct tensor before, const struct windows_view *view)
{
    const struct layer *l = model_layer(job->m, i);
    struct tensor in = wide(s->in, x.rows, x.cols), attn = wide(s->attn, x.rows, l->o.cols);
    struct tensor act = wide(s->act, x.rows, l->down.cols);

    if (view->layer)
        copy(job, before, x);
    layer_attention_input(s, l, x, in);
    layer_attention(s, l, i, in, attn);
    if (view->attention)
        view->attention(view->arg, i, attn);
    layer_add(s, x, attn, l->o);
    layer_mlp_input(s, l, x, in);
    layer_mlp_hidden(s, l, in, act);
    if (view->mlp)
        view->mlp(view->arg, i, act);
    layer_add(s, x, act, l->down);
    if (view->layer)
        view->layer(view->arg, i, before, x);
}

void windows_look(struct restructure_job *job, const struct windows_view *view)
{
    struct session s;
    struct tensor before;

    passes_open(&s, job);
    before = device_tensor(job->m->dev, DTYPE_F32, s.x.rows, s.x.cols);
    for (size_t first = 0, n; first < job->n_windows; first += n) {
        struct tensor x;

        n = pass_begin(&s, job, first, job->n_windows);
        x = wide(s.x, n * job->window, job->m->config.hidden);
        session_embed(&s, x);
        for (size_t i = 0; i < job->m->config.n_layers; i++)
            look_at_layer(job, &s, i, x, wide(before, x.rows, x.cols), view);
    }
    device_tensor_free(job->m->dev, &before);
    session_close(&s);
}

/* ---- losses */

/* The scored rows of a pass and their targets: all but the last of each window. */
struct targets {
    int32_t *row, *id, *top;
    double *logprob;
};

static void targets_open(struct targets *t, size_t n)
{
    t->row = xmalloc(n * sizeof(*t->row));
    t->id = xmalloc(n * sizeof(*t->id));
    t->top = xmalloc(n * sizeof(*t->top));
    t->logprob = xmalloc(n * sizeof(*t->logprob));
}

static void targets_close(struct targets *t)
{
    free(t->row);
    free(t->id);
    free(t->top);
    free(t->logprob);
}

/* Sum of the negative log-likelihoods of n windows from `first` on, from s->x. */
static double pass_loss(struct restructure_job *job, struct session *s, struct targets *t,
                        size_t first, size_t n)
{
    size_t at = 0;
    double sum = 0;

    for (size_t i = 0; i < n * job->window; i++)
        if (i % job->window + 1 < job->window) {
            t->row[at] = (int32_t)i;
            t->id[at++] = job->ids[first * job->window + i + 1];
        }
    session_logprobs(s, t->row, t->id, at, t->logprob, t->top);
    for (size_t i = 0; i < at; i++)
        sum -= t->logprob[i];
    return sum;
}

/* The model without the candidate, from x before its layer on. The layer's description alone
 * changes: its weights stay where they are. */
static double loss_without(struct restructure_job *job, struct session *s, struct targets *t,
                           struct candidate c, struct tensor x, size_t first, size_t n)
{
    struct layer *l = &job->m->layers[c.layer], whole = *l;
    struct tensor run = wide(s->x, x.rows, x.cols);
    double loss;

    if (c.part & PART_ATTENTION)
        l->shape.n_heads = 0;
    if (c.part & PART_MLP)
        l->intermediate = 0;
    copy(job, run, x);
    session_layers(s, run, c.layer, job->m->config.n_layers);
    loss = pass_loss(job, s, t, first, n);
    *l = whole;
    return loss;
}

/* What candidates share, the layers before theirs, is run once. */
void windows_losses(struct restructure_job *job, size_t n, const struct candidate *c,
                    size_t n_candidates, double *loss)
{
    struct session s;
    struct targets t;
    struct tensor prefix;

    n = n < job->n_windows ? n : job->n_windows;
    passes_open(&s, job);
    targets_open(&t, s.max_rows);
    prefix = device_tensor(job->m->dev, DTYPE_F32, s.x.rows, s.x.cols);
    for (size_t i = 0; i < n_candidates; i++)
        loss[i] = 0;
    for (size_t first = 0, per; first < n; first += per) {
        struct tensor x;
        size_t layer = 0;

        per = pass_begin(&s, job, first, n);
        x = wide(prefix, per * job->window, job->m->config.hidden);
        session_embed(&s, x);
        for (size_t i = 0; i < n_candidates; i++) {
            session_layers(&s, x, layer, c[i].layer);
            layer = c[i].layer;
            loss[i] += loss_without(job, &s, &t, c[i], x, first, per);
        }
    }
    for (size_t i = 0; i < n_candidates; i++)
        loss[i] /= (double)(n * (job->window - 1));
    device_tensor_free(job->m->dev, &prefix);
    targets_close(&t);
    session_close(&s);
}

size_t candidate_params(const struct restructure_job *job, struct candidate c)
{
    const struct layer *l = &job->m->layers[c.layer];

    return (c.part & PART_ATTENTION ? layer_attention_params(l) : 0) +
           (c.part & PART_MLP ? layer_mlp_params(l) : 0);
}

int windows_cheapest(struct restructure_job *job, size_t n, const enum part *kinds, size_t n_kinds,
                     struct candidate *out)
{
    size_t most = job->m->config.n_layers * n_kinds, n_candidates = 0, best = 0;
    struct candidate *c = xmalloc(most * sizeof(*c));
    double *loss = xmalloc(most * sizeof(*loss));

    for (size_t i = 0; i < most; i++) {
        c[n_candidates] = (struct candidate){i / n_kinds, kinds[i % n_kinds]};
        n_candidates += candidate_params(job, c[n_candidates]) > 0;
    }
    windows_losses(job, n, c, n_candidates, loss);
    for (size_t i = 1; i < n_candidates; i++)
        if (loss[i] < loss[best])
            best = i;
    if (n_candidates)
        *out = c[best];
    free(c);
    free(loss);
    return n_candidates > 0;
}

void candidate_remove(struct restructure_job *job, struct candidate c)
{
    progress_add(&job->progress, (double)candidate_params(job, c));
    if (c.part & PART_ATTENTION)
        layer_remove_attention(job->m, c.layer);
    if (c.part & PART_MLP)
        layer_remove_mlp(job->m, c.layer);
}

/* ---- choosing */

size_t width_near(double w, size_t most)
{
    size_t n = w > 0 ? (size_t)round(w / WIDTH_MULTIPLE) * WIDTH_MULTIPLE : 0;

    return n < most ? n : most;
}

static int larger_first(const void *a, const void *b, void *arg)
{
    const double *score = arg;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;

    if (score[i] != score[j])
        return score[i] > score[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

static int ascending(const void *a, const void *b)
{
    return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

void largest_scores(const double *score, size_t n, size_t n_keep, int32_t *keep)
{
    int32_t *order = xmalloc(n * sizeof(*order));

    for (size_t i = 0; i < n; i++)
        order[i] = (int32_t)i;
    qsort_r(order, n, sizeof(*order), larger_first, (void *)score);
    for (size_t i = 0; i < n_keep; i++)
        keep[i] = order[i];
    qsort(keep, n_keep, sizeof(*keep), ascending);
    free(order);
}
