/* Kernel checker: linear, and the operations that fuse it with the vocabulary's softmax. */
#include "tests/check_kernels.h"

/* ---- linear. Tolerance on ||error|| / ||out||: 1e-5 for sums in float32 (the matrix units' own
 * included), and the type's rounding of each output */

static void linear_case(enum dtype t, enum dtype out, size_t rows, size_t n, size_t k,
                        int accumulate)
{
    float *x = uniform_floats(&rng, rows * k), *w = uniform_floats(&rng, n * k);
    float *o = uniform_floats(&rng, rows * n), *got;
    struct tensor a = put(dev, t, rows, k, x), b = put(dev, t, n, k, w), ra, rb, ro;
    struct tensor c = accumulate ? put(dev, out, rows, n, o) : poison(dev, out, rows, n);

    round_to(x, rows * k, t);
    round_to(w, n * k, t);
    ra = put(ref, DTYPE_F32, rows, k, x);
    rb = put(ref, DTYPE_F32, n, k, w);
    ro = put(ref, DTYPE_F32, rows, n, o);
    ref->ops->linear(ref, ro, ra, rb, accumulate);
    dev->ops->linear(dev, c, a, b, accumulate);
    got = get(dev, c);
    EXPECT(relative_error(got, ro.data, rows * n) <= 1e-5 + rounding(out),
           "linear %s to %s, %zu x %zu x %zu: %g", dtype_name(t), dtype_name(out), rows, n, k,
           relative_error(got, ro.data, rows * n));
    free(x);
    free(w);
    free(o);
    free(got);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &b);
    device_tensor_free(dev, &c);
    device_tensor_free(ref, &ra);
    device_tensor_free(ref, &rb);
    device_tensor_free(ref, &ro);
}

static void test_linear(void)
{
    static const size_t shapes[][3] = {{1, 1, 1},       {1, 8, 8},     {3, 5, 7},
                                       {97, 33, 100},   {64, 513, 65}, {130, 256, 4096},
                                       {257, 1000, 344}};

    FOR_DTYPES(t)
    {
        for (size_t i = 0; i < 7; i++) {
            const size_t *s = shapes[i];

            linear_case(t, t, s[0], s[1], s[2], 0);
            linear_case(t, DTYPE_F32, s[0], s[1], s[2], 1);
            linear_case(t, DTYPE_F32, s[0], s[1], s[2], 0);
        }
    }
}

/* The first rows alone, rows from the middle, and all rows: the same bits. */
static void bits_case(enum dtype t, enum dtype out, size_t n, size_t k, int accumulate)
{
    static const size_t counts[] = {1,   2,   7,   16,  17,  63,   64,   65,   127,  128, 129,
                                    200, 256, 257, 511, 640, 1000, 1024, 1025, 1500, 2048};
    const size_t rows = quick ? 300 : 2100;
    float *x = uniform_floats(&rng, rows * k), *w = uniform_floats(&rng, n * k);
    struct tensor a = put(dev, t, rows, k, x), b = put(dev, t, n, k, w);
    struct tensor all = device_tensor(dev, out, rows, n), some = device_tensor(dev, out, rows, n);
    size_t e = dtype_size(out);
    char *want = xmalloc(rows * n * e), *got = xmalloc(rows * n * e);

    dev->ops->zero(dev, all.data, rows * n * e);
    dev->ops->linear(dev, all, a, b, accumulate);
    dev->ops->download(dev, want, all.data, rows * n * e);
    for (size_t i = 0, ok = 1; ok && i < sizeof(counts) / sizeof(*counts) && counts[i] < rows;
         i += quick ? 4 : 1) {
        size_t c = counts[i], first = (rows - c) / 3;

        dev->ops->zero(dev, some.data, c * n * e);
        dev->ops->linear(dev, tensor_rows(some, 0, c), tensor_rows(a, first, c), b, accumulate);
        dev->ops->download(dev, got, some.data, c * n * e);
        ok = same_bits(got, want + first * n * e, c * n * e);
        EXPECT(ok, "linear %s to %s, n %zu, k %zu: %zu of %zu rows", dtype_name(t), dtype_name(out),
               n, k, c, rows);
    }
    free(x);
    free(w);
    free(want);
    free(got);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &b);
    device_tensor_free(dev, &all);
    device_tensor_free(dev, &some);
}

