/* Rules of sparse activations: WINA's scores against sorting, in every operation that applies a
 * rule; its factors against norms in double; rules that spare the first half of a sequence; and
 * that decoding, one token at a time, gives what the batched path gives. */
#include <assert.h>

#include "harness/model/decode.h"
#include "tests/demo.h"
#include "tests/kernels.h"

static struct demo demo;
static struct device *dev;
static struct pcg32 rng;

/* ---- WINA, as its definition says it: by sorting */

static struct act_rule wina(const float *gate, double s, uint64_t *zeros)
{
    return (struct act_rule){.kind = ACT_WINA, .sparsity = s, .n_zero = zeros, .gate = gate};
}

static void check_wina(size_t rows, size_t n, int kind, double s)
{
    uint64_t zeros = 3, want_zeros = 3;
    float *x = odd_rows(&rng, rows, n, 1e15f, 1e-15f), *gate = wina_factors(&rng, n, kind);
    struct act_rule rule = wina(gate, s, &zeros);
    struct tensor t = put(dev, DTYPE_F32, rows, n, x), out = poison(dev, DTYPE_F32, rows, n);

    dev->ops->sparsify(dev, out, t, &rule);
    for (size_t r = 0; r < rows; r++)
        want_zeros += textbook_wina(x + r * n, gate, n, s);
    CHECK(misfit(out.data, x, rows * n, 0, 0) == 0);
    CHECK(zeros == want_zeros);
    dev->ops->sparsify(dev, t, t, &rule);
    CHECK(misfit(t.data, x, rows * n, 0, 0) == 0);
    free(x);
    free(gate);
    device_tensor_free(dev, &t);
    device_tensor_free(dev, &out);
}

static void test_wina_is_the_sorted_score_with_ties_kept(void)
{
    static const size_t sizes[] = {1, 2, 7, 33, 256, 1000};
    static const double shares[] = {0, 0.1, 0.5, 0.65, 0.999};

    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 5; k++)
            for (int kind = 0; kind < 6; kind++)
                check_wina(12, sizes[i], kind, shares[k]);
}

/* Equal factors rank as top-k does; a factor of 0 drops its channel first, however large. */
static void test_wina_against_top_k(void)
{
    float x[] = {9, -8, 7, -6, 5, 4, -3, 2}, gate[] = {2, 2, 2, 2, 2, 2, 2, 2}, a[8], b[8];
    struct tensor in = {x, DTYPE_F32, 1, 8}, ta = {a, DTYPE_F32, 1, 8}, tb = {b, DTYPE_F32, 1, 8};
    struct act_rule topk = {.kind = ACT_TOPK, .sparsity = 0.5}, rule = wina(gate, 0.5, NULL);

    dev->ops->sparsify(dev, ta, in, &topk);
    dev->ops->sparsify(dev, tb, in, &rule);
    CHECK(same_bits(a, b, sizeof(a)));
    gate[0] = 0;
    dev->ops->sparsify(dev, tb, in, &rule);
    CHECK(b[0] == 0 && b[1] == -8 && b[3] == -6 && b[4] == 5 && b[5] == 0);
}

/* ---- in the operations that a rule is fused into: as the operation without it, then sorted */

static void expect_sparse(struct tensor got, struct tensor dense, const float *gate, double s)
{
    for (size_t r = 0; r < dense.rows; r++)
        textbook_wina((float *)dense.data + r * dense.cols, gate, dense.cols, s);
    CHECK(misfit(got.data, dense.data, tensor_numel(dense), 0, 0) == 0);
}

