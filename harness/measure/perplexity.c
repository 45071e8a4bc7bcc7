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

/* Scores windows list[0 .. n) as one batch. */
static int run_batch(struct session *s, const int32_t *ids, size_t window, const size_t *list,
                     size_t n, double *nll)
{
    size_t per = window - 1;
    int32_t *rows = xmalloc(2 * n * per * sizeof(*rows)), *targets = rows + n * per, *top;
    double *lp = xmalloc(n * per * sizeof(*lp));
    int rc = 0;

    top = xmalloc(n * per * sizeof(*top));
    batch_clear(&s->batch);
    for (size_t i = 0; i < n; i++) {
        const int32_t *w = ids + list[i] * window;
        size_t row = batch_n_rows(&s->batch);

        batch_add(&s->batch, w, per, -1);
        for (size_t j = 0; j < per; j++) {
            rows[i * per + j] = (int32_t)(row + j);
            targets[i * per + j] = w[j + 1];
        }
    }
    session_forward(s);
    session_logprobs(s, rows, targets, n * per, lp, top);
    for (size_t i = 0; i < n && rc == 0; i++) {
        double sum = 0;

        for (size_t j = 0; j < per; j++)
            sum -= lp[i * per + j];
        nll[list[i]] = sum / (double)per;
        if (!isfinite(nll[list[i]]))
            rc = error("window %zu: its log-likelihood is not finite", list[i]);
    }
    free(rows);
    free(lp);
    free(top);
    return rc;
}

int perplexity_windows(struct session *s, const int32_t *ids, size_t n_windows, size_t window,
                       double *nll, void (*done)(size_t i, void *arg), void *arg)
{
    size_t per_batch = s->max_rows / (window - 1), n = 0, left = 0;
    size_t by_pages = s->n_pages / batch_pages_for(0, window - 1);
    size_t *list = xmalloc((n_windows + 1) * sizeof(*list));
    struct progress p;
    int rc = 0;

    for (size_t i = 0; i < n_windows; i++)
        left += isnan(nll[i]);
    per_batch = per_batch < by_pages ? per_batch : by_pages;
    if (per_batch == 0)
        rc = error("a window of %zu ids does not fit a batch of %zu tokens", window, s->max_rows);
    progress_begin(&p, "wikitext2", "tokens", (double)(left * window));
    for (size_t i = 0; i < n_windows && rc == 0; i++) {
        if (isnan(nll[i]))
            list[n++] = i;
        if (n == per_batch || (n && i + 1 == n_windows)) {
            rc = run_batch(s, ids, window, list, n, nll);
            for (size_t j = 0; done && rc == 0 && j < n; j++)
                done(list[j], arg);
            progress_add(&p, (double)(n * window));
            n = 0;
        }
    }
    if (rc == 0 && left)
        progress_end(&p);
    free(list);
    return rc;
}
