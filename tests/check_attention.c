/* Kernel checker: key/value store, rotary embedding, attention. */
#include "tests/check_kernels.h"

/* Prefixes that end within a page, on a page, on a block of keys; single tokens; long ones. */
static const struct segment mixed[] = {
    {37, -1}, {1, -1},  {21, 0},  {1, 0},    {16, -1}, {5, 4},    {70, -1},  {130, 6},
    {3, 1},   {15, 0},  {64, -1}, {1, 10},   {65, 10}, {128, -1}, {129, 13}, {300, -1},
    {1, 15},  {40, 15}, {63, -1}, {127, -1}, {2, 15},  {448, -1}, {191, 21},
};

static size_t n_mixed(void)
{
    return quick ? 9 : sizeof(mixed) / sizeof(*mixed);
}

/* Tolerance: values are averages of v (size `scale`); weights are rounded to t for the product, the
 * output once more; 1e-5 for float32's exponentials of scores up to 20. */
static void attention_case(enum dtype t, struct attention_shape sh, double scale)
{
    struct pcg32 same = rng;
    struct packed_batch b = packed_make(dev, &rng, mixed, n_mixed()),
                        rb = packed_make(ref, &same, mixed, n_mixed());
    size_t w = sh.n_heads * sh.head_dim, cols = w + 2 * sh.n_kv_heads * sh.head_dim;
    size_t n = b.b.n_rows * w;
    float *qkv = random_floats(&rng, b.b.n_rows * cols, scale), *got, *want, *sparse;
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};
    double tol = (2.5 * rounding(t) + 1e-5) * 4 * scale;

    round_to(qkv, b.b.n_rows * cols, t);
    got = run_attention(dev, &b, t, sh, NULL, qkv, NULL);
    want = run_attention(ref, &rb, DTYPE_F32, sh, NULL, qkv, NULL);
    sparse = run_attention(dev, &b, t, sh, NULL, qkv, &rule);
    EXPECT(misfit(got, want, n, 0, tol) <= 1, "attention %s, %zu/%zu heads of %zu, scale %g: %g",
           dtype_name(t), sh.n_heads, sh.n_kv_heads, sh.head_dim, scale,
           misfit(got, want, n, 0, tol));
    for (size_t r = 0; r < b.b.n_rows; r++)
        textbook_rule(got + r * w, w, ACT_TOPK, 0.5, 0);
    EXPECT(misfit(sparse, got, n, 0, 0) == 0, "attention's rule %s", dtype_name(t));
    free(qkv);
    free(got);
    free(want);
    free(sparse);
    packed_release(dev, &b);
    packed_release(ref, &rb);
}

static void test_attention(void)
{
    FOR_DTYPES(t)
    {
        attention_case(t, (struct attention_shape){1, 1, 32}, 1);
        attention_case(t, (struct attention_shape){4, 2, 64}, 1);
        attention_case(t, (struct attention_shape){2, 1, 80}, 2);
        attention_case(t, (struct attention_shape){2, 2, 96}, 0.01);
        attention_case(t, (struct attention_shape){6, 2, 128}, 1);
        attention_case(t, (struct attention_shape){2, 1, 40}, 1);
        attention_case(t, (struct attention_shape){2, 1, 36}, 1);
        attention_case(t, (struct attention_shape){2, 2, 256}, 1);
    }
}

/* Keys turned by kv_write and queries by attention: not a bit differs from rows that were turned in
 * float32 and rounded before. On the host the compiler chooses which product is fused. */
static void turning_case(enum dtype t, struct attention_shape sh)
{
    struct packed_batch b = packed_make(dev, &rng, mixed, n_mixed());
    size_t w = sh.n_heads * sh.head_dim, cols = w + 2 * sh.n_kv_heads * sh.head_dim;
    float *qkv = random_floats(&rng, b.b.n_rows * cols, 2), *cs, *got, *want;

    cs = rotations(b.b.max_positions, sh.head_dim);
    round_to(qkv, b.b.n_rows * cols, t);
    got = run_attention(dev, &b, t, sh, cs, qkv, NULL);
    turn_rows(&b, t, sh, cs, qkv);
    want = run_attention(dev, &b, t, sh, NULL, qkv, NULL);
    EXPECT(dev->ops->is_host ? misfit(got, want, b.b.n_rows * w, 0, 1e-5) <= 1
                             : same_bits(got, want, b.b.n_rows * w * sizeof(*got)),
           "%s, %zu/%zu heads of %zu: %g", dtype_name(t), sh.n_heads, sh.n_kv_heads, sh.head_dim,
           misfit(got, want, b.b.n_rows * w, 0, 1e-3));
    free(qkv);
    free(cs);
    free(got);
    free(want);
    packed_release(dev, &b);
}

static void test_turned_while_read_has_the_bits_of_turned_before(void)
{
    FOR_DTYPES(t)
    {
        turning_case(t, (struct attention_shape){3, 1, 6});
        turning_case(t, (struct attention_shape){2, 1, 36});
        turning_case(t, (struct attention_shape){4, 2, 40});
        turning_case(t, (struct attention_shape){4, 2, 64});
        turning_case(t, (struct attention_shape){2, 2, 96});
        turning_case(t, (struct attention_shape){6, 2, 128});
        turning_case(t, (struct attention_shape){2, 1, 256});
    }
}

/* Every segment once more, alone in a batch with its prefix and without sharing: the same bits. */
static void bits_case(enum dtype t, struct attention_shape sh)
{
    struct packed_batch b = packed_make(dev, &rng, mixed, n_mixed());
    size_t w = sh.n_heads * sh.head_dim, cols = w + 2 * sh.n_kv_heads * sh.head_dim;
    float *qkv = random_floats(&rng, b.b.n_rows * cols, 1);
    float *cs = rotations(b.b.max_positions, sh.head_dim);
    float *all = run_attention(dev, &b, t, sh, cs, qkv, NULL);

    for (size_t s = 0; s < n_mixed(); s++) {
        struct segment one = {b.seg_pos[s] + mixed[s].len, -1};
        struct packed_batch u = packed_make(dev, &rng, &one, 1);
        float *x = xmalloc((size_t)one.len * cols * 4), *got;

        for (int p = 0; p < one.len; p++)
            memcpy(x + (size_t)p * cols, qkv + row_at(&b, mixed, s, p) * cols, cols * 4);
        got = run_attention(dev, &u, t, sh, cs, x, NULL);
        EXPECT(same_bits(got + (size_t)b.seg_pos[s] * w, all + (size_t)b.seg_row[s] * w,
                         (size_t)mixed[s].len * w * 4),
               "attention %s, d %zu, segment %zu", dtype_name(t), sh.head_dim, s);
        free(x);
        free(got);
        packed_release(dev, &u);
    }
    free(qkv);
    free(cs);
    free(all);
    packed_release(dev, &b);
}

static void test_attention_gives_a_row_the_same_bits_in_every_batch(void)
{
    FOR_DTYPES(t)
    {
        if (!quick)
            bits_case(t, (struct attention_shape){4, 2, 48});
        bits_case(t, (struct attention_shape){2, 2, 128});
    }
}

int check_attention(void)
{
    int failed = 0;

    RUN_AND_COUNT(test_turned_while_read_has_the_bits_of_turned_before, failed);
    RUN_AND_COUNT(test_attention, failed);
    RUN_AND_COUNT(test_attention_gives_a_row_the_same_bits_in_every_batch, failed);
    return failed;
}