static void check_rows(size_t rows, size_t n, int decode)
{
    float *x = odd_rows(&rng, rows, 2 * n, 1e3f, 1e-3f), *gate = wina_factors(&rng, n, 2),
          *w = random_floats(&rng, n, 1);
    struct act_rule rule = wina(gate, 0.5, NULL);
    struct tensor wide = put(dev, DTYPE_F32, rows, 2 * n, x), in = put(dev, DTYPE_F32, rows, n, x);
    struct tensor wt = put(dev, DTYPE_F32, 1, n, w), a = poison(dev, DTYPE_F32, rows, n);
    struct tensor b = poison(dev, DTYPE_F32, rows, n);

    dev->ops->rmsnorm(dev, a, in, wt, 1e-5f, NULL);
    (decode ? dev->ops->decode->rmsnorm : dev->ops->rmsnorm)(dev, b, in, wt, 1e-5f, &rule);
    expect_sparse(b, a, gate, 0.5);
    dev->ops->silu_mul(dev, a, wide, NULL);
    (decode ? dev->ops->decode->silu_mul : dev->ops->silu_mul)(dev, b, wide, &rule);
    expect_sparse(b, a, gate, 0.5);
    free(x);
    free(gate);
    free(w);
    device_tensor_free(dev, &wide);
    device_tensor_free(dev, &in);
    device_tensor_free(dev, &wt);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &b);
}

static void check_attention(void)
{
    static const struct segment segments[] = {{37, -1}, {1, -1}, {21, 0}};
    struct attention_shape sh = {4, 2, 64};
    struct packed_batch t = packed_make(dev, &rng, segments, 3);
    size_t n = sh.n_heads * sh.head_dim;
    float *qkv = random_floats(&rng, t.b.n_rows * 2 * n, 1), *gate = wina_factors(&rng, n, 2);
    struct act_rule rule = wina(gate, 0.5, NULL);
    float *want = run_attention(dev, &t, DTYPE_F32, sh, NULL, qkv, NULL);
    float *got = run_attention(dev, &t, DTYPE_F32, sh, NULL, qkv, &rule);

    expect_sparse((struct tensor){got, DTYPE_F32, t.b.n_rows, n},
                  (struct tensor){want, DTYPE_F32, t.b.n_rows, n}, gate, 0.5);
    free(qkv);
    free(gate);
    free(want);
    free(got);
    packed_release(dev, &t);
}

static void test_wina_in_every_operation(void)
{
    check_rows(12, 19, 0);
    check_rows(7, 256, 0);
    check_rows(1, 256, 1);
    check_attention();
}

/* ---- the model's rules */

static void test_factors_are_the_column_norms(void)
{
    struct model *m = &demo.model;

    model_set_activation(m, ACT_WINA, 0.5);
    for (size_t i = 0; i < m->config.n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++) {
            const struct act_rule *r = &m->layers[i].rules[g];
            struct tensor w = layer_group(&m->layers[i], (enum group)g);

            CHECK(r->kind == ACT_WINA && r->n_zero == m->n_act_zero + g);
            for (size_t j = 0; j < w.cols; j++) {
                double sum = 0;

                for (size_t o = 0; o < w.rows; o++)
                    sum += pow(((const float *)w.data)[o * w.cols + j], 2);
                CHECK_NEAR(r->gate[j], sqrt(sum), 1e-5 * sqrt(sum));
            }
        }
    /* q, k, v as one matrix; and of the weights as they are when the rule is set */
    memset(m->layers[1].qkv.data, 0, tensor_nbytes(m->layers[1].qkv));
    CHECK(m->layers[1].rules[GROUP_QKV].gate[0] > 0);
    model_set_activation(m, ACT_WINA, 0.5);
    CHECK(m->layers[1].rules[GROUP_QKV].gate[0] == 0 && m->layers[1].rules[GROUP_O].gate[0] > 0);
    model_set_activation(m, ACT_DENSE, 0);
    CHECK(model_restore(m) == 0);
}

/* Rules of the kind on all inputs; a threshold of about half of them. */
static void set_rules(struct model *m, enum act_kind kind)
{
    static const float threshold[N_GROUPS] = {0.3f, 0.1f, 0.3f, 0.02f};

    for (size_t i = 0; i < m->config.n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++)
            model_set_rule(m, i, (enum group)g, kind, 0.5, threshold[g]);
}

/* ids of n tokens: BOS and random ones. */
static void random_ids(int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = i ? 3 + (int32_t)pcg32_below(&rng, (uint32_t)demo.model.config.n_vocab - 3) : 1;
}

