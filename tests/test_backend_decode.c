/* Packed weights on the CPU: packing restores what it packed, and gemv is a loop in double, over
 * shapes that fill no block, zeros in every arrangement and values at the ends of the range. */
#include "tests/kernels.h"

#define N_WEIGHTS 8
#define N_INPUTS 6

static struct device *dev;
static struct pcg32 rng;

static const enum packed_kind kinds[] = {PACKED_ROWS, PACKED_COLUMNS, PACKED_NONZEROS};
static const size_t shapes[][2] = {{1, 1},     {1, 9},     {9, 1},     {7, 8},
                                   {8, 7},     {31, 33},   {64, 64},   {100, 37},
                                   {257, 131}, {300, 255}, {2100, 18}, {4500, 9}};

/* n x k weights: by turns dense, half zero (with -0), nine tenths zero, all zero, odd columns empty
 * and even ones full, odd rows empty, of rows of all sizes, of columns of all sizes. */
static float *weights(size_t n, size_t k, int kind)
{
    static const float column_scale[] = {1e15f, 1e-30f, 1, 0x1p-140f};
    float *w = kind == 6 ? odd_rows(&rng, n, k, 1e15f, 1e-15f) : random_floats(&rng, n * k, 1);

    for (size_t i = 0; i < n * k; i++) {
        uint32_t u = pcg32_below(&rng, 10);

        if (kind == 1 && u < 5)
            w[i] = u < 2 ? -0.0f : 0;
        else if ((kind == 2 && u) || kind == 3 || (kind == 4 && i % k % 2) ||
                 (kind == 5 && i / k % 2))
            w[i] = 0;
        else if (kind == 7)
            w[i] *= column_scale[i % 4];
    }
    return w;
}

/* n inputs: by turns dense, half zero (with -0), all zero, the last one alone, of all sizes, every
 * fifth. */
static float *inputs(size_t n, int kind)
{
    float *x = random_floats(&rng, n, 1);

    for (size_t i = 0; i < n; i++) {
        uint32_t u = pcg32_below(&rng, 4);

        if (kind == 1 && u < 2)
            x[i] = u ? -0.0f : 0;
        else if (kind == 2 || (kind == 3 && i + 1 < n) || (kind == 5 && i % 5))
            x[i] = 0;
        else if (kind == 4)
            x[i] *= u == 0 ? 1e15f : u == 1 ? 1e-15f : 1;
    }
    return x;
}

/* ---- pack and unpack */

static void check_pack(size_t n, size_t k, int weight, enum packed_kind kind)
{
    float *w = weights(n, k, weight), *want = xmalloc(n * k * sizeof(*w));
    struct tensor t = put(dev, DTYPE_F32, n, k, w), back = poison(dev, DTYPE_F32, n, k);
    struct packed p;
    size_t nonzero = 0;

    for (size_t i = 0; i < n * k; i++) {
        want[i] = w[i] == 0 ? 0 : w[i];
        nonzero += w[i] != 0;
    }
    dev->ops->decode->pack(dev, &p, t, kind);
    CHECK(p.kind == kind && p.dtype == DTYPE_F32 && p.n_out == n && p.n_in == k);
    CHECK(p.n_nonzero == nonzero);
    if (kind == PACKED_ROWS)
        CHECK(p.nbytes == n * k * 4 && p.data == t.data && !p.index);
    else if (kind == PACKED_COLUMNS)
        CHECK(p.nbytes >= n * k * 4 && p.nbytes < (n + 8) * k * 4);
    else /* values; a bit for each row, rounded up to blocks; a place for each column of a block */
        CHECK(p.nbytes >= nonzero * 4 + n * k / 8 &&
              p.nbytes <= nonzero * 4 + (n + 256) / 8 * k + (n / 32 + 1) * (4 * k + 8));
    dev->ops->decode->unpack(dev, back, &p);
    CHECK(same_bits(back.data, want, n * k * sizeof(*w)));
    CHECK(same_bits(t.data, w, n * k * sizeof(*w)));
    dev->ops->decode->packed_free(dev, &p);
    CHECK(!p.data && !p.index);
    free(w);
    free(want);
    device_tensor_free(dev, &t);
    device_tensor_free(dev, &back);
}

