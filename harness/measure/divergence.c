/* Divergence over windows. */
#include "harness/measure/divergence.h"

#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"

/* One window's journal entry. */
struct entry {
    double kl, same_top;
};

static void item_key(const struct prepared *p, size_t i, struct buf *key)
{
    key->n = 0;
    buf_adds(key, "divergence/");
    journal_window_key(key, p->name, i, p->ids.v + i * p->window, p->window);
}

/* All unknown but what the journal has. Returns the number of windows still missing. */
static size_t load(struct divergence *d, const struct prepared *p, struct journal *j,
                   const char *cell)
{
    struct buf key = {0};
    size_t missing = 0;

    *d = (struct divergence){.kl = xmalloc(p->n * sizeof(double)),
                             .same_top = xmalloc(p->n * sizeof(double))};
    for (size_t i = 0; i < p->n; i++) {
        struct entry e = {NAN, NAN};

        if (j) {
            item_key(p, i, &key);
            if (!journal_get(j, cell, buf_str(&key), &e, sizeof(e)))
                e = (struct entry){NAN, NAN};
        }
        d->kl[i] = e.kl;
        d->same_top[i] = e.same_top;
        missing += isnan(e.kl);
    }
    buf_release(&key);
    return missing;
}

static void store(const struct divergence *d, const struct prepared *p, size_t i, struct journal *j,
                  const char *cell)
{
    struct entry e = {d->kl[i], d->same_top[i]};
    struct buf key = {0};

    item_key(p, i, &key);
    journal_put(j, cell, buf_str(&key), &e, sizeof(e));
    buf_release(&key);
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

int divergence_run(struct divergence *out, const struct prepared *p, struct session *dense,
                   struct session *pruned, struct journal *j, const char *cell_key)
{
    double start = now_seconds();
    size_t per = p->window - 1, missing = load(out, p, j, cell_key);
    struct progress bar;
    int rc = divergence_check(dense->m->dev);

    if (rc == 0 && (per > dense->max_rows || per > pruned->max_rows))
        rc = error("a window of %zu ids does not fit a batch of %zu tokens", p->window,
                   dense->max_rows < pruned->max_rows ? dense->max_rows : pruned->max_rows);
    progress_begin(&bar, "divergence", "tokens", (double)(missing * p->window));
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        if (!isnan(out->kl[i]))
            continue;
        run_window(dense, pruned, p->ids.v + i * p->window, per, &out->kl[i], &out->same_top[i]);
        if (!isfinite(out->kl[i]))
            rc = error("window %zu: its divergence is not finite", i);
        else if (j)
            store(out, p, i, j, cell_key);
        out->n_tokens += p->window;
        progress_add(&bar, (double)p->window);
    }
    if (rc == 0 && missing)
        progress_end(&bar);
    if (j)
        journal_flush(j);
    out->seconds = now_seconds() - start;
    return rc;
}

int divergence_resume(struct divergence *out, const struct prepared *p, struct journal *j,
                      const char *cell_key)
{
    if (load(out, p, j, cell_key) == 0)
        return 1;
    divergence_release(out);
    return 0;
}

void divergence_release(struct divergence *d)
{
    free(d->kl);
    free(d->same_top);
    *d = (struct divergence){0};
}