static void test_linear_gives_a_row_the_same_bits_in_every_batch(void)
{
    FOR_DTYPES(t)
    {
        bits_case(t, t, 33, 100, 0);
        bits_case(t, DTYPE_F32, 64, 32, 1);
        bits_case(t, t, 768, 256, 0);
        if (quick)
            continue;
        bits_case(t, DTYPE_F32, 257, 1408, 1);
        bits_case(t, DTYPE_F32, 4096, 512, 0);
    }
    if (!(checked_dtypes >> DTYPE_F16 & 1) || quick)
        return;
    bits_case(DTYPE_F16, DTYPE_F16, 12288, 4096, 0);
    bits_case(DTYPE_F16, DTYPE_F32, 4096, 11008, 1);
    bits_case(DTYPE_BF16, DTYPE_BF16, 6144, 4096, 0);
    bits_case(DTYPE_F16, DTYPE_F16, 4096, 4096, 0);
}

/* The gate fused with its products: the bits of the two operations apart, for all and for few rows.
 */
static void gated_case(enum dtype t, size_t rows, size_t m, size_t k, const struct act_rule *rule)
{
    float *x = uniform_floats(&rng, rows * k), *w = uniform_floats(&rng, 2 * m * k);
    struct tensor a = put(dev, t, rows, k, x), b = put(dev, t, 2 * m, k, w);
    struct tensor gu = poison(dev, t, rows, 2 * m), want = poison(dev, t, rows, m);
    struct tensor got = poison(dev, t, rows, m), scratch = poison(dev, t, rows, 2 * m);
    size_t nbytes = tensor_nbytes(want);
    void *p = xmalloc(nbytes), *q = xmalloc(nbytes);

    dev->ops->linear(dev, gu, a, b, 0);
    dev->ops->silu_mul(dev, want, gu, rule);
    dev->ops->linear_silu_mul(dev, got, scratch, a, b, rule);
    dev->ops->download(dev, p, want.data, nbytes);
    dev->ops->download(dev, q, got.data, nbytes);
    EXPECT(same_bits(p, q, nbytes), "linear_silu_mul %s, %zu x %zu x %zu", dtype_name(t), rows, m,
           k);
    free(x);
    free(w);
    free(p);
    free(q);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &b);
    device_tensor_free(dev, &gu);
    device_tensor_free(dev, &scratch);
    device_tensor_free(dev, &want);
    device_tensor_free(dev, &got);
}

static void test_linear_silu_mul_has_the_bits_of_linear_and_silu_mul(void)
{
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};

    FOR_DTYPES(t)
    {
        gated_case(t, 3, 33, 100, NULL);
        gated_case(t, 1024, 344, 200, NULL);
        gated_case(t, 1100, 128, 64, &rule);
        gated_case(t, 1500, 1000, 72, NULL);
        gated_case(t, 2500, 136, 8, NULL);
        gated_case(t, 1025, 264, 1408, &rule);
        if (t != DTYPE_F32 && !quick) {
            gated_case(t, 8191, 2816, 4096, NULL);
            gated_case(t, 1537, 11008, 4096, NULL);
        }
    }
}

/* ---- log-probabilities. Tolerance: 2e-5 of the logits' size, which is float32's sums over h */

static void logprob_case(enum dtype t, size_t rows, size_t vocab, size_t h)
{
    float *x = random_floats(&rng, rows * h, 2), *w = uniform_floats(&rng, vocab * h);
    int32_t *target = xmalloc(rows * 4), *top = xmalloc(rows * 4), *want_top = xmalloc(rows * 4);
    double *lp = xmalloc(rows * sizeof(*lp)), *want = xmalloc(rows * sizeof(*want)), worst = 0,
           *d_lp;
    int32_t *d_top = dev->ops->alloc(dev, rows * 4), *d_target, top1;
    size_t differ = 0;
    struct tensor a, b, ra, rb;

    for (size_t r = 0; r < rows; r++)
        target[r] = (int32_t)pcg32_below(&rng, (uint32_t)vocab);
    round_to(x, rows * h, t);
    round_to(w, vocab * h, t);
    a = put(dev, t, rows, h, x);
    b = put(dev, t, vocab, h, w);
    ra = put(ref, DTYPE_F32, rows, h, x);
    rb = put(ref, DTYPE_F32, vocab, h, w);
    d_lp = dev->ops->alloc(dev, rows * 8);
    d_target = put_ints(dev, target, rows);
    ref->ops->logprob(ref, want, want_top, ra, rb, target);
    dev->ops->logprob(dev, d_lp, d_top, a, b, d_target);
    dev->ops->download(dev, lp, d_lp, rows * 8);
    dev->ops->download(dev, top, d_top, rows * 4);
    for (size_t r = 0; r < rows; r++) {
        worst = fabs(lp[r] - want[r]) > worst ? fabs(lp[r] - want[r]) : worst;
        differ += top[r] != want_top[r];
    }
    EXPECT(worst < 2e-5 * sqrt((double)h) * 4 && differ == 0, "logprob %s %zu x %zu x %zu: %g, %zu",
           dtype_name(t), rows, vocab, h, worst, differ);
    for (size_t r = 0; r < rows; r += rows / 5 + 1) { /* alone: the same bits */
        double one;

        dev->ops->logprob(dev, d_lp, d_top, tensor_rows(a, r, 1), b, d_target + r);
        dev->ops->download(dev, &one, d_lp, 8);
        dev->ops->download(dev, &top1, d_top, 4);
        EXPECT(same_bits(&one, &lp[r], 8) && top1 == top[r], "logprob row %zu alone", r);
    }
    free(x);
    free(w);
    free(target);
    free(top);
    free(want_top);
    free(lp);
    free(want);
    dev->ops->free(dev, d_lp);
    dev->ops->free(dev, d_top);
    dev->ops->free(dev, d_target);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &b);
    device_tensor_free(ref, &ra);
    device_tensor_free(ref, &rb);
}