static void test_unpack_restores_what_was_packed(void)
{
    for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++)
        for (int w = 0; w < N_WEIGHTS; w++)
            for (int k = 0; k < 3; k++)
                check_pack(shapes[s][0], shapes[s][1], w, kinds[k]);
}

/* Every bit pattern that is not zero: NaN with its payload, infinities, the smallest subnormal. */
static void test_odd_bits_survive(void)
{
    static const uint32_t bits[] = {0x7fc12345, 0xffc00001, 0x7f800000, 0xff800000, 1,
                                    0x80000001, 0x007fffff, 0x7f7fffff, 0,          0x80000000};
    float w[40 * 10], want[40 * 10];

    for (size_t i = 0; i < 400; i++) {
        uint32_t b = bits[(i + i / 10) % 10], z = b == 0x80000000 ? 0 : b;

        memcpy(&w[i], &b, sizeof(b));
        memcpy(&want[i], &z, sizeof(z));
    }
    for (int k = 0; k < 3; k++) {
        struct tensor t = put(dev, DTYPE_F32, 40, 10, w), back = poison(dev, DTYPE_F32, 40, 10);
        struct packed p;

        dev->ops->decode->pack(dev, &p, t, kinds[k]);
        CHECK(p.n_nonzero == 320);
        dev->ops->decode->unpack(dev, back, &p);
        CHECK(same_bits(back.data, want, sizeof(want)));
        dev->ops->decode->packed_free(dev, &p);
        device_tensor_free(dev, &t);
        device_tensor_free(dev, &back);
    }
}

/* ---- gemv */

/* The largest error as a share of what float32 allows: a few units of the sum of magnitudes. */
static double gemv_misfit(const float *got, const float *w, const float *x, const float *before,
                          size_t n, size_t k)
{
    double worst = 0;

    for (size_t r = 0; r < n; r++) {
        double want = before ? before[r] : 0, size = fabs(want), e;

        for (size_t j = 0; j < k; j++) {
            want += (double)w[r * k + j] * x[j];
            size += fabs((double)w[r * k + j] * x[j]);
        }
        e = fabs(got[r] - want) / (1e-6 * size + 1e-43 * (double)k);
        worst = isnan(e) ? INFINITY : fmax(worst, e);
    }
    return worst;
}

static void check_gemv(size_t n, size_t k, int weight, int input, int accumulate)
{
    float *w = weights(n, k, weight), *x = inputs(k, input), *o = random_floats(&rng, n, 1);
    struct tensor t = put(dev, DTYPE_F32, n, k, w), xt = put(dev, DTYPE_F32, 1, k, x);

    for (int i = 0; i < 3; i++) {
        struct tensor out =
            accumulate ? put(dev, DTYPE_F32, 1, n, o) : poison(dev, DTYPE_F32, 1, n);
        struct packed p;
        double e;

        dev->ops->decode->pack(dev, &p, t, kinds[i]);
        dev->ops->decode->gemv(dev, out, xt, &p, accumulate);
        e = gemv_misfit(out.data, w, x, accumulate ? o : NULL, n, k);
        if (!(e <= 1))
            printf("# %zu x %zu, weights %d, input %d, kind %d: %g\n", n, k, weight, input, i, e);
        CHECK(e <= 1);
        dev->ops->decode->packed_free(dev, &p);
        device_tensor_free(dev, &out);
    }
    free(w);
    free(x);
    free(o);
    device_tensor_free(dev, &t);
    device_tensor_free(dev, &xt);
}

static void test_gemv_is_a_loop_in_double(void)
{
    for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++)
        for (int w = 0; w < N_WEIGHTS; w++)
            for (int i = 0; i < N_INPUTS; i++)
                check_gemv(shapes[s][0], shapes[s][1], w, i, (w + i) % 2);
}

