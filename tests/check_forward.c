/* Kernel checker: conversion, rows, rules, linear, log-probabilities. */
#include "tests/check_kernels.h"

static uint64_t *counter(void)
{
    uint64_t *n = dev->ops->alloc(dev, sizeof(*n));

    dev->ops->zero(dev, n, sizeof(*n));
    return n;
}

static uint64_t counted(uint64_t *n)
{
    uint64_t host;

    dev->ops->download(dev, &host, n, sizeof(host));
    dev->ops->free(dev, n);
    return host;
}

/* ---- conversion: the host's roundings, to the bit */

static void test_convert(void)
{
    static const float edges[] = {0,      -0.0f,           65504,    65519.9f, 65520,
                                  1e30f,  -1e30f,          1e-30f,   0x1p-24f, 0x1p-25f,
                                  1e-40f, 1.0f + 0x1p-11f, 0x1p-14f, INFINITY, -INFINITY};
    size_t n = 1003;
    float *x = random_floats(&rng, n, 1000);

    memcpy(x, edges, sizeof(edges));
    FOR_DTYPES(from)
    {
        FOR_DTYPES(to)
        {
            struct tensor a = put(dev, from, 1, n, x), b = poison(dev, to, 1, n);
            float *want = get(dev, a), *got;

            round_to(want, n, to);
            dev->ops->convert(dev, b, a);
            got = get(dev, b);
            EXPECT(same_bits(got, want, n * 4), "%s to %s", dtype_name(from), dtype_name(to));
            free(got);
            free(want);
            device_tensor_free(dev, &a);
            device_tensor_free(dev, &b);
        }
    }
    free(x);
}

static void gather_case(enum dtype from, enum dtype to, size_t cols)
{
    const int32_t ids[] = {3, 0, 3, 8, 7};
    float *x = random_floats(&rng, 9 * cols, 1), *got;
    struct tensor t = put(dev, from, 9, cols, x), o = poison(dev, to, 5, cols);
    int32_t *d_ids = put_ints(dev, ids, 5);

    round_to(x, 9 * cols, from);
    round_to(x, 9 * cols, to);
    dev->ops->embed(dev, o, t, d_ids);
    got = get(dev, o);
    for (int r = 0; r < 5; r++)
        EXPECT(same_bits(got + (size_t)r * cols, x + (size_t)ids[r] * cols, cols * 4),
               "%s to %s, %zu columns", dtype_name(from), dtype_name(to), cols);
    free(x);
    free(got);
    dev->ops->free(dev, d_ids);
    device_tensor_free(dev, &t);
    device_tensor_free(dev, &o);
}

static void test_embed_and_gather(void)
{
    FOR_DTYPES(t)
    {
        gather_case(t, DTYPE_F32, 7);
        gather_case(t, DTYPE_F32, 4096);
        gather_case(t, t, 7);
        gather_case(t, t, 300);
        gather_case(t, t, 4096);
    }
}

/* ---- rules: exactly the sorted threshold of the values as stored */

/* Device output `sparse` = rule(the device's dense output y), bits and zeros. */
static void expect_rule(const float *sparse, float *y, size_t rows, size_t n, enum act_kind kind,
                        double s, uint64_t zeros, const char *what, enum dtype t)
{
    uint64_t want = 0;

    for (size_t r = 0; r < rows; r++)
        want += textbook_rule(y + r * n, n, kind, s, 0.75f);
    EXPECT(misfit(sparse, y, rows * n, 0, 0) == 0, "%s %s, %zu x %zu, s %g", what, dtype_name(t),
           rows, n, s);
    EXPECT(zeros == want, "%s %s, %zu x %zu, s %g: %llu zeros, want %llu", what, dtype_name(t),
           rows, n, s, (unsigned long long)zeros, (unsigned long long)want);
}

static void sparsify_case(enum dtype t, size_t rows, size_t n, enum act_kind kind, double s)
{
    struct act_rule rule = {kind, s, 0.75f, counter()};
    float *x = odd_rows(&rng, rows, n, huge_of(t), tiny_of(t)), *got;
    struct tensor a = put(dev, t, rows, n, x), o = poison(dev, t, rows, n);

    round_to(x, rows * n, t);
    dev->ops->sparsify(dev, o, a, &rule);
    got = get(dev, o);
    expect_rule(got, x, rows, n, kind, s, counted(rule.n_zero), "sparsify", t);
    free(x);
    free(got);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &o);
}

static void test_sparsify(void)
{
    static const size_t sizes[] = {1, 2, 7, 33, 256, 1000, 4096, 4097, 11008, 40000};
    static const double shares[] = {0, 0.1, 0.5, 0.65, 0.999};

    FOR_DTYPES(t)
    {
        for (size_t i = 0; i < 10; i++)
            for (size_t k = 0; k < 5; k++)
                sparsify_case(t, sizes[i] > 10000 ? 6 : 12, sizes[i], ACT_TOPK, shares[k]);
        sparsify_case(t, 12, 33, ACT_THRESHOLD, 0);
        sparsify_case(t, 12, 4096, ACT_THRESHOLD, 0);
    }
}

