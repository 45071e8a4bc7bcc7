/* The CPU backend's statistics and pruning operations against textbook loops in double. Decisions
 * (which weight is zeroed) must agree exactly; values within float32's rounding of the sums. */
#include "tests/kernels.h"

static struct device *dev;
static struct pcg32 rng;

static struct tensor up(size_t rows, size_t cols, const float *x)
{
    return put(dev, DTYPE_F32, rows, cols, x);
}

static float *at(struct tensor t)
{
    return t.data; /* the CPU's memory is the host's */
}

/* ---- statistics */

static void check_statistics(size_t t, size_t k, size_t m)
{
    float *a = random_floats(&rng, t * k, 1), *b = random_floats(&rng, t * m, 1);
    float *h0 = random_floats(&rng, k * k, 1), *want = xmalloc(k * (k + m + 1) * 4);
    float *c0 = random_floats(&rng, k * m, 1), *wc = want + k * k, *ws = wc + k * m;
    struct tensor at_ = up(t, k, a), bt = up(t, m, b), h = up(k, k, h0), c = up(k, m, c0),
                  s = up(1, k, h0);

    for (size_t i = 0; i < k; i++) {
        double sq = h0[i];

        for (size_t j = 0; j < k; j++) {
            size_t p = i < j ? i : j, q = i < j ? j : i;
            double v = h0[p * k + q];

            for (size_t r = 0; r < t; r++)
                v += (double)a[r * k + i] * a[r * k + j];
            want[i * k + j] = (float)v;
        }
        for (size_t j = 0; j < m; j++) {
            double v = c0[i * m + j];

            for (size_t r = 0; r < t; r++)
                v += (double)a[r * k + i] * b[r * m + j];
            wc[i * m + j] = (float)v;
        }
        for (size_t r = 0; r < t; r++)
            sq += (double)a[r * k + i] * a[r * k + i];
        ws[i] = (float)sq;
    }
    dev->ops->gram(dev, h, at_);
    dev->ops->mirror(dev, h);
    dev->ops->cross(dev, c, at_, bt);
    dev->ops->sum_squares(dev, s, at_);
    CHECK(relative_error(at(h), want, k * k) < 2e-6);
    CHECK(relative_error(at(c), wc, k * m) < 2e-6);
    CHECK(relative_error(at(s), ws, k) < 2e-6);
    free(a);
    free(b);
    free(h0);
    free(c0);
    free(want);
    device_tensor_free(dev, &at_);
    device_tensor_free(dev, &bt);
    device_tensor_free(dev, &h);
    device_tensor_free(dev, &c);
    device_tensor_free(dev, &s);
}

static void test_gram_cross_and_sums(void)
{
    check_statistics(1, 1, 1);
    check_statistics(100, 33, 20);
    check_statistics(50, 130, 129);
}

/* ---- small operations on matrices */

static void test_elementwise(void)
{
    float *a = random_floats(&rng, 35, 1), *b = random_floats(&rng, 35, 1),
          add[5] = {1, 2, 3, 4, 5};
    const int32_t rows[] = {4, 0, 2}, cols[] = {6, 6, 1, 0};
    struct tensor x = up(5, 7, a), y = up(5, 7, b), o = poison(dev, DTYPE_F32, 5, 7);
    struct tensor p = poison(dev, DTYPE_F32, 3, 4), sq = up(5, 5, a),
                  d = poison(dev, DTYPE_F32, 1, 5);

    dev->ops->subtract(dev, o, x, y);
    for (int i = 0; i < 35; i++)
        CHECK(at(o)[i] == a[i] - b[i]);
    dev->ops->permute(dev, p, x, rows, cols);
    for (int i = 0; i < 12; i++)
        CHECK(at(p)[i] == a[rows[i / 4] * 7 + cols[i % 4]]);
    dev->ops->permute(dev, o, x, NULL, NULL);
    CHECK(same_bits(o.data, a, sizeof(float) * 35));
    dev->ops->scale(dev, x, -2);
    CHECK(at(x)[34] == -2 * a[34]);
    dev->ops->get_diagonal(dev, d, sq);
    dev->ops->add_diagonal(dev, sq, add);
    for (int i = 0; i < 5; i++)
        CHECK(at(d)[i] == a[i * 6] && at(sq)[i * 6] == a[i * 6] + add[i]);
    dev->ops->upper_row_squares(dev, d, sq);
    CHECK_NEAR(at(d)[3], (double)at(sq)[19] * at(sq)[19], 1e-6);
    CHECK(at(d)[4] == 0);
    dev->ops->strict_upper(dev, sq, 0.5f);
    for (int i = 0; i < 25; i++)
        CHECK(at(sq)[i] == (i % 5 > i / 5 ? a[i] * 0.5f : 0));
    free(a);
    free(b);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &y);
    device_tensor_free(dev, &o);
    device_tensor_free(dev, &p);
    device_tensor_free(dev, &sq);
    device_tensor_free(dev, &d);
}

