/* Decoding against the batched path: the same tokens, the same log-likelihoods, the same
 * perplexity, dense and dual-sparse, with every kind of packing. On the demo model and synthetic
 * ones always, on the reference models where they are there.
 *
 * test_decode [BACKEND [DTYPE [N]]] runs the same on another backend, and the checkpoints over N
 * windows and ten times as many continuations, such as: VERBOSE=1 test_decode cuda f16 100 */
#include "harness/measure/sweep.h"
#include "harness/model/decode.h"
#include "harness/model/reshape.h"
#include "harness/model/synthetic.h"
#include "prune/pruners.h"
#include "tests/demo.h"

static struct device *dev;
static enum dtype dtype = DTYPE_F32;
static int verbose;
static size_t n_asked; /* windows of each checkpoint; 0: as many as are quick */

#define PROMPT 20
#define MOST 512

/* How far decoding may be from the batched path, in nats, and as a share of a perplexity. In
 * float32 both differ by the order of summation alone, and so do their log-probabilities (`close`),
 * unless exact top-k takes another channel of two that differ by less: then that token's keys and
 * values, and all that follows, are those of another sparse network, which these small models
 * answer with tenths of a nat. It happens to a few windows in a hundred tokens' choices each; `far`
 * bounds the mean over such windows. In 16 bits every rounding to the type can fall to the other
 * side. Whatever falls, falls to both sides: the differences' mean is 0 within its error. */
struct tolerance {
    double close, far, perplexity;
};

static struct tolerance tolerance_of(double act)
{
    if (dtype == DTYPE_F32)
        return (struct tolerance){1e-4, act > 0 ? 0.5 : 0, 1e-5};
    if (act > 0)
        return (struct tolerance){0.1, 1.5, 0.15};
    return dtype == DTYPE_F16 ? (struct tolerance){0.1, 0.05, 1e-2}
                              : (struct tolerance){0.5, 0.5, 2e-2};
}

/* ---- models: half of the weights pruned by magnitude, or dense */

struct subject {
    struct demo d;
    double weights, act;
};

static void prune_and_set(struct model *m, double weights, double act)
{
    struct prune_options p = {.sparsity = weights, .block = 128};

    if (weights > 0)
        CHECK(sweep_prune(m, pruner_find("magnitude"), &p, NULL, 0, 0, NULL) == 0);
    model_set_activation(m, act > 0 ? ACT_TOPK : ACT_DENSE, act);
}

/* Ends the program where the checkpoint cannot be opened. */
static void subject_open(struct subject *s, const char *dir, double weights, double act)
{
    *s = (struct subject){.weights = weights, .act = act};
    s->d.dev = dev;
    if (checkpoint_open(&s->d.checkpoint, dir) || tokenizer_open(&s->d.tokenizer, dir) ||
        model_open(&s->d.model, dev, &s->d.checkpoint, dtype))
        exit(1);
    prune_and_set(&s->d.model, weights, act);
}

static void subject_close(struct subject *s)
{
    s->d.dev = NULL; /* stays open */
    model_close(&s->d.model);
    tokenizer_close(s->d.tokenizer);
    checkpoint_close(&s->d.checkpoint);
}

/* ---- the batched path: log-probabilities of ids 1 .. n - 1, and whether each was the arg-max */

static void prefill_logprobs(const struct model *m, const int32_t *ids, size_t n, double *logprob,
                             int32_t *top)
{
    struct session s;
    int32_t rows[MOST];

    session_open(&s, m, n, n / KV_PAGE + 1, 0);
    batch_add(&s.batch, ids, n, -1);
    session_forward(&s);
    for (size_t i = 0; i + 1 < n; i++)
        rows[i] = (int32_t)i;
    session_logprobs(&s, rows, ids + 1, n - 1, logprob + 1, top + 1);
    session_close(&s);
}

/* ---- what is compared */

/* Greedy tokens: each is the arg-max of the batched path over all tokens before it (a row's bits do
 * not depend on what follows, so one pass over the whole stands for a prefill per token). Returns
 * how many are not. */
