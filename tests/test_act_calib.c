/* Calibrated rules of sparse activations: quantiles against sorting, thresholds against the zeros
 * that they make on the calibration set, the greedy allocation on a problem whose best answer is
 * known, and the file of shares. */
#include <unistd.h>

#include "harness/measure/act_calib.h"
#include "harness/measure/act_histogram.h"
#include "harness/measure/sweep.h"
#include "tests/demo.h"
#include "tests/kernels.h"

#define N_WINDOWS 3
#define WINDOW 40

static struct demo demo;
static struct device *dev;
static struct pcg32 rng;
static int32_t ids[N_WINDOWS * WINDOW];

/* ---- quantiles */

static void check_quantile(const float *x, size_t n, enum dtype dtype, double s)
{
    struct act_histogram h;
    struct tensor t = put(dev, DTYPE_F32, 1, n, x), typed = device_tensor(dev, dtype, 1, n);
    float *a, got;
    size_t idx = (size_t)((double)n * s), below = 0, want_below = 0;

    dev->ops->convert(dev, typed, t);
    a = get(dev, typed);
    for (size_t i = 0; i < n; i++)
        a[i] = fabsf(a[i]);
    qsort(a, n, sizeof(*a), by_value);
    act_histogram_init(&h);
    act_histogram_add(&h, dev, tensor_rows(typed, 0, 1));
    got = act_quantile(&h, s);
    for (size_t i = 0; i < n; i++) {
        below += a[i] < got;
        want_below += a[i] < a[idx];
    }
    CHECK(h.n == n);
    CHECK(below <= idx);
    CHECK_NEAR(act_share_below(&h, got), (double)below / (double)n, 1e-12);
    if (dtype == DTYPE_F32)
        CHECK(got <= a[idx] && got >= a[idx] * (1 - 0x1p-12f));
    else
        CHECK(got == a[idx] && below == want_below);
    act_histogram_release(&h);
    free(a);
    device_tensor_free(dev, &t);
    device_tensor_free(dev, &typed);
}

static void test_quantiles_are_those_of_the_sorted_values(void)
{
    static const double shares[] = {0, 0.25, 0.4, 0.5, 0.6, 0.999};
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};

    for (size_t k = 0; k < 6; k++)
        for (int t = 0; t < 3; t++) {
            float *x = random_floats(&rng, 5000, 1), *tied = tied_floats(&rng, 700);

            check_quantile(x, 5000, types[t], shares[k]);
            check_quantile(x, 1, types[t], shares[k]);
            check_quantile(tied, 700, types[t], shares[k]);
            for (size_t i = 0; i < 5000; i++)
                x[i] *= i % 3 ? 1e-3f : 300;
            check_quantile(x, 5000, types[t], shares[k]);
            free(x);
            free(tied);
        }
}

/* With 2^16 values per unit, f32's bins cost far less than a thousandth of the share. */
static void test_share_of_f32(void)
{
    enum { N = 200000 };
    float *x = random_floats(&rng, N, 1);
    struct tensor t = put(dev, DTYPE_F32, N / 100, 100, x);
    struct act_histogram h;

    act_histogram_init(&h);
    act_histogram_add(&h, dev, tensor_rows(t, 0, 1000)); /* in two parts */
    act_histogram_add(&h, dev, tensor_rows(t, 1000, 1000));
    for (double s = 0.05; s < 0.99; s += 0.05) {
        double got = act_share_below(&h, act_quantile(&h, s));

        CHECK(got <= s && got > s - 2e-4);
    }
    act_histogram_clear(&h);
    CHECK(h.n == 0 && act_quantile(&h, 0) == 0);
    act_histogram_release(&h);
    free(x);
    device_tensor_free(dev, &t);
}

/* ---- thresholds of a model */

/* Shares of zeros of each group's inputs over the calibration set, as the model runs, all layers
 * together. */