/* ---- the residual stream */

static void test_residual(void)
{
    float *a = random_floats(&rng, 35, 1), *b = random_floats(&rng, 35, 1), *r;
    struct tensor x = up(5, 7, a), y, row;
    double got[5];

    r = random_floats(&rng, 7, 1);
    memset(b, 0, 7 * sizeof(*b)); /* row 0: no length */
    for (int j = 0; j < 7; j++)
        b[7 + j] = -3 * a[7 + j];
    y = up(5, 7, b);
    row = up(1, 7, r);
    dev->ops->row_cosine(dev, got, x, y);
    CHECK(got[0] == 0);
    CHECK_NEAR(got[1], -1, 1e-7); /* 3 a is rounded */
    for (int t = 2; t < 5; t++) {
        double xx = 0, yy = 0, xy = 0;

        for (int j = 0; j < 7; j++) {
            xx += (double)a[t * 7 + j] * a[t * 7 + j];
            yy += (double)b[t * 7 + j] * b[t * 7 + j];
            xy += (double)a[t * 7 + j] * b[t * 7 + j];
        }
        CHECK_NEAR(got[t], xy / sqrt(xx * yy), 1e-14);
    }
    dev->ops->add_row(dev, x, row);
    for (int i = 0; i < 35; i++)
        CHECK(at(x)[i] == a[i] + r[i % 7]);
    free(a);
    free(b);
    free(r);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &y);
    device_tensor_free(dev, &row);
}

/* H = sum of values[i] v_i v_i^T, descending, v orthonormal. rank < k: the last values are 0. */
static void check_eigen(size_t k, size_t rank)
{
    float *x = random_floats(&rng, rank * k, 1), *h = xcalloc(k * k, sizeof(*h));
    struct tensor hm, v = poison(dev, DTYPE_F32, k, k), values = poison(dev, DTYPE_F32, 1, k);
    double worst = 0, scale;

    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            for (size_t r = 0; r < rank; r++)
                h[i * k + j] += x[r * k + i] * x[r * k + j];
    hm = up(k, k, h);
    CHECK(dev->ops->eigen(dev, v, values, hm) == 0);
    scale = at(values)[0];
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            double sum = 0, dot = 0;

            for (size_t l = 0; l < k; l++) {
                sum += (double)at(values)[l] * at(v)[l * k + i] * at(v)[l * k + j];
                dot += (double)at(v)[i * k + l] * at(v)[j * k + l];
            }
            worst = fmax(worst, fabs(sum - h[i * k + j]) / scale);
            worst = fmax(worst, fabs(dot - (i == j)));
        }
    CHECK(worst < 1e-6);
    for (size_t i = 1; i < k; i++)
        CHECK(at(values)[i] <= at(values)[i - 1]);
    if (rank < k)
        CHECK_NEAR(at(values)[rank] / scale, 0, 1e-6);
    free(x);
    free(h);
    device_tensor_free(dev, &hm);
    device_tensor_free(dev, &v);
    device_tensor_free(dev, &values);
}

static void test_eigen(void)
{
    check_eigen(1, 1);
    check_eigen(9, 20);
    check_eigen(33, 12);
    check_eigen(120, 150);
}