static size_t greedy_differences(const struct model *m, int kind, const int32_t *prompt,
                                 size_t n_new)
{
    struct decode_options o = decode_options_of(kind, PROMPT + n_new);
    struct decoder d;
    int32_t ids[MOST], top[MOST];
    double logprob[MOST];
    size_t bad = 0;

    CHECK(decoder_open(&d, m, &o) == 0);
    decoder_prefill(&d, prompt, PROMPT);
    decoder_generate(&d, 7);
    decoder_generate(&d, n_new - 7);
    decoder_ids(&d, 0, PROMPT + n_new, ids);
    decoder_close(&d);
    CHECK(memcmp(ids, prompt, PROMPT * sizeof(*ids)) == 0);
    prefill_logprobs(m, ids, PROMPT + n_new, logprob, top);
    for (size_t i = PROMPT; i < PROMPT + n_new; i++)
        bad += !top[i];
    return bad;
}

/* Differences of two paths over many texts: log-likelihoods' with sign, and how far tokens are
 * apart in those that are not close. */
struct tally {
    size_t n, n_close;
    double sum, squares, most, far;
};

static double tally_error(const struct tally *t)
{
    double n = (double)t->n, mean = t->sum / n;

    return n > 1 ? sqrt(fmax(t->squares / n - mean * mean, 0) / (n - 1)) : 0;
}

/* In the mean neither path is better, but for `close` a token of `tokens`. */
static void tally_check(const struct tally *t, double act, double tokens)
{
    struct tolerance tol = tolerance_of(act);
    size_t n_far = t->n - t->n_close;

    CHECK_NEAR(t->sum / (double)t->n, 0, 4 * tally_error(t) + tol.close * tokens);
    CHECK(n_far == 0 || t->far / (double)n_far <= tol.far);
    if (dtype == DTYPE_F32)
        CHECK(t->n_close >= t->n - t->n / 3);
}

/* Forced tokens: the log-probability of each, after a prompt of n_prompt ids; nll: sums of both
 * paths. 1 if all are close. */
static int check_forced(struct decoder *d, const int32_t *ids, size_t n_prompt, size_t n,
                        double act, double *nll, struct tally *t)
{
    double got[MOST], want[MOST], sum = 0, most = 0, diff;
    int32_t top[MOST];

    prefill_logprobs(d->m, ids, n, want, top);
    decoder_prefill(d, ids, n_prompt);
    decoder_force(d, ids + n_prompt, n - n_prompt, got + n_prompt);
    nll[0] = nll[1] = 0;
    for (size_t i = n_prompt; i < n; i++) {
        diff = fabs(got[i] - want[i]);
        sum += diff / (double)(n - n_prompt);
        most = !(diff <= most) ? diff : most;
        nll[0] -= got[i];
        nll[1] -= want[i];
    }
    if (verbose && !n_asked)
        printf("# %s, act %.2f: differences of log-probabilities: mean %.3g, most %.3g\n",
               packed_kind_name(d->layers[0].w[0].kind), act, sum, most);
    diff = nll[0] - nll[1];
    CHECK(isfinite(diff));
    t->n++;
    t->sum += diff;
    t->squares += diff * diff;
    t->most = fmax(t->most, fabs(diff));
    if (most <= tolerance_of(act).close) {
        t->n_close++;
        return 1;
    }
    t->far += sum;
    return 0;
}

/* Windows of a text by decoding from their first id on: most are close, and so is the perplexity
 * over these; in 16 bits, roughly, over all. */
