/* Divergence of next-token distributions: the CPU's fused operation against the textbook's double
 * loop over whole distributions. */
#include "tests/kernels.h"

static struct device *dev;
static struct pcg32 rng;

/* log softmax(head x) of one row, in double; returns the arg-max. */
static size_t log_softmax(double *out, const float *x, const float *head, size_t vocab, size_t h)
{
    double sum = 0;
    size_t best = 0;

    for (size_t v = 0; v < vocab; v++) {
        out[v] = 0;
        for (size_t j = 0; j < h; j++)
            out[v] += (double)x[j] * head[v * h + j];
        best = out[v] > out[best] ? v : best;
    }
    for (size_t v = 0; v < vocab; v++)
        sum += exp(out[v] - out[best]);
    sum = out[best] + log(sum);
    for (size_t v = 0; v < vocab; v++)
        out[v] -= sum;
    return best;
}

/* Difference between the largest value and the next: a closer race float32 may call otherwise. */
static double lead(const double *x, size_t n, size_t best)
{
    double d = INFINITY;

    for (size_t i = 0; i < n; i++)
        if (i != best)
            d = fmin(d, x[best] - x[i]);
    return d;
}

static void check_divergence(size_t rows, size_t vocab, size_t ha, size_t hb, double scale)
{
    float *xa = random_floats(&rng, rows * ha, scale), *xb = random_floats(&rng, rows * hb, scale);
    float *wa = random_floats(&rng, vocab * ha, 1), *wb = random_floats(&rng, vocab * hb, 1);
    double *p = xmalloc(vocab * sizeof(*p)), *q = xmalloc(vocab * sizeof(*q)), kl1;
    double *kl = xmalloc(rows * sizeof(*kl));
    int32_t *top = xmalloc(rows * sizeof(*top)), top1;
    struct tensor ta, tb, ha_t = put(dev, DTYPE_F32, vocab, ha, wa),
                          hb_t = put(dev, DTYPE_F32, vocab, hb, wb);

    if (ha == hb) /* related distributions too: b a little off a */
        for (size_t i = 0; i < rows * ha; i += 2)
            xb[i] = xa[i] * 1.01f;
    ta = put(dev, DTYPE_F32, rows, ha, xa);
    tb = put(dev, DTYPE_F32, rows, hb, xb);
    dev->ops->divergence(dev, kl, top, ta, ha_t, tb, hb_t);
    for (size_t r = 0; r < rows; r++) {
        size_t best_a = log_softmax(p, xa + r * ha, wa, vocab, ha);
        size_t best_b = log_softmax(q, xb + r * hb, wb, vocab, hb);
        double want = 0;

        for (size_t v = 0; v < vocab; v++)
            want += exp(p[v]) * (p[v] - q[v]);
        CHECK_NEAR(kl[r], want, 2e-6 * scale * sqrt((double)(ha + hb)) + 1e-5 * want);
        CHECK(top[r] == (best_a == best_b) || lead(p, vocab, best_a) < 1e-4 ||
              lead(q, vocab, best_b) < 1e-4);
        dev->ops->divergence(dev, &kl1, &top1, tensor_rows(ta, r, 1), ha_t, tensor_rows(tb, r, 1),
                             hb_t);
        /* Alone it is the same up to the rounding of the products (test_backend.c has those). */
        CHECK_NEAR(kl1, kl[r], 1e-6 * scale * sqrt((double)(ha + hb)) + 1e-6 * want);
        CHECK(top1 == top[r] || lead(p, vocab, best_a) < 1e-4 || lead(q, vocab, best_b) < 1e-4);
    }
    device_tensor_free(dev, &ta);
    device_tensor_free(dev, &tb);
    device_tensor_free(dev, &ha_t);
    device_tensor_free(dev, &hb_t);
    free(xa);
    free(xb);
    free(wa);
    free(wb);
    free(p);
    free(q);
    free(kl);
    free(top);
}

static void test_divergence(void)
{
    check_divergence(3, 1, 8, 8, 1);
    check_divergence(5, 13, 7, 7, 1);
    check_divergence(101, 512, 16, 16, 0.1);
    check_divergence(7, 513, 16, 24, 2);
    check_divergence(20, 1500, 33, 33, 1);
    check_divergence(9, 1500, 33, 5, 20); /* nearly all of the mass on one id */
}

