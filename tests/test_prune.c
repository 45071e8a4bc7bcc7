/* The layer problem (METHOD sections 3 and 4) against brute force and a second implementation in
 * double: scores, single updates, whole walks, and the factor that they rest on. */
#include "tests/prune_case.h"

static struct device *dev;
static struct pcg32 rng;

/* ---- brute force: least squares over the columns right of p */

/* min over v of || v X_{>p} - target ||^2 / t for a row vector of t values. Returns the minimum; v
 * (k - p - 1 values) is its arg-min. By the normal equations, solved by inversion. */
static double least_squares(const struct prune_case *c, size_t p, const double *target, double *v)
{
    size_t m = c->k - p - 1, k = c->k;
    double *g = xmalloc((2 * m * m + m + 1) * sizeof(*g)), *inv = g + m * m, *rhs = inv + m * m;
    double loss = 0;

    for (size_t i = 0; i < m; i++) {
        rhs[i] = 0;
        for (size_t r = 0; r < c->t; r++)
            rhs[i] += c->x[r * k + p + 1 + i] * target[r];
        for (size_t j = 0; j < m; j++) {
            g[i * m + j] = 0;
            for (size_t r = 0; r < c->t; r++)
                g[i * m + j] += c->x[r * k + p + 1 + i] * c->x[r * k + p + 1 + j];
        }
    }
    invert(inv, g, m);
    for (size_t i = 0; i < m; i++) {
        v[i] = 0;
        for (size_t j = 0; j < m; j++)
            v[i] += inv[i * m + j] * rhs[j];
    }
    for (size_t r = 0; r < c->t; r++) {
        double e = -target[r];

        for (size_t i = 0; i < m; i++)
            e += v[i] * c->x[r * k + p + 1 + i];
        loss += e * e / (double)c->t;
    }
    free(g);
    return loss;
}

/* What the rest of the row has to make up for at step p, whose value is w: the residual of column p
 * alone, and the column itself where it is pruned. */
static void step_target(const struct prune_case *c, size_t p, double w, int pruned, double *target)
{
    for (size_t r = 0; r < c->t; r++)
        target[r] = w * (c->dx[r * c->k + p] + (pruned ? c->x[r * c->k + p] : 0));
}

/* ---- what obs_solve hands to the walk, caught on its way */

static struct caught {
    float *u, *d, *coef;
} caught;

static void catch_walk(struct device *d_, struct tensor w, struct tensor u, struct tensor d,
                       struct tensor coef, const struct obs_options *opt)
{
    (void)w;
    (void)opt;
    caught.u = get(d_, u);
    caught.d = d.data ? get(d_, d) : xcalloc(u.rows * u.cols, sizeof(float));
    caught.coef = get(d_, coef);
}

static void catch_problem(const struct prune_case *c, const struct prune_options *o)
{
    const struct backend *cpu = dev->ops;
    struct backend spy = *cpu;

    spy.obs_prune = catch_walk;
    dev->ops = &spy;
    free(case_prune(dev, c, &pruner_duogpt, o, NULL));
    dev->ops = cpu;
}

static void release_caught(void)
{
    free(caught.u);
    free(caught.d);
    free(caught.coef);
    caught = (struct caught){0};
}

/* ---- sections 3: every score is the true minimal loss, every update its arg-min */

static void check_steps(const struct prune_case *c)
{
    struct prune_options o = {.sparsity = 0.5, .alpha = 1, .lazy_exact = 1, .block = 128};
    struct slow_problem q = slow_open(c, &o, 1);
    size_t k = c->k;
    double *target = xmalloc(c->t * sizeof(*target)), *v = xmalloc(k * sizeof(*v));

    catch_problem(c, &o);
    for (size_t i = 0; i < c->n * k; i++) {
        size_t p = i % k;
        double w = c->w[i], loss, size = 0;

        step_target(c, p, w, 1, target);
        loss = least_squares(c, p, target, v);
        CHECK_NEAR(w * w * q.coef[p], loss, 1e-8 * (1 + loss));
        CHECK_NEAR(w * w * caught.coef[p], loss, 2e-5 * (1 + loss));
        for (size_t j = p + 1; j < k; j++)
            size += fabs(v[j - p - 1]);
        for (size_t j = p + 1; j < k; j++) {
            double err = w / q.u[p * k + p], err_f = w / caught.u[p * k + p];

            CHECK_NEAR(-err * q.u[p * k + j] + w * q.d[p * k + j], v[j - p - 1], 1e-8 * (1 + size));
            CHECK_NEAR(-err_f * caught.u[p * k + j] + w * caught.d[p * k + j], v[j - p - 1],
                       2e-5 * (1 + size));
        }
    }
    release_caught();
    slow_release(&q);
    free(target);
    free(v);
}

