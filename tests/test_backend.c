/* The CPU backend against textbook loops in double, one test per operation; and that a row's bits
 * depend on nothing but the row. Tolerances: a sum of n products in float32 is off by at most about
 * sqrt(n) * 6e-8 of its terms' norm; 2e-6 relative to the norm holds for every size here. */
#include "tests/kernels.h"

static struct device *dev;
static struct pcg32 rng;

static struct tensor up(size_t rows, size_t cols, const float *x)
{
    return put(dev, DTYPE_F32, rows, cols, x);
}

static const float *at(struct tensor t)
{
    return t.data; /* the CPU's memory is the host's */
}

/* ---- element types and memory */

static void test_half_types_round_to_nearest_even(void)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);

        CHECK(isnan(f) || f32_to_f16(f) == h);
        CHECK(isnan(b) || f32_to_bf16(b) == h);
    }
    CHECK(f32_to_f16(1.0f + 0x1p-11f) == 0x3c00 && f32_to_f16(1.0f + 0x1.8p-10f) == 0x3c02);
    CHECK(f32_to_f16(65519.9f) == 0x7bff && f32_to_f16(65520.0f) == 0x7c00);
    CHECK(f32_to_f16(0x1p-25f) == 0 && f32_to_f16(0x1.8p-25f) == 1);
    CHECK(f32_to_bf16(1.0f + 0x1p-8f) == 0x3f80 && f32_to_bf16(1.0f + 0x1.8p-7f) == 0x3f82);
    CHECK(isnan(f16_to_f32(f32_to_f16(NAN))) && isnan(bf16_to_f32(f32_to_bf16(NAN))));
}

static void test_convert_between_types(void)
{
    float *x = random_floats(&rng, 77, 3), *want = random_floats(&rng, 77, 1), *got;
    struct tensor a = up(7, 11, x), h = poison(dev, DTYPE_F16, 7, 11),
                  b = poison(dev, DTYPE_F32, 7, 11);

    memcpy(want, x, 77 * sizeof(*x));
    round_to(want, 77, DTYPE_F16);
    dev->ops->convert(dev, h, a);
    dev->ops->convert(dev, b, h);
    got = get(dev, b);
    CHECK(same_bits(got, want, 77 * sizeof(*x)));
    free(x);
    free(want);
    free(got);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &h);
    device_tensor_free(dev, &b);
}

static void test_embed_and_gather(void)
{
    const int32_t ids[] = {3, 0, 3, 4};
    float *x = random_floats(&rng, 5 * 7, 1);
    struct tensor t = up(5, 7, x), e = poison(dev, DTYPE_F32, 4, 7),
                  g = poison(dev, DTYPE_F32, 4, 7);

    dev->ops->embed(dev, e, t, ids);
    dev->ops->gather(dev, g, t, ids);
    for (int r = 0; r < 4; r++)
        CHECK(same_bits(at(e) + r * 7, x + ids[r] * 7, 28) &&
              same_bits(at(g) + r * 7, x + ids[r] * 7, 28));
    free(x);
    device_tensor_free(dev, &t);
    device_tensor_free(dev, &e);
    device_tensor_free(dev, &g);
}

/* ---- rows and rules */

static void check_sparsify(size_t rows, size_t n, enum act_kind kind, double s)
{
    uint64_t zeros = 5, want_zeros = 5;
    struct act_rule rule = {.kind = kind, .sparsity = s, .threshold = 0.75f, .n_zero = &zeros};
    float *x = odd_rows(&rng, rows, n, 1e15f, 1e-15f);
    struct tensor in = up(rows, n, x), out = poison(dev, DTYPE_F32, rows, n);

    dev->ops->sparsify(dev, out, in, &rule);
    for (size_t r = 0; r < rows; r++)
        want_zeros += textbook_rule(x + r * n, n, kind, s, 0.75f);
    CHECK(misfit(at(out), x, rows * n, 0, 0) == 0);
    CHECK(zeros == want_zeros);
    dev->ops->sparsify(dev, in, in, &rule); /* in place */
    CHECK(misfit(at(in), x, rows * n, 0, 0) == 0);
    free(x);
    device_tensor_free(dev, &in);
    device_tensor_free(dev, &out);
}

