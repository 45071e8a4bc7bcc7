/* The pruning methods as the table gives them: exact numbers of zeros, nothing done at sparsity 0,
 * the same bits from the same seed and from any number of threads, and statistics that cannot be
 * used refused by the linear's name. On single linears and on the demo model. */
#include <fcntl.h>
#include <unistd.h>

#include "data/calib.h"
#include "harness/base/file.h"
#include "harness/base/sha256.h"
#include "harness/measure/sweep.h"
#include "tests/demo.h"
#include "tests/prune_case.h"

static struct device *dev;
static struct pcg32 rng;

static const struct pruner *const methods[] = {&pruner_magnitude, &pruner_wanda, &pruner_sparsegpt,
                                               &pruner_duogpt, &pruner_duogpt_plus};
enum { N_METHODS = sizeof(methods) / sizeof(methods[0]) };

static struct prune_options recipe(double sparsity)
{
    return (struct prune_options){
        .sparsity = sparsity, .alpha = 0.125, .damp = 0.01, .refit_beta = 0.25, .refit_steps = 5,
        .lazy_exact = 1, .block = 16};
}

static size_t zeros_of(const float *w, size_t n)
{
    size_t zeros = 0;

    for (size_t i = 0; i < n; i++)
        zeros += w[i] == 0;
    return zeros;
}

/* ---- numbers of zeros */

/* Without ties: magnitude and each block of the walk prune up to and with the threshold, so one
 * more than floor(numel s); wanda exactly floor(k s) of every row. */
static size_t expected_zeros(const struct pruner *m, const struct prune_options *o, size_t n,
                             size_t k)
{
    size_t zeros = 0;

    if (m == &pruner_wanda)
        return n * (size_t)((double)k * o->sparsity);
    if (m == &pruner_magnitude)
        return (size_t)((double)(n * k) * o->sparsity) + 1;
    for (size_t i = 0; i < k; i += o->block) {
        size_t width = i + o->block < k ? o->block : k - i;

        zeros += (size_t)((double)(n * width) * o->sparsity) + 1;
    }
    return zeros;
}

static void test_zeros_are_exact(void)
{
    static const double shares[] = {0.01, 0.3, 0.5, 0.65, 0.9};
    struct prune_case c = case_make(&rng, 21, 50, 60, 0.3);

    for (int i = 0; i < N_METHODS * 10; i++) {
        const struct pruner *m = methods[i % N_METHODS];
        struct prune_options o = recipe(shares[i / N_METHODS % 5]);
        float *w;

        o.order_act = i / N_METHODS / 5;
        w = case_prune(dev, &c, m, &o, NULL);
        CHECK(zeros_of(w, 21 * 50) == expected_zeros(m, &o, 21, 50));
        for (size_t r = 0; m == &pruner_wanda && r < 21; r++)
            CHECK(zeros_of(w + r * 50, 50) == (size_t)(50 * o.sparsity));
        free(w);
    }
    case_release(&c);
}

/* In their own order of columns: of every M consecutive weights of a row exactly N are zero. */
static void test_nm_patterns(void)
{
    struct prune_case c = case_make(&rng, 21, 64, 80, 0.3);

    for (int i = 0; i < N_METHODS * 2; i++) {
        struct prune_options o = recipe(0.5);
        float *w;

        o.nm_n = i < N_METHODS ? 2 : 4;
        o.nm_m = 2 * o.nm_n;
        w = case_prune(dev, &c, methods[i % N_METHODS], &o, NULL);
        for (size_t g = 0; g < 21 * 64; g += o.nm_m)
            CHECK(zeros_of(w + g, o.nm_m) == o.nm_n);
        free(w);
    }
    case_release(&c);
}

/* The matrices of a group are pruned each on its own, whatever stands beside them. */
static void test_matrices_of_a_group_apart(void)
{
    struct prune_case c = case_make(&rng, 30, 40, 60, 0.3);
    struct layer_stats stats = case_stats(dev, &c);
    struct prune_options o = recipe(0.5);

    o.order_act = 1;
    for (int i = 0; i < N_METHODS; i++) {
        static const size_t rows[] = {16, 4, 10};
        struct prune_job job = {
            .dev = dev, .options = &o, .stats = &stats, .n_w = 3, .names = {"q", "k", "v"}};
        size_t first = 0;

        for (int j = 0; j < 3; first += rows[j++])
            job.w[j] = put_doubles(dev, rows[j], 40, c.w + first * 40);
        CHECK(pruner_run(methods[i], &job) == 0);
        first = 0;
        for (int j = 0; j < 3; first += rows[j++]) {
            struct prune_case alone = c;
            float *want, *got = get(dev, job.w[j]);

            alone.n = rows[j];
            alone.w = c.w + first * 40;
            want = case_prune(dev, &alone, methods[i], &o, NULL);
            CHECK(same_bits(got, want, rows[j] * 40 * sizeof(*got)));
            free(got);
            free(want);
            device_tensor_free(dev, &job.w[j]);
        }
    }
    stats_release(dev, &stats);
    case_release(&c);
}