static void test_score_and_update_by_brute_force(void)
{
    for (int i = 0; i < 20; i++) {
        struct prune_case c = case_make(&rng, 6, 6, 10 + (size_t)i, 0.1 * i);

        check_steps(&c);
        case_release(&c);
    }
}

/* A whole walk at alpha 1: every column, pruned or kept, solves its least squares problem; the mask
 * is the backend's. */
static void test_walk_by_brute_force(void)
{
    static const size_t blocks[] = {1, 3, 6, 128};

    for (size_t i = 0; i < 12; i++) {
        struct prune_case c = case_make(&rng, 6, 6, 14, 0.5);
        struct prune_options o = {
            .sparsity = 0.5, .alpha = 1, .lazy_exact = 1, .block = blocks[i % 4]};
        float *got = case_prune(dev, &c, &pruner_duogpt, &o, NULL), want[36];
        double target[14], v[6];

        for (size_t r = 0; r < 6; r++)
            for (size_t p = 0; p < 6; p++) {
                double *row = c.w + r * 6;
                int pruned = got[r * 6 + p] == 0;

                step_target(&c, p, row[p], pruned, target);
                least_squares(&c, p, target, v);
                for (size_t j = p + 1; j < 6; j++)
                    row[j] += v[j - p - 1];
                want[r * 6 + p] = pruned ? 0 : (float)row[p];
            }
        CHECK(relative_error(got, want, 36) < 2e-5);
        free(got);
        case_release(&c);
    }
}

/* Without residual, pruning column p of a row is the classic closed form on the columns from p on:
 * dw = -w_p / [H^-1]_pp H^-1_{p,:}. Row p's p-th weight is made the one to go. */
static void test_sparsegpt_is_obs(void)
{
    for (int i = 0; i < 10; i++) {
        struct prune_case c = case_make(&rng, 6, 6, 12, 0.7); /* dX must not matter */
        struct prune_options o = {
            .nm_n = 1, .nm_m = 6, .sparsity = 1.0 / 6, .lazy_exact = 1, .block = 6};
        double h[36], sub[36], inv[36];
        float *got;

        for (size_t p = 0; p < 6; p++) {
            for (size_t j = 0; j < 6; j++)
                c.w[p * 6 + j] = copysign(1 + fabs(c.w[p * 6 + j]), c.w[p * 6 + j]);
            c.w[p * 6 + p] = 0.0625 * (p % 2 ? -1 : 1);
        }
        got = case_prune(dev, &c, &pruner_sparsegpt, &o, NULL);
        products(h, c.x, c.x, c.t, 6);
        for (size_t p = 0; p < 6; p++) {
            size_t m = 6 - p;
            const double *w = c.w + p * 6;

            for (size_t a = 0; a < m * m; a++)
                sub[a] = h[(p + a / m) * 6 + p + a % m];
            invert(inv, sub, m);
            for (size_t j = 0; j < p; j++)
                CHECK(got[p * 6 + j] == (float)w[j]);
            CHECK(got[p * 6 + p] == 0);
            for (size_t j = p + 1; j < 6; j++)
                CHECK_NEAR(got[p * 6 + j], w[j] - w[p] / inv[0] * inv[j - p], 1e-5);
        }
        free(got);
        case_release(&c);
    }
}

/* ---- section 4: whole walks against the second implementation */

/* Zeros at the same places, values within float32's rounding. */
static void check_solve(const struct prune_case *c, const struct pruner *method,
                        const struct prune_options *o)
{
    double alpha = method == &pruner_sparsegpt ? 0 : o->alpha;
    double *exact = slow_solve(c, o, alpha);
    float *got = case_prune(dev, c, method, o, NULL), *want = xmalloc(c->n * c->k * sizeof(*want));
    size_t moved = 0;

    for (size_t i = 0; i < c->n * c->k; i++) {
        want[i] = (float)exact[i];
        moved += (got[i] == 0) != (want[i] == 0);
    }
    CHECK(moved == 0);
    CHECK(relative_error(got, want, c->n * c->k) < 1e-5);
    if (test_bad)
        printf("# %s, %zu x %zu, block %zu, alpha %g, order %d, exact %d, damp %g, %zu:%zu\n",
               method->name, c->n, c->k, o->block, o->alpha, o->order_act, o->lazy_exact, o->damp,
               o->nm_n, o->nm_m);
    free(exact);
    free(got);
    free(want);
}