static void check_multiply(size_t m, size_t n, size_t p, int transposed)
{
    float *a = random_floats(&rng, m * n, 1), *b = random_floats(&rng, n * p, 1);
    float *want = xmalloc(m * p * 4);
    struct tensor at_ = up(m, n, a), bt = transposed ? up(p, n, b) : up(n, p, b);
    struct tensor c = poison(dev, DTYPE_F32, m, p);

    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < p; j++) {
            double v = 0;

            for (size_t l = 0; l < n; l++)
                v += (double)a[i * n + l] * b[transposed ? j * n + l : l * p + j];
            want[i * p + j] = (float)v;
        }
    dev->ops->multiply(dev, c, at_, bt, transposed);
    CHECK(relative_error(at(c), want, m * p) < 2e-6);
    free(a);
    free(b);
    free(want);
    device_tensor_free(dev, &at_);
    device_tensor_free(dev, &bt);
    device_tensor_free(dev, &c);
}

static void test_multiply(void)
{
    check_multiply(1, 1, 1, 0);
    check_multiply(130, 65, 129, 0);
    check_multiply(33, 100, 140, 1);
}

/* ---- factor */

/* U^T U H = I, tested as H U^T (U v) = v for one v. */
static void check_factor(size_t k)
{
    float *h = positive_definite(&rng, k + 5, k, 0.5);
    double *v = xcalloc(3 * k, sizeof(*v)), *a = v + k, *b = a + k, worst = 0;
    struct tensor ht = up(k, k, h), u = poison(dev, DTYPE_F32, k, k);

    CHECK(dev->ops->inverse_factor(dev, u, ht) == 0);
    for (size_t i = 0; i < k; i++)
        v[i] = pcg32_normal(&rng);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            a[i] += (double)at(u)[i * k + j] * v[j];
            CHECK(j >= i || at(u)[i * k + j] == 0);
        }
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            b[j] += (double)at(u)[i * k + j] * a[i];
    for (size_t i = 0; i < k; i++) {
        double r = -v[i];

        for (size_t j = 0; j < k; j++)
            r += (double)h[i * k + j] * b[j];
        worst = fabs(r) > worst ? fabs(r) : worst;
    }
    CHECK(worst < 1e-4); /* U is stored in float32: 6e-8 times a condition number below 1e3 */
    free(h);
    free(v);
    device_tensor_free(dev, &ht);
    device_tensor_free(dev, &u);
}

static void test_inverse_factor(void)
{
    float bad[9] = {1, 0, 0, 0, -1, 0, 0, 0, 1};
    struct tensor h = up(3, 3, bad), u = poison(dev, DTYPE_F32, 3, 3);

    check_factor(1);
    check_factor(6);
    check_factor(150);
    CHECK(dev->ops->inverse_factor(dev, u, h) == 2);
    device_tensor_free(dev, &h);
    device_tensor_free(dev, &u);
}

/* ---- the walk: every column's update goes to all columns on its right at once */

struct walk_case {
    size_t n, k;
    struct obs_options opt;
    int with_d;
};

/* Zeroes in zero[] the nm_n smallest scores of columns [p, p + m) of row w. */
static void textbook_nm(char *zero, const double *w, const float *coef, size_t p, size_t m,
                        size_t n)
{
    for (size_t i = 0; i < n && i < m; i++) {
        size_t best = p + m;

        for (size_t j = p; j < p + m; j++)
            if (!zero[j] &&
                (best == p + m || w[j] * w[j] * coef[j] < w[best] * w[best] * coef[best]))
                best = j;
        zero[best] = 1;
    }
}

