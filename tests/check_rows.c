/* Kernel checker: conversion, gathers, rows and their rules. */
#include "tests/check_kernels.h"

/* ---- constant and random content: the host's, to the bit */

static void test_fill(void)
{
    FOR_DTYPES(t)
    {
        for (size_t n = 1; n < (quick ? 2000u : 3000000u); n = 17 * n + 5) {
            struct tensor a = poison(dev, t, 1, n), b = poison(ref, DTYPE_F32, 1, n);
            float *got, *want;

            dev->ops->fill_normal(dev, a, 0.02f, 5, n);
            ref->ops->fill_normal(ref, b, 0.02f, 5, n);
            got = get(dev, a);
            want = get(ref, b);
            round_to(want, n, t);
            EXPECT(memcmp(got, want, n * sizeof(*got)) == 0, "%s, %zu values", dtype_name(t), n);
            free(got);
            dev->ops->fill(dev, a, 1.5f);
            got = get(dev, a);
            EXPECT(got[0] == 1.5f && got[n / 2] == 1.5f && got[n - 1] == 1.5f, "%s", dtype_name(t));
            free(got);
            free(want);
            device_tensor_free(dev, &a);
            device_tensor_free(ref, &b);
        }
    }
}

/* ---- copies beside the computation */

static void test_stream(void)
{
    size_t n = 1 << 20;
    float *host = dev->ops->host_alloc(dev, n * sizeof(*host));
    struct tensor t = device_tensor(dev, DTYPE_F32, 1, n);
    float *got;

    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < n; i++)
            host[i] = (float)(i % 1000) + (float)round;
        dev->ops->fill(dev, t, -1);
        dev->ops->stream_in(dev, t.data, host, n * sizeof(*host)); /* after the fill */
        dev->ops->stream_wait(dev);
        dev->ops->scale(dev, t, 2); /* after the copy */
        got = get(dev, t);
        for (size_t i = 0; i < n; i += 997)
            EXPECT(got[i] == 2 * host[i], "round %d, value %zu", round, i);
        free(got);
    }
    dev->ops->host_free(dev, host);
    device_tensor_free(dev, &t);
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
    struct act_rule rule = {.kind = kind, .sparsity = s, .threshold = 0.75f, .n_zero = counter()};
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

/* WINA, alone and in the operations that round first: as they are without it, then by sorting; and
 * one row through the operations of decoding. */
static void wina_case(enum dtype t, size_t rows, size_t n, int kind, double s)
{
    float *x = odd_rows(&rng, rows, 2 * n, t == DTYPE_F16 ? 15 : 25, tiny_of(t));
    float *host_gate = wina_factors(&rng, n, kind), *w = random_floats(&rng, n, 1);
    struct tensor gate = put(dev, DTYPE_F32, 1, n, host_gate), a = put(dev, t, rows, 2 * n, x);
    struct tensor f = put(dev, DTYPE_F32, rows, n, x), g = put(dev, DTYPE_F32, 1, n, w);
    struct tensor f2 = put(dev, DTYPE_F32, 1, 2 * n, x);
    struct tensor dense = poison(dev, t, rows, n), sparse = poison(dev, t, rows, n);

    for (int op = 0; op < (rows == 1 ? 5 : 3); op++) {
        static const char *const what[] = {"sparsify", "rmsnorm", "silu_mul", "norm of one row",
                                           "gate of one row"};
        struct act_rule rule = {
            .kind = ACT_WINA, .sparsity = s, .n_zero = counter(), .gate = gate.data};
        float *want, *got;
        uint64_t want_zeros = 0, zeros;

        for (int with = 0; with < 2; with++) {
            const struct act_rule *r = with ? &rule : NULL;
            struct tensor out = with ? sparse : dense;

            if (op == 0)
                dev->ops->sparsify(dev, out, (struct tensor){a.data, t, rows, n}, r);
            else if (op == 1)
                dev->ops->rmsnorm(dev, out, f, g, 1e-5f, r);
            else if (op == 2)
                dev->ops->silu_mul(dev, out, a, r);
            else if (op == 3)
                dev->ops->decode->rmsnorm(dev, out, f, g, 1e-5f, r);
            else
                dev->ops->decode->silu_mul(dev, out, f2, r);
        }
        want = get(dev, dense);
        got = get(dev, sparse);
        zeros = counted(rule.n_zero);
        for (size_t i = 0; i < rows; i++)
            want_zeros += textbook_wina(want + i * n, host_gate, n, s);
        EXPECT(misfit(got, want, rows * n, 0, 0) == 0, "WINA's %s %s, %zu x %zu, factors %d, s %g",
               what[op], dtype_name(t), rows, n, kind, s);
        EXPECT(zeros == want_zeros, "WINA's %s %s: %llu zeros, want %llu", what[op], dtype_name(t),
               (unsigned long long)zeros, (unsigned long long)want_zeros);
        free(want);
        free(got);
    }
    free(x);
    free(w);
    free(host_gate);
    device_tensor_free(dev, &gate);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &f);
    device_tensor_free(dev, &f2);
    device_tensor_free(dev, &g);
    device_tensor_free(dev, &dense);
    device_tensor_free(dev, &sparse);
}

static void test_wina(void)
{
    static const size_t sizes[] = {1, 7, 33, 256, 4096, 4097, 11008, 40000};
    static const double shares[] = {0, 0.1, 0.5, 0.999};

    FOR_DTYPES(t)
    {
        for (size_t i = 0; i < 8; i++)
            for (int kind = 0; kind < 6; kind++) {
                wina_case(t, 6, sizes[i], kind, shares[(size_t)kind % 4]);
                wina_case(t, 1, sizes[i], kind, 0.5);
            }
    }
}

