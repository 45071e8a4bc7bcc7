/* A model with parts removed against the same model with those parts' outputs set to zero, on the
 * demo model: what a smaller model computes is known from the larger one. */
#include "harness/model/reshape.h"
#include "tests/demo.h"

#define N_IDS 60

static struct demo demo;
static struct session session;
static int32_t ids[N_IDS];
static double dense[N_IDS - 1];

/* Log-probabilities of the ids, each given those before it. */
static void run(double *logprob)
{
    int32_t rows[N_IDS - 1], top[N_IDS - 1];

    for (int i = 0; i < N_IDS - 1; i++)
        rows[i] = i;
    batch_clear(&session.batch);
    batch_add(&session.batch, ids, N_IDS - 1, -1);
    session_forward(&session);
    session_logprobs(&session, rows, ids + 1, N_IDS - 1, logprob, top);
}

static double largest_difference(const double *a, const double *b)
{
    double worst = 0;

    for (int i = 0; i < N_IDS - 1; i++)
        worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

/* Columns [first, first + n) of w = 0. */
static void clear_columns(struct tensor w, size_t first, size_t n)
{
    for (size_t i = 0; i < w.rows; i++)
        memset((float *)w.data + i * w.cols + first, 0, n * sizeof(float));
}

static void restore(void)
{
    double again[N_IDS - 1];

    CHECK(model_restore(&demo.model) == 0);
    CHECK(demo.model.config.n_layers == demo.checkpoint.config.n_layers && !demo.model.reshaped);
    run(again);
    CHECK(memcmp(again, dense, sizeof(dense)) == 0);
    CHECK(model_n_params_left(&demo.model) >= config_n_params(&demo.model.source) * 999 / 1000);
}

/* Adding a product with zeros changes no bit, nor does leaving it out. */
static void test_blocks(void)
{
    struct model *m = &demo.model;
    double want[N_IDS - 1], got[N_IDS - 1];
    size_t n = config_n_linear_params(&m->source), h = m->config.hidden;
    size_t attention = layer_attention_params(&m->layers[0]), mlp = layer_mlp_params(&m->layers[0]);

    CHECK(attention + mlp == n / m->config.n_layers);
    clear_columns(m->layers[1].o, 0, m->layers[1].o.cols);
    clear_columns(m->layers[3].o, 0, m->layers[3].o.cols);
    clear_columns(m->layers[3].down, 0, m->layers[3].down.cols);
    clear_columns(m->layers[4].down, 0, m->layers[4].down.cols);
    run(want);
    CHECK(largest_difference(want, dense) > 0.1);
    restore();
    layer_remove_attention(m, 1);
    layer_remove_attention(m, 3);
    layer_remove_mlp(m, 3);
    layer_remove_mlp(m, 4);
    model_remove_empty_layers(m);
    CHECK(m->config.n_layers == 5 && !layer_has_attention(&m->layers[1]) &&
          !layer_has_mlp(&m->layers[3]) && layer_has_attention(&m->layers[3]));
    run(got);
    CHECK(memcmp(got, want, sizeof(want)) == 0);
    CHECK_NEAR(model_zero_share(m), 2 * (double)(attention + mlp) / (double)n, 1e-3);
    CHECK(config_n_params(&m->source) - model_n_params_left(m) >= 2 * (attention + mlp) + 4 * h);
    restore();
}

/* Sums over fewer columns are added in another order: 1e-4 in a log-probability. */
static void test_heads_and_neurons(void)
{
    struct model *m = &demo.model;
    const int32_t heads[] = {0, 3};
    int32_t neurons[688];
    double want[N_IDS - 1], got[N_IDS - 1];
    size_t d = m->config.head_dim, n = 0;

    clear_columns(m->layers[2].o, d, 2 * d);
    for (size_t i = 0; i < 688; i++)
        if (i % 3 == 1)
            clear_columns(m->layers[5].down, i, 1);
        else
            neurons[n++] = (int32_t)i;
    run(want);
    CHECK(largest_difference(want, dense) > 0.1);
    restore();
    layer_keep_heads(m, 2, heads, 2);
    layer_keep_neurons(m, 5, neurons, n);
    CHECK(m->layers[2].shape.n_heads == 2 && m->layers[2].qkv.rows == 6 * d);
    CHECK(m->layers[5].gate_up.rows == 2 * n && m->layers[5].linears[LINEAR_UP].w.rows == n);
    run(got);
    CHECK(largest_difference(got, want) < 1e-4);
    restore();
}

/* A query group stays with its keys: two kv heads of two query heads each, made from the four. */
static void test_query_groups(void)
{
    struct model *m = &demo.model;
    struct layer *l = &m->layers[0];
    size_t d = m->config.head_dim, h = m->config.hidden;
    const int32_t second[] = {1};
    double want[N_IDS - 1], got[N_IDS - 1];
    float *w = l->qkv.data;

    /* v of heads 2 and 3 moves up behind k of heads 0 and 1: [q0..q3 | k0 k1 | v0 v1] */
    memmove(w + 6 * d * h, w + 8 * d * h, 2 * d * h * sizeof(*w));
    l->qkv.rows = 8 * d;
    l->shape.n_kv_heads = 2;
    layer_lay_linears(l);
    m->reshaped = 1;
    clear_columns(l->o, 0, 2 * d);
    run(want);
    layer_keep_heads(m, 0, second, 1);
    CHECK(l->shape.n_heads == 2 && l->shape.n_kv_heads == 1 && l->qkv.rows == 4 * d);
    run(got);
    CHECK(largest_difference(got, want) < 1e-4);
    CHECK(largest_difference(got, dense) > 0.1);
    restore();
}

/* The bias of o is what a removed attention of constant output leaves: here of the last layer, so
 * that the residual stream shows it. */
static void test_bias(void)
{
    struct model *m = &demo.model;
    size_t h = m->config.hidden, last = m->config.n_layers - 1;
    float *bias = xmalloc(h * sizeof(*bias)), *before = xmalloc(2 * h * sizeof(*before));
    double got[N_IDS - 1];

    for (size_t i = 0; i < h; i++)
        bias[i] = (float)i / 64 - 2;
    layer_remove_attention(m, last);
    layer_remove_mlp(m, last);
    run(got);
    memcpy(before, session.x.data, 2 * h * sizeof(*before));
    m->layers[last].o_bias = device_tensor(m->dev, DTYPE_F32, 1, h);
    m->layers[last].down_bias = device_tensor(m->dev, DTYPE_F32, 1, h);
    memcpy(m->layers[last].o_bias.data, bias, h * sizeof(*bias));
    memcpy(m->layers[last].down_bias.data, bias, h * sizeof(*bias));
    model_remove_empty_layers(m);
    CHECK(m->config.n_layers == last + 1);
    run(got);
    for (size_t i = 0; i < 2 * h; i++)
        CHECK(((float *)session.x.data)[i] == before[i] + bias[i % h] + bias[i % h]);
    free(bias);
    free(before);
    restore();
}

int main(void)
{
    struct pcg32 g;

    pcg32_init(&g, 7, 1);
    demo_open(&demo, DEMO_MODEL, 1);
    demo_session(&session, &demo.model, N_IDS);
    for (int i = 0; i < N_IDS; i++)
        ids[i] = i ? 3 + (int32_t)pcg32_below(&g, 4000) : 1;
    run(dense);
    RUN(test_blocks);
    RUN(test_heads_and_neurons);
    RUN(test_query_groups);
    RUN(test_bias);
    session_close(&session);
    demo_close(&demo);
    return 0;
}
