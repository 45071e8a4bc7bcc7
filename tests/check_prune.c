/* Kernel checker: statistics and pruning. Which weight becomes zero must agree exactly. */
#include "tests/check_kernels.h"

/* A matrix on both devices, rounded to t for both. */
struct both {
    struct tensor d, r;
};

static struct both both_put(enum dtype t, size_t rows, size_t cols, float *x)
{
    struct both b;

    round_to(x, rows * cols, t);
    b.d = put(dev, t, rows, cols, x);
    b.r = put(ref, DTYPE_F32, rows, cols, x);
    return b;
}

static void both_free(struct both *b)
{
    device_tensor_free(dev, &b->d);
    device_tensor_free(ref, &b->r);
}

/* ||device - CPU|| / ||CPU|| */
static double difference(struct both b)
{
    float *got = get(dev, b.d);
    double e = relative_error(got, b.r.data, tensor_numel(b.r));

    free(got);
    return e;
}

static int equal(struct both b)
{
    float *got = get(dev, b.d);
    int same = misfit(got, b.r.data, tensor_numel(b.r), 0, 0) == 0;

    free(got);
    return same;
}

/* ---- statistics. Tolerance 1e-5: sums of products in float32, in another order */

static void statistics_case(enum dtype t, size_t rows, size_t k, size_t m)
{
    float *x = random_floats(&rng, rows * k, 1), *y = random_floats(&rng, rows * m, 1);
    float *z = random_floats(&rng, rows * k, 1), *h0 = random_floats(&rng, k * (k > m ? k : m), 1);
    struct both a = both_put(t, rows, k, x), b = both_put(t, rows, m, y),
                c = both_put(t, rows, k, z);
    struct both h = both_put(DTYPE_F32, k, k, h0), s = both_put(DTYPE_F32, 1, k, h0);
    struct both cr = both_put(DTYPE_F32, k, m, h0);

    ref->ops->gram(ref, h.r, a.r);
    dev->ops->gram(dev, h.d, a.d);
    ref->ops->mirror(ref, h.r);
    dev->ops->mirror(dev, h.d);
    ref->ops->cross(ref, cr.r, a.r, b.r);
    dev->ops->cross(dev, cr.d, a.d, b.d);
    ref->ops->sum_squares(ref, s.r, a.r);
    dev->ops->sum_squares(dev, s.d, a.d);
    EXPECT(difference(h) < 1e-5, "gram %s %zu x %zu: %g", dtype_name(t), rows, k, difference(h));
    EXPECT(difference(cr) < 1e-5, "cross %s %zu x %zu x %zu", dtype_name(t), rows, k, m);
    EXPECT(difference(s) < 1e-5, "sum_squares %s %zu x %zu", dtype_name(t), rows, k);
    ref->ops->subtract(ref, a.r, a.r, c.r);
    round_to(a.r.data, rows * k, t);
    dev->ops->subtract(dev, a.d, a.d, c.d);
    EXPECT(equal(a), "subtract %s", dtype_name(t));
    free(x);
    free(y);
    free(z);
    free(h0);
    both_free(&a);
    both_free(&b);
    both_free(&c);
    both_free(&h);
    both_free(&s);
    both_free(&cr);
}

static void test_statistics(void)
{
    FOR_DTYPES(t)
    {
        statistics_case(t, 1, 1, 1);
        statistics_case(t, 100, 33, 20);
        statistics_case(t, 50, 130, 129);
        if (!quick)
            statistics_case(t, 300, 1040, 64);
    }
}

/* ---- small operations: to the bit */

