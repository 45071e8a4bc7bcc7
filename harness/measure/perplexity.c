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

/* What the windows of one run share, and the batch that is on its way. */
struct run {
    struct session *s;
    const int32_t *ids;
    size_t per; /* scored ids of a window */
    const size_t *list;
    size_t n; /* windows list[0 .. n) are on their way */
    int32_t *rows, *targets, *top;
    double *logprob;
};

static void run_alloc(struct run *r, size_t per_batch)
{
    size_t n = per_batch * r->per;

    r->rows = xmalloc(n * sizeof(*r->rows));
    r->targets = xmalloc(n * sizeof(*r->targets));
    r->top = xmalloc(n * sizeof(*r->top));
    r->logprob = xmalloc(n * sizeof(*r->logprob));
    for (size_t i = 0; i < n; i++) /* windows follow each other in the batch */
        r->rows[i] = (int32_t)i;
}

static void run_free(struct run *r)
{
    free(r->rows);
    free(r->targets);
    free(r->top);
    free(r->logprob);
}

/* Builds the batch of windows list[0 .. n). */
static void build(struct run *r, const size_t *list, size_t n)
{
    batch_clear(&r->s->batch);
    for (size_t i = 0; i < n; i++)
        batch_add(&r->s->batch, r->ids + list[i] * (r->per + 1), r->per, -1);
}

static void launch(struct run *r, const size_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        memcpy(r->targets + i * r->per, r->ids + list[i] * (r->per + 1) + 1,
               r->per * sizeof(*r->targets));
    r->list = list;
    r->n = n;
    session_forward(r->s);
    session_logprobs_begin(r->s, r->rows, r->targets, n * r->per);
}

/* The results of windows list[0 .. n), which r->logprob holds. */
static int sum_up(const struct run *r, const size_t *list, size_t n, double *nll)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;

        for (size_t j = 0; j < r->per; j++)
            sum -= r->logprob[i * r->per + j];
        if (!isfinite(sum))
            return error("window %zu: its log-likelihood is not finite", list[i]);
        nll[list[i]] = sum / (double)r->per;
    }
    return 0;
}

/* Windows of a batch: what fits the session's rows and pages, or error(). */
static int windows_per_batch(const struct session *s, size_t window, size_t *out)
{
    size_t by_rows = s->max_rows / (window - 1);
    size_t by_pages = s->n_pages / batch_pages_for(0, window - 1);

    *out = by_rows < by_pages ? by_rows : by_pages;
    return *out ? 0
                : error("a window of %zu ids does not fit a batch of %zu tokens", window,
                        s->max_rows);
}

/* While the device runs one batch, the host builds the next. */
int perplexity_windows(struct session *s, const int32_t *ids, size_t n_windows, size_t window,
                       double *nll, void (*done)(size_t i, void *arg), void *arg)
{
    size_t *list = xmalloc((n_windows + 1) * sizeof(*list)), per_batch, left = 0, at = 0;
    struct run r = {.s = s, .ids = ids, .per = window - 1};
    struct progress p;
    int rc = windows_per_batch(s, window, &per_batch);

    for (size_t i = 0; i < n_windows; i++)
        if (isnan(nll[i]))
            list[left++] = i;
    if (rc == 0)
        run_alloc(&r, per_batch);
    progress_begin(&p, "wikitext2", "tokens", (double)(left * window));
    while (rc == 0 && (at < left || r.n)) {
        size_t n = left - at < per_batch ? left - at : per_batch, landed = r.n;
        const size_t *landed_list = r.list;

        build(&r, list + at, n);
        if (landed)
            session_logprobs_end(s, r.logprob, r.top);
        r.n = 0;
        if (n)
            launch(&r, list + at, n);
        at += n;
        rc = sum_up(&r, landed_list, landed, nll);
        for (size_t j = 0; done && rc == 0 && j < landed; j++)
            done(landed_list[j], arg);
        progress_add(&p, (double)(landed * window));
    }
    if (r.n) /* the device still works on what is not wanted any more */
        session_logprobs_end(s, r.logprob, r.top);
    if (rc == 0 && left)
        progress_end(&p);
    run_free(&r);
    free(list);
    return rc;
}
