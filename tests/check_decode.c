/* Kernel checker: packed weights and their product with one activation vector, against a loop in
 * double. Tolerance on ||error|| / ||out||: 1e-6 sqrt(n_in) / 8 for sums in float32, at least 1e-6;
 * an H100 is below 5e-7 at n_in 11008. */
#include "tests/check_kernels.h"

static const char *const kind_name[] = {"rows", "columns", "nonzeros"};

/* How zeros lie in a weight or an input. */
enum pattern { NONE, HALF, ALL, LINES, CLUSTERS, N_PATTERNS };

/* Zeroes values of the n_out x n_in weight w. LINES: whole rows and columns, others full;
 * CLUSTERS: columns from almost empty to almost full, and -0 for 0 at times. */
static void zero_some(float *w, size_t n_out, size_t n_in, enum pattern p)
{
    for (size_t i = 0; i < n_out; i++)
        for (size_t j = 0; j < n_in; j++) {
            double u = pcg32_next(&rng) * 0x1p-32, s = 0;

            if (p == HALF)
                s = 0.5;
            else if (p == ALL)
                s = 1;
            else if (p == LINES)
                s = i % 5 == 1 || j % 3 == 1;
            else if (p == CLUSTERS)
                s = (double)((j / 7) % 11) / 10;
            if (u < s)
                w[i * n_in + j] = p == CLUSTERS && j % 2 ? -0.0f : 0;
            else if (w[i * n_in + j] == 0)
                w[i * n_in + j] = 0.25f;
        }
}

/* base + W x in double */
static void product(double *out, double *size, const float *w, const float *x, const float *base,
                    size_t n_out, size_t n_in)
{
    for (size_t i = 0; i < n_out; i++) {
        out[i] = base ? base[i] : 0;
        size[i] = fabs(out[i]);
        for (size_t j = 0; j < n_in; j++) {
            out[i] += (double)w[i * n_in + j] * x[j];
            size[i] += fabs((double)w[i * n_in + j] * x[j]);
        }
    }
}

/* The error of got against want, relative to the sums' absolute terms: what is left where they
 * cancel does not count. */
static double error_of(const float *got, const double *want, const double *size, size_t n)
{
    double e = 0, all = 0;

    for (size_t i = 0; i < n; i++) {
        e += (got[i] - want[i]) * (got[i] - want[i]);
        all += size[i] * size[i];
    }
    return isnan(e) ? INFINITY : all > 0 ? sqrt(e / all) : sqrt(e);
}

/* Eight roundings of float32; random ones of a sum of any length add up to less than one. */
#define TOLERANCE 0x1p-21

/* gemv twice into one tensor: first over poison, then added; and again over poison. */
static void product_case(enum dtype t, enum packed_kind kind, const struct packed *p,
                         const float *w, size_t n_out, size_t n_in, enum pattern wp,
                         enum pattern xp)
{
    float *x = random_floats(&rng, n_in, 1), *got;
    double *want = xmalloc((n_out + 1) * sizeof(*want)), e;
    double *size = xmalloc((n_out + 1) * sizeof(*size));
    struct tensor a, out = poison(dev, DTYPE_F32, 1, n_out);
    float *base;

    zero_some(x, 1, n_in, xp);
    round_to(x, n_in, t);
    a = put(dev, t, 1, n_in, x);
    dev->ops->decode->gemv(dev, out, a, p, 0);
    got = get(dev, out);
    product(want, size, w, x, NULL, n_out, n_in);
    e = error_of(got, want, size, n_out);
    EXPECT(e <= TOLERANCE, "gemv %s %s %zu x %zu, zeros %d, %d: %g", dtype_name(t), kind_name[kind],
           n_out, n_in, wp, xp, e);
    free(got);
    base = random_floats(&rng, n_out, 2);
    dev->ops->upload(dev, out.data, base, n_out * sizeof(*base));
    dev->ops->decode->gemv(dev, out, a, p, 1);
    dev->ops->decode->gemv(dev, out, a, p, 1);
    got = get(dev, out);
    product(want, size, w, x, base, n_out, n_in);
    for (size_t i = 0; i < n_out; i++)
        want[i] = 2 * want[i] - base[i]; /* size: of one of the two */
    e = error_of(got, want, size, n_out);
    EXPECT(e <= TOLERANCE, "gemv += %s %s %zu x %zu, zeros %d, %d: %g", dtype_name(t),
           kind_name[kind], n_out, n_in, wp, xp, e);
    free(got);
    free(x);
    free(base);
    free(want);
    free(size);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &out);
}