static void test_top_k_is_the_sorted_threshold_with_ties_kept(void)
{
    static const size_t sizes[] = {1, 2, 7, 16, 33, 256, 1000};
    static const double shares[] = {0, 0.1, 0.5, 0.65, 0.999};

    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < 5; k++)
            check_sparsify(12, sizes[i], ACT_TOPK, shares[k]);
    check_sparsify(12, 33, ACT_THRESHOLD, 0);
}

static void test_parts_are_joined(void)
{
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};
    float *x = odd_rows(&rng, 9, 48, 1e15f, 1e-15f), *w = random_floats(&rng, 48, 1);
    float *p = in_parts(x, 9, 48, 3);
    struct tensor in = up(9, 48, x), parts = up(9, 48, p), wt = up(1, 48, w);
    struct tensor out = poison(dev, DTYPE_F32, 9, 48), want = poison(dev, DTYPE_F32, 9, 48);

    dev->ops->join(dev, out, parts.data, 3, NULL);
    CHECK(same_bits(at(out), x, 9 * 48 * 4));
    dev->ops->join(dev, out, parts.data, 3, &rule);
    dev->ops->sparsify(dev, want, in, &rule);
    CHECK(same_bits(at(out), at(want), 9 * 48 * 4));
    dev->ops->rmsnorm_joined(dev, out, parts, 3, wt, 1e-5f, &rule);
    dev->ops->rmsnorm(dev, want, in, wt, 1e-5f, &rule);
    CHECK(same_bits(at(out), at(want), 9 * 48 * 4));
    free(x);
    free(w);
    free(p);
    device_tensor_free(dev, &in);
    device_tensor_free(dev, &parts);
    device_tensor_free(dev, &wt);
    device_tensor_free(dev, &out);
    device_tensor_free(dev, &want);
}

static void check_rmsnorm(size_t rows, size_t n)
{
    float *x = odd_rows(&rng, rows, n, 1e15f, 1e-15f), *w = random_floats(&rng, n, 1),
          *want = xmalloc(rows * n * 4);
    struct tensor in = up(rows, n, x), wt = up(1, n, w), out = poison(dev, DTYPE_F32, rows, n);
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};

    for (size_t r = 0; r < rows; r++) {
        double ss = 0;

        for (size_t j = 0; j < n; j++)
            ss += (double)x[r * n + j] * x[r * n + j];
        for (size_t j = 0; j < n; j++)
            want[r * n + j] = (float)(x[r * n + j] / sqrt(ss / (double)n + 1e-5) * w[j]);
    }
    dev->ops->rmsnorm(dev, out, in, wt, 1e-5f, NULL);
    CHECK(misfit(at(out), want, rows * n, 2e-6, 1e-30) <= 1);
    memcpy(want, out.data, rows * n * 4);
    for (size_t r = 0; r < rows; r++)
        textbook_rule(want + r * n, n, ACT_TOPK, 0.5, 0);
    dev->ops->rmsnorm(dev, in, in, wt, 1e-5f, &rule);
    CHECK(misfit(at(in), want, rows * n, 0, 0) == 0);
    free(x);
    free(w);
    free(want);
    device_tensor_free(dev, &in);
    device_tensor_free(dev, &wt);
    device_tensor_free(dev, &out);
}

static void test_rmsnorm(void)
{
    check_rmsnorm(1, 1);
    check_rmsnorm(12, 19);
    check_rmsnorm(7, 256);
}