static void check_perplexity(const struct model *m, int kind, const int32_t *ids, size_t n_windows,
                             size_t window, double act)
{
    struct decode_options o = decode_options_of(kind, window);
    double nll[2], sum[2] = {0}, all[2] = {0}, n = 0, per = (double)(window - 1);
    struct decoder d;
    struct tally t = {0};

    CHECK(decoder_open(&d, m, &o) == 0);
    for (size_t i = 0; i < n_windows; i++) {
        int close = check_forced(&d, ids + i * window, 1, window, act, nll, &t);

        all[0] += nll[0];
        all[1] += nll[1];
        if (close || dtype != DTYPE_F32) {
            n += per;
            sum[0] += nll[0];
            sum[1] += nll[1];
        }
    }
    CHECK_NEAR(exp((sum[0] - sum[1]) / n), 1, tolerance_of(act).perplexity);
    tally_check(&t, act, per);
    n = (double)n_windows * per;
    if (verbose || t.n_close < n_windows)
        printf("# %s, act %.2f: perplexity %.5f by decoding, %.5f by prefill (%+.3f +- %.3f %%); "
               "%zu of %zu windows close\n",
               packed_kind_name(d.layers[0].w[0].kind), act, exp(all[0] / n), exp(all[1] / n),
               100 * (exp((all[0] - all[1]) / n) - 1), 100 * tally_error(&t) / per, t.n_close,
               n_windows);
    decoder_close(&d);
}

/* Log-likelihoods of continuations of 1 to 16 ids after prompts of 1 to PROMPT, from all over the
 * text: as a task asks for them. */
static void check_continuations(const struct model *m, int kind, const struct ids *text, size_t n,
                                double act)
{
    struct decode_options o = decode_options_of(kind, PROMPT + 16);
    struct tally t = {0};
    struct decoder d;
    double nll[2];

    CHECK(decoder_open(&d, m, &o) == 0);
    for (size_t i = 0; i < n; i++) {
        size_t at = i * 1009 % (text->n - PROMPT - 16), n_prompt = 1 + i % PROMPT;

        check_forced(&d, text->v + at, n_prompt, n_prompt + 1 + i % 16, act, nll, &t);
    }
    CHECK(act > 0 || dtype != DTYPE_F32 || t.n_close == n);
    tally_check(&t, act, 8.5);
    if (verbose || t.n_close < n)
        printf("# %s, act %.2f: %zu of %zu continuations close; log-likelihoods differ by %.3g +- "
               "%.2g in the mean, %.3g at most\n",
               packed_kind_name(d.layers[0].w[0].kind), act, t.n_close, n, t.sum / (double)n,
               tally_error(&t), t.most);
    decoder_close(&d);
}

/* Everything for one checkpoint, dense and at 50/50. */
static void check_model(const char *dir, size_t n_new, size_t n_windows, size_t window)
{
    static const struct {
        double weights, act;
        int kind;
    } cases[] = {{0, 0, PACKED_ROWS},
                 {0.5, 0, PACKED_NONZEROS},
                 {0, 0.5, PACKED_COLUMNS},
                 {0.5, 0.5, PACKED_NONZEROS},
                 {0.5, 0.5, PACKED_AUTO}};

    if (n_asked) {
        n_windows = n_asked;
        n_new = 256;
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct subject s;
        struct ids ids;
        size_t bad;

        subject_open(&s, dir, cases[i].weights, cases[i].act);
        ids = demo_wikitext(s.d.tokenizer);
        bad = greedy_differences(&s.d.model, cases[i].kind, ids.v, n_new);
        /* Nearly equal logits change places in 16 bits, and where top-k took another channel. */
        CHECK(dtype == DTYPE_F32 ? bad <= (cases[i].act > 0 ? n_new / 8 : 0) : bad <= n_new / 2);
        if (bad)
            printf("# %zu of %zu greedy tokens differ\n", bad, n_new);
        if (n_windows > ids.n / window)
            n_windows = ids.n / window;
        check_perplexity(&s.d.model, cases[i].kind, ids.v, n_windows, window, cases[i].act);
        check_continuations(&s.d.model, cases[i].kind, &ids, n_asked ? 10 * n_asked : n_windows,
                            cases[i].act);
        ids_release(&ids);
        subject_close(&s);
    }
}

static void test_demo_model(void)
{
    check_model(DEMO_MODEL, SANITIZED ? 40 : 256, SANITIZED ? 2 : 12, SANITIZED ? 20 : 50);
}