static void textbook_walk(const struct walk_case *c, double *w, const float *u, const float *d,
                          const float *coef)
{
    size_t n = c->n, k = c->k, b = c->opt.block, m = c->opt.nm_m;
    float *s = xmalloc(n * b * sizeof(*s));
    char *zero = xcalloc(n * k, 1);

    for (size_t p = 0; p < k; p++) {
        size_t first = p / b * b, end = first + b < k ? first + b : k, numel = n * (end - first);

        if (p == first && !m && c->opt.sparsity > 0) { /* threshold over the block */
            float t;

            for (size_t i = 0; i < numel; i++) {
                size_t r = i / (end - first), j = first + i % (end - first);

                s[i] = (float)w[r * k + j] * (float)w[r * k + j] * coef[j];
            }
            for (size_t i = 0; i < numel; i++)
                zero[i / (end - first) * k + first + i % (end - first)] = 0;
            qsort(s, numel, sizeof(*s), by_value);
            t = s[(size_t)((double)numel * c->opt.sparsity)];
            for (size_t r = 0; r < n; r++)
                for (size_t j = first; j < end; j++)
                    zero[r * k + j] = (float)w[r * k + j] * (float)w[r * k + j] * coef[j] <= t;
        }
        for (size_t r = 0; r < n; r++) {
            double *row = w + r * k, before, q, err;

            if (m && (p - first) % m == 0)
                textbook_nm(zero + r * k, row, coef, p, end - p < m ? end - p : m, c->opt.nm_n);
            before = row[p];
            q = zero[r * k + p] ? 0 : before;
            err = (before - q) / u[p * k + p];
            for (size_t j = p + 1; j < k; j++) {
                double v = j < end || c->opt.lazy_exact ? before : q;

                row[j] -= err * u[p * k + j] - (d ? v * d[p * k + j] : 0);
            }
            row[p] = q;
        }
    }
    free(s);
    free(zero);
}

static void check_walk(struct walk_case c)
{
    size_t n = c.n, k = c.k;
    float *h = positive_definite(&rng, 2 * k, k, 1), *w = random_floats(&rng, n * k, 1);
    float *d = random_floats(&rng, k * k, 0.02), *coef = random_floats(&rng, k, 1), *want;
    struct tensor ht = up(k, k, h), u = poison(dev, DTYPE_F32, k, k), wt, dt, ct;
    double *exact = xmalloc(n * k * sizeof(*exact));
    size_t zeros = 0;

    for (size_t i = 0; i < n * k; i++)
        exact[i] = w[i];
    for (size_t j = 0; j < k; j++)
        coef[j] = j % 7 == 3 ? -0.1f : fabsf(coef[j]) + 0.1f; /* scores may be negative */
    CHECK(dev->ops->inverse_factor(dev, u, ht) == 0);
    wt = up(n, k, w);
    dt = up(k, k, d);
    ct = up(1, k, coef);
    textbook_walk(&c, exact, at(u), c.with_d ? d : NULL, coef);
    dev->ops->obs_prune(dev, wt, u, c.with_d ? dt : (struct tensor){0}, ct, &c.opt);
    want = xmalloc(n * k * sizeof(*want));
    for (size_t i = 0; i < n * k; i++) {
        want[i] = (float)exact[i];
        zeros += (at(wt)[i] == 0) != (want[i] == 0);
    }
    CHECK(zeros == 0);
    CHECK(relative_error(at(wt), want, n * k) < 1e-5);
    free(h);
    free(w);
    free(d);
    free(coef);
    free(exact);
    free(want);
    device_tensor_free(dev, &ht);
    device_tensor_free(dev, &u);
    device_tensor_free(dev, &wt);
    device_tensor_free(dev, &dt);
    device_tensor_free(dev, &ct);
}

static void test_obs_prune(void)
{
    check_walk((struct walk_case){6, 6, {128, 0.5, 0, 0, 1, NULL}, 1});
    check_walk((struct walk_case){10, 70, {16, 0.5, 0, 0, 1, NULL}, 1});
    check_walk((struct walk_case){10, 70, {16, 0.5, 0, 0, 0, NULL}, 1});
    check_walk((struct walk_case){33, 50, {32, 0.65, 0, 0, 1, NULL}, 0});
    check_walk((struct walk_case){9, 64, {32, 0, 2, 4, 1, NULL}, 1});
    check_walk((struct walk_case){9, 70, {32, 0, 4, 8, 0, NULL}, 1});
    check_walk((struct walk_case){9, 70, {32, 0, 0, 0, 1, NULL}, 1}); /* nothing pruned, D alone */
}