static void check_silu_mul(size_t rows, size_t m)
{
    float *x = odd_rows(&rng, rows, 2 * m, 1e15f, 1e-15f), *want = xmalloc(rows * m * 4);
    struct tensor in = up(rows, 2 * m, x), out = poison(dev, DTYPE_F32, rows, m);
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};

    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < m; j++) {
            double g = x[r * 2 * m + j];

            want[r * m + j] = (float)(g / (1 + exp(-g)) * x[r * 2 * m + m + j]);
        }
    dev->ops->silu_mul(dev, out, in, NULL);
    /* far below -87 the textbook's value is under 1e-36 of its input and the fast exp clamps */
    for (size_t r = 0; r < rows; r++)
        if (r % 6 != 4)
            CHECK(misfit(at(out) + r * m, want + r * m, m, 2e-6, 1e-35) <= 1);
    memcpy(want, out.data, rows * m * 4);
    for (size_t r = 0; r < rows; r++)
        textbook_rule(want + r * m, m, ACT_TOPK, 0.5, 0);
    dev->ops->silu_mul(dev, out, in, &rule);
    CHECK(misfit(at(out), want, rows * m, 0, 0) == 0);
    free(x);
    free(want);
    device_tensor_free(dev, &in);
    device_tensor_free(dev, &out);
}

static void test_silu_mul(void)
{
    check_silu_mul(1, 1);
    check_silu_mul(12, 21);
    check_silu_mul(6, 344);
}

/* ---- linear */

static void check_linear(size_t t, size_t n, size_t k, int accumulate)
{
    float *x = random_floats(&rng, t * k, 1), *w = random_floats(&rng, n * k, 1);
    float *o = random_floats(&rng, t * n, 1), *want = xmalloc(t * n * 4);
    struct tensor xt = up(t, k, x), wt = up(n, k, w), ot = up(t, n, o);

    for (size_t i = 0; i < t * n; i++) {
        double s = accumulate ? o[i] : 0;

        for (size_t j = 0; j < k; j++)
            s += (double)x[i / n * k + j] * w[i % n * k + j];
        want[i] = (float)s;
    }
    if (!accumulate)
        memset(ot.data, 0xff, t * n * 4);
    dev->ops->linear(dev, ot, xt, wt, accumulate);
    CHECK(relative_error(at(ot), want, t * n) < 2e-6);
    free(x);
    free(w);
    free(o);
    free(want);
    device_tensor_free(dev, &xt);
    device_tensor_free(dev, &wt);
    device_tensor_free(dev, &ot);
}

static void test_linear(void)
{
    check_linear(1, 1, 1, 0);
    check_linear(3, 5, 7, 1);
    check_linear(97, 33, 100, 0);
    check_linear(200, 513, 65, 1);
}

/* Row i alone, within the first i + 1 rows and within all rows, with one and with three threads. */
static void check_linear_rows(size_t n, size_t k)
{
    static const size_t counts[] = {1, 2, 5, 95, 96, 97, 191, 193, 385, 700};
    const size_t t = 800;
    struct device *other = NULL;
    float *x = random_floats(&rng, t * k, 1), *w = random_floats(&rng, n * k, 1);
    struct tensor xt = up(t, k, x), wt = up(n, k, w), all = poison(dev, DTYPE_F32, t, n);
    struct tensor some = poison(dev, DTYPE_F32, t, n);

    CHECK(device_open(&other, "cpu", 3) == 0);
    dev->ops->linear(dev, all, xt, wt, 0);
    for (size_t i = 0; i < 10 && !test_bad; i++) {
        size_t first = (t - counts[i]) / 3;
        struct tensor out = tensor_rows(some, 0, counts[i]);

        other->ops->linear(other, out, tensor_rows(xt, first, counts[i]), wt, 0);
        CHECK(same_bits(some.data, at(all) + first * n, counts[i] * n * 4));
    }
    device_close(other);
    free(x);
    free(w);
    device_tensor_free(dev, &xt);
    device_tensor_free(dev, &wt);
    device_tensor_free(dev, &all);
    device_tensor_free(dev, &some);
}

