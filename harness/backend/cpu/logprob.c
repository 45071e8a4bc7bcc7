/* Log-probabilities of target ids, fused over the head in slices of the vocabulary. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"
#include "harness/backend/cpu/vec.h"

#define SLICE 256 /* columns of logits at a time: fixed places, so that bits are fixed */

#define MAX_ROWS 960

/* Running state of one row's softmax over the slices seen so far. */
struct row_state {
    double sum; /* of exp(logit - max) */
    float max, target;
    size_t argmax; /* lowest id among the largest */
};

static double sum_exp(const float *x, size_t n, float max)
{
    v8f s = {0};
    double total;
    size_t j = 0;

    for (; j + 8 <= n; j += 8)
        s += v8_exp(v8_load(x + j) - max);
    total = v8_sum(s);
    for (; j < n; j++)
        total += exp((double)(x[j] - max));
    return total;
}

static float max_of(const float *x, size_t n)
{
    v8f m = v8_set(-INFINITY);
    float r;
    size_t j = 0;

    for (; j + 8 <= n; j += 8)
        m = v8_max(v8_load(x + j), m);
    r = v8_hmax(m);
    for (; j < n; j++)
        r = x[j] > r ? x[j] : r;
    return r;
}

static void row_slice(struct row_state *st, const float *x, size_t first, size_t n, size_t target)
{
    float m = max_of(x, n);

    if (m > st->max) {
        size_t j = 0;

        while (j < n && x[j] != m)
            j++;
        st->argmax = first + j;
        st->sum *= exp((double)(st->max - m));
        st->max = m;
    }
    st->sum += sum_exp(x, n, st->max);
    if (target >= first && target < first + n)
        st->target = x[target - first];
}

static void tile_logprob(double *logprob, int32_t *is_top, const float *x, size_t n_rows,
                         struct tensor head, const int32_t *target, struct cpu_scratch *scratch)
{
    struct row_state *st = xcalloc(n_rows, sizeof(*st));
    float *logits = cpu_scratch_logits(scratch, n_rows * SLICE);
    size_t h = head.cols;

    for (size_t r = 0; r < n_rows; r++)
        st[r].max = -INFINITY;
    cpu_pack_rows(scratch, x, n_rows, h);
    for (size_t c = 0; c < head.rows; c += SLICE) {
        size_t n = head.rows - c < SLICE ? head.rows - c : SLICE;

        cpu_packed_times(scratch, n_rows, h, (const float *)head.data + c * h, n, logits, n, 0);
        for (size_t r = 0; r < n_rows; r++)
            row_slice(&st[r], logits + r * n, c, n, (size_t)target[r]);
    }
    for (size_t r = 0; r < n_rows; r++) {
        logprob[r] = (double)st[r].target - (double)st[r].max - log(st[r].sum);
        is_top[r] = st[r].argmax == (size_t)target[r];
    }
    free(st);
}

void cpu_logprob(struct device *dev, double *logprob, int32_t *is_top, struct tensor x,
                 struct tensor head, const int32_t *target)
{
    size_t tile = cpu_rows_per_task(x.rows, x.cols, cpu_threads(dev));

    tile = tile < MAX_ROWS ? tile : MAX_ROWS;
    if (x.rows == 0)
        return;
#pragma omp parallel for schedule(dynamic) num_threads(cpu_threads(dev))
    for (size_t r = 0; r < x.rows; r += tile)
        tile_logprob(logprob + r, is_top + r, (const float *)x.data + r * x.cols,
                     x.rows - r < tile ? x.rows - r : tile, head, target + r, cpu_scratch(dev, 0));
}