static void elementwise_case(size_t rows, size_t cols)
{
    float *x = random_floats(&rng, rows * cols, 1), *v = random_floats(&rng, rows, 1);
    struct both a = both_put(DTYPE_F32, rows, cols, x), o = both_put(DTYPE_F32, cols, rows, x);
    int32_t *ri = xmalloc(cols * 4), *ci = xmalloc(rows * 4);

    for (size_t i = 0; i < cols; i++)
        ri[i] = (int32_t)pcg32_below(&rng, (uint32_t)rows);
    for (size_t i = 0; i < rows; i++)
        ci[i] = (int32_t)pcg32_below(&rng, (uint32_t)cols);
    ref->ops->permute(ref, o.r, a.r, ri, ci);
    dev->ops->permute(dev, o.d, a.d, ri, ci);
    EXPECT(equal(o), "permute");
    ref->ops->scale(ref, a.r, 0.3f);
    dev->ops->scale(dev, a.d, 0.3f);
    EXPECT(equal(a), "scale");
    if (rows == cols) {
        struct both d = both_put(DTYPE_F32, 1, rows, v);

        ref->ops->permute(ref, o.r, a.r, NULL, ci);
        dev->ops->permute(dev, o.d, a.d, NULL, ci);
        EXPECT(equal(o), "permute columns");
        ref->ops->get_diagonal(ref, d.r, a.r);
        dev->ops->get_diagonal(dev, d.d, a.d);
        EXPECT(equal(d), "get_diagonal");
        ref->ops->add_diagonal(ref, a.r, v);
        dev->ops->add_diagonal(dev, a.d, v);
        EXPECT(equal(a), "add_diagonal");
        ref->ops->upper_row_squares(ref, d.r, a.r);
        dev->ops->upper_row_squares(dev, d.d, a.d);
        EXPECT(difference(d) < 1e-6, "upper_row_squares");
        ref->ops->strict_upper(ref, a.r, -0.7f);
        dev->ops->strict_upper(dev, a.d, -0.7f);
        EXPECT(equal(a), "strict_upper");
        both_free(&d);
    }
    {
        struct both p = both_put(DTYPE_F32, rows, cols, x), q = both_put(DTYPE_F32, rows, cols, x);
        struct both row = both_put(DTYPE_F32, 1, cols, x);
        double *got = xmalloc(rows * sizeof(*got)), *want = xmalloc(rows * sizeof(*want));
        double *d_out = dev->ops->alloc(dev, rows * sizeof(*got)), worst = 0;

        ref->ops->add_row(ref, p.r, row.r);
        dev->ops->add_row(dev, p.d, row.d);
        EXPECT(equal(p), "add_row");
        ref->ops->row_cosine(ref, want, p.r, q.r);
        dev->ops->row_cosine(dev, d_out, p.d, q.d);
        dev->ops->download(dev, got, d_out, rows * sizeof(*got));
        for (size_t i = 0; i < rows; i++)
            worst = fmax(worst, fabs(got[i] - want[i]));
        EXPECT(worst < 1e-13, "row_cosine: %g", worst);
        free(got);
        free(want);
        dev->ops->free(dev, d_out);
        both_free(&p);
        both_free(&q);
        both_free(&row);
    }
    free(x);
    free(v);
    free(ri);
    free(ci);
    both_free(&a);
    both_free(&o);
}

static void test_elementwise(void)
{
    elementwise_case(1, 1);
    elementwise_case(37, 90);
    elementwise_case(300, 300);
}

/* In two parts every row of c = a op(b) gets the bits that it has in the whole. */
static int same_in_parts(struct tensor c, struct tensor a, struct tensor b, int transposed)
{
    const size_t first = c.rows / 2 / dev->ops->row_tile * dev->ops->row_tile;
    const size_t rest = c.rows - first, nbytes = tensor_nbytes(c);
    char *whole = xmalloc(nbytes), *parts = xmalloc(nbytes);
    int same;

    dev->ops->download(dev, whole, c.data, nbytes);
    dev->ops->zero(dev, c.data, nbytes);
    if (first)
        dev->ops->multiply(dev, tensor_rows(c, 0, first), tensor_rows(a, 0, first), b, transposed);
    dev->ops->multiply(dev, tensor_rows(c, first, rest), tensor_rows(a, first, rest), b,
                       transposed);
    dev->ops->download(dev, parts, c.data, nbytes);
    same = memcmp(whole, parts, nbytes) == 0;
    free(whole);
    free(parts);
    return same;
}

