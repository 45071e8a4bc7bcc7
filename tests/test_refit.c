/* duogpt+ against the exact least-squares solution of every row, by the inverse in double. */
#include "tests/prune_case.h"

static struct device *dev;
static struct pcg32 rng;

static struct prune_options recipe(double sparsity, size_t steps)
{
    return (struct prune_options){.sparsity = sparsity,
                                  .act_sparsity = 0.5,
                                  .alpha = 0.125,
                                  .damp = 0.01,
                                  .refit_beta = 0.25,
                                  .refit_steps = steps,
                                  .order_act = 1,
                                  .lazy_exact = 1,
                                  .block = 16};
}

/* H + damp mean(diag H) I and the target matrix, as means over tokens, in double. */
static void equations(const struct prune_case *c, const struct prune_options *o, double *h,
                      double *target)
{
    double *cross = xmalloc(c->k * c->k * sizeof(*cross)), mean = 0;

    products(h, c->x, c->x, c->t, c->k);
    products(cross, c->dx, c->x, c->t, c->k);
    for (size_t j = 0; j < c->k; j++)
        mean += h[j * c->k + j] / (double)c->t / (double)c->k;
    for (size_t i = 0; i < c->k * c->k; i++) {
        h[i] = h[i] / (double)c->t + (i % (c->k + 1) == 0 ? o->damp * mean : 0);
        target[i] = h[i] + o->refit_beta * cross[i] / (double)c->t;
    }
    free(cross);
}

/* The row's best weights on the positions where mask is not 0. */
static void exact_row(const struct prune_case *c, const double *h, const double *target, size_t row,
                      const float *mask, double *out)
{
    size_t *at = xmalloc(c->k * sizeof(*at)), m = 0;
    double *a, *b, *inverse;

    for (size_t j = 0; j < c->k; j++)
        if (mask[j] != 0)
            at[m++] = j;
    a = xmalloc((m * m + 1) * sizeof(*a));
    b = xcalloc(m + 1, sizeof(*b));
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < m; j++)
            a[i * m + j] = h[at[i] * c->k + at[j]];
        for (size_t p = 0; p < c->k; p++)
            b[i] += c->w[row * c->k + p] * target[p * c->k + at[i]];
    }
    inverse = xmalloc((m * m + 1) * sizeof(*inverse));
    invert(inverse, a, m);
    memset(out, 0, c->k * sizeof(*out));
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++)
            out[at[i]] += inverse[i * m + j] * b[j];
    free(inverse);
    free(at);
    free(a);
    free(b);
}

static void test_kept_weights_solve_the_least_squares(void)
{
    static const double shares[] = {0.3, 0.5, 0.9};

    for (int s = 0; s < 3; s++) {
        struct prune_case c = case_make(&rng, 13, 40, 70, 0.3);
        struct prune_options o = recipe(shares[s], 200);
        double *h = xmalloc(40 * 40 * sizeof(*h)), *target = xmalloc(40 * 40 * sizeof(*target));
        float *walked = case_prune(dev, &c, &pruner_duogpt, &o, NULL);
        float *solved = case_prune(dev, &c, &pruner_duogpt_plus, &o, NULL);

        equations(&c, &o, h, target);
        for (size_t r = 0; r < 13; r++) {
            double want[40];

            exact_row(&c, h, target, r, walked + r * 40, want);
            for (size_t j = 0; j < 40; j++) {
                CHECK((walked[r * 40 + j] == 0) == (solved[r * 40 + j] == 0));
                CHECK_NEAR(solved[r * 40 + j], want[j], 2e-4);
            }
        }
        free(h);
        free(target);
        free(walked);
        free(solved);
        case_release(&c);
    }
}

static void test_no_steps_is_duogpt(void)
{
    struct prune_case c = case_make(&rng, 9, 30, 50, 0.3);
    struct prune_options o = recipe(0.5, 0);
    float *a = case_prune(dev, &c, &pruner_duogpt, &o, NULL);
    float *b = case_prune(dev, &c, &pruner_duogpt_plus, &o, NULL);

    CHECK(memcmp(a, b, 9 * 30 * sizeof(*a)) == 0);
    free(a);
    free(b);
    case_release(&c);
}

static void test_nothing_to_make_up_changes_nothing(void)
{
    struct prune_case c = case_make(&rng, 9, 30, 50, 0);
    struct prune_options o = recipe(0, 20);
    float *w = case_prune(dev, &c, &pruner_duogpt_plus, &o, NULL);

    for (size_t i = 0; i < 9 * 30; i++)
        CHECK(w[i] == (float)c.w[i]);
    free(w);
    case_release(&c);
}

int main(void)
{
    pcg32_init(&rng, 11, 3);
    if (device_open(&dev, "cpu", 2) != 0)
        return 1;
    RUN(test_kept_weights_solve_the_least_squares);
    RUN(test_no_steps_is_duogpt);
    RUN(test_nothing_to_make_up_changes_nothing);
    device_close(dev);
    return 0;
}