/* What meets a zero is not read, and a value that is no number stays in its row. */
static void test_what_is_skipped_leaves_no_trace(void)
{
    enum { N = 43, K = 21 };
    float w[N * K] = {0}, x[K];
    struct tensor t, xt;

    for (size_t i = 0; i < N * K; i++)
        w[i] = i % K % 3 == 1 ? (i % 2 ? NAN : INFINITY) : i / K % 4 == 2 ? 0 : 1;
    for (size_t j = 0; j < K; j++) {
        x[j] = j % 3 == 1 ? (j % 2 ? -0.0f : 0) : 1;
        w[5 * K + j] = j % 3 == 2 ? NAN : 0; /* row 5 is NaN, its neighbours are not */
        w[11 * K + j] = j % 3 == 2 ? INFINITY : 0;
    }
    t = put(dev, DTYPE_F32, N, K, w);
    xt = put(dev, DTYPE_F32, 1, K, x);
    for (int i = 1; i < 3; i++) {
        struct tensor out = poison(dev, DTYPE_F32, 1, N);
        const float *o = out.data;
        struct packed p;

        dev->ops->decode->pack(dev, &p, t, kinds[i]);
        dev->ops->decode->gemv(dev, out, xt, &p, 0);
        for (size_t r = 0; r < N; r++)
            CHECK(r == 5 ? isnan(o[r]) : o[r] == (r == 11 ? INFINITY : r % 4 == 2 ? 0 : 14));
        dev->ops->decode->packed_free(dev, &p);
        device_tensor_free(dev, &out);
    }
    device_tensor_free(dev, &t);
    device_tensor_free(dev, &xt);
}

/* Also packed by one device and read by another: threads cut the rows in other blocks. */
static void test_bits_do_not_depend_on_the_threads(void)
{
    enum { N = 1501, K = 603 };
    float *w = weights(N, K, 1), *x = inputs(K, 1), first[N];
    static const int threads[] = {1, 2, 3, 8};

    for (int i = 0; i < 3; i++)
        for (int n = 0; n < 4; n++) {
            struct device *d;
            struct tensor t, xt, out;
            struct packed p;

            CHECK(device_open(&d, "cpu", threads[n]) == 0);
            t = put(d, DTYPE_F32, N, K, w);
            xt = put(d, DTYPE_F32, 1, K, x);
            out = poison(d, DTYPE_F32, 1, N);
            d->ops->decode->pack(d, &p, t, kinds[i]);
            d->ops->decode->gemv(d, out, xt, &p, 0);
            if (n == 0)
                memcpy(first, out.data, sizeof(first));
            CHECK(same_bits(first, out.data, sizeof(first)));
            memset(out.data, 0xff, sizeof(first));
            dev->ops->decode->gemv(dev, out, xt, &p, 0);
            CHECK(same_bits(first, out.data, sizeof(first)));
            d->ops->decode->packed_free(d, &p);
            device_tensor_free(d, &t);
            device_tensor_free(d, &xt);
            device_tensor_free(d, &out);
            device_close(d);
        }
    free(w);
    free(x);
}

/* The choices that measurements at 7B's shapes allow no doubt about. */
static void test_packing_that_is_chosen(void)
{
    CHECK(packed_choose(0, 0, DTYPE_F16) == PACKED_ROWS);
    CHECK(packed_choose(0, 0.5, DTYPE_F16) == PACKED_COLUMNS);
    CHECK(packed_choose(0.5, 0, DTYPE_F16) == PACKED_NONZEROS);
    CHECK(packed_choose(0.5, 0.5, DTYPE_BF16) == PACKED_NONZEROS);
    CHECK(packed_choose(0.05, 0.5, DTYPE_F16) == PACKED_COLUMNS);
    CHECK(packed_choose(0.05, 0, DTYPE_F16) == PACKED_ROWS);
}

int main(void)
{
    if (device_open(&dev, "cpu", 2))
        return 1;
    pcg32_init(&rng, 11, 0);
    RUN(test_unpack_restores_what_was_packed);
    RUN(test_odd_bits_survive);
    RUN(test_gemv_is_a_loop_in_double);
    RUN(test_what_is_skipped_leaves_no_trace);
    RUN(test_bits_do_not_depend_on_the_threads);
    RUN(test_packing_that_is_chosen);
    device_close(dev);
    return 0;
}