static void test_identical_is_zero(void)
{
    enum { ROWS = 130, VOCAB = 1111, H = 19 };
    float *x = random_floats(&rng, ROWS * H, 3), *w = random_floats(&rng, VOCAB * H, 1);
    struct tensor tx = put(dev, DTYPE_F32, ROWS, H, x), tw = put(dev, DTYPE_F32, VOCAB, H, w);
    double kl[ROWS];
    int32_t top[ROWS];

    dev->ops->divergence(dev, kl, top, tx, tw, tx, tw);
    for (size_t r = 0; r < ROWS; r++)
        CHECK(kl[r] == 0 && top[r] == 1);
    device_tensor_free(dev, &tx);
    device_tensor_free(dev, &tw);
    free(x);
    free(w);
}

/* a = (0, log 3), b = (0, 0): 1/4 log(1/2) + 3/4 log(3/2). */
static void test_by_hand(void)
{
    float x = 1, a[2] = {0, (float)log(3)}, b[2] = {0, 0};
    struct tensor tx = put(dev, DTYPE_F32, 1, 1, &x);
    struct tensor ta = put(dev, DTYPE_F32, 2, 1, a), tb = put(dev, DTYPE_F32, 2, 1, b);
    double kl;
    int32_t top;

    dev->ops->divergence(dev, &kl, &top, tx, ta, tx, tb);
    CHECK_NEAR(kl, 0.25 * log(0.5) + 0.75 * log(1.5), 1e-7);
    CHECK(top == 0);
    dev->ops->divergence(dev, &kl, &top, tx, tb, tx, ta);
    CHECK_NEAR(kl, 0.5 * log(2) + 0.5 * log(2 / 3.), 1e-7);
    device_tensor_free(dev, &tx);
    device_tensor_free(dev, &ta);
    device_tensor_free(dev, &tb);
}

/* Equal largest logits in two slices: the lower id is the winner of both models. */
static void test_lowest_of_equal_ids(void)
{
    enum { VOCAB = 700 };
    float x = 1, a[VOCAB] = {0}, b[VOCAB] = {0}, c[VOCAB] = {0};
    struct tensor tx = put(dev, DTYPE_F32, 1, 1, &x), ta, tb, tc;
    double kl;
    int32_t top;

    a[10] = a[600] = b[10] = c[600] = 3;
    ta = put(dev, DTYPE_F32, VOCAB, 1, a);
    tb = put(dev, DTYPE_F32, VOCAB, 1, b);
    tc = put(dev, DTYPE_F32, VOCAB, 1, c);
    dev->ops->divergence(dev, &kl, &top, tx, ta, tx, tb);
    CHECK(top == 1);
    dev->ops->divergence(dev, &kl, &top, tx, ta, tx, tc);
    CHECK(top == 0);
    device_tensor_free(dev, &tx);
    device_tensor_free(dev, &ta);
    device_tensor_free(dev, &tb);
    device_tensor_free(dev, &tc);
}

static void test_not_finite_shows(void)
{
    float x = 1, a[3] = {0, NAN, 1}, b[3] = {0, 1, 2};
    struct tensor tx = put(dev, DTYPE_F32, 1, 1, &x);
    struct tensor ta = put(dev, DTYPE_F32, 3, 1, a), tb = put(dev, DTYPE_F32, 3, 1, b);
    double kl = 0;
    int32_t top;

    dev->ops->divergence(dev, &kl, &top, tx, ta, tx, tb);
    CHECK(!isfinite(kl));
    kl = 0;
    dev->ops->divergence(dev, &kl, &top, tx, tb, tx, ta);
    CHECK(!isfinite(kl));
    device_tensor_free(dev, &tx);
    device_tensor_free(dev, &ta);
    device_tensor_free(dev, &tb);
}

int main(void)
{
    pcg32_init(&rng, 20240611, 1);
    if (device_open(&dev, "cpu", 0) != 0)
        return 1;
    RUN(test_divergence);
    RUN(test_identical_is_zero);
    RUN(test_by_hand);
    RUN(test_lowest_of_equal_ids);
    RUN(test_not_finite_shows);
    device_close(dev);
    return 0;
}
