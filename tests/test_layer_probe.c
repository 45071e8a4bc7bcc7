/* Figures of each layer, on the demo model: a layer that does nothing has errors that are known
 * from the model written in double. */
#include "harness/measure/layer_probe.h"
#include "harness/model/reshape.h"
#include "tests/demo.h"
#include "tests/llama_double.h"

#define N_IDS 40
#define LAYER 2 /* the one that is to do nothing */

static struct demo demo;
static struct session session;
static struct layer_probe probe;
static int32_t ids[N_IDS];
static size_t n_layers;
static double out[N_LAYER_METRICS * 64];

static double figure(int metric, size_t layer)
{
    return out[(size_t)metric * n_layers + layer];
}

static void test_the_dense_model(void)
{
    layer_probe_run(&probe, &session, out);
    for (size_t i = 0; i < n_layers; i++) {
        CHECK(figure(LAYER_OUTPUT_ERROR, i) == 0 && figure(LAYER_STREAM_ERROR, i) == 0);
        for (int m = 0; m < LAYER_OUTPUT_ERROR; m++)
            CHECK(figure(m, i) >= 0 && figure(m, i) < 1e-3); /* a weight may be zero */
    }
}

/* Mean over tokens of |f(h) - h| / |f(h)| for f of LAYER: what is missing of the stream after it.
 */
static double missing_share(void)
{
    const struct llama_config *k = &demo.checkpoint.config;
    size_t begin[N_IDS] = {0}, pos[N_IDS], h = k->hidden;
    struct double_batch b = {ids, begin, pos, N_IDS};
    float *embed = double_weights(&demo.checkpoint, "model.embed_tokens.weight", k->n_vocab, h);
    double *x = xmalloc(h * N_IDS * sizeof(*x)), *before = xmalloc(h * N_IDS * sizeof(*x));
    double mean = 0;

    for (size_t t = 0; t < N_IDS; t++) {
        pos[t] = t;
        for (size_t j = 0; j < h; j++)
            x[j * N_IDS + t] = embed[(size_t)ids[t] * h + j];
    }
    for (size_t l = 0; l <= LAYER; l++) {
        memcpy(before, x, h * N_IDS * sizeof(*x));
        double_layer(&demo.checkpoint, l, x, &b);
    }
    for (size_t t = 0; t < N_IDS; t++) {
        double moved = 0, norm = 0;

        for (size_t j = t; j < h * N_IDS; j += N_IDS) {
            moved += (x[j] - before[j]) * (x[j] - before[j]);
            norm += x[j] * x[j];
        }
        mean += sqrt(moved / norm) / N_IDS;
    }
    free(embed);
    free(x);
    free(before);
    return mean;
}

static void clear(struct tensor w)
{
    memset(w.data, 0, tensor_nbytes(w));
}

static void test_a_layer_that_adds_nothing(void)
{
    struct layer *l = &demo.model.layers[LAYER];
    double share = (double)(tensor_numel(l->o) + tensor_numel(l->down)) /
                   (double)(layer_attention_params(l) + layer_mlp_params(l));

    clear(l->o);
    clear(l->down);
    layer_probe_run(&probe, &session, out);
    CHECK_NEAR(figure(LAYER_ZEROS, LAYER), share, 1e-3);
    CHECK(figure(LAYER_ZEROS_FIRST + LINEAR_O, LAYER) == 1);
    CHECK(figure(LAYER_ZEROS_FIRST + LINEAR_DOWN, LAYER) == 1);
    CHECK(figure(LAYER_ZEROS_FIRST + LINEAR_UP, LAYER) < 1e-3);
    for (size_t i = 0; i < n_layers; i++)
        CHECK(figure(LAYER_OUTPUT_ERROR, i) == (i == LAYER));
    CHECK(figure(LAYER_STREAM_ERROR, LAYER - 1) == 0);
    CHECK_NEAR(figure(LAYER_STREAM_ERROR, LAYER), missing_share(), 1e-4);
    CHECK(figure(LAYER_STREAM_ERROR, n_layers - 1) > 0.01);
}

/* The same by removing it: the errors are the same numbers, its zeros are all of it. */
static void test_a_layer_that_is_gone(void)
{
    double before[N_LAYER_METRICS * 64];

    memcpy(before, out, sizeof(out));
    layer_remove_attention(&demo.model, LAYER);
    layer_remove_mlp(&demo.model, LAYER);
    model_remove_empty_layers(&demo.model);
    CHECK(demo.model.config.n_layers == n_layers - 1 &&
          demo.model.layers[LAYER].source == LAYER + 1);
    layer_probe_run(&probe, &session, out);
    for (size_t i = 0; i < n_layers; i++) {
        CHECK(figure(LAYER_OUTPUT_ERROR, i) == before[LAYER_OUTPUT_ERROR * n_layers + i]);
        CHECK(figure(LAYER_STREAM_ERROR, i) == before[LAYER_STREAM_ERROR * n_layers + i]);
        for (int m = 0; m < LAYER_OUTPUT_ERROR; m++)
            CHECK(i == LAYER ? figure(m, i) == 1 : figure(m, i) < 1e-3);
    }
}

static void test_totals(void)
{
    struct llama_config k = {.n_layers = 3};
    static const double v[] = {0.25, 0.5, 0.75};

    CHECK_NEAR(layer_probe_total(&k, LAYER_ZEROS, v), 0.5, 1e-15);
    CHECK_NEAR(layer_probe_total(&k, LAYER_STREAM_ERROR, v), 0.75, 0);
    CHECK_STR(layer_metric_names[LAYER_ZEROS_FIRST + LINEAR_DOWN], "zeros_down");
    CHECK_STR(layer_metric_names[LAYER_STREAM_ERROR], "stream_error");
}

int main(void)
{
    struct ids text;

    demo_open(&demo, DEMO_MODEL, 1);
    text = demo_wikitext(demo.tokenizer);
    memcpy(ids, text.v, sizeof(ids));
    n_layers = demo.model.config.n_layers;
    demo_session(&session, &demo.model, 64);
    layer_probe_open(&probe, &session, ids, N_IDS);
    CHECK(probe.n_tokens == N_IDS && n_layers <= 64);
    RUN(test_the_dense_model);
    RUN(test_a_layer_that_adds_nothing);
    RUN(test_a_layer_that_is_gone);
    RUN(test_totals);
    free(text.v);
    layer_probe_close(&probe);
    session_close(&session);
    demo_close(&demo);
    return 0;
}