/* ---- sparsity 0 */

/* ||W' X^ - W X~||^2 */
static double output_error(const struct prune_case *c, const float *w)
{
    double sum = 0;

    for (size_t r = 0; r < c->n; r++)
        for (size_t t = 0; t < c->t; t++) {
            double e = 0;

            for (size_t j = 0; j < c->k; j++)
                e += (w ? w[r * c->k + j] : c->w[r * c->k + j]) * c->x[t * c->k + j] -
                     c->w[r * c->k + j] * (c->x[t * c->k + j] + c->dx[t * c->k + j]);
            sum += e * e;
        }
    return sum;
}

static void test_sparsity_zero_changes_nothing(void)
{
    struct prune_case c = case_make(&rng, 21, 50, 60, 0.3), same = case_make(&rng, 21, 50, 60, 0);
    size_t nbytes = 21 * 50 * sizeof(float);
    struct prune_options o = recipe(0);
    struct tensor t = put_doubles(dev, 21, 50, c.w), t_same = put_doubles(dev, 21, 50, same.w);
    float *before = get(dev, t), *before_same = get(dev, t_same), *w;

    for (o.order_act = 0; o.order_act < 2; o.order_act++) {
        for (int i = 0; i < 3; i++) {
            w = case_prune(dev, &c, methods[i], &o, NULL);
            CHECK(same_bits(w, before, nbytes));
            free(w);
        }
        w = case_prune(dev, &c, &pruner_dense, &o, NULL);
        CHECK(same_bits(w, before, nbytes));
        free(w);
        w = case_prune(dev, &same, &pruner_duogpt, &o, NULL);
        CHECK(same_bits(w, before_same, nbytes));
        free(w);
        o.alpha = 0;
        w = case_prune(dev, &c, &pruner_duogpt, &o, NULL);
        CHECK(same_bits(w, before, nbytes));
        free(w);
        /* With a residual nothing is pruned either, but the outputs move towards the dense ones. */
        o.alpha = 1;
        w = case_prune(dev, &c, &pruner_duogpt, &o, NULL);
        CHECK(zeros_of(w, 21 * 50) == 0);
        CHECK(output_error(&c, w) < output_error(&c, NULL));
        free(w);
    }
    free(before);
    free(before_same);
    device_tensor_free(dev, &t);
    device_tensor_free(dev, &t_same);
    case_release(&c);
    case_release(&same);
}

/* Compensation helps: with inputs that lost their smaller half, the outputs come nearer to the
 * dense ones from magnitude to sparsegpt to duogpt. */
static void test_errors_are_ordered(void)
{
    struct prune_case c = case_make(&rng, 40, 48, 200, 0);
    struct prune_options o = recipe(0.5);
    double e[N_METHODS];

    for (size_t i = 0; i < 200 * 48; i++)
        if (fabs(c.x[i]) < 0.6) {
            c.dx[i] = c.x[i];
            c.x[i] = 0;
        }
    o.alpha = 1;
    for (int i = 0; i < N_METHODS; i++) {
        float *w = case_prune(dev, &c, methods[i], &o, NULL);

        e[i] = output_error(&c, w);
        free(w);
    }
    CHECK(e[2] < 0.9 * e[0] && e[2] < 0.9 * e[1] && e[3] < 0.98 * e[2]);
    case_release(&c);
}

/* ---- statistics that cannot be used */

/* Runs the method and gives what it says on stderr; the caller frees it. */
static char *said(const struct pruner *m, struct prune_job *job, int *rc)
{
    char path[] = "/tmp/duo-test-XXXXXX";
    int file = mkstemp(path), saved = dup(2);
    struct buf text = {0};

    fflush(stderr);
    dup2(file, 2);
    *rc = pruner_run(m, job);
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    close(file);
    CHECK(file_read(path, &text) == 0);
    unlink(path);
    buf_addc(&text, 0);
    return buf_detach(&text);
}