static void test_llama2_ref(void)
{
    char dir[4096];

    snprintf(dir, sizeof(dir), "%s/models/llama2-ref", test_shared());
    check_model(dir, SANITIZED ? 10 : 64, SANITIZED ? 1 : 6, SANITIZED ? 10 : 24);
}

static void test_llama3_ref(void)
{
    char dir[4096];

    snprintf(dir, sizeof(dir), "%s/models/llama3-ref", test_shared());
    check_model(dir, SANITIZED ? 10 : 64, SANITIZED ? 1 : 6, SANITIZED ? 10 : 24);
}

/* ---- shapes: grouped queries, head sizes that are no power of two, prompts across pages */

static void check_shape(size_t n_heads, size_t n_kv, size_t d, size_t n_prompt)
{
    struct model_source src = {.seed = 5};
    struct llama_config *c = &src.config;
    struct decode_options o = decode_options_of(PACKED_AUTO, 64);
    struct model m;
    struct decoder dec;
    int32_t ids[60];
    double nll[2];
    struct tally t = {0};

    CHECK(synthetic_config(c, "llama2-7b") == 0);
    c->n_layers = 2;
    c->hidden = 96;
    c->intermediate = 160;
    c->n_heads = n_heads;
    c->n_kv_heads = n_kv;
    c->head_dim = d;
    c->n_vocab = 300;
    c->max_positions = 64;
    CHECK(model_open_from(&m, dev, &src, dtype, RESIDENCE_DEVICE) == 0);
    for (size_t i = 0; i < 60; i++)
        ids[i] = (int32_t)(i * 101 % 300);
    prune_and_set(&m, 0.5, 0.5);
    CHECK(decoder_open(&dec, &m, &o) == 0);
    CHECK(check_forced(&dec, ids, n_prompt, 60, 0.5, nll, &t));
    decoder_close(&dec);
    model_close(&m);
}

static void test_shapes(void)
{
    check_shape(6, 6, 16, 1);
    check_shape(6, 2, 16, 16);
    check_shape(8, 1, 24, 17);
    check_shape(4, 2, 64, 33);
    check_shape(2, 1, 128, 15);
    check_shape(3, 1, 80, 48);
}

/* ---- layers of different sizes, without a part, with a bias, in another basis */

static struct tensor random_tensor(enum dtype t, size_t rows, size_t cols, float stddev)
{
    struct tensor x = device_tensor(dev, t, rows, cols);

    dev->ops->fill_normal(dev, x, stddev, 3, rows + cols);
    return x;
}

static void test_parts_removed(void)
{
    static const int32_t heads[] = {0, 2, 3}, neurons[] = {0, 1, 5, 7, 100, 101, 102, 600};
    double acts[] = {0, 0.5};

    for (int a = 0; a < 2; a++) {
        struct decode_options o = decode_options_of(PACKED_AUTO, 64);
        struct decode_group of;
        struct subject s;
        struct decoder d;
        struct ids ids;
        double nll[2];
        struct tally t = {0};
        struct model *m = &s.d.model;
        size_t h, n_close = 0;

        subject_open(&s, DEMO_MODEL, acts[a], 0);
        ids = demo_wikitext(s.d.tokenizer);
        h = m->config.hidden;
        layer_remove_attention(m, 1);
        layer_remove_mlp(m, 2);
        layer_remove_attention(m, 4);
        layer_remove_mlp(m, 4);
        layer_keep_heads(m, 0, heads, 3);
        layer_keep_neurons(m, 3, neurons, 8);
        m->layers[1].o_bias = random_tensor(DTYPE_F32, 1, h, 0.1f);
        m->layers[4].down_bias = random_tensor(DTYPE_F32, 1, h, 0.1f);
        m->layers[5].attention_basis = random_tensor(dtype, h, h, 0.06f);
        m->layers[5].mlp_basis = random_tensor(dtype, h, h, 0.06f);
        model_set_activation(m, acts[a] > 0 ? ACT_TOPK : ACT_DENSE, acts[a]);
        CHECK(decoder_open(&d, m, &o) == 0);
        decoder_group(&d, GROUP_QKV, &of);
        CHECK(of.n_kind[0] + of.n_kind[1] + of.n_kind[2] == 4);
        for (size_t i = 0; i < 4; i++)
            n_close += (size_t)check_forced(&d, ids.v + 60 * i, 5, 60, acts[a], nll, &t);
        if (dtype == DTYPE_F32)
            CHECK(n_close >= (acts[a] > 0 ? 2 : 4));
        decoder_close(&d);
        ids_release(&ids);
        subject_close(&s);
    }
}