static void check_all_walks(size_t n, size_t k, size_t dead)
{
    static const size_t blocks[] = {1, 3, 8, 1000};
    static const double alphas[] = {0, 0.125, 1};
    struct prune_case c = case_make(&rng, n, k, k + 9, 0.3);

    for (size_t r = 0; r < c.t; r++)
        for (size_t j = 0; j < dead; j++)
            c.x[r * k + (j * 3 + 1) % k] = 0;
    for (unsigned i = 0; i < 4 * 3 * 2 * 2 && !test_bad; i++) {
        struct prune_options o = {.sparsity = i % 5 ? 0.5 : 0.65,
                                  .alpha = alphas[i / 4 % 3],
                                  .damp = i % 2 ? 0.01 : 0.1,
                                  .order_act = i / 12 % 2,
                                  .lazy_exact = i / 24 % 2,
                                  .block = blocks[i % 4]};

        check_solve(&c, &pruner_duogpt, &o);
        o.correct = i % 2 ? CORRECT_SCORE : CORRECT_UPDATE;
        check_solve(&c, &pruner_duogpt, &o);
        if (o.alpha == 0)
            check_solve(&c, &pruner_sparsegpt, &o);
    }
    case_release(&c);
}

static void test_walks(void)
{
    check_all_walks(6, 6, 0);
    check_all_walks(5, 6, 1);
    check_all_walks(1, 9, 0);
    check_all_walks(11, 40, 0);
    check_all_walks(11, 40, 4);
}

static void test_walks_nm(void)
{
    struct prune_case c = case_make(&rng, 9, 32, 40, 0.3);

    for (unsigned i = 0; i < 16 && !test_bad; i++) {
        struct prune_options o = {.sparsity = 0.5,
                                  .nm_n = i / 8 ? 4 : 2,
                                  .nm_m = i / 8 ? 8 : 4,
                                  .alpha = i % 2 ? 0.125 : 1,
                                  .damp = 0.01,
                                  .order_act = 0,
                                  .lazy_exact = i / 2 % 2,
                                  .block = i / 4 % 2 ? 8 : 128};

        check_solve(&c, &pruner_duogpt, &o);
        check_solve(&c, &pruner_sparsegpt, &o);
    }
    case_release(&c);
}

/* ---- the factor */

/* || U^T U H - I || for a Hessian of correlated inputs with the given damping. */
static void check_factor(size_t k, double damp, double tolerance)
{
    struct prune_case c = case_make(&rng, 1, k, k + 4, 0);
    double *h = xmalloc(2 * k * k * sizeof(*h)), *a = h + k * k, mean = 0, worst = 0;
    struct tensor ht, u = poison(dev, DTYPE_F32, k, k);
    float *uf;

    products(h, c.x, c.x, c.t, k);
    for (size_t j = 0; j < k; j++)
        mean += h[j * k + j] / (double)k;
    for (size_t i = 0; i < k * k; i++)
        h[i] = (float)(h[i] + (i % (k + 1) ? 0 : damp * mean));
    ht = put_doubles(dev, k, k, h);
    CHECK(dev->ops->inverse_factor(dev, u, ht) == 0);
    uf = get(dev, u);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            CHECK(j >= i || uf[i * k + j] == 0);
            a[i * k + j] = 0;
            for (size_t l = i; l < k; l++)
                a[i * k + j] += uf[i * k + l] * h[l * k + j];
        }
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            double v = i == j ? -1 : 0;

            for (size_t l = 0; l <= i; l++)
                v += uf[l * k + i] * a[l * k + j];
            worst = fabs(v) > worst ? fabs(v) : worst;
        }
    CHECK_NEAR(worst, 0, tolerance);
    free(h);
    free(uf);
    device_tensor_free(dev, &ht);
    device_tensor_free(dev, &u);
    case_release(&c);
}

static void test_factor(void)
{
    check_factor(1, 0.01, 1e-6);
    check_factor(2, 0.01, 1e-5);
    check_factor(6, 0.01, 1e-4);
    check_factor(37, 0.01, 1e-4);
    check_factor(120, 0.01, 1e-4);
    check_factor(64, 1e-6, 2e-2); /* U is float32: 6e-8 times the condition number */
}

int main(void)
{
    pcg32_init(&rng, 20250131, 3);
    if (device_open(&dev, "cpu", 1) != 0)
        return 1;
    RUN(test_score_and_update_by_brute_force);
    RUN(test_walk_by_brute_force);
    RUN(test_sparsegpt_is_obs);
    RUN(test_walks);
    RUN(test_walks_nm);
    RUN(test_factor);
    device_close(dev);
    return 0;
}
