/* Structured methods that remove layers and sub-blocks, against direct computations on the demo
 * model. */
#include "tests/structured.h"

static struct restructure_job job_of(const struct prune_options *o)
{
    return (struct restructure_job){
        .m = &demo.model, .options = o, .ids = ids, .n_windows = N_WINDOWS, .window = WINDOW};
}

static int prune(const struct pruner *method, double sparsity)
{
    struct prune_options o = options_of(sparsity);

    CHECK(model_restore(&demo.model) == 0);
    return sweep_prune(&demo.model, method, &o, ids, N_WINDOWS, WINDOW, NULL);
}

/* Every method at sparsity 0: the same bits. */
static void test_nothing_asked_nothing_changed(void)
{
    double dense[N_IDS], got[N_IDS];

    run_model(&whole.model, dense);
    for (int i = 0; pruners[i]; i++) {
        if (!pruners[i]->restructure)
            continue;
        CHECK(prune(pruners[i], 0) == 0);
        run_model(&demo.model, got);
        CHECK(memcmp(got, dense, (N_IDS - N_WINDOWS) * sizeof(*dense)) == 0);
        CHECK(!demo.model.reshaped && model_zero_share(&demo.model) < 1e-4);
    }
}

/* Block influence by hand, from the residual streams of a session that runs layer by layer. */
static void test_influence(void)
{
    struct prune_options o = options_of(0.5);
    struct restructure_job job = job_of(&o);
    struct session *s = &whole_session;
    double got[N_LAYERS];
    size_t h = whole.model.config.hidden;
    float *before = xmalloc(N_IDS * h * sizeof(*before)), *x = s->x.data;

    CHECK(model_restore(&demo.model) == 0);
    shortgpt_influence(&job, got);
    lay_windows(s);
    session_begin(s);
    session_embed(s, tensor_rows(s->x, 0, N_IDS));
    for (size_t i = 0; i < N_LAYERS; i++) {
        double sum = 0;

        memcpy(before, x, N_IDS * h * sizeof(*before));
        session_layers(s, tensor_rows(s->x, 0, N_IDS), i, i + 1);
        for (size_t t = 0; t < N_IDS; t++) {
            double ab = 0, aa = 0, bb = 0;

            for (size_t j = t * h; j < (t + 1) * h; j++) {
                ab += (double)before[j] * x[j];
                aa += (double)before[j] * before[j];
                bb += (double)x[j] * x[j];
            }
            sum += ab / sqrt(aa * bb);
        }
        CHECK_NEAR(got[i], 1 - sum / N_IDS, 1e-12);
    }
    free(before);
}

static void test_shortgpt(void)
{
    struct prune_options o = options_of(0.34);
    struct restructure_job job = job_of(&o);
    double influence[N_LAYERS];
    char attention[N_LAYERS], mlp[N_LAYERS];

    CHECK(model_restore(&demo.model) == 0);
    shortgpt_influence(&job, influence);
    CHECK(prune(&pruner_shortgpt, 0.34) == 0);
    CHECK(demo.model.config.n_layers == 4); /* 6 * 0.34 = 2.04 */
    parts_left(attention, mlp);
    for (size_t i = 0; i < N_LAYERS; i++) {
        int n_lower = 0;

        for (size_t j = 0; j < N_LAYERS; j++)
            n_lower += influence[j] < influence[i];
        CHECK(attention[i] == (n_lower >= 2) && mlp[i] == attention[i]);
    }
    for (size_t i = 0; i + 1 < demo.model.config.n_layers; i++)
        CHECK(layer_was(&demo.model.layers[i]) < layer_was(&demo.model.layers[i + 1]));
    CHECK_NEAR(model_zero_share(&demo.model), 2.0 / 6, 1e-4);
}

/* One candidate of each kind, on the whole model and on one that lacks parts already. */
static void test_losses(void)
{
    const struct candidate c[] = {
        {0, PART_ATTENTION}, {0, PART_MLP}, {2, PART_MLP}, {2, PART_LAYER}, {5, PART_LAYER}};
    struct prune_options o = options_of(0.5);
    struct restructure_job job = job_of(&o);
    double loss[5];

    CHECK(model_restore(&demo.model) == 0);
    for (int lacking = 0; lacking < 2; lacking++) {
        windows_losses(&job, SEARCH_WINDOWS, c, 5, loss);
        for (int i = 0; i < 5; i++) {
            char attention[N_LAYERS] = {1, 1, 1, 1, 1, 1}, mlp[N_LAYERS] = {1, 1, 1, 1, 1, 1};

            if (lacking)
                attention[1] = attention[3] = mlp[3] = 0;
            attention[c[i].layer] &= !(c[i].part & PART_ATTENTION);
            mlp[c[i].layer] &= !(c[i].part & PART_MLP);
            CHECK_NEAR(loss[i], loss_with(attention, mlp), 1e-12);
        }
        candidate_remove(&job, (struct candidate){1, PART_ATTENTION});
        candidate_remove(&job, (struct candidate){3, PART_LAYER});
    }
    windows_losses(&job, 1, c, 1, loss); /* the first window alone */
    CHECK(fabs(loss[0] - loss_with((char[]){0, 0, 1, 0, 1, 1}, (char[]){1, 1, 1, 0, 1, 1})) > 1e-6);
}

