/* Models without a checkpoint, and layers that pass through the device from host memory. */
#include "harness/measure/sweep.h"
#include "harness/model/synthetic.h"
#include "prune/pruners.h"
#include "tests/demo.h"

static struct device *dev;

/* The definition in backend.h, by the generator itself. */
static void test_normal_values_are_pcg(void)
{
    struct tensor t = device_tensor(dev, DTYPE_F32, 33, 7);
    const float *v = t.data;
    struct pcg32 g;
    double sum = 0, squares = 0;

    dev->ops->fill_normal(dev, t, 0.5f, 42, 7);
    pcg32_init(&g, 42, 7);
    for (size_t i = 0; i < 33 * 7; i++) {
        uint64_t bytes = pcg32_next(&g);
        int z = 0;

        bytes |= (uint64_t)pcg32_next(&g) << 32;
        for (int b = 0; b < 7; b++)
            z += 2 * (int)(bytes >> 8 * b & 255) - 255;
        CHECK(v[i] == (float)z * (0.5f / NORMAL_BYTES_STDDEV));
        CHECK(v[i] != 0);
        sum += v[i];
        squares += v[i] * v[i];
    }
    CHECK(fabs(sum / 231) < 0.1);
    CHECK(fabs(sqrt(squares / 231) - 0.5) < 0.07);
    device_tensor_free(dev, &t);
}

static void test_shapes_are_the_published_ones(void)
{
    static const struct {
        const char *name;
        size_t n_params;
    } known[] = {{"llama2-7b", 6738415616},
                 {"llama2-13b", 13015864320},
                 {"llama2-70b", 68976648192},
                 {"llama3-8b", 8030261248},
                 {"llama3-70b", 70553706496}};
    struct llama_config c;

    for (int i = 0; i < 5; i++) {
        CHECK(synthetic_config(&c, known[i].name) == 0);
        CHECK(config_n_params(&c) == known[i].n_params);
    }
}

/* An odd and an even number of layers, one layer, and the demo's. */
static struct llama_config small(size_t n_layers)
{
    struct llama_config c;

    synthetic_config(&c, "llama2-7b");
    c.n_layers = n_layers;
    c.hidden = 64;
    c.intermediate = 96;
    c.n_heads = 4;
    c.n_kv_heads = 2;
    c.head_dim = 16;
    c.n_vocab = 300;
    c.max_positions = 64;
    return c;
}

/* Log-probabilities of the ids 0 .. 39 as one sequence. */
static void logprobs(const struct model *m, double *out)
{
    int32_t ids[41], rows[40], top[40];
    struct session s;

    session_open(&s, m, 64, 8, 0);
    for (int i = 0; i < 41; i++)
        ids[i] = i * 7;
    for (int i = 0; i < 40; i++)
        rows[i] = i;
    for (int round = 0; round < 2; round++) { /* the second begins with the first layer again */
        batch_clear(&s.batch);
        batch_add(&s.batch, ids, 40, -1);
        session_forward(&s);
        session_logprobs(&s, rows, ids + 1, 40, out, top);
    }
    session_close(&s);
}

static void prune_by(struct model *m, const struct pruner *method)
{
    struct prune_options o = {.sparsity = 0.5,
                              .act_sparsity = 0.5,
                              .alpha = 0.125,
                              .damp = 0.01,
                              .order_act = 1,
                              .lazy_exact = 1,
                              .block = 32};
    int32_t ids[4 * 48];

    for (int i = 0; i < 4 * 48; i++)
        ids[i] = i * i % 300;
    CHECK(sweep_prune(m, method, &o, ids, 4, 48, NULL) == 0);
}

static void test_streamed_layers_give_the_same_bits(void)
{
    const struct pruner *const methods[] = {&pruner_dense, &pruner_magnitude, &pruner_wanda,
                                            &pruner_duogpt};

    for (size_t n_layers = 1; n_layers <= 4; n_layers++) {
        struct model_source src = {.config = small(n_layers), .seed = n_layers};
        struct model on_device, streamed;

        CHECK(model_open_from(&on_device, dev, &src, DTYPE_F32, RESIDENCE_DEVICE) == 0);
        CHECK(model_open_from(&streamed, dev, &src, DTYPE_F32, RESIDENCE_STREAM) == 0);
        CHECK(!on_device.store && streamed.store);
        for (int i = 0; i < 4; i++) {
            double a[40], b[40];

            prune_by(&on_device, methods[i]);
            prune_by(&streamed, methods[i]);
            CHECK(model_zero_share(&on_device) == model_zero_share(&streamed));
            CHECK(i == 0 || model_zero_share(&streamed) > 0.49);
            logprobs(&on_device, a);
            logprobs(&streamed, b);
            CHECK(memcmp(a, b, sizeof(a)) == 0);
            CHECK(model_restore(&on_device) == 0 && model_restore(&streamed) == 0);
            CHECK(model_zero_share(&streamed) == 0);
        }
        model_close(&on_device);
        model_close(&streamed);
    }
}