static void test_linear_gives_a_row_the_same_bits_in_every_batch(void)
{
    check_linear_rows(8, 16);
    check_linear_rows(32, 64);
    check_linear_rows(129, 33);
    check_linear_rows(520, 768);
    check_linear_rows(256, 1408);
}

static void test_gated_products_are_linear_and_silu_mul(void)
{
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};
    float *x = random_floats(&rng, 70 * 64, 1), *w = random_floats(&rng, 2 * 48 * 64, 1);
    struct tensor a = up(70, 64, x), b = up(96, 64, w), gu = poison(dev, DTYPE_F32, 70, 96);
    struct tensor want = poison(dev, DTYPE_F32, 70, 48), got = poison(dev, DTYPE_F32, 70, 48);

    dev->ops->linear(dev, gu, a, b, 0);
    dev->ops->silu_mul(dev, want, gu, &rule);
    dev->ops->linear_silu_mul(dev, got, gu, a, b, &rule);
    CHECK(same_bits(at(got), at(want), tensor_nbytes(got)));
    free(x);
    free(w);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &b);
    device_tensor_free(dev, &gu);
    device_tensor_free(dev, &want);
    device_tensor_free(dev, &got);
}

/* ---- attention */

static float *textbook_attention(const struct packed_batch *t, const struct segment *seg,
                                 struct attention_shape sh, const float *qkv)
{
    size_t d = sh.head_dim, nh = sh.n_heads, nkv = sh.n_kv_heads, cols = (nh + 2 * nkv) * d;
    float *out = xmalloc(t->b.n_rows * nh * d * sizeof(*out));
    double *p = xmalloc(t->b.max_positions * sizeof(*p)), *acc = xmalloc(d * sizeof(*acc));

    for (size_t r = 0; r < t->b.n_rows; r++)
        for (size_t g = 0; g < nh; g++) {
            size_t s = (size_t)t->row_seg[r], kvh = g / (nh / nkv);
            int n = t->row_pos[r] + 1;
            double max = -INFINITY, sum = 0;

            for (int j = 0; j < n; j++) {
                const float *k = qkv + row_at(t, seg, s, j) * cols + (nh + kvh) * d;

                p[j] = 0;
                for (size_t i = 0; i < d; i++)
                    p[j] += (double)qkv[r * cols + g * d + i] * k[i];
                p[j] /= sqrt((double)d);
                max = p[j] > max ? p[j] : max;
            }
            memset(acc, 0, d * sizeof(*acc));
            for (int j = 0; j < n; j++) {
                const float *v = qkv + row_at(t, seg, s, j) * cols + (nh + nkv + kvh) * d;
                double e = exp(p[j] - max);

                sum += e;
                for (size_t i = 0; i < d; i++)
                    acc[i] += e * v[i];
            }
            for (size_t i = 0; i < d; i++)
                out[(r * nh + g) * d + i] = (float)(acc[i] / sum);
        }
    free(p);
    free(acc);
    return out;
}

static const struct segment segments[] = {
    {37, -1}, {1, -1}, {21, 0}, {1, 0}, {16, -1}, {5, 4}, {70, -1}, {130, 6}, {3, 1}, {15, 0},
};
#define N_SEGMENTS (sizeof(segments) / sizeof(*segments))

static void check_attention(struct attention_shape sh, double scale)
{
    struct packed_batch t = packed_make(dev, &rng, segments, N_SEGMENTS);
    size_t cols = (sh.n_heads + 2 * sh.n_kv_heads) * sh.head_dim;
    size_t n_out = t.b.n_rows * sh.n_heads * sh.head_dim;
    float *qkv = random_floats(&rng, t.b.n_rows * cols, scale);
    float *got = run_attention(dev, &t, DTYPE_F32, sh, NULL, qkv, NULL);
    float *want = textbook_attention(&t, segments, sh, qkv);
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};
    float *sparse = run_attention(dev, &t, DTYPE_F32, sh, NULL, qkv, &rule);

    CHECK(misfit(got, want, n_out, 0, 4e-6 * scale * (1 + scale * scale)) <= 1);
    for (size_t r = 0; r < t.b.n_rows; r++)
        textbook_rule(got + r * sh.n_heads * sh.head_dim, sh.n_heads * sh.head_dim, ACT_TOPK, 0.5,
                      0);
    CHECK(misfit(sparse, got, n_out, 0, 0) == 0);
    free(qkv);
    free(got);
    free(want);
    free(sparse);
    packed_release(dev, &t);
}

