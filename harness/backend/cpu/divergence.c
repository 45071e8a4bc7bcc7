/* Divergence of two models' next-token distributions, fused over the heads in slices of the
 * vocabulary. The exponentials are in double: a small divergence is a difference of large terms. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"

#define SLICE 512 /* columns of logits at a time: fixed places, so that bits are fixed */
#define MAX_ROWS 384

/* One model's softmax over the slices seen so far. */
struct side {
    double max, sum; /* sum of e^(logit - max) */
    size_t argmax;   /* lowest id among the largest */
};

struct row_state {
    struct side a, b;
    double cross; /* sum of e^(a - max a) (a - b) */
};

/* Takes a slice's maximum into account; returns the factor for the sums so far. */
static double raise_max(struct side *s, const float *x, size_t first, size_t n)
{
    double old = s->max;

    for (size_t j = 0; j < n; j++)
        if (x[j] > s->max) {
            s->max = x[j];
            s->argmax = first + j;
        }
    return s->max > old ? exp(old - s->max) : 1;
}

static void row_slice(struct row_state *st, const float *a, const float *b, size_t first, size_t n)
{
    double factor = raise_max(&st->a, a, first, n);

    st->a.sum *= factor;
    st->cross *= factor;
    st->b.sum *= raise_max(&st->b, b, first, n);
    for (size_t j = 0; j < n; j++) {
        double e = exp(a[j] - st->a.max);

        st->a.sum += e;
        st->cross += e * ((double)a[j] - b[j]);
        st->b.sum += exp(b[j] - st->b.max);
    }
}

/* sa, sb: the calling thread's, for either model. */
static void tile_divergence(double *kl, int32_t *same_top, struct tensor xa, struct tensor head_a,
                            struct tensor xb, struct tensor head_b, struct cpu_scratch *sa,
                            struct cpu_scratch *sb)
{
    struct row_state *st = xcalloc(xa.rows, sizeof(*st));
    float *a = cpu_scratch_logits(sa, xa.rows * SLICE),
          *b = cpu_scratch_logits(sb, xa.rows * SLICE);
    size_t ha = head_a.cols, hb = head_b.cols;

    for (size_t r = 0; r < xa.rows; r++)
        st[r].a.max = st[r].b.max = -INFINITY;
    cpu_pack_rows(sa, xa.data, xa.rows, ha);
    cpu_pack_rows(sb, xb.data, xb.rows, hb);
    for (size_t c = 0; c < head_a.rows; c += SLICE) {
        size_t n = head_a.rows - c < SLICE ? head_a.rows - c : SLICE;

        cpu_packed_times(sa, xa.rows, ha, (const float *)head_a.data + c * ha, n, a, n, 0);
        cpu_packed_times(sb, xb.rows, hb, (const float *)head_b.data + c * hb, n, b, n, 0);
        for (size_t r = 0; r < xa.rows; r++)
            row_slice(&st[r], a + r * n, b + r * n, c, n);
    }
    for (size_t r = 0; r < xa.rows; r++) {
        const struct side *p = &st[r].a, *q = &st[r].b;

        kl[r] = st[r].cross / p->sum - (p->max + log(p->sum)) + (q->max + log(q->sum));
        same_top[r] = p->argmax == q->argmax;
    }
    free(st);
}

void cpu_divergence(struct device *dev, double *kl, int32_t *same_top, struct tensor xa,
                    struct tensor head_a, struct tensor xb, struct tensor head_b)
{
    size_t tile = cpu_rows_per_task(xa.rows, xa.cols, cpu_threads(dev));

    tile = tile < MAX_ROWS ? tile : MAX_ROWS;
    if (xa.rows == 0)
        return;
#pragma omp parallel for schedule(dynamic) num_threads(cpu_threads(dev))
    for (size_t r = 0; r < xa.rows; r += tile) {
        size_t n = xa.rows - r < tile ? xa.rows - r : tile;

        tile_divergence(kl + r, same_top + r, tensor_rows(xa, r, n), head_a, tensor_rows(xb, r, n),
                        head_b, cpu_scratch(dev, 0), cpu_scratch(dev, 1));
    }
}