static void measure(struct model *m, const struct act_setting *set, double share[N_GROUPS])
{
    uint64_t zeros[N_GROUPS];
    struct session s;

    act_set(m, set);
    dev->ops->zero(dev, m->n_act_zero, sizeof(zeros));
    demo_session(&s, m, N_WINDOWS * WINDOW);
    for (int i = 0; i < N_WINDOWS; i++)
        batch_add(&s.batch, ids + i * WINDOW, WINDOW, -1);
    session_forward(&s);
    session_close(&s);
    dev->ops->download(dev, zeros, m->n_act_zero, sizeof(zeros));
    for (int g = 0; g < N_GROUPS; g++) {
        size_t width = 0;

        for (size_t i = 0; i < m->config.n_layers; i++) {
            struct tensor w = layer_group(&m->layers[i], (enum group)g);

            width += w.data ? w.cols : 0;
        }
        share[g] = (double)zeros[g] / (double)(N_WINDOWS * WINDOW * width);
    }
    model_set_activation(m, ACT_DENSE, 0);
}

static void calibrate(struct act_setting *out, const struct act_plan *p)
{
    CHECK(act_calibrate(out, &demo.model, p, ids, N_WINDOWS, WINDOW) == 0);
    CHECK(out->kind == p->kind && out->n_layers == demo.model.config.n_layers);
    for (size_t i = 0; i < out->n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++)
            CHECK(demo.model.layers[i].rules[g].kind == ACT_DENSE);
}

/* The zeros of the calibration set are those asked for: also of pruned weights. */
static void test_thresholds_give_the_share_on_the_calibration_set(void)
{
    static const double shares[] = {0, 0.25, 0.5, 0.65};
    struct model *m = &demo.model;
    struct act_setting set;
    double got[N_GROUPS];

    for (int pruned = 0; pruned < 2; pruned++) {
        for (int k = 0; k < 4; k++) {
            struct act_plan p = {.kind = ACT_THRESHOLD, .sparsity = shares[k]};

            calibrate(&set, &p);
            measure(m, &set, got);
            for (int g = 0; g < N_GROUPS; g++)
                CHECK(got[g] <= shares[k] + 1e-4 && got[g] >= shares[k] - 1e-3);
            CHECK_NEAR(act_mean(m, set.ratios), shares[k], 1e-12);
            act_setting_release(&set);
        }
        for (size_t i = 0; i < m->config.n_layers; i++)
            for (int l = 0; l < N_LINEARS; l++)
                dev->ops->mask_smallest(dev, m->layers[i].linears[l].w, (struct tensor){0},
                                        &(struct mask_options){.sparsity = 0.5});
    }
    CHECK(model_restore(m) == 0);
}

/* Also where parts of the layers are gone, or the hidden size is another. */
static void test_thresholds_of_models_with_parts_removed(void)
{
    static const char *const methods[] = {"2ssp", "slicegpt", "flap"};
    const struct act_plan p = {.kind = ACT_THRESHOLD, .sparsity = 0.5};
    const struct prune_options o = {.sparsity = 0.3};
    struct act_setting set;
    double got[N_GROUPS];

    for (int k = 0; k < 3; k++) {
        CHECK(sweep_prune(&demo.model, pruner_find(methods[k]), &o, ids, N_WINDOWS, WINDOW, NULL) ==
              0);
        calibrate(&set, &p);
        measure(&demo.model, &set, got);
        for (int g = 0; g < N_GROUPS; g++)
            CHECK_NEAR(got[g], 0.5, 1e-3);
        act_setting_release(&set);
        CHECK(model_restore(&demo.model) == 0);
    }
}

/* Chunks of the stream do not show: windows of which few fit a pass. */
static void test_chunks_do_not_show(void)
{
    enum { MANY = 60 };
    struct model *m = &demo.model;
    struct act_plan p = {.kind = ACT_THRESHOLD, .sparsity = 0.5};
    int32_t *many = xmalloc(MANY * WINDOW * sizeof(*many));
    struct act_setting a, b;

    for (int i = 0; i < MANY; i++) /* the same windows over and over: the same quantiles */
        memcpy(many + i * WINDOW, ids + i % N_WINDOWS * WINDOW, WINDOW * sizeof(*many));
    calibrate(&a, &p);
    CHECK(act_calibrate(&b, m, &p, many, MANY, WINDOW) == 0);
    CHECK(same_bits(a.thresholds, b.thresholds, a.n_layers * N_GROUPS * sizeof(*a.thresholds)));
    act_setting_release(&a);
    act_setting_release(&b);
    free(many);
}