/* A 2 x 2 Hessian with 1 on the diagonal and `off` beside it: eigenvalues 1 +- off. */
static char *solve_two(double off, double damp, int *rc)
{
    double gram[] = {2, 2 * off, 2 * off, 2}, w[] = {1, 2};
    struct layer_stats stats = {.n_tokens = 2, .gram = put_doubles(dev, 2, 2, gram)};
    struct prune_options o = recipe(0.5);
    struct prune_job job = {.dev = dev,
                            .options = &o,
                            .stats = &stats,
                            .n_w = 1,
                            .layer = 7,
                            .names = {"mlp.down_proj"},
                            .w = {put_doubles(dev, 1, 2, w)}};
    char *text;

    o.damp = damp;
    text = said(&pruner_sparsegpt, &job, rc);
    device_tensor_free(dev, &job.w[0]);
    device_tensor_free(dev, &stats.gram);
    return text;
}

static void test_not_positive_definite(void)
{
    int rc;
    char *text = solve_two(0.9, 0.01, &rc);

    CHECK(rc == 0);
    CHECK_STR(text, "");
    free(text);
    text = solve_two(1.05, 0.01, &rc); /* one step more damping is enough */
    CHECK(rc == 0);
    CHECK_STR(text,
              "duo: warning: layer 7 mlp.down_proj: the Hessian is not positive definite with "
              "damping 0.01; trying 0.1\n");
    free(text);
    text = solve_two(1.05, 0, &rc);
    CHECK(rc == 0 && strstr(text, "with damping 0; trying 0.01\n"));
    CHECK(strstr(text, "with damping 0.01; trying 0.1\n"));
    free(text);
    text = solve_two(5, 0.01, &rc); /* none is */
    CHECK(rc == -1);
    CHECK_STR(error_last(), "layer 7 mlp.down_proj: the Hessian is not positive definite even with "
                            "damping 1");
    free(text);
}

/* Fewer tokens than columns: the damping that is always there must do, without a word. */
static void test_fewer_tokens_than_columns(void)
{
    struct prune_case c = case_make(&rng, 8, 40, 7, 0.3);
    struct prune_options o = recipe(0.5);

    error_silence(1);
    for (int i = 2; i < N_METHODS; i++) {
        float *w = case_prune(dev, &c, methods[i], &o, NULL);

        CHECK(zeros_of(w, 8 * 40) == expected_zeros(methods[i], &o, 8, 40));
        free(w);
    }
    error_silence(0);
    case_release(&c);
}

static void check_refused(const struct pruner *m, size_t which, size_t at, float value)
{
    struct prune_case c = case_make(&rng, 5, 8, 20, 0.3);
    struct layer_stats stats = case_stats(dev, &c);
    struct prune_options o = recipe(0.5);
    struct tensor *all[] = {&stats.sum_squares, &stats.gram, &stats.cross, &stats.residual};
    struct prune_job job = {.dev = dev,
                            .options = &o,
                            .stats = &stats,
                            .n_w = 1,
                            .layer = 11,
                            .names = {"self_attn.k_proj"},
                            .w = {put_doubles(dev, 5, 8, c.w)}};
    float *before = get(dev, job.w[0]), *after;

    ((float *)all[which]->data)[at] = value; /* the CPU's memory is the host's */
    error_silence(1);
    CHECK(pruner_run(m, &job) == -1);
    CHECK(strstr(error_last(), "layer 11 self_attn.k_proj: ") &&
          strstr(error_last(), "not finite"));
    error_silence(0);
    after = get(dev, job.w[0]);
    CHECK(same_bits(before, after, 40 * sizeof(float)));
    free(before);
    free(after);
    device_tensor_free(dev, &job.w[0]);
    stats_release(dev, &stats);
    case_release(&c);
}

static void test_statistics_that_are_not_finite(void)
{
    check_refused(&pruner_wanda, 0, 3, NAN);
    check_refused(&pruner_wanda, 0, 7, INFINITY);
    check_refused(&pruner_sparsegpt, 1, 9, INFINITY); /* on the diagonal */
    check_refused(&pruner_sparsegpt, 1, 2, NAN);      /* beside it */
    check_refused(&pruner_duogpt, 1, 63, NAN);
    check_refused(&pruner_duogpt, 2, 5, -INFINITY);
    check_refused(&pruner_duogpt, 3, 0, NAN);
}

/* ---- same seed, same bits */