/* The values come back bit by bit, zeros as +0. */
static void unpack_case(enum dtype t, enum packed_kind kind, const struct packed *p, const float *w,
                        size_t n_out, size_t n_in)
{
    struct tensor back = poison(dev, t, n_out, n_in);
    size_t n = n_out * n_in, differ = 0;
    float *got;

    dev->ops->decode->unpack(dev, back, p);
    got = get(dev, back);
    for (size_t i = 0; i < n; i++)
        differ += got[i] != w[i] || !signbit(got[i]) != !(w[i] < 0);
    EXPECT(differ == 0, "unpack %s %s %zu x %zu: %zu differ", dtype_name(t), kind_name[kind], n_out,
           n_in, differ);
    free(got);
    device_tensor_free(dev, &back);
}

static void weight_case(enum dtype t, size_t n_out, size_t n_in, enum pattern wp)
{
    float *w = random_floats(&rng, n_out * n_in, 1);
    struct tensor a;
    size_t nonzero = 0;

    zero_some(w, n_out, n_in, wp);
    round_to(w, n_out * n_in, t);
    a = put(dev, t, n_out, n_in, w);
    for (size_t i = 0; i < n_out * n_in; i++)
        nonzero += w[i] != 0;
    for (enum packed_kind k = PACKED_ROWS; k <= PACKED_NONZEROS; k++) {
        struct packed p;

        dev->ops->decode->pack(dev, &p, a, k);
        EXPECT(p.n_nonzero == nonzero && p.kind == k && p.n_out == n_out && p.n_in == n_in,
               "pack %s %s %zu x %zu: %zu of %zu", dtype_name(t), kind_name[k], n_out, n_in,
               p.n_nonzero, nonzero);
        for (enum pattern xp = NONE; xp < N_PATTERNS; xp++)
            product_case(t, k, &p, w, n_out, n_in, wp, xp);
        unpack_case(t, k, &p, w, n_out, n_in);
        dev->ops->decode->packed_free(dev, &p);
    }
    free(w);
    device_tensor_free(dev, &a);
}

static void test_packed_products(void)
{
    static const size_t shapes[][2] = {{1, 1},       {1, 64},     {64, 1},     {33, 7},
                                       {100, 129},   {1000, 333}, {1024, 256}, {1032, 1000},
                                       {3000, 4100}, {17, 33000}};

    FOR_DTYPES(t)
    {
        for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
            for (enum pattern wp = NONE; wp < N_PATTERNS; wp++)
                if (shapes[i][0] * shapes[i][1] < 400000 ||
                    (!quick && (wp == HALF || wp == CLUSTERS)))
                    weight_case(t, shapes[i][0], shapes[i][1], wp);
    }
}

/* Many calls in a row with changing weights and inputs: what one call leaves for the next. */
static void test_products_in_a_row(void)
{
    enum { N = 6, CALLS = 60 };
    static const size_t out_of[N] = {2048, 300, 2048, 5000, 1024, 300},
                        in_of[N] = {512, 2048, 300, 300, 2048, 5000};
    struct packed p[N];
    struct tensor w[N], x[N], out[N];
    float *hw[N], *hx[N];

    FOR_DTYPES(t)
    {
        for (int i = 0; i < N; i++) {
            hw[i] = random_floats(&rng, out_of[i] * in_of[i], 1);
            hx[i] = random_floats(&rng, in_of[i], 1);
            zero_some(hw[i], out_of[i], in_of[i], HALF);
            zero_some(hx[i], 1, in_of[i], i % 2 ? CLUSTERS : HALF);
            round_to(hw[i], out_of[i] * in_of[i], t);
            round_to(hx[i], in_of[i], t);
            w[i] = put(dev, t, out_of[i], in_of[i], hw[i]);
            x[i] = put(dev, t, 1, in_of[i], hx[i]);
            out[i] = poison(dev, DTYPE_F32, 1, out_of[i]);
            dev->ops->decode->pack(dev, &p[i], w[i], (enum packed_kind)(2 - i % 3));
        }
        for (int c = 0; c < CALLS; c++)
            dev->ops->decode->gemv(dev, out[c % N], x[c % N], &p[c % N], c >= CALLS - N && c % 2);
        for (int i = 0; i < N; i++) {
            float *got = get(dev, out[i]);
            double *want = xmalloc(2 * out_of[i] * sizeof(*want)), *size = want + out_of[i], e;

            product(want, size, hw[i], hx[i], NULL, out_of[i], in_of[i]);
            for (size_t r = 0; r < out_of[i]; r++)
                want[r] *= i % 2 ? 2 : 1;
            e = error_of(got, want, size, out_of[i]);
            EXPECT(e <= 2 * TOLERANCE, "product %d of many, %s: %g", i, dtype_name(t), e);
            free(got);
            free(want);
            free(hw[i]);
            free(hx[i]);
            dev->ops->decode->packed_free(dev, &p[i]);
            device_tensor_free(dev, &w[i]);
            device_tensor_free(dev, &x[i]);
            device_tensor_free(dev, &out[i]);
        }
    }
}