/* ---- the greedy allocation */

/* A planted problem: error = sum c_g share_g^2, so that the best shares are known: at the end no
 * step from one group to another helps. */
struct planted {
    double cost[N_GROUPS];
    size_t n_calls;
};

static double planted_error(void *arg, const double shares[N_GROUPS])
{
    struct planted *p = arg;
    double sum = 0;

    p->n_calls++;
    for (int g = 0; g < N_GROUPS; g++)
        sum += p->cost[g] * shares[g] * shares[g];
    return sum;
}

static void check_planted(const double weights[N_GROUPS], const double cost[N_GROUPS],
                          double target)
{
    struct planted p = {{cost[0], cost[1], cost[2], cost[3]}, 0};
    double shares[N_GROUPS], uniform[N_GROUPS], total = 0, mean = 0;
    double most = target > ACT_MOST ? target : ACT_MOST;

    act_allocate(shares, weights, target, planted_error, &p);
    for (int g = 0; g < N_GROUPS; g++) {
        uniform[g] = weights[g] > 0 ? target : 0;
        total += weights[g];
        mean += weights[g] * shares[g];
        CHECK(shares[g] >= 0 && shares[g] <= most + 1e-12);
        CHECK(weights[g] > 0 || shares[g] == 0);
    }
    CHECK_NEAR(mean / total, target, 1e-6);
    CHECK(planted_error(&p, shares) <= planted_error(&p, uniform));
    CHECK(p.n_calls < 4 * (target / ACT_STEP + 8) + 3);
}

static void test_greedy_meets_its_target_and_is_not_worse_than_uniform(void)
{
    static const double weights[][N_GROUPS] = {
        {1, 1, 1, 1}, {3, 1, 5.4, 2.7}, {0, 0, 2, 1}, {1.5, 1, 0, 0}, {3, 0.01, 5, 2}};
    static const double cost[][N_GROUPS] = {
        {1, 1, 1, 1}, {1, 100, 1, 1}, {0.1, 1, 10, 3}, {0, 0, 1, 0}, {5, 4, 3, 2}};
    static const double target[] = {0, 0.003, 0.25, 0.4, 0.5, 0.6, 0.9, 0.999};

    for (int w = 0; w < 5; w++)
        for (int c = 0; c < 5; c++)
            for (int t = 0; t < 8; t++)
                check_planted(weights[w], cost[c], target[t]);
}

/* Equal weights, costs 1 : 1 : 1 : 4 : the fourth should have a quarter of the others' share. */
static void test_greedy_finds_the_planted_optimum(void)
{
    const double weights[] = {1, 1, 1, 1};
    struct planted p = {{1, 1, 1, 4}, 0};
    double shares[N_GROUPS], uniform = 7 * 0.25;

    act_allocate(shares, weights, 0.5, planted_error, &p);
    for (int g = 0; g < N_GROUPS; g++) /* s (3 + 1/4) = 4 * 0.5; a step is 4 ACT_STEP */
        CHECK_NEAR(shares[g], (g == 3 ? 0.25 : 1) * 2 / 3.25, 4 * ACT_STEP + 1e-9);
    CHECK(planted_error(&p, shares) < 0.8 * uniform);
}

/* The least weights of one channel, halved, as a share of all. */
static double half_a_channel(const struct model *m)
{
    double total = 0, least = INFINITY;

    for (size_t i = 0; i < m->config.n_layers * N_GROUPS; i++) {
        struct tensor w = layer_group(&m->layers[i / N_GROUPS], (enum group)(i % N_GROUPS));

        total += (double)tensor_numel(w);
        least = w.rows ? fmin(least, (double)w.rows) : least;
    }
    return 0.5 * least / total * (1 + 1e-9);
}

/* Every share drops a whole number of channels, and a little less one fewer. */
static void check_whole(const struct model *m, const double *ratios)
{
    for (size_t i = 0; i < m->config.n_layers * N_GROUPS; i++) {
        size_t width = layer_group(&m->layers[i / N_GROUPS], (enum group)(i % N_GROUPS)).cols;
        size_t n = sparsity_index(width, ratios[i]);

        CHECK_NEAR(ratios[i] * (double)width, (double)n, 1e-9);
        CHECK(n == 0 || sparsity_index(width, ratios[i] * (1 - 1e-12)) == n - 1);
        CHECK(n < width);
    }
}

