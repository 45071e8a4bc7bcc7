/* Divergence over windows. */
#include "harness/measure/divergence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"

static void item_key(const struct prepared *p, size_t i, struct buf *key)
{
    key->n = 0;
    buf_adds(key, "divergence/");
    journal_window_key(key, p->name, i, p->ids.v + i * p->window, p->window);
}

void divergence_begin(struct divergence_run *r, struct divergence *out, const struct prepared *p,
                      struct journal *j, const char *cell_key)
{
    struct buf key = {0};

    *r = (struct divergence_run){
        .p = p, .out = out, .j = j, .cell = cell_key, .known = xmalloc(p->n + 1)};
    *out = (struct divergence){.kl = xmalloc(p->n * sizeof(double)),
                               .same_top = xmalloc(p->n * sizeof(double))};
    for (size_t i = 0; i < p->n; i++) {
        struct divergence_result d = {NAN, NAN};

        if (j) {
            item_key(p, i, &key);
            if (!journal_get(j, cell_key, buf_str(&key), &d, sizeof(d)) || !isfinite(d.kl) ||
                !(d.same_top >= 0 && d.same_top <= 1))
                d = (struct divergence_result){NAN, NAN};
        }
        r->known[i] = !isnan(d.kl);
        out->kl[i] = d.kl;
        out->same_top[i] = d.same_top;
    }
    buf_release(&key);
}

size_t divergence_missing(const struct divergence_run *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->p->n; i++)
        n += isnan(r->out->kl[i]);
    return n;
}

void divergence_end(struct divergence_run *r)
{
    free(r->known);
    *r = (struct divergence_run){0};
}

void divergence_add_known(const struct divergence_run *r, struct buf *out)
{
    buf_add(out, r->known, r->p->n);
}

size_t divergence_set_known(struct divergence_run *r, const char *known)
{
    memcpy(r->known, known, r->p->n);
    return r->p->n;
}

void divergence_take(struct divergence_run *r, size_t window, const struct divergence_result *d)
{
    struct buf key = {0};

    if (!isnan(r->out->kl[window]))
        return;
    r->out->kl[window] = d->kl;
    r->out->same_top[window] = d->same_top;
    if (r->j) {
        item_key(r->p, window, &key);
        journal_put(r->j, r->cell, buf_str(&key), d, sizeof(*d));
        buf_release(&key);
    }
}

/* n rows of the last layer's output, normed. A window is one segment, so that its rows stand
 * in order and need no gathering. */
static struct tensor final_rows(struct session *s, size_t first, size_t n)
{
    const struct model *m = s->m;
    struct tensor out = tensor_rows(s->final, 0, n);

    m->dev->ops->rmsnorm(m->dev, out, tensor_rows(s->x, first, n), m->norm, m->config.eps, NULL);
    return out;
}

static void forward(struct session *s, const int32_t *ids, size_t n)
{
    batch_clear(&s->batch);
    batch_add(&s->batch, ids, n, -1);
    session_forward(s);
}

/* One window through both models. */
static void run_window(struct session *a, struct session *b, const int32_t *ids, size_t n,
                       double *kl_mean, double *same_share)
{
    struct device *dev = a->m->dev;
    size_t most = a->max_picked < b->max_picked ? a->max_picked : b->max_picked;
    double *kl = xmalloc(most * sizeof(*kl)), *d_kl = a->scratch, sum = 0;
    int32_t *same = xmalloc(most * sizeof(*same)), *d_same = (int32_t *)(d_kl + most);
    size_t n_same = 0;

    forward(a, ids, n);
    forward(b, ids, n);
    for (size_t i = 0; i < n; i += most) {
        size_t k = n - i < most ? n - i : most;

        dev->ops->divergence(dev, d_kl, d_same, final_rows(a, i, k), a->m->head,
                             final_rows(b, i, k), b->m->head);
        dev->ops->download(dev, kl, d_kl, k * sizeof(*kl));
        dev->ops->download(dev, same, d_same, k * sizeof(*same));
        for (size_t r = 0; r < k; r++) {
            sum += kl[r];
            n_same += (size_t)(same[r] != 0);
        }
    }
    *kl_mean = sum / (double)n;
    *same_share = (double)n_same / (double)n;
    free(kl);
    free(same);
}

int divergence_check(const struct device *dev)
{
    return dev->ops->divergence ? 0 : error("the %s backend has no divergence", dev->ops->name);
}

/* Runs window i here. 0 or error(). */
static int go_window(struct divergence_run *r, size_t i, struct session *dense,
                     struct session *pruned)
{
    const struct prepared *p = r->p;
    struct divergence_result d;

    run_window(dense, pruned, p->ids.v + i * p->window, p->window - 1, &d.kl, &d.same_top);
    r->out->n_tokens += p->window;
    if (!isfinite(d.kl))
        return error("window %zu: its divergence is not finite", i);
    divergence_take(r, i, &d);
    if (r->told)
        r->told(i, &d, r->arg);
    return 0;
}

int divergence_go(struct divergence_run *r, struct session *dense, struct session *pruned)
{
    double start = now_seconds();
    size_t window = r->p->window, n = 0;
    struct progress bar;
    int rc = divergence_check(dense->m->dev);

    if (rc == 0 && (window - 1 > dense->max_rows || window - 1 > pruned->max_rows))
        rc = error("a window of %zu ids does not fit a batch of %zu tokens (--batch-tokens)",
                   window, dense->max_rows < pruned->max_rows ? dense->max_rows : pruned->max_rows);
    for (size_t i = 0; i < r->p->n; i++)
        n += !r->known[i];
    progress_begin(&bar, "divergence", "tokens", (double)(n * window));
    for (size_t i = 0; i < r->p->n && rc == 0; i++) {
        if (r->known[i]) /* at the beginning: in all processes alike */
            continue;
        if (share_takes(r->share, (double)(window - 1)))
            rc = go_window(r, i, dense, pruned);
        progress_add(&bar, (double)window);
    }
    if (rc == 0 && n)
        progress_end(&bar);
    if (r->j)
        journal_flush(r->j);
    r->out->seconds = now_seconds() - start;
    return rc;
}

void divergence_release(struct divergence *d)
{
    free(d->kl);
    free(d->same_top);
    *d = (struct divergence){0};
}
