/* Calibration windows sampled from the model itself: no data set is needed. Windows are decoded
 * side by side with a key/value cache; window i draws from PCG32 stream i, so that a window does
 * not depend on how many others are made. */
#include <math.h>
#include <stdlib.h>

#include "data/calib.h"
#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/rng.h"
#include "harness/model/session.h"

#define SIDE_BY_SIDE 96

/* One id from softmax(logits), specials (BOS, EOS, and id 0, the unknown piece of SentencePiece's
 * LLaMA vocabularies) left out. sum: n doubles of room. */
static int32_t sample(const float *logits, size_t n, const struct tokenizer *t, struct pcg32 *g,
                      double *sum)
{
    int32_t bos = tokenizer_bos(t), eos = tokenizer_eos(t);
    double max = -INFINITY, total = 0, at;
    size_t lo = 1, hi = n - 1;

    for (size_t i = 0; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    sum[0] = 0;
    for (size_t i = 1; i < n; i++) {
        if ((int32_t)i != bos && (int32_t)i != eos)
            total += exp((double)logits[i] - max);
        sum[i] = total;
    }
    at = pcg32_double(g) * total;
    while (lo < hi) { /* the first id whose running sum is above */
        size_t mid = (lo + hi) / 2;

        if (sum[mid] > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return (int32_t)lo;
}

/* Windows [first, first + n) in one cached session. */
static void sample_side_by_side(const struct model *m, const struct tokenizer *t, uint64_t seed,
                                size_t first, size_t n, size_t s, int32_t *ids,
                                struct progress *bar)
{
    size_t pages = n * ((s + KV_PAGE - 1) / KV_PAGE), n_vocab = m->config.n_vocab;
    struct sequence *seq = xcalloc(n, sizeof(*seq));
    struct pcg32 *g = xmalloc(n * sizeof(*g));
    float *logits = xmalloc(n * n_vocab * sizeof(*logits));
    double *sum = xmalloc(n * n_vocab * sizeof(*sum));
    int32_t rows[SIDE_BY_SIDE], next_page = 0, begin = tokenizer_bos(t);
    struct session session;

    session_open(&session, m, n, pages, 1);
    for (size_t i = 0; i < n; i++)
        pcg32_init(&g[i], seed, first + i);
    for (size_t j = 0; j < s; j++) {
        batch_clear(&session.batch);
        for (size_t i = 0; i < n; i++) {
            rows[i] = (int32_t)i;
            batch_add_cached(&session.batch, j ? &ids[(first + i) * s + j - 1] : &begin, 1, &seq[i],
                             &next_page);
        }
        session_forward(&session);
        session_logits(&session, rows, n, logits);
#pragma omp parallel for
        for (size_t i = 0; i < n; i++)
            ids[(first + i) * s + j] =
                sample(logits + i * n_vocab, n_vocab, t, &g[i], sum + i * n_vocab);
        progress_add(bar, (double)n);
    }
    session_close(&session);
    for (size_t i = 0; i < n; i++)
        free(seq[i].pages.v);
    free(seq);
    free(g);
    free(logits);
    free(sum);
}

int calib_sample_self(const struct model *m, const struct tokenizer *t, uint64_t seed, size_t n,
                      size_t s, int32_t *ids)
{
    struct progress bar;

    struct ids begin = {0};
    int rc = tokenizer_add_bos(t, &begin);

    ids_release(&begin);
    if (rc != 0)
        return -1;
    progress_begin(&bar, "sample calibration text", "tokens", (double)(n * s));
    for (size_t first = 0; first < n; first += SIDE_BY_SIDE)
        sample_side_by_side(m, t, seed, first, n - first < SIDE_BY_SIDE ? n - first : SIDE_BY_SIDE,
                            s, ids, &bar);
    progress_end(&bar);
    return 0;
}