/* Random shares, of the model whole and of a single layer: the total is met, no share moves by more
 * than a channel where there are many, and whole numbers stay. */
static void test_whole_channels(void)
{
    struct model *m = &demo.model;
    size_t n_layers = m->config.n_layers, n = n_layers * N_GROUPS;
    double *ratios = xmalloc(n * sizeof(*ratios)), *was = xmalloc(n * sizeof(*was));

    for (int round = 0; round < 40; round++) {
        double target;

        m->config.n_layers = round % 2 ? n_layers : 1;
        for (size_t i = 0; i < n; i++)
            was[i] = ratios[i] = 0.1 + 0.8 * pcg32_next(&rng) * 0x1p-32;
        target = act_mean(m, ratios);
        act_whole_channels(m, target, ratios);
        check_whole(m, ratios);
        CHECK_NEAR(act_mean(m, ratios), target, half_a_channel(m));
        for (size_t i = 0; i < n && round % 2; i++)
            CHECK_NEAR(ratios[i], was[i], 1.0 / 256 + 1e-9);
        memcpy(was, ratios, n * sizeof(*was));
        act_whole_channels(m, act_mean(m, ratios), ratios);
        CHECK(same_bits(ratios, was, n * sizeof(*was)));
    }
    m->config.n_layers = n_layers;
    free(ratios);
    free(was);
}

/* Shares that differ, meet the target in every layer, and cost less on the sample than equal ones;
 * with each kind of rule. */
static void test_greedy_on_the_model(void)
{
    struct model *m = &demo.model;
    struct act_setting set;
    double got[N_GROUPS], mean = 0, total = 0;
    size_t n_layers = m->config.n_layers;

    m->config.n_layers = 1; /* it takes its time */
    for (int kind = ACT_TOPK; kind <= ACT_WINA; kind++) {
        struct act_plan p = {.kind = (enum act_kind)kind, .sparsity = 0.3, .greedy = 1};
        int differ = 0;

        calibrate(&set, &p);
        for (size_t i = 0; i < set.n_layers; i++) {
            const double *s = set.ratios + i * N_GROUPS;

            mean = total = 0;
            for (int g = 0; g < N_GROUPS; g++) {
                double n = (double)tensor_numel(layer_group(&m->layers[i], (enum group)g));

                mean += n * s[g];
                total += n;
                differ |= s[g] != s[0];
            }
            CHECK_NEAR(mean / total, 0.3, kind == ACT_THRESHOLD ? 1e-6 : half_a_channel(m));
        }
        CHECK(differ);
        CHECK_NEAR(act_mean(m, set.ratios), 0.3, kind == ACT_THRESHOLD ? 1e-6 : half_a_channel(m));
        if (kind != ACT_THRESHOLD)
            check_whole(m, set.ratios);
        measure(m, &set, got);
        mean = total = 0;
        for (int g = 0; g < N_GROUPS; g++) {
            double n = (double)tensor_numel(layer_group(&m->layers[0], (enum group)g));

            mean += n * got[g];
            total += n;
        }
        /* of top-k nothing but ties; a bin of the histogram */
        CHECK_NEAR(mean / total, act_mean(m, set.ratios), kind == ACT_THRESHOLD ? 5e-3 : 1e-6);
        act_setting_release(&set);
    }
    m->config.n_layers = n_layers;
}