static void test_threads_keep_bits_of_a_linear(void)
{
    struct prune_case c = case_make(&rng, 150, 200, 220, 0.3);
    struct prune_options o = recipe(0.5);
    struct device *two;

    o.block = 128;
    o.order_act = 1;
    CHECK(device_open(&two, "cpu", 2) == 0);
    for (int i = 0; i < N_METHODS; i++) {
        float *a = case_prune(dev, &c, methods[i], &o, NULL);
        float *b = case_prune(dev, &c, methods[i], &o, NULL);
        float *d = case_prune(two, &c, methods[i], &o, NULL);

        CHECK(same_bits(a, b, 150 * 200 * sizeof(*a)));
        CHECK(same_bits(a, d, 150 * 200 * sizeof(*a)));
        free(a);
        free(b);
        free(d);
    }
    device_close(two);
    case_release(&c);
}

/* SHA-256 of all the decoder's weights of the demo model after the sweep. */
static void prune_demo(const struct pruner *m, int threads, const int32_t *ids, char sha256[65])
{
    struct prune_options o = recipe(0.5);
    struct demo d;
    struct sha256 h;

    o.order_act = m->order_act;
    o.act_sparsity = 0.5;
    o.block = 128;
    demo_open(&d, DEMO_MODEL, threads);
    CHECK(sweep_prune(&d.model, m, &o, ids, SANITIZED ? 1 : 3, 40, NULL) == 0);
    sha256_init(&h);
    for (size_t i = 0; i < d.model.config.n_layers; i++) {
        const struct layer *l = &d.model.layers[i];
        const struct tensor all[] = {l->qkv, l->o, l->gate_up, l->down};

        for (int j = 0; j < 4; j++)
            sha256_update(&h, all[j].data, tensor_nbytes(all[j]));
        for (int j = 0; j < N_LINEARS; j++) { /* one more per block; magnitude has f16's ties */
            double n = (double)tensor_numel(l->linears[j].w);

            CHECK_NEAR((double)linear_zeros(&d.model, i, j) / n, 0.5, m->needs ? 1e-4 : 1e-3);
        }
    }
    sha256_final(&h, sha256);
    demo_close(&d);
}

static void test_threads_keep_bits_of_the_model(void)
{
    int32_t ids[120];

    for (size_t i = 0; i < 120; i++)
        ids[i] = i % 40 ? 3 + (int32_t)pcg32_below(&rng, 4000) : 1;
    for (int i = 0; i < N_METHODS; i++) {
        char one[65], two[65], other[65];

        prune_demo(methods[i], 1, ids, one);
        prune_demo(methods[i], 2, ids, two);
        CHECK_STR(two, one);
        if (methods[i] != &pruner_duogpt)
            continue;
        ids[20]++;
        prune_demo(methods[i], 2, ids, other);
        CHECK(strcmp(other, one) != 0);
    }
}

/* Calibration text that the model writes itself: the seed alone decides. */
static void test_seed_decides(void)
{
    static const int threads[] = {1, 2, 1};
    static const uint64_t seeds[] = {5, 5, 6};
    struct calib calib[3];

    for (int i = 0; i < 3; i++) {
        struct demo d;
        struct calib_source src = {&d.model, NULL, NULL, seeds[i], 0};

        demo_open(&d, DEMO_MODEL, threads[i]);
        src.tokenizer = d.tokenizer;
        CHECK(calib_open(&calib[i], SANITIZED ? "self:2x6" : "self:2x24", &src) == 0);
        demo_close(&d);
    }
    CHECK(calib[0].n_windows == 2 && calib[0].window == (SANITIZED ? 6 : 24));
    CHECK_STR(calib[1].sha256, calib[0].sha256);
    CHECK(same_bits(calib[1].ids, calib[0].ids, 2 * calib[0].window * sizeof(int32_t)));
    CHECK(strcmp(calib[2].sha256, calib[0].sha256) != 0);
    for (int i = 0; i < 3; i++)
        calib_release(&calib[i]);
}

int main(void)
{
    pcg32_init(&rng, 20250131, 4);
    if (device_open(&dev, "cpu", 1) != 0)
        return 1;
    progress_quiet(1);
    RUN(test_zeros_are_exact);
    RUN(test_nm_patterns);
    RUN(test_matrices_of_a_group_apart);
    RUN(test_sparsity_zero_changes_nothing);
    RUN(test_errors_are_ordered);
    RUN(test_not_positive_definite);
    RUN(test_fewer_tokens_than_columns);
    RUN(test_statistics_that_are_not_finite);
    RUN(test_threads_keep_bits_of_a_linear);
    RUN(test_threads_keep_bits_of_the_model);
    RUN(test_seed_decides);
    device_close(dev);
    return 0;
}