static void check_left(const char *want_attention, const char *want_mlp)
{
    char attention[N_LAYERS], mlp[N_LAYERS];

    parts_left(attention, mlp);
    CHECK(memcmp(attention, want_attention, N_LAYERS) == 0);
    CHECK(memcmp(mlp, want_mlp, N_LAYERS) == 0);
}

static void test_sleb(void)
{
    char attention[N_LAYERS] = {1, 1, 1, 1, 1, 1}, mlp[N_LAYERS] = {1, 1, 1, 1, 1, 1};

    leave_out_best(attention, mlp, 1);
    leave_out_best(attention, mlp, 1);
    CHECK(prune(&pruner_sleb, 0.3) == 0);
    CHECK(demo.model.config.n_layers == 4);
    check_left(attention, mlp);
    CHECK(prune(&pruner_sleb, 0.99) == 0);
    CHECK(demo.model.config.n_layers == 1); /* the last layer stays */
}

/* As long as the next step comes nearer to the parameters asked for. */
static void check_blockpruner(double sparsity)
{
    const struct layer *l = &whole.model.layers[0];
    double all = (double)config_n_linear_params(&whole.model.config), gone = 0;
    char attention[N_LAYERS] = {1, 1, 1, 1, 1, 1}, mlp[N_LAYERS] = {1, 1, 1, 1, 1, 1};

    for (;;) {
        char a[N_LAYERS], m[N_LAYERS];
        double step = 0;

        memcpy(a, attention, N_LAYERS);
        memcpy(m, mlp, N_LAYERS);
        leave_out_best(a, m, 0);
        for (int k = 0; k < N_LAYERS; k++)
            step += (attention[k] - a[k]) * (double)layer_attention_params(l) +
                    (mlp[k] - m[k]) * (double)layer_mlp_params(l);
        if (fabs(gone + step - sparsity * all) > fabs(gone - sparsity * all))
            break;
        gone += step;
        memcpy(attention, a, N_LAYERS);
        memcpy(mlp, m, N_LAYERS);
    }
    CHECK(prune(&pruner_blockpruner, sparsity) == 0);
    check_left(attention, mlp);
    CHECK_NEAR(model_zero_share(&demo.model), gone / all, 1e-3);
    CHECK_NEAR(gone / all, sparsity, (double)layer_mlp_params(l) / all / 2 + 1e-9);
}

static void test_blockpruner(void)
{
    check_blockpruner(0.02); /* less than half of any */
    check_blockpruner(0.12);
    if (!SANITIZED)
        check_blockpruner(0.24);
}

/* The pruned model runs, the same on any number of threads, and comes back whole. */
static void test_threads(void)
{
    double one[N_IDS], two[N_IDS], dense[N_IDS];

    run_model(&whole.model, dense);
    for (int i = 0; pruners[i]; i++) {
        struct prune_options o = options_of(0.3);
        struct demo d;

        if (!pruners[i]->restructure ||
            (SANITIZED && (pruners[i] == &pruner_sleb || pruners[i] == &pruner_blockpruner)))
            continue;
        CHECK(prune(pruners[i], 0.3) == 0);
        run_model(&demo.model, one);
        CHECK(memcmp(one, dense, (N_IDS - N_WINDOWS) * sizeof(*one)) != 0);
        demo_open(&d, DEMO_MODEL, 2);
        CHECK(sweep_prune(&d.model, pruners[i], &o, ids, N_WINDOWS, WINDOW, NULL) == 0);
        run_model(&d.model, two);
        CHECK(memcmp(one, two, (N_IDS - N_WINDOWS) * sizeof(*one)) == 0);
        demo_close(&d);
    }
    CHECK(model_restore(&demo.model) == 0);
    run_model(&demo.model, one);
    CHECK(memcmp(one, dense, (N_IDS - N_WINDOWS) * sizeof(*one)) == 0);
}

static void test_largest_scores(void)
{
    const double score[] = {1, 5, 3, 5, 3, 0};
    int32_t keep[6];

    largest_scores(score, 6, 3, keep);
    CHECK(keep[0] == 1 && keep[1] == 2 && keep[2] == 3);
    largest_scores(score, 6, 6, keep);
    for (int i = 0; i < 6; i++)
        CHECK(keep[i] == i);
}

int main(void)
{
    structured_open();
    RUN(test_largest_scores);
    RUN(test_influence);
    RUN(test_losses);
    RUN(test_shortgpt);
    RUN(test_sleb);
    RUN(test_blockpruner);
    RUN(test_nothing_asked_nothing_changed);
    RUN(test_threads);
    structured_close();
    return 0;
}