/* Tolerance: one rounding to t, and 2e-6 for float32's sums. */
static void rmsnorm_case(enum dtype t, size_t rows, size_t n)
{
    float *x = odd_rows(&rng, rows, n, 1e15f, 1e-15f), *w = random_floats(&rng, n, 1), *got,
          *sparse;
    struct tensor a = put(dev, DTYPE_F32, rows, n, x), g = put(dev, t, 1, n, w);
    struct tensor o = poison(dev, t, rows, n), ra, rg, ro;
    struct act_rule rule = {ACT_TOPK, 0.5, 0, counter()};

    round_to(w, n, t);
    ra = put(ref, DTYPE_F32, rows, n, x);
    rg = put(ref, DTYPE_F32, 1, n, w);
    ro = poison(ref, DTYPE_F32, rows, n);
    ref->ops->rmsnorm(ref, ro, ra, rg, 1e-5f, NULL);
    dev->ops->rmsnorm(dev, o, a, g, 1e-5f, NULL);
    got = get(dev, o);
    EXPECT(misfit(got, ro.data, rows * n, 1.01 * rounding(t) + 2e-6, smallest(t)) <= 1,
           "rmsnorm %s %zu x %zu", dtype_name(t), rows, n);
    dev->ops->rmsnorm(dev, t == DTYPE_F32 ? a : o, a, g, 1e-5f, &rule); /* f32: in place */
    sparse = get(dev, t == DTYPE_F32 ? a : o);
    expect_rule(sparse, got, rows, n, ACT_TOPK, 0.5, counted(rule.n_zero), "rmsnorm", t);
    free(x);
    free(w);
    free(got);
    free(sparse);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &g);
    device_tensor_free(dev, &o);
    device_tensor_free(ref, &ra);
    device_tensor_free(ref, &rg);
    device_tensor_free(ref, &ro);
}

static void test_rmsnorm(void)
{
    FOR_DTYPES(t)
    {
        rmsnorm_case(t, 1, 1);
        rmsnorm_case(t, 12, 19);
        rmsnorm_case(t, 6, 256);
        rmsnorm_case(t, 13, 4096);
        rmsnorm_case(t, 6, 4104);
        rmsnorm_case(t, 6, 8192);
        rmsnorm_case(t, 6, 33000);
    }
}

/* Tolerance: one rounding to t, and 4e-6 for exp and the division in float32. */
static void silu_case(enum dtype t, size_t rows, size_t m)
{
    float *x = odd_rows(&rng, rows, 2 * m, t == DTYPE_F16 ? 15 : 25, tiny_of(t)), *got, *sparse;
    struct tensor a = put(dev, t, rows, 2 * m, x), o = poison(dev, t, rows, m), ra, ro;
    struct act_rule rule = {ACT_TOPK, 0.5, 0, counter()};

    round_to(x, rows * 2 * m, t);
    ra = put(ref, DTYPE_F32, rows, 2 * m, x);
    ro = poison(ref, DTYPE_F32, rows, m);
    ref->ops->silu_mul(ref, ro, ra, NULL);
    dev->ops->silu_mul(dev, o, a, NULL);
    got = get(dev, o);
    EXPECT(misfit(got, ro.data, rows * m, 1.01 * rounding(t) + 4e-6, smallest(t) + 1e-33) <= 1,
           "silu_mul %s %zu x %zu: %g", dtype_name(t), rows, m,
           misfit(got, ro.data, rows * m, 1.01 * rounding(t) + 4e-6, smallest(t) + 1e-33));
    dev->ops->silu_mul(dev, o, a, &rule);
    sparse = get(dev, o);
    expect_rule(sparse, got, rows, m, ACT_TOPK, 0.5, counted(rule.n_zero), "silu_mul", t);
    free(x);
    free(got);
    free(sparse);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &o);
    device_tensor_free(ref, &ra);
    device_tensor_free(ref, &ro);
}

static void test_silu_mul(void)
{
    FOR_DTYPES(t)
    {
        silu_case(t, 1, 1);
        silu_case(t, 12, 21);
        silu_case(t, 6, 344);
        silu_case(t, 13, 11008);
    }
}

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
    const size_t rows = 2100;
    float *x = uniform_floats(&rng, rows * k), *w = uniform_floats(&rng, n * k);
    struct tensor a = put(dev, t, rows, k, x), b = put(dev, t, n, k, w);
    struct tensor all = device_tensor(dev, out, rows, n), some = device_tensor(dev, out, rows, n);
    size_t e = dtype_size(out);
    char *want = xmalloc(rows * n * e), *got = xmalloc(rows * n * e);

    dev->ops->zero(dev, all.data, rows * n * e);
    dev->ops->linear(dev, all, a, b, accumulate);
    dev->ops->download(dev, want, all.data, rows * n * e);
    for (size_t i = 0, ok = 1; ok && i < sizeof(counts) / sizeof(*counts); i++) {
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
        bits_case(t, DTYPE_F32, 257, 1408, 1);
        bits_case(t, DTYPE_F32, 4096, 512, 0);
    }
    if (!(dev->ops->dtypes >> DTYPE_F16 & 1))
        return;
    bits_case(DTYPE_F16, DTYPE_F16, 12288, 4096, 0);
    bits_case(DTYPE_F16, DTYPE_F32, 4096, 11008, 1);
    bits_case(DTYPE_BF16, DTYPE_BF16, 6144, 4096, 0);
    bits_case(DTYPE_F16, DTYPE_F16, 4096, 4096, 0);
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

int check_forward(void)
{
    int failed = 0;

    RUN_AND_COUNT(test_convert, failed);
    RUN_AND_COUNT(test_embed_and_gather, failed);
    RUN_AND_COUNT(test_sparsify, failed);
    RUN_AND_COUNT(test_rmsnorm, failed);
    RUN_AND_COUNT(test_silu_mul, failed);
    RUN_AND_COUNT(test_linear, failed);
    RUN_AND_COUNT(test_linear_gives_a_row_the_same_bits_in_every_batch, failed);
    RUN_AND_COUNT(test_logprob, failed);
    RUN_AND_COUNT(test_greedy_takes_the_lowest_of_equal_ids, failed);
    return failed;
}