/* ---- a decoder's life */

/* A second sequence is as if it were the first; draws begin anew with the seed; a temperature makes
 * other tokens than none. */
static void test_sequences_begin_anew(void)
{
    struct subject s;
    struct decode_options o = decode_options_of(PACKED_AUTO, 128);
    struct decoder d;
    struct ids ids;
    int32_t first[100], again[100], other[100];

    /* On a GPU sums of sparse products may be added up in another order each time. */
    if (dev->ops->is_host)
        subject_open(&s, DEMO_MODEL, 0.5, 0.5);
    else
        subject_open(&s, DEMO_MODEL, 0, 0);
    ids = demo_wikitext(s.d.tokenizer);
    o.temperature = 0.8f;
    o.seed = 3;
    CHECK(decoder_open(&d, &s.d.model, &o) == 0);
    decoder_prefill(&d, ids.v, 40);
    decoder_generate(&d, 60);
    decoder_ids(&d, 0, 100, first);
    decoder_prefill(&d, ids.v + 500, 9);
    decoder_generate(&d, 30);
    decoder_seed(&d, 3);
    decoder_prefill(&d, ids.v, 40);
    decoder_generate(&d, 60);
    decoder_ids(&d, 0, 100, again);
    CHECK(memcmp(first, again, sizeof(first)) == 0);
    decoder_prefill(&d, ids.v, 40); /* the draws go on */
    decoder_generate(&d, 60);
    decoder_ids(&d, 0, 100, other);
    CHECK(memcmp(first, other, sizeof(first)) != 0);
    CHECK(greedy_differences(&s.d.model, PACKED_AUTO, first, 40) < 40);
    decoder_close(&d);
    ids_release(&ids);
    subject_close(&s);
}

static void test_kinds_are_chosen_by_zeros(void)
{
    static const struct {
        double weights, act;
        enum packed_kind kind;
    } cases[] = {{0, 0, PACKED_ROWS}, {0, 0.5, PACKED_COLUMNS}, {0.6, 0.6, PACKED_NONZEROS}};

    for (int i = 0; i < 3; i++) {
        struct subject s;
        struct decode_options o = decode_options_of(PACKED_AUTO, 32);
        struct decoder d;
        struct decode_group of;
        size_t dense = 0;

        subject_open(&s, DEMO_MODEL, cases[i].weights, cases[i].act);
        CHECK(decoder_open(&d, &s.d.model, &o) == 0);
        for (int g = 0; g < N_GROUPS; g++) {
            decoder_group(&d, (enum group)g, &of);
            CHECK(of.n_kind[cases[i].kind] == 6);
            CHECK_NEAR(1 - (double)of.n_nonzero / (double)of.n_weights, cases[i].weights, 1e-3);
            CHECK_NEAR(of.act_share, 1 - cases[i].act, 1e-9);
            dense += of.n_weights * dtype_size(dtype);
        }
        CHECK((decoder_packed_nbytes(&d) == 0) == (cases[i].kind == PACKED_ROWS));
        if (cases[i].kind == PACKED_NONZEROS)
            CHECK(decoder_packed_nbytes(&d) < dense);
        decoder_close(&d);
        subject_close(&s);
    }
}

/* ---- the choice of the next token, as an operation */

#define V 1000

