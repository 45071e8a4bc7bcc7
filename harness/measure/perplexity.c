/* Perplexity over windows. */
#include "harness/measure/perplexity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/text.h"

void wikitext_join(const struct buf *raw, struct buf *out)
{
    const char *p = buf_str(raw), *end = p + raw->n;
    int first = 1;

    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const char *stop = nl ? nl + 1 : end;
        int blank = 1;

        for (const char *q = p; q < stop; q++)
            blank &= *q == ' ' || *q == '\n';
        if (!first)
            buf_adds(out, "\n\n");
        if (!blank)
            buf_add(out, p, (size_t)(stop - p));
        first = 0;
        p = stop;
    }
}

int wikitext_ids(const struct tokenizer *t, const struct buf *raw, int bos, struct ids *out)
{
    struct buf text = {0};
    int rc = bos ? tokenizer_add_bos(t, out) : 0;

    wikitext_join(raw, &text);
    if (rc == 0)
        rc = tokenizer_encode(t, buf_str(&text), text.n, out);
    buf_release(&text);
    return rc;
}

/* A batch on its way: windows list[lo .. lo + n). */
struct flight {
    size_t lo, n;
    struct act_count counts;
};

/* What the windows of one run share. */
struct run {
    struct session *s;
    const struct batch_hooks *h;
    const int32_t *ids;
    double *nll;
    size_t per;   /* scored ids of a window */
    size_t *list; /* the windows of all batches */
    size_t n, per_batch;
    int32_t *rows, *targets, *top;
    double *logprob;
    struct score_result *results;
    struct progress bar;
};

static void run_alloc(struct run *r)
{
    size_t n = r->per_batch * r->per;

    r->rows = xmalloc(n * sizeof(*r->rows));
    r->targets = xmalloc(n * sizeof(*r->targets));
    r->top = xmalloc(n * sizeof(*r->top));
    r->logprob = xmalloc(n * sizeof(*r->logprob));
    r->results = xmalloc(r->per_batch * sizeof(*r->results));
    for (size_t i = 0; i < n; i++) /* windows follow each other in the batch */
        r->rows[i] = (int32_t)i;
}

static void run_free(struct run *r)
{
    free(r->list);
    free(r->rows);
    free(r->targets);
    free(r->top);
    free(r->logprob);
    free(r->results);
}

static const int32_t *window_ids(const struct run *r, size_t at)
{
    return r->ids + r->list[at] * (r->per + 1);
}

static void build(struct run *r, const struct flight *f)
{
    batch_clear(&r->s->batch);
    for (size_t i = f->lo; i < f->lo + f->n; i++)
        batch_add(&r->s->batch, window_ids(r, i), r->per, -1);
}

static void launch(struct run *r, const struct flight *f)
{
    for (size_t i = 0; i < f->n; i++)
        memcpy(r->targets + i * r->per, window_ids(r, f->lo + i) + 1, r->per * sizeof(*r->targets));
    session_forward(r->s);
    session_logprobs_begin(r->s, r->rows, r->targets, f->n * r->per);
}

/* The batch is there already, or somebody else's. */
static int passes(struct run *r, const struct flight *f)
{
    struct scored known = {.index = r->list + f->lo, .n = f->n};
    size_t missing = 0;

    for (size_t i = 0; i < f->n; i++)
        missing += isnan(r->nll[known.index[i]]);
    if (missing) {
        if (share_takes(r->h->share, (double)(f->n * r->per)))
            return 0;
    } else if (r->h->counted && r->h->known) {
        r->h->known(&known, r->h->arg);
    }
    progress_add(&r->bar, (double)(f->n * (r->per + 1)));
    return 1;
}

/* The next batch to be run here, from list[*at] on; its n is 0 where there is none. */
static struct flight next_batch(struct run *r, size_t *at)
{
    struct flight f = {0};

    while (*at < r->n) {
        f.lo = *at;
        f.n = r->n - *at < r->per_batch ? r->n - *at : r->per_batch;
        *at += f.n;
        if (!passes(r, &f))
            return f;
        f.n = 0;
    }
    return f;
}

/* The results of a batch, which r->results gets before the next one lands. */
static int sum_up(struct run *r, const struct flight *f)
{
    for (size_t i = 0; i < f->n; i++) {
        double sum = 0;

        for (size_t j = 0; j < r->per; j++)
            sum -= r->logprob[i * r->per + j];
        if (!isfinite(sum))
            return error("window %zu: its log-likelihood is not finite", r->list[f->lo + i]);
        r->results[i] = (struct score_result){sum / (double)r->per, 0};
    }
    return 0;
}

static int finish(struct run *r, const struct flight *f)
{
    struct scored b = {r->list + f->lo, r->results, f->n, f->counts};

    if (sum_up(r, f) != 0)
        return -1;
    if (r->h->done)
        r->h->done(&b, r->h->arg);
    for (size_t i = 0; i < b.n; i++)
        if (isnan(r->nll[b.index[i]]))
            r->nll[b.index[i]] = b.results[i].logprob;
    progress_add(&r->bar, (double)(f->n * (r->per + 1)));
    return 0;
}

/* While the device runs one batch, the host builds the next. */
static int run_batches(struct run *r)
{
    struct flight now = {0};
    size_t at = 0;
    int rc = 0;

    do {
        struct flight landed = now;

        now = rc == 0 ? next_batch(r, &at) : (struct flight){0};
        if (now.n)
            build(r, &now);
        if (landed.n)
            session_logprobs_end(r->s, r->logprob, r->top);
        if (landed.n && r->h->counted)
            session_take_counts(r->s, &landed.counts);
        if (now.n)
            launch(r, &now);
        if (landed.n && rc == 0)
            rc = finish(r, &landed);
    } while (now.n);
    return rc;
}

/* Windows of a batch: what fits the session's rows and pages, or error(). */
static int windows_per_batch(const struct session *s, size_t window, size_t *out)
{
    size_t by_rows = s->max_rows / (window - 1);
    size_t by_pages = s->n_pages / batch_pages_for(0, window - 1);

    *out = by_rows < by_pages ? by_rows : by_pages;
    return *out ? 0
                : error("a window of %zu ids does not fit a batch of %zu tokens (--batch-tokens)",
                        window, s->max_rows);
}

int perplexity_windows(struct session *s, const int32_t *ids, size_t n_windows, size_t window,
                       double *nll, const struct batch_hooks *h)
{
    static const struct batch_hooks none;
    struct run r = {.s = s, .h = h ? h : &none, .ids = ids, .nll = nll, .per = window - 1};
    size_t missing = 0;
    int rc = windows_per_batch(s, window, &r.per_batch);

    r.list = xmalloc((n_windows + 1) * sizeof(*r.list));
    for (size_t i = 0; i < n_windows; i++) {
        missing += isnan(nll[i]);
        if (r.h->counted || isnan(nll[i]))
            r.list[r.n++] = i;
    }
    progress_begin(&r.bar, "wikitext2", "tokens", (double)(r.n * window));
    if (rc == 0) {
        run_alloc(&r);
        rc = run_batches(&r);
    }
    if (rc == 0 && missing)
        progress_end(&r.bar);
    run_free(&r);
    return rc;
}