/* ---- inputs made inside the product: as by operations of their own, to the channel. Values are
 * small multiples of 1/8, so that a sum of squares is the same in any order; magnitudes are often
 * equal. */

static float *eighths(size_t n)
{
    float *x = xmalloc((n + 1) * sizeof(*x));

    for (size_t i = 0; i < n; i++)
        x[i] = ((float)pcg32_below(&rng, 33) - 16) / 8;
    return x;
}

static void input_case(enum dtype t, enum packed_kind kind, enum decode_input_kind how,
                       size_t n_out, size_t n_in, const struct act_rule *rule)
{
    float *w = random_floats(&rng, n_out * n_in, 1), *x = eighths(2 * n_in), *row, *got;
    float *gains = random_floats(&rng, n_in, 1);
    struct tensor a, in, out = poison(dev, DTYPE_F32, 1, n_out),
                         g = put(dev, DTYPE_F32, 1, n_in, gains);
    double *want = xmalloc(2 * (n_out + 1) * sizeof(*want)), *size = want + n_out + 1, e;
    struct act_rule one = *rule, two = *rule;
    struct decode_input input = {.kind = how, .weight = g, .eps = 1e-5f, .rule = &one};
    struct packed p;

    zero_some(w, n_out, n_in, HALF);
    round_to(w, n_out * n_in, t);
    a = put(dev, t, n_out, n_in, w);
    dev->ops->decode->pack(dev, &p, a, kind);
    in = how == INPUT_ROW ? put(dev, t, 1, n_in, x)
                          : put(dev, DTYPE_F32, 1, (how == INPUT_GATE ? 2 : 1) * n_in, x);
    input.x = in;
    input.row = poison(dev, t, 1, n_in);
    one.n_zero = counter();
    two.n_zero = counter();
    dev->ops->decode->gemv_of(dev, out, &input, &p, 0);
    input.rule = &two;
    row = get(dev, decode_input_row(dev, &input));
    got = get(dev, out);
    product(want, size, w, row, NULL, n_out, n_in);
    e = error_of(got, want, size, n_out);
    EXPECT(e <= TOLERANCE, "input %d of %s %s %zu x %zu, rule %d: %g", how, dtype_name(t),
           kind_name[kind], n_out, n_in, rule->kind, e);
    if (rule->kind != ACT_DENSE) {
        uint64_t zeros = counted(one.n_zero), expected = counted(two.n_zero);

        EXPECT(zeros == expected, "input %d, %zu: %llu zeros, want %llu", how, n_in,
               (unsigned long long)zeros, (unsigned long long)expected);
    }
    free(w);
    free(x);
    free(row);
    free(got);
    free(gains);
    free(want);
    dev->ops->decode->packed_free(dev, &p);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &in);
    device_tensor_free(dev, &input.row);
    device_tensor_free(dev, &out);
    device_tensor_free(dev, &g);
}

static void test_inputs(void)
{
    static const size_t n_ins[] = {7, 64, 1000, 4096, 5120, 8200, 11008, 17000};
    static const struct act_rule rules[] = {{.kind = ACT_DENSE},
                                            {.kind = ACT_TOPK, .sparsity = 0.5},
                                            {.kind = ACT_TOPK, .sparsity = 0.65},
                                            {.kind = ACT_THRESHOLD, .threshold = 0.4f}};

    FOR_DTYPES(t)
    for (size_t i = 0; i < (quick ? 4 : 8); i++)
        for (enum packed_kind k = PACKED_ROWS; k <= PACKED_NONZEROS; k++)
            for (enum decode_input_kind how = INPUT_ROW; how <= INPUT_GATE; how++)
                for (size_t r = 0; r < 4; r++)
                    input_case(t, k, how, n_ins[i] < 2000 ? 1100 : 9, n_ins[i], &rules[r]);
}

int check_decode(void)
{
    int failed = 0;

    if (!dev->ops->decode || !dev->ops->decode->gemv)
        return 0;
    RUN_AND_COUNT(test_packed_products, failed);
    RUN_AND_COUNT(test_products_in_a_row, failed);
    RUN_AND_COUNT(test_inputs, failed);
    return failed;
}