static void test_logprob(void)
{
    FOR_DTYPES(t)
    {
        logprob_case(t, 3, 1, 8);
        logprob_case(t, 5, 13, 7);
        logprob_case(t, 101, 4096, 64);
        logprob_case(t, 1030, 4107, 40);
        logprob_case(t, 20, 10001, 256);
    }
}

static void test_greedy_takes_the_lowest_of_equal_ids(void)
{
    float head[9000] = {0}, x[3] = {1, 1, 1};
    const int32_t target[] = {10, 600, 8000};
    int32_t top[3], *d_top = dev->ops->alloc(dev, 12), *d_target = put_ints(dev, target, 3);
    double lp[3], *d_lp = dev->ops->alloc(dev, 24);
    struct tensor a, b;

    head[10] = head[600] = head[8000] = 3;
    a = put(dev, DTYPE_F32, 3, 1, x);
    b = put(dev, DTYPE_F32, 9000, 1, head);
    dev->ops->logprob(dev, d_lp, d_top, a, b, d_target);
    dev->ops->download(dev, top, d_top, 12);
    dev->ops->download(dev, lp, d_lp, 24);
    CHECK(top[0] == 1 && top[1] == 0 && top[2] == 0 && lp[0] == lp[2]);
    dev->ops->free(dev, d_lp);
    dev->ops->free(dev, d_top);
    dev->ops->free(dev, d_target);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &b);
}

/* ---- divergence. Tolerance: the logits' error, as for logprob; 0 exactly for the same model */

static void divergence_case(enum dtype t, size_t rows, size_t vocab, size_t h)
{
    float *x = random_floats(&rng, rows * h, 2), *w = uniform_floats(&rng, vocab * h);
    float *y = random_floats(&rng, rows * h, 2);
    double *kl = xmalloc(2 * rows * sizeof(*kl)), *want = kl + rows, worst = 0;
    int32_t *top = xmalloc(2 * rows * 4), *want_top = top + rows;
    double *d_kl = dev->ops->alloc(dev, rows * 8);
    int32_t *d_top = dev->ops->alloc(dev, rows * 4);
    struct tensor a, b, c, ra, rb, rc;
    size_t differ = 0, nonzero = 0;

    for (size_t i = 0; i < rows * h; i++) /* close to x: argmax mostly agrees */
        y[i] = x[i] + 0.05f * y[i];
    round_to(x, rows * h, t);
    round_to(y, rows * h, t);
    round_to(w, vocab * h, t);
    a = put(dev, t, rows, h, x);
    b = put(dev, t, rows, h, y);
    c = put(dev, t, vocab, h, w);
    ra = put(ref, DTYPE_F32, rows, h, x);
    rb = put(ref, DTYPE_F32, rows, h, y);
    rc = put(ref, DTYPE_F32, vocab, h, w);
    ref->ops->divergence(ref, want, want_top, ra, rc, rb, rc);
    dev->ops->divergence(dev, d_kl, d_top, a, c, b, c);
    dev->ops->download(dev, kl, d_kl, rows * 8);
    dev->ops->download(dev, top, d_top, rows * 4);
    for (size_t r = 0; r < rows; r++) {
        worst = fabs(kl[r] - want[r]) > worst ? fabs(kl[r] - want[r]) : worst;
        differ += top[r] != want_top[r];
    }
    EXPECT(worst < 2e-5 * sqrt((double)h) * 4 && differ == 0,
           "divergence %s %zu x %zu x %zu: %g, %zu", dtype_name(t), rows, vocab, h, worst, differ);
    dev->ops->divergence(dev, d_kl, d_top, a, c, a, c);
    dev->ops->download(dev, kl, d_kl, rows * 8);
    for (size_t r = 0; r < rows; r++)
        nonzero += kl[r] != 0;
    EXPECT(nonzero == 0, "divergence of a model from itself");
    free(x);
    free(y);
    free(w);
    free(kl);
    free(top);
    dev->ops->free(dev, d_kl);
    dev->ops->free(dev, d_top);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &b);
    device_tensor_free(dev, &c);
    device_tensor_free(ref, &ra);
    device_tensor_free(ref, &rb);
    device_tensor_free(ref, &rc);
}