static size_t draws(const float *x, float temperature, uint64_t seed, size_t n, size_t *count)
{
    struct tensor logits = device_tensor(dev, DTYPE_F32, 1, V);
    struct decode_cursor c = {.position = -1}, *cursor = dev->ops->alloc(dev, sizeof(c));
    int32_t *d_ids = dev->ops->alloc(dev, n * sizeof(*d_ids)), *ids = xmalloc(n * sizeof(*ids));
    struct pcg32 g;

    pcg32_init(&g, seed, 0);
    c.rng = g.state;
    dev->ops->upload(dev, logits.data, x, V * sizeof(*x));
    dev->ops->upload(dev, cursor, &c, sizeof(c));
    for (size_t i = 0; i < n; i++)
        dev->ops->decode->sample(dev, cursor, d_ids, logits, temperature);
    dev->ops->download(dev, ids, d_ids, n * sizeof(*ids));
    dev->ops->download(dev, &c, cursor, sizeof(c));
    CHECK(c.position == (int32_t)n - 1 && c.id == ids[n - 1]);
    memset(count, 0, V * sizeof(*count));
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < V)
            count[ids[i]]++;
        else
            CHECK(!"an id of the vocabulary");
    device_tensor_free(dev, &logits);
    dev->ops->free(dev, cursor);
    dev->ops->free(dev, d_ids);
    free(ids);
    return n;
}

static void test_greedy_takes_the_lowest_of_equals(void)
{
    static float x[V];
    static size_t count[V];

    for (int i = 0; i < V; i++)
        x[i] = -1 - (float)(i % 7);
    x[777] = x[421] = x[998] = 3;
    draws(x, 0, 1, 2, count);
    CHECK(count[421] == 2);
    for (int i = 0; i < V; i++)
        x[i] = -INFINITY;
    x[999] = -5;
    draws(x, 0, 1, 1, count);
    CHECK(count[999] == 1);
}

/* Frequencies against softmax(x / T): chi squared over the ids of some weight. */
static void test_draws_follow_the_softmax(void)
{
    static const float temperatures[] = {0.7f, 1, 2.5f};
    static float x[V];
    static size_t count[V];
    size_t n = SANITIZED ? 2000 : 20000;
    struct pcg32 g;

    pcg32_init(&g, 9, 0);
    for (int i = 0; i < V; i++)
        x[i] = (float)(3 * pcg32_normal(&g)) + 40;
    for (int t = 0; t < 3; t++) {
        double sum = 0, chi = 0, degrees = -1, rest = (double)n, rest_count = (double)n;

        draws(x, temperatures[t], 7, n, count);
        for (int i = 0; i < V; i++)
            sum += exp((x[i] - 40) / temperatures[t]);
        for (int i = 0; i < V; i++) {
            double want = (double)n * exp((x[i] - 40) / temperatures[t]) / sum;

            if (want < 10)
                continue;
            chi += ((double)count[i] - want) * ((double)count[i] - want) / want;
            degrees++;
            rest -= want;
            rest_count -= (double)count[i];
        }
        chi += (rest_count - rest) * (rest_count - rest) / rest;
        degrees++;
        CHECK(degrees > 10);
        CHECK(chi < degrees + 4 * sqrt(2 * degrees)); /* 4 standard deviations */
        CHECK(chi > degrees - 4 * sqrt(2 * degrees));
    }
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "cpu", *type = argc > 2 ? argv[2] : "f32";

    progress_quiet(1);
    verbose = getenv("VERBOSE") != NULL;
    n_asked = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    dtype = strcmp(type, "f16") == 0    ? DTYPE_F16
            : strcmp(type, "bf16") == 0 ? DTYPE_BF16
                                        : DTYPE_F32;
    if (device_open(&dev, name, 2))
        return 1;
    RUN(test_greedy_takes_the_lowest_of_equals);
    RUN(test_draws_follow_the_softmax);
    RUN(test_shapes);
    RUN(test_parts_removed);
    RUN(test_kinds_are_chosen_by_zeros);
    RUN(test_sequences_begin_anew);
    RUN(test_demo_model);
    if (test_shared()) {
        RUN(test_llama2_ref);
        RUN(test_llama3_ref);
    } else {
        SKIP("test_llama2_ref", "../shared is not here");
        SKIP("test_llama3_ref", "../shared is not here");
    }
    device_close(dev);
    return 0;
}