static void multiply_case(size_t m, size_t n, size_t p, int transposed)
{
    float *x = random_floats(&rng, m * n, 1), *y = random_floats(&rng, n * p, 1);
    struct both a = both_put(DTYPE_F32, m, n, x);
    struct both b = both_put(DTYPE_F32, transposed ? p : n, transposed ? n : p, y);
    struct both c = {poison(dev, DTYPE_F32, m, p), poison(ref, DTYPE_F32, m, p)};

    ref->ops->multiply(ref, c.r, a.r, b.r, transposed);
    dev->ops->multiply(dev, c.d, a.d, b.d, transposed);
    EXPECT(difference(c) < 2e-6, "multiply %zu x %zu x %zu, %d: %g", m, n, p, transposed,
           difference(c)); /* float32, not TF32 */
    EXPECT(same_in_parts(c.d, a.d, b.d, transposed), "multiply %zu x %zu x %zu, %d, in parts", m, n,
           p, transposed);
    free(x);
    free(y);
    both_free(&a);
    both_free(&b);
    both_free(&c);
}

static void test_multiply(void)
{
    multiply_case(1, 1, 1, 0);
    multiply_case(130, 65, 129, 0);
    multiply_case(33, 100, 140, 1);
    multiply_case(600, 128, 300, 0);
    if (!quick) {
        multiply_case(512, 768, 512, 1);
        multiply_case(1500, 1024, 1024, 0);
    }
}

/* Both factor in float64 and round once: 1e-6 relative. */
static void factor_case(size_t k)
{
    float *h = positive_definite(&rng, k + 5, k, 0.5);
    struct both a = both_put(DTYPE_F32, k, k, h);
    struct both u = {poison(dev, DTYPE_F32, k, k), poison(ref, DTYPE_F32, k, k)};

    EXPECT(ref->ops->inverse_factor(ref, u.r, a.r) == 0, "CPU's factor of %zu", k);
    EXPECT(dev->ops->inverse_factor(dev, u.d, a.d) == 0, "factor of %zu", k);
    EXPECT(difference(u) < 1e-6, "inverse_factor %zu: %g", k, difference(u));
    free(h);
    both_free(&a);
    both_free(&u);
}

/* Both in float64. Values as the CPU's; vectors, whose signs are free, by what they make: with row
 * i of v scaled by values[i] to vs, h = vs^T v. */
static void eigen_case(size_t k)
{
    float *h = positive_definite(&rng, k + 5, k, 0.5), *lambda, *v;
    struct both a = both_put(DTYPE_F32, k, k, h), b = both_put(DTYPE_F32, k, k, h);
    struct both ve = {poison(dev, DTYPE_F32, k, k), poison(ref, DTYPE_F32, k, k)};
    struct both va = {poison(dev, DTYPE_F32, 1, k), poison(ref, DTYPE_F32, 1, k)};
    struct tensor vs, made = put(dev, DTYPE_F32, k, k, h);

    EXPECT(ref->ops->eigen(ref, ve.r, va.r, a.r) == 0, "CPU's eigenvectors of %zu", k);
    EXPECT(dev->ops->eigen(dev, ve.d, va.d, a.d) == 0, "eigenvectors of %zu", k);
    EXPECT(difference(va) < 1e-6, "eigen %zu: values %g", k, difference(va));
    v = get(dev, ve.d);
    lambda = get(dev, va.d);
    for (size_t i = 0; i < k * k; i++)
        v[i] *= lambda[i / k];
    vs = put(dev, DTYPE_F32, k, k, v);
    dev->ops->zero(dev, made.data, tensor_nbytes(made));
    dev->ops->cross(dev, made, vs, ve.d);
    device_tensor_free(dev, &a.d);
    device_tensor_free(ref, &a.r);
    a = (struct both){made, b.r};
    EXPECT(difference(a) < 1e-5, "eigen %zu: vectors %g", k, difference(a));
    device_tensor_free(dev, &made);
    device_tensor_free(dev, &vs);
    free(h);
    free(v);
    free(lambda);
    both_free(&b);
    both_free(&ve);
    both_free(&va);
}