static void test_attention(void)
{
    check_attention((struct attention_shape){1, 1, 32}, 1);
    check_attention((struct attention_shape){4, 2, 64}, 1);
    check_attention((struct attention_shape){2, 1, 80}, 4);
    check_attention((struct attention_shape){2, 2, 96}, 0.01);
    check_attention((struct attention_shape){6, 2, 128}, 1);
    check_attention((struct attention_shape){2, 1, 36}, 1);
}

/* Turned by the operations or before them: the same numbers, also for rows of shared prefixes and
 * for values, which do not turn. */
static void check_turning(struct attention_shape sh)
{
    struct packed_batch t = packed_make(dev, &rng, segments, N_SEGMENTS);
    size_t cols = (sh.n_heads + 2 * sh.n_kv_heads) * sh.head_dim;
    size_t n_out = t.b.n_rows * sh.n_heads * sh.head_dim;
    float *qkv = random_floats(&rng, t.b.n_rows * cols, 1), *cs, *got, *plain, *want;

    cs = rotations(t.b.max_positions, sh.head_dim);
    got = run_attention(dev, &t, DTYPE_F32, sh, cs, qkv, NULL);
    plain = run_attention(dev, &t, DTYPE_F32, sh, NULL, qkv, NULL);
    turn_rows(&t, DTYPE_F32, sh, cs, qkv);
    want = textbook_attention(&t, segments, sh, qkv);
    CHECK(misfit(got, want, n_out, 0, 8e-6) <= 1);
    CHECK(misfit(got, plain, n_out, 0, 8e-6) > 1000);
    free(qkv);
    free(cs);
    free(got);
    free(plain);
    free(want);
    packed_release(dev, &t);
}

static void test_keys_and_queries_turn_by_their_positions(void)
{
    check_turning((struct attention_shape){3, 1, 6});
    check_turning((struct attention_shape){4, 2, 64});
    check_turning((struct attention_shape){2, 1, 40});
}

/* Every segment once more, alone in a batch with its prefix: the same bits. */
static void test_attention_gives_a_row_the_same_bits_in_every_batch(void)
{
    const struct attention_shape sh = {4, 2, 48};
    struct packed_batch t = packed_make(dev, &rng, segments, N_SEGMENTS);
    size_t cols = 8 * 48, w = 4 * 48;
    float *qkv = random_floats(&rng, t.b.n_rows * cols, 1);
    float *cs = rotations(t.b.max_positions, sh.head_dim);
    float *all = run_attention(dev, &t, DTYPE_F32, sh, cs, qkv, NULL);

    for (size_t s = 0; s < N_SEGMENTS; s++) {
        /* one segment of prefix and rows together, without sharing */
        struct segment one = {t.seg_pos[s] + segments[s].len, -1};
        struct packed_batch u = packed_make(dev, &rng, &one, 1);
        float *x = xmalloc((size_t)one.len * cols * 4), *got;

        for (int p = 0; p < one.len; p++)
            memcpy(x + (size_t)p * cols, qkv + row_at(&t, segments, s, p) * cols, cols * 4);
        got = run_attention(dev, &u, DTYPE_F32, sh, cs, x, NULL);
        CHECK(same_bits(got + (size_t)t.seg_pos[s] * w, all + (size_t)t.seg_row[s] * w,
                        (size_t)segments[s].len * w * 4));
        free(x);
        free(got);
        packed_release(dev, &u);
    }
    free(qkv);
    free(cs);
    free(all);
    packed_release(dev, &t);
}