/* ---- masks */

static void check_mask(size_t n, size_t k, int scaled, double s, int per_row, size_t nm_n,
                       size_t nm_m)
{
    float *w = tied_floats(&rng, n * k), *sc = random_floats(&rng, k, 1), *sorted, *want;
    int whole = !per_row && !nm_m;
    size_t run = whole ? n * k : nm_m ? nm_m : k;
    struct tensor wt, st;

    for (size_t j = 0; j < k; j++)
        sc[j] = scaled ? fabsf(sc[j]) : 1;
    wt = up(n, k, w);
    st = up(1, k, sc);
    want = xmalloc(n * k * 4);
    memcpy(want, w, n * k * 4);
    sorted = xmalloc(n * k * 4);
    for (size_t i = 0; i < n * k; i++)
        w[i] = fabsf(w[i]) * sc[i % k];
    for (size_t first = 0; first < n * k;) {
        size_t row_end = (first / k + 1) * k;
        size_t end = whole ? n * k : first + run < row_end ? first + run : row_end;
        size_t count = nm_m ? nm_n : (size_t)((double)(end - first) * s);
        float t;

        memcpy(sorted, w + first, (end - first) * 4);
        qsort(sorted, end - first, sizeof(float), by_value);
        if (whole) { /* every score up to the threshold */
            t = sorted[count];
            for (size_t i = first; i < end; i++)
                want[i] = w[i] <= t ? 0 : want[i];
        } else if (count > 0) { /* exactly count, lowest column first among equals */
            size_t less = 0;

            t = sorted[count < end - first ? count - 1 : end - first - 1];
            for (size_t i = first; i < end; i++)
                less += w[i] < t;
            for (size_t i = first; i < end; i++)
                if (w[i] < t || (w[i] == t && less < count && ++less))
                    want[i] = 0;
        }
        first = end;
    }
    dev->ops->mask_smallest(dev, wt, scaled ? st : (struct tensor){0},
                            &(struct mask_options){s, per_row, nm_n, nm_m, NULL});
    CHECK(misfit(at(wt), want, n * k, 0, 0) == 0);
    free(w);
    free(sc);
    free(want);
    free(sorted);
    device_tensor_free(dev, &wt);
    device_tensor_free(dev, &st);
}

static void test_mask_smallest(void)
{
    for (int scaled = 0; scaled < 2; scaled++) {
        check_mask(7, 33, scaled, 0.5, 0, 0, 0);
        check_mask(7, 33, scaled, 0.5, 1, 0, 0);
        check_mask(40, 1, scaled, 0.3, 0, 0, 0);
        check_mask(1, 100, scaled, 0.9, 1, 0, 0);
        check_mask(5, 64, scaled, 0, 0, 2, 4);
        check_mask(5, 30, scaled, 0, 0, 4, 8);
    }
}

static void test_counts(void)
{
    float x[] = {0, -0.0f, 1, 2, 0, 3};
    struct tensor t = up(2, 3, x);

    CHECK(dev->ops->count_zeros(dev, t) == 3 && dev->ops->all_finite(dev, t) == 1);
    at(t)[5] = INFINITY;
    CHECK(dev->ops->all_finite(dev, t) == 0);
    at(t)[5] = NAN;
    CHECK(dev->ops->all_finite(dev, t) == 0);
    device_tensor_free(dev, &t);
}

int main(void)
{
    pcg32_init(&rng, 20240608, 2);
    if (device_open(&dev, "cpu", 0) != 0)
        return 1;
    RUN(test_gram_cross_and_sums);
    RUN(test_elementwise);
    RUN(test_residual);
    RUN(test_eigen);
    RUN(test_multiply);
    RUN(test_inverse_factor);
    RUN(test_obs_prune);
    RUN(test_mask_smallest);
    RUN(test_counts);
    device_close(dev);
    return 0;
}