/* Half of w is pruned; row 0 wholly. Tolerance: the condition of h, bounded by its damping. */
static void refit_case(size_t n, size_t k)
{
    float *h = positive_definite(&rng, k + 5, k, 0.5), *w = random_floats(&rng, n * k, 1);
    float *c = random_floats(&rng, n * k, 1);
    struct both a = both_put(DTYPE_F32, k, k, h), t = both_put(DTYPE_F32, n, k, c), x;

    for (size_t i = 0; i < n * k; i++)
        w[i] = i < k || pcg32_below(&rng, 2) ? 0 : w[i];
    x = both_put(DTYPE_F32, n, k, w);
    ref->ops->refit(ref, x.r, a.r, t.r, 12);
    dev->ops->refit(dev, x.d, a.d, t.d, 12);
    EXPECT(difference(x) < 1e-4, "refit %zu x %zu: %g", n, k, difference(x));
    EXPECT(dev->ops->count_zeros(dev, x.d) == ref->ops->count_zeros(ref, x.r),
           "refit %zu x %zu: zeros", n, k);
    free(h);
    free(w);
    free(c);
    both_free(&a);
    both_free(&t);
    both_free(&x);
}

static void test_refit(void)
{
    refit_case(1, 1);
    refit_case(3, 33);
    refit_case(65, 300);
}

static void test_eigen(void)
{
    eigen_case(1);
    eigen_case(6);
    eigen_case(150);
    if (!quick)
        eigen_case(500);
}

static void test_inverse_factor(void)
{
    float bad[9] = {1, 0, 0, 0, -1, 0, 0, 0, 1};
    struct tensor h = put(dev, DTYPE_F32, 3, 3, bad), u = poison(dev, DTYPE_F32, 3, 3);

    factor_case(1);
    factor_case(6);
    factor_case(150);
    if (!quick)
        factor_case(700);
    CHECK(dev->ops->inverse_factor(dev, u, h) == 2);
    device_tensor_free(dev, &h);
    device_tensor_free(dev, &u);
}

/* ---- the walk: the same zeros, values within 1e-5 */

static void walk_case(size_t n, size_t k, struct obs_options opt, int with_d)
{
    float *h = positive_definite(&rng, 2 * k, k, 1), *x = random_floats(&rng, n * k, 1), *got;
    float *dd = random_floats(&rng, k * k, 0.02), *cf = random_floats(&rng, k, 1), *uu;
    struct both w, u, d, coef;
    struct tensor ht = put(ref, DTYPE_F32, k, k, h), none = {0};
    size_t differ = 0;

    for (size_t j = 0; j < k; j++)
        cf[j] = j % 7 == 3 ? -0.1f : fabsf(cf[j]) + 0.1f;
    uu = xmalloc(k * k * 4);
    u.r = put(ref, DTYPE_F32, k, k, h);
    EXPECT(ref->ops->inverse_factor(ref, u.r, ht) == 0, "CPU's factor");
    memcpy(uu, u.r.data, k * k * 4);
    u.d = put(dev, DTYPE_F32, k, k, uu);
    w = both_put(DTYPE_F32, n, k, x);
    d = both_put(DTYPE_F32, k, k, dd);
    coef = both_put(DTYPE_F32, 1, k, cf);
    ref->ops->obs_prune(ref, w.r, u.r, with_d ? d.r : none, coef.r, &opt);
    dev->ops->obs_prune(dev, w.d, u.d, with_d ? d.d : none, coef.d, &opt);
    got = get(dev, w.d);
    for (size_t i = 0; i < n * k; i++)
        differ += (got[i] == 0) != (((float *)w.r.data)[i] == 0);
    EXPECT(differ == 0 && difference(w) < 1e-5,
           "obs_prune %zu x %zu, block %zu, s %g, %zu:%zu, exact %d, D %d: %zu masks differ, %g", n,
           k, opt.block, opt.sparsity, opt.nm_n, opt.nm_m, opt.lazy_exact, with_d, differ,
           difference(w));
    free(h);
    free(x);
    free(dd);
    free(cf);
    free(uu);
    free(got);
    device_tensor_free(ref, &ht);
    both_free(&w);
    both_free(&u);
    both_free(&d);
    both_free(&coef);
}