static void test_divergence(void)
{
    FOR_DTYPES(t)
    {
        divergence_case(t, 3, 1, 8);
        divergence_case(t, 5, 13, 7);
        divergence_case(t, 1030, 4107, 40);
        divergence_case(t, 20, 10001, 256);
    }
}

/* ---- memory */

/* What takes scratch: a large weight for few rows (tuned at first), the gate, the vocabulary, and
 * statistics. */
static void scratch_loop(struct tensor x, struct tensor w, struct tensor gate_up, struct tensor out,
                         struct tensor h)
{
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};
    double *lp = dev->ops->alloc(dev, x.rows * sizeof(*lp));
    int32_t *top = dev->ops->alloc(dev, 2 * x.rows * sizeof(*top)), *target = top + x.rows;

    dev->ops->zero(dev, target, x.rows * sizeof(*target));
    dev->ops->linear(dev, gate_up, x, w, 0);
    dev->ops->linear_silu_mul(dev, out, gate_up, x, w, &rule);
    dev->ops->logprob(dev, lp, top, x, w, target);
    dev->ops->gram(dev, h, x);
    dev->ops->sum_squares(dev, tensor_rows(h, 0, 1), x);
    (void)dev->ops->count_zeros(dev, h);
    dev->ops->free(dev, lp);
    dev->ops->free(dev, top);
}

static void test_a_loop_allocates_nothing_once_it_has_run(void)
{
    const size_t k = quick ? 64 : 1024, m = quick ? 128 : 2048, most = 1200;
    float *x = uniform_floats(&rng, most * k), *w = uniform_floats(&rng, 2 * m * k);

    FOR_DTYPES(t)
    {
        struct tensor a = put(dev, t, most, k, x), b = put(dev, t, 2 * m, k, w);
        struct tensor gate_up = device_tensor(dev, t, most, 2 * m);
        struct tensor out = device_tensor(dev, t, most, m), h = device_tensor(dev, DTYPE_F32, k, k);
        size_t before = 0;

        for (int round = 0; dev->ops->n_allocations && round < 4; round++) {
            for (size_t rows = 30; rows <= most; rows += 1170)
                scratch_loop(tensor_rows(a, 0, rows), b, tensor_rows(gate_up, 0, rows),
                             tensor_rows(out, 0, rows), h);
            if (round < 2)
                before = dev->ops->n_allocations(dev);
            EXPECT(dev->ops->n_allocations(dev) == before, "%s: %zu more", dtype_name(t),
                   dev->ops->n_allocations(dev) - before);
        }
        device_tensor_free(dev, &a);
        device_tensor_free(dev, &b);
        device_tensor_free(dev, &gate_up);
        device_tensor_free(dev, &out);
        device_tensor_free(dev, &h);
    }
    free(x);
    free(w);
}

int check_linear(void)
{
    int failed = 0;

    RUN_AND_COUNT(test_linear, failed);
    RUN_AND_COUNT(test_linear_gives_a_row_the_same_bits_in_every_batch, failed);
    RUN_AND_COUNT(test_linear_silu_mul_has_the_bits_of_linear_and_silu_mul, failed);
    RUN_AND_COUNT(test_a_loop_allocates_nothing_once_it_has_run, failed);
    RUN_AND_COUNT(test_logprob, failed);
    RUN_AND_COUNT(test_divergence, failed);
    RUN_AND_COUNT(test_greedy_takes_the_lowest_of_equal_ids, failed);
    return failed;
}