/* Tolerance: one rounding to t, and 2e-6 for float32's sums. */
static void rmsnorm_case(enum dtype t, size_t rows, size_t n)
{
    float *x = odd_rows(&rng, rows, n, 1e15f, 1e-15f), *w = random_floats(&rng, n, 1), *got,
          *sparse;
    struct tensor a = put(dev, DTYPE_F32, rows, n, x), g = put(dev, t, 1, n, w);
    struct tensor o = poison(dev, t, rows, n), ra, rg, ro;
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5, .n_zero = counter()};

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
        if (!quick) {
            rmsnorm_case(t, 6, 8192);
            rmsnorm_case(t, 6, 33000);
        }
    }
}

/* What is gathered in parts gives the bits of what is whole. */
static void joined_case(enum dtype t, size_t rows, size_t n, size_t n_parts, enum act_kind kind)
{
    float *x = odd_rows(&rng, rows, n, huge_of(t), tiny_of(t)), *w = random_floats(&rng, n, 1);
    float *p = in_parts(x, rows, n, n_parts), *gate = random_floats(&rng, n, 1), *want, *got;
    struct tensor a = put(dev, t, rows, n, x), parts = put(dev, t, rows, n, p);
    struct tensor f = put(dev, DTYPE_F32, rows, n, x), fp = put(dev, DTYPE_F32, rows, n, p);
    struct tensor g = put(dev, DTYPE_F32, 1, n, w), o = poison(dev, t, rows, n), gt;
    struct act_rule rule = {.kind = kind, .sparsity = 0.5, .threshold = 0.75f};

    for (size_t j = 0; j < n; j++)
        gate[j] = fabsf(gate[j]);
    gt = put(dev, DTYPE_F32, 1, n, gate);
    rule.gate = gt.data;
    for (int op = 0; op < 3; op++) {
        if (op == 0)
            dev->ops->sparsify(dev, o, a, &rule);
        else if (op == 1)
            dev->ops->rmsnorm(dev, o, f, g, 1e-5f, &rule);
        else
            dev->ops->copy(dev, o.data, a.data, tensor_nbytes(a));
        want = get(dev, o);
        dev->ops->fill(dev, o, -3);
        if (op == 0)
            dev->ops->join(dev, o, parts.data, n_parts, &rule);
        else if (op == 1)
            dev->ops->rmsnorm_joined(dev, o, fp, n_parts, g, 1e-5f, &rule);
        else
            dev->ops->join(dev, o, parts.data, n_parts, NULL);
        got = get(dev, o);
        EXPECT(memcmp(got, want, rows * n * sizeof(*got)) == 0, "%s %s %zu x %zu in %zu parts",
               op == 1 ? "rmsnorm" : "join", dtype_name(t), rows, n, n_parts);
        free(want);
        free(got);
    }
    free(x);
    free(w);
    free(p);
    free(gate);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &parts);
    device_tensor_free(dev, &f);
    device_tensor_free(dev, &fp);
    device_tensor_free(dev, &g);
    device_tensor_free(dev, &gt);
    device_tensor_free(dev, &o);
}

static void test_joined(void)
{
    static const enum act_kind kinds[] = {ACT_DENSE, ACT_TOPK, ACT_THRESHOLD, ACT_WINA};

    FOR_DTYPES(t)
    {
        for (int k = 0; k < 4; k++) {
            joined_case(t, 5, 32, 4, kinds[k]);
            joined_case(t, 5, 36, 4, kinds[k]);
            joined_case(t, 12, 4096, 2, kinds[k]);
            joined_case(t, 3, 11008, 4, kinds[k]);
        }
        joined_case(t, 3, 28672, 2, ACT_TOPK);
        joined_case(t, 3, 8192, 8, ACT_TOPK);
    }
}

/* Tolerance: one rounding to t, and 1e-5 for exp and the division in float32. */
static void silu_case(enum dtype t, size_t rows, size_t m)
{
    float *x = odd_rows(&rng, rows, 2 * m, t == DTYPE_F16 ? 15 : 25, tiny_of(t)), *got, *sparse;
    struct tensor a = put(dev, t, rows, 2 * m, x), o = poison(dev, t, rows, m), ra, ro;
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5, .n_zero = counter()};

    round_to(x, rows * 2 * m, t);
    ra = put(ref, DTYPE_F32, rows, 2 * m, x);
    ro = poison(ref, DTYPE_F32, rows, m);
    ref->ops->silu_mul(ref, ro, ra, NULL);
    dev->ops->silu_mul(dev, o, a, NULL);
    got = get(dev, o);
    EXPECT(misfit(got, ro.data, rows * m, 1.01 * rounding(t) + 1e-5, smallest(t) + 1e-33) <= 1,
           "silu_mul %s %zu x %zu: %g", dtype_name(t), rows, m,
           misfit(got, ro.data, rows * m, 1.01 * rounding(t) + 1e-5, smallest(t) + 1e-33));
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
        if (!quick)
            silu_case(t, 13, 11008);
    }
}

int check_rows(void)
{
    int failed = 0;

    RUN_AND_COUNT(test_fill, failed);
    RUN_AND_COUNT(test_stream, failed);
    RUN_AND_COUNT(test_convert, failed);
    RUN_AND_COUNT(test_embed_and_gather, failed);
    RUN_AND_COUNT(test_sparsify, failed);
    RUN_AND_COUNT(test_wina, failed);
    RUN_AND_COUNT(test_rmsnorm, failed);
    RUN_AND_COUNT(test_joined, failed);
    RUN_AND_COUNT(test_silu_mul, failed);
    return failed;
}