/* Given shares are taken as they are, and thresholds calibrated to them. */
static void test_given_shares(void)
{
    struct model *m = &demo.model;
    size_t n = m->config.n_layers * N_GROUPS;
    double *ratios = xmalloc(n * sizeof(*ratios)), got[N_GROUPS];
    struct act_plan p = {.kind = ACT_THRESHOLD, .greedy = 1, .ratios = ratios};
    struct act_setting set;

    for (size_t i = 0; i < n; i++)
        ratios[i] = 0.2 + 0.15 * (double)(i % N_GROUPS);
    calibrate(&set, &p);
    CHECK(same_bits(set.ratios, ratios, n * sizeof(*ratios)));
    measure(m, &set, got);
    for (int g = 0; g < N_GROUPS; g++)
        CHECK_NEAR(got[g], 0.2 + 0.15 * g, 1e-3);
    act_setting_release(&set);
    p.kind = ACT_TOPK;
    CHECK(!act_needs_ids(&p));
    CHECK(act_calibrate(&set, m, &p, NULL, 0, 0) == 0);
    act_set(m, &set);
    CHECK(m->layers[1].rules[GROUP_DOWN].kind == ACT_TOPK &&
          m->layers[1].rules[GROUP_DOWN].sparsity == ratios[N_GROUPS + GROUP_DOWN]);
    model_set_activation(m, ACT_DENSE, 0);
    act_setting_release(&set);
    free(ratios);
}

/* ---- the file */

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    fputs(text, f);
    fclose(f);
}

static void expect_refused(const char *path, const char *text, const char *message)
{
    double ratios[2 * N_GROUPS];

    write_text(path, text);
    error_silence(1);
    CHECK(act_ratios_read(path, 2, ratios) == -1);
    error_silence(0);
    if (!strstr(error_last(), message))
        printf("# %s\n", error_last());
    CHECK(strstr(error_last(), message) && strstr(error_last(), path));
}

static void test_file_of_shares(void)
{
    char path[] = "/tmp/duo-act-XXXXXX";
    double want[2 * N_GROUPS] = {0, 0.999, 1.0 / 3, 0.1 + 0.2, 0.5, 0.25, 0.4, 1e-9};
    double got[2 * N_GROUPS];

    close(mkstemp(path));
    CHECK(act_ratios_write(path, 2, want) == 0);
    CHECK(act_ratios_read(path, 2, got) == 0);
    CHECK(same_bits(got, want, sizeof(want)));
#define FIRST                                                                                      \
    "{\"0.qkv\":0.1,\"0.o\":0.1,\"0.gate_up\":0.1,\"0.down\":0.1,\"1.qkv\":0.1,\"1.o\":0.1,"
    expect_refused(path, FIRST "\"1.gate_up\":0.1}", "no field '1.down'");
    expect_refused(path, FIRST "\"1.gate_up\":0.1,\"1.down\":1}",
                   "'1.down' is not a number from 0 to 0.999");
    expect_refused(path, FIRST "\"1.gate_up\":\"0.1\",\"1.down\":0}",
                   "'1.gate_up' is not a number");
    expect_refused(path, FIRST "\"1.gate_up\":-0.1,\"1.down\":0}", "'1.gate_up' is not a number");
    expect_refused(path, FIRST "\"1.o\":0.1}", "'1.o' is there twice");
    expect_refused(path, FIRST "\"2.o\":0.1}", "'2.o' is no layer and group");
    expect_refused(path, FIRST "\"1.q_proj\":0.1}", "'1.q_proj' is no layer and group");
    expect_refused(path, FIRST "\"01.o\":0.1}", "'01.o' is no layer and group");
    expect_refused(path, "[0.5]", "not a JSON object");
    expect_refused(path, "{\"0.qkv\":", "bad JSON");
    remove(path);
}

int main(void)
{
    pcg32_init(&rng, 20250608, 1);
    demo_open(&demo, DEMO_MODEL, 1);
    dev = demo.dev;
    for (size_t i = 0; i < N_WINDOWS * WINDOW; i++)
        ids[i] = i % WINDOW ? 3 + (int32_t)pcg32_below(&rng, 4000) : 1;
    RUN(test_quantiles_are_those_of_the_sorted_values);
    RUN(test_share_of_f32);
    RUN(test_thresholds_give_the_share_on_the_calibration_set);
    RUN(test_thresholds_of_models_with_parts_removed);
    RUN(test_chunks_do_not_show);
    RUN(test_greedy_meets_its_target_and_is_not_worse_than_uniform);
    RUN(test_greedy_finds_the_planted_optimum);
    RUN(test_whole_channels);
    RUN(test_greedy_on_the_model);
    RUN(test_given_shares);
    RUN(test_file_of_shares);
    demo_close(&demo);
    return 0;
}