/* The rule on rows [first, end) alone, by sorting or comparing. */
static void sparsify_rows(struct tensor x, size_t first, size_t end, const struct act_rule *rule)
{
    for (size_t r = first; r < end; r++) {
        float *row = (float *)x.data + r * x.cols;

        if (rule->kind == ACT_WINA)
            textbook_wina(row, rule->gate, x.cols, rule->sparsity);
        else
            textbook_rule(row, x.cols, rule->kind, rule->sparsity, rule->threshold);
    }
}

/* The last layer's output (s->x) of one sequence of n, rules from position `first` on: the layer's
 * pieces without rules, each followed by the rule. */
static void forward_from(struct session *s, const struct layer *dense, const int32_t *ids, size_t n,
                         size_t first)
{
    const struct model *m = s->m;
    struct tensor x, in, attn, act;

    batch_clear(&s->batch);
    batch_add(&s->batch, ids, n, -1);
    batch_upload(&s->batch, dev);
    x = tensor_rows(s->x, 0, n);
    in = tensor_rows(s->in, 0, n);
    attn = tensor_rows(s->attn, 0, n);
    act = tensor_rows(s->act, 0, n);
    session_embed(s, x);
    for (size_t i = 0; i < m->config.n_layers; i++) {
        const struct act_rule *rules = m->layers[i].rules;

        layer_attention_input(s, &dense[i], x, in);
        sparsify_rows(in, first, n, &rules[GROUP_QKV]);
        layer_attention(s, &dense[i], i, in, attn);
        sparsify_rows(attn, first, n, &rules[GROUP_O]);
        layer_add(s, x, attn, dense[i].o);
        layer_mlp_input(s, &dense[i], x, in);
        sparsify_rows(in, first, n, &rules[GROUP_GATE_UP]);
        layer_mlp_hidden(s, &dense[i], in, act);
        sparsify_rows(act, first, n, &rules[GROUP_DOWN]);
        layer_add(s, x, act, dense[i].down);
    }
}

/* Sequences of odd and even lengths, and of one token (spared), in one batch. */
static void check_last_half(enum act_kind kind)
{
    static const size_t lengths[] = {21, 1, 32, 2};
    struct model *m = &demo.model;
    struct layer *dense = xmalloc(m->config.n_layers * sizeof(*dense));
    int32_t ids[64];
    struct session s, one;
    size_t at = 0;

    random_ids(ids, 64);
    for (size_t i = 0; i < m->config.n_layers; i++) {
        dense[i] = m->layers[i];
        memset(dense[i].rules, 0, sizeof(dense[i].rules));
    }
    demo_session(&s, m, 64);
    demo_session(&one, m, 64);
    set_rules(m, kind);
    m->act_last_half = 1;
    for (int i = 0; i < 4; at += lengths[i++])
        batch_add(&s.batch, ids + at, lengths[i], -1);
    session_forward(&s);
    at = 0;
    for (int i = 0; i < 4; at += lengths[i++]) {
        size_t n = lengths[i], h = m->config.hidden;

        forward_from(&one, dense, ids + at, n, n - n / 2);
        CHECK(same_bits((float *)s.x.data + at * h, one.x.data, n * h * sizeof(float)));
        forward_from(&one, dense, ids + at, n, 0);
        CHECK(!same_bits((float *)s.x.data + at * h, one.x.data, n * h * sizeof(float)));
    }
    session_close(&s);
    session_close(&one);
    model_set_activation(m, ACT_DENSE, 0);
    CHECK(!m->act_last_half);
    free(dense);
}

static void test_last_half(void)
{
    check_last_half(ACT_TOPK);
    check_last_half(ACT_THRESHOLD);
    check_last_half(ACT_WINA);
}