/* ---- log-probabilities */

static void check_logprob(size_t rows, size_t vocab, size_t h)
{
    float *x = random_floats(&rng, rows * h, 2), *w = random_floats(&rng, vocab * h, 1);
    int32_t *target = xmalloc(rows * 4), *top = xmalloc(rows * 4), top1;
    double *lp = xmalloc(rows * sizeof(*lp)), lp1, *logit = xmalloc(vocab * sizeof(*logit));
    struct tensor xt, wt;

    for (size_t r = 0; r < rows; r++)
        target[r] = (int32_t)pcg32_below(&rng, (uint32_t)vocab);
    memcpy(w + (vocab - 1) * h, w, h * 4); /* equal logits for the first and the last id */
    xt = up(rows, h, x);
    wt = up(vocab, h, w);
    dev->ops->logprob(dev, lp, top, xt, wt, target);
    for (size_t r = 0; r < rows; r++) {
        double max = -INFINITY, sum = 0, tl;
        size_t best = 0;

        for (size_t v = 0; v < vocab; v++) {
            logit[v] = 0;
            for (size_t j = 0; j < h; j++)
                logit[v] += (double)x[r * h + j] * w[v * h + j];
            if (logit[v] > max) {
                max = logit[v];
                best = v;
            }
        }
        for (size_t v = 0; v < vocab; v++)
            sum += exp(logit[v] - max);
        tl = logit[target[r]];
        CHECK_NEAR(lp[r], tl - max - log(sum), 1e-6 * (fabs(tl) + fabs(max) + 10));
        /* the textbook's own winner, unless the race is closer than float32 */
        CHECK(top[r] == ((size_t)target[r] == best) || fabs(max - tl) < 1e-4);
        dev->ops->logprob(dev, &lp1, &top1, tensor_rows(xt, r, 1), wt, target + r);
        CHECK(same_bits(&lp1, &lp[r], 8) && top1 == top[r]);
    }
    free(x);
    free(w);
    free(target);
    free(top);
    free(lp);
    free(logit);
    device_tensor_free(dev, &xt);
    device_tensor_free(dev, &wt);
}

static void test_logprob(void)
{
    check_logprob(3, 1, 8);
    check_logprob(5, 13, 7);
    check_logprob(101, 512, 16);
    check_logprob(20, 1500, 33);
}

static void test_greedy_takes_the_lowest_of_equal_ids(void)
{
    float head[700] = {0}, x = 1;
    int32_t target[] = {10, 600}, top[2];
    double lp[2];
    struct tensor xt, wt;

    head[10] = head[600] = 3;
    xt = up(2, 1, (float[]){x, x});
    wt = up(700, 1, head);
    dev->ops->logprob(dev, lp, top, xt, wt, target);
    CHECK(top[0] == 1 && top[1] == 0 && lp[0] == lp[1]);
    device_tensor_free(dev, &xt);
    device_tensor_free(dev, &wt);
}

int main(void)
{
    pcg32_init(&rng, 20240607, 1);
    if (device_open(&dev, "cpu", 0) != 0)
        return 1;
    RUN(test_half_types_round_to_nearest_even);
    RUN(test_convert_between_types);
    RUN(test_embed_and_gather);
    RUN(test_top_k_is_the_sorted_threshold_with_ties_kept);
    RUN(test_parts_are_joined);
    RUN(test_rmsnorm);
    RUN(test_silu_mul);
    RUN(test_linear);
    RUN(test_linear_gives_a_row_the_same_bits_in_every_batch);
    RUN(test_gated_products_are_linear_and_silu_mul);
    RUN(test_keys_and_queries_turn_by_their_positions);
    RUN(test_attention);
    RUN(test_attention_gives_a_row_the_same_bits_in_every_batch);
    RUN(test_logprob);
    RUN(test_greedy_takes_the_lowest_of_equal_ids);
    device_close(dev);
    return 0;
}