/* Layers that host memory does not hold are made each time, and those that were changed are lost.
 */
static void test_layers_made_on_the_fly(void)
{
    static const size_t room[] = {1, 4, 5},
                        n_held[] = {0, 1, 5}; /* three layers' room is on the way */

    for (int i = 0; i < 3; i++) {
        struct model_source src = {.config = small(5), .seed = 3};
        struct model on_device, streamed;
        double a[40], b[40];

        CHECK(model_open_from(&on_device, dev, &src, DTYPE_F32, RESIDENCE_DEVICE) == 0);
        src.host_limit = room[i] * 4 * config_n_linear_params(&src.config) / 5 + 4096;
        CHECK(model_open_from(&streamed, dev, &src, DTYPE_F32, RESIDENCE_STREAM) == 0);
        CHECK(n_held[i] == 0 || layer_store_holds(streamed.store, n_held[i] - 1));
        CHECK(!layer_store_holds(streamed.store, n_held[i]));
        logprobs(&on_device, a);
        logprobs(&streamed, b);
        CHECK(memcmp(a, b, sizeof(a)) == 0);
        prune_by(&streamed, &pruner_wanda);
        CHECK(layer_store_n_dropped(streamed.store) == 5 - n_held[i]);
        CHECK(model_restore(&streamed) == 0 && layer_store_n_dropped(streamed.store) == 0);
        logprobs(&streamed, b);
        CHECK(memcmp(a, b, sizeof(a)) == 0);
        model_close(&on_device);
        model_close(&streamed);
    }
}

/* Hidden states of 8,192 tokens (2.1 MB a stream) where half of what is left is less. */
static void test_hidden_states_in_host_memory(void)
{
    enum { WINDOWS = 128, WINDOW = 64 };
    static int32_t ids[WINDOWS * WINDOW];
    struct prune_options o = {.sparsity = 0.5,
                              .act_sparsity = 0.5,
                              .alpha = 0.125,
                              .damp = 0.01,
                              .order_act = 1,
                              .lazy_exact = 1,
                              .block = 32};
    const struct pruner *const methods[] = {&pruner_wanda, &pruner_duogpt};
    struct model_source src = {.config = small(2), .seed = 5};

    for (int i = 0; i < WINDOWS * WINDOW; i++)
        ids[i] = (int32_t)((long)i * i % 299);
    for (int i = 0; i < 2; i++) {
        struct sweep_times t;
        struct model m;
        struct device *d;
        double v[2][40];

        for (int limited = 0; limited < 2; limited++) {
            static size_t peak;

            CHECK(device_open(&d, "cpu", 2) == 0);
            CHECK(model_open_from(&m, d, &src, DTYPE_F32, RESIDENCE_DEVICE) == 0);
            d->memory_limit = limited ? peak - (i ? 5 << 19 : 3 << 18) : 0;
            CHECK(sweep_prune(&m, methods[i], &o, ids, WINDOWS, WINDOW, &t) == 0);
            CHECK(limited ? t.copies.nbytes > 8192 * 64 * 4 : t.copies.nbytes == 0);
            sweep_times_release(&t);
            peak = d->ops->memory_peak(d);
            d->memory_limit = 0;
            logprobs(&m, v[limited]);
            model_close(&m);
            device_close(d);
        }
        CHECK(memcmp(v[0], v[1], sizeof(v[0])) == 0);
    }
}

static void test_seeds_differ(void)
{
    struct model_source src = {.config = small(2), .seed = 1};
    struct model m;
    double a[40], b[40];

    CHECK(model_open_from(&m, dev, &src, DTYPE_F32, RESIDENCE_AUTO) == 0);
    logprobs(&m, a);
    model_close(&m);
    src.seed = 2;
    CHECK(model_open_from(&m, dev, &src, DTYPE_F32, RESIDENCE_AUTO) == 0);
    logprobs(&m, b);
    model_close(&m);
    CHECK(memcmp(a, b, sizeof(a)) != 0);
}

int main(void)
{
    progress_quiet(1);
    if (device_open(&dev, "cpu", 2) != 0)
        return 1;
    RUN(test_normal_values_are_pcg);
    RUN(test_shapes_are_the_published_ones);
    RUN(test_streamed_layers_give_the_same_bits);
    RUN(test_layers_made_on_the_fly);
    RUN(test_hidden_states_in_host_memory);
    RUN(test_seeds_differ);
    device_close(dev);
    return 0;
}