static void test_obs_prune(void)
{
    walk_case(6, 6, (struct obs_options){128, 0.5, 0, 0, 1, NULL}, 1);
    walk_case(10, 70, (struct obs_options){16, 0.5, 0, 0, 1, NULL}, 1);
    walk_case(10, 70, (struct obs_options){16, 0.5, 0, 0, 0, NULL}, 1);
    walk_case(33, 150, (struct obs_options){48, 0.65, 0, 0, 1, NULL}, 0);
    walk_case(130, 300, (struct obs_options){128, 0.5, 0, 0, 1, NULL}, 1);
    walk_case(67, 300, (struct obs_options){200, 0.5, 0, 0, 0, NULL}, 1);
    walk_case(9, 64, (struct obs_options){32, 0, 2, 4, 1, NULL}, 1);
    walk_case(9, 70, (struct obs_options){32, 0, 4, 8, 0, NULL}, 1);
    walk_case(50, 200, (struct obs_options){128, 0, 2, 4, 1, NULL}, 1);
    walk_case(9, 70, (struct obs_options){32, 0, 0, 0, 1, NULL}, 1);
}

/* ---- masks: exactly equal */

static void mask_case(size_t n, size_t k, int tied, int scaled, double s, int per_row, size_t nm_n,
                      size_t nm_m)
{
    float *x = tied ? tied_floats(&rng, n * k) : random_floats(&rng, n * k, 1);
    float *sc = random_floats(&rng, k, 1);
    struct both w = both_put(DTYPE_F32, n, k, x), scale;
    struct tensor none = {0};
    struct mask_options opt = {s, per_row, nm_n, nm_m, NULL};

    for (size_t j = 0; j < k; j++)
        sc[j] = fabsf(sc[j]);
    scale = both_put(DTYPE_F32, 1, k, sc);
    ref->ops->mask_smallest(ref, w.r, scaled ? scale.r : none, &opt);
    dev->ops->mask_smallest(dev, w.d, scaled ? scale.d : none, &opt);
    EXPECT(equal(w), "mask %zu x %zu, tied %d, scaled %d, s %g, per row %d, %zu:%zu", n, k, tied,
           scaled, s, per_row, nm_n, nm_m);
    EXPECT(dev->ops->count_zeros(dev, w.d) == ref->ops->count_zeros(ref, w.r), "count_zeros");
    free(x);
    free(sc);
    both_free(&w);
    both_free(&scale);
}

static void test_mask_smallest(void)
{
    for (int i = 0; i < 4; i++) {
        mask_case(7, 33, i % 2, i / 2, 0.5, 0, 0, 0);
        mask_case(300, 1000, i % 2, i / 2, 0.65, 0, 0, 0);
        mask_case(7, 33, i % 2, i / 2, 0.5, 1, 0, 0);
        mask_case(40, 1, i % 2, i / 2, 0.3, 0, 0, 0);
        mask_case(3, 1, i % 2, i / 2, 0.3, 1, 0, 0);
        mask_case(5, 1000, i % 2, i / 2, 0.9, 1, 0, 0);
        mask_case(5, 64, i % 2, i / 2, 0, 0, 2, 4);
        mask_case(5, 30, i % 2, i / 2, 0, 0, 4, 8);
        mask_case(5, 300, i % 2, i / 2, 0, 0, 70, 100);
    }
}

static void test_counts(void)
{
    float x[1000] = {0};

    FOR_DTYPES(t)
    {
        for (int i = 0; i < 1000; i++)
            x[i] = i % 3 ? 1.0f : i % 2 ? 0.0f : -0.0f;
        for (int bad = 0; bad < 3; bad++) {
            struct tensor a;

            x[998] = bad == 0 ? 1 : bad == 1 ? INFINITY : NAN;
            a = put(dev, t, 8, 125, x);
            EXPECT(dev->ops->count_zeros(dev, a) == 334, "count_zeros %s", dtype_name(t));
            EXPECT(dev->ops->all_finite(dev, a) == !bad, "all_finite %s", dtype_name(t));
            device_tensor_free(dev, &a);
        }
    }
}

int check_prune(void)
{
    int failed = 0;

    RUN_AND_COUNT(test_statistics, failed);
    RUN_AND_COUNT(test_elementwise, failed);
    RUN_AND_COUNT(test_multiply, failed);
    RUN_AND_COUNT(test_inverse_factor, failed);
    RUN_AND_COUNT(test_eigen, failed);
    RUN_AND_COUNT(test_refit, failed);
    RUN_AND_COUNT(test_obs_prune, failed);
    RUN_AND_COUNT(test_mask_smallest, failed);
    RUN_AND_COUNT(test_counts, failed);
    return failed;
}