/* Requests of one prefix and different lengths: each is halved as if it were alone. */
static void test_last_half_of_requests_that_share_a_prefix(void)
{
    int32_t ids[2][40];
    struct score_request r[2] = {{ids[0], 30, 4, 0}, {ids[1], 40, 14, 0}};
    struct score_result *all, *one;

    random_ids(ids[0], 40);
    memcpy(ids[1], ids[0], sizeof(ids[0]));
    ids[1][26]++;
    model_set_activation(&demo.model, ACT_TOPK, 0.5);
    demo.model.act_last_half = 1;
    all = demo_score(&demo.model, r, 2, 128, 0);
    for (int i = 0; i < 2; i++) {
        one = demo_score(&demo.model, &r[i], 1, 128, 0);
        CHECK(one->logprob == all[i].logprob && one->greedy == all[i].greedy);
        free(one);
    }
    demo.model.act_last_half = 0;
    one = demo_score(&demo.model, r, 1, 128, 0);
    CHECK(one->logprob != all[0].logprob);
    free(one);
    free(all);
    model_set_activation(&demo.model, ACT_DENSE, 0);
}

/* ---- decoding */

/* Prompt and forced tokens against the whole sequence in one batch. */
static void check_decoding(enum act_kind kind, int packing)
{
    enum { N = 24, PROMPT = 9 };
    struct model *m = &demo.model;
    struct decode_options o = decode_options_of(packing, N);
    int32_t ids[N], rows[N], top[N];
    double got[N], want[N];
    struct decoder d;
    struct session s;

    random_ids(ids, N);
    set_rules(m, kind);
    CHECK(decoder_open(&d, m, &o) == 0);
    decoder_prefill(&d, ids, PROMPT);
    decoder_force(&d, ids + PROMPT, N - PROMPT, got + PROMPT);
    decoder_close(&d);
    demo_session(&s, m, N);
    batch_add(&s.batch, ids, N, -1);
    session_forward(&s);
    for (int i = 0; i < N; i++)
        rows[i] = i;
    session_logprobs(&s, rows, ids + 1, N - 1, want, top);
    for (int i = PROMPT; i < N; i++)
        CHECK_NEAR(got[i], want[i - 1], 2e-4);
    session_close(&s);
    model_set_activation(m, ACT_DENSE, 0);
}

static void test_decoding_gives_what_batches_give(void)
{
    for (int k = PACKED_ROWS; k <= PACKED_NONZEROS; k++) {
        check_decoding(ACT_THRESHOLD, k);
        check_decoding(ACT_WINA, k);
    }
}

/* The first half of the prompt is spared; what is decoded is not. */
static void test_last_half_of_a_prompt(void)
{
    enum { N = 11 };
    struct model *m = &demo.model;
    struct decode_options o = decode_options_of(PACKED_ROWS, N + 1);
    float *got = xmalloc(m->config.n_vocab * sizeof(*got)),
          *want = xmalloc(sizeof(*want) * m->config.n_vocab);
    int32_t ids[N], last = N - 1;
    struct decoder d;
    struct session s;

    random_ids(ids, N);
    set_rules(m, ACT_TOPK);
    m->act_last_half = 1;
    CHECK(decoder_open(&d, m, &o) == 0);
    decoder_prefill(&d, ids, N);
    decoder_logits(&d, got);
    demo_session(&s, m, N);
    batch_add(&s.batch, ids, N, -1);
    session_forward(&s);
    session_logits(&s, &last, 1, want);
    CHECK(relative_error(got, want, m->config.n_vocab) < 1e-5);
    decoder_close(&d);
    session_close(&s);
    model_set_activation(m, ACT_DENSE, 0);
    free(got);
    free(want);
}

int main(void)
{
    pcg32_init(&rng, 20250607, 1);
    demo_open(&demo, DEMO_MODEL, 1);
    dev = demo.dev;
    RUN(test_wina_is_the_sorted_score_with_ties_kept);
    RUN(test_wina_against_top_k);
    RUN(test_wina_in_every_operation);
    RUN(test_factors_are_the_column_norms);
    RUN(test_last_half);
    RUN(test_last_half_of_requests_that_share_a_prefix);
    RUN(test_decoding_gives_what_batches_give);
    RUN(test_last_half_of_a_prompt);
    demo_close(&demo);
    return 0;
}
