/* Structured methods that remove neurons and heads, 2SSP and FLAP, against direct computations on
 * the demo model. */
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

/* The inputs of o and down of every layer of the whole model, N_IDS rows each. */
static struct inputs {
    float *o[N_LAYERS], *down[N_LAYERS];
    size_t q, m;
} inputs;

static void inputs_open(void)
{
    struct session *s = &whole_session;
    struct tensor x = tensor_rows(s->x, 0, N_IDS), in = tensor_rows(s->in, 0, N_IDS);

    inputs.q = whole.model.layers[0].o.cols;
    inputs.m = whole.model.layers[0].down.cols;
    lay_windows(s);
    session_begin(s);
    session_embed(s, x);
    for (size_t i = 0; i < N_LAYERS; i++) {
        const struct layer *l = &whole.model.layers[i];
        struct tensor attn = tensor_rows(s->attn, 0, N_IDS), act = tensor_rows(s->act, 0, N_IDS);

        layer_attention_input(s, l, x, in);
        layer_attention(s, l, i, in, attn);
        layer_add(s, x, attn, l->o);
        layer_mlp_input(s, l, x, in);
        layer_mlp_hidden(s, l, in, act);
        layer_add(s, x, act, l->down);
        inputs.o[i] = xmalloc(tensor_nbytes(attn));
        inputs.down[i] = xmalloc(tensor_nbytes(act));
        memcpy(inputs.o[i], attn.data, tensor_nbytes(attn));
        memcpy(inputs.down[i], act.data, tensor_nbytes(act));
    }
}

static void inputs_close(void)
{
    for (size_t i = 0; i < N_LAYERS; i++) {
        free(inputs.o[i]);
        free(inputs.down[i]);
    }
}

/* ---- 2SSP */

/* The paper's seven attentions of LLaMA-2-7B at 31.25 %, and limits. */
static void test_2ssp_attentions(void)
{
    double attention = 4.0 * 4096 * 4096, mlp = 3.0 * 4096 * 11008;

    CHECK(two_ssp_attentions(32, mlp, attention, 0.3125) == 7);
    CHECK(two_ssp_attentions(32, mlp, attention, 0) == 0);
    CHECK(two_ssp_attentions(32, mlp, attention, 1) == 32);
    CHECK(two_ssp_attentions(10, 3, 2, 0.25) == 3); /* the exponent is 1; 2.5 rounds up */
}

static double norm_by_hand(size_t layer, size_t j)
{
    double sum = 0;

    for (size_t w = 0; w < N_WINDOWS; w++) {
        double squares = 0;

        for (size_t t = w * WINDOW; t < (w + 1) * WINDOW; t++)
            squares += pow(inputs.down[layer][t * inputs.m + j], 2);
        sum += sqrt(squares) / N_WINDOWS;
    }
    return sum;
}

static void test_2ssp_norms(void)
{
    struct prune_options o = options_of(0.5);
    struct restructure_job job = job_of(&o);
    double *score = xmalloc(N_LAYERS * inputs.m * sizeof(*score)), worst = 0;

    CHECK(model_restore(&demo.model) == 0);
    two_ssp_norms(&job, score);
    for (size_t i = 0; i < N_LAYERS * inputs.m; i++) {
        double want = norm_by_hand(i / inputs.m, i % inputs.m);

        worst = fmax(worst, fabs(score[i] - want) / want);
    }
    CHECK(worst < 1e-6);
    free(score);
}

/* The loss on the first window with the outputs of some attentions set to zero. */
static double first_window_loss(const char attention[N_LAYERS])
{
    double logprob[N_IDS], sum = 0;
    struct tensor kept[N_LAYERS];

    for (size_t i = 0; i < N_LAYERS; i++) {
        struct tensor *w = &whole.model.layers[i].o;

        kept[i] = *w;
        if (!attention[i])
            w->data = xcalloc(tensor_numel(*w), sizeof(float));
    }
    run_windows(&whole_session, logprob);
    for (size_t i = 0; i < N_LAYERS; i++) {
        if (!attention[i])
            free(whole.model.layers[i].o.data);
        whole.model.layers[i].o = kept[i];
    }
    for (int i = 0; i < WINDOW - 1; i++)
        sum -= logprob[i];
    return sum / (WINDOW - 1);
}

/* At 0.5: 2 attentions of 6 (6 * 0.5^1.344 = 2.36) and the same count of neurons everywhere. */
static void test_2ssp(void)
{
    const struct layer *first = &whole.model.layers[0];
    double a = (double)layer_attention_params(first), mlp = (double)layer_mlp_params(first);
    size_t h = whole.model.config.hidden, m = inputs.m;
    size_t cut = m - 8 * (size_t)round(((double)m - (3 * (a + mlp) - 2 * a) / 18 / (double)h) / 8);
    char attention[N_LAYERS], left[N_LAYERS], want[N_LAYERS] = {1, 1, 1, 1, 1, 1};

    CHECK(prune(&pruner_2ssp, 0.5) == 0);
    CHECK(demo.model.config.n_layers == N_LAYERS);
    CHECK_NEAR(model_zero_share(&demo.model), 0.5, 4 * 3 * (double)h / (a + mlp) + 1e-4);
    for (size_t i = 0; i < N_LAYERS; i++) {
        struct layer *l = &demo.model.layers[i], *w = &whole.model.layers[i];
        size_t at = 0;

        CHECK(l->intermediate == m - cut);
        attention[i] = (char)layer_has_attention(l);
        for (size_t j = 0; j < m; j++) { /* those that went have m - cut better ones */
            size_t n_better = 0;
            double score = norm_by_hand(i, j);

            for (size_t k = 0; k < m && n_better < m - cut; k++)
                n_better += norm_by_hand(i, k) > score;
            if (n_better < m - cut) {
                CHECK(at < l->intermediate &&
                      memcmp((float *)l->gate_up.data + at * h, (float *)w->gate_up.data + j * h,
                             h * sizeof(float)) == 0);
                at++;
            } else {
                for (size_t r = 0; r < h; r++)
                    ((float *)w->down.data)[r * m + j] = 0;
            }
        }
    }
    for (int step = 0; step < 2; step++) {
        double best = INFINITY;
        int which = 0;

        for (int i = 0; i < N_LAYERS; i++) {
            double loss;

            memcpy(left, want, N_LAYERS);
            left[i] = 0;
            loss = want[i] ? first_window_loss(left) : INFINITY;
            if (loss < best) {
                best = loss;
                which = i;
            }
        }
        want[which] = 0;
    }
    CHECK(memcmp(attention, want, N_LAYERS) == 0);
    CHECK(model_restore(&whole.model) == 0);
}

/* ---- FLAP */

/* Mean and Var ||W_:,j||^2 of channel j, x: N_IDS rows of n. */
static void channel_by_hand(const float *x, struct tensor w, size_t j, double *mean, double *score)
{
    double sum = 0, var = 0, norm2 = 0;

    for (size_t t = 0; t < N_IDS; t++)
        sum += x[t * w.cols + j];
    *mean = sum / N_IDS;
    for (size_t t = 0; t < N_IDS; t++)
        var += pow(x[t * w.cols + j] - *mean, 2) / N_IDS;
    for (size_t r = 0; r < w.rows; r++)
        norm2 += pow(((float *)w.data)[r * w.cols + j], 2);
    *score = var * norm2;
}

static void test_flap_channels(void)
{
    struct prune_options o = options_of(0.5);
    struct restructure_job job = job_of(&o);
    struct flap_channels *c;
    double worst = 0;

    CHECK(model_restore(&demo.model) == 0);
    c = flap_measure(&job);
    for (size_t i = 0; i < 2 * N_LAYERS; i++) {
        const struct layer *l = &whole.model.layers[i / 2];

        CHECK(c[i].n == (i % 2 ? inputs.m : inputs.q));
        for (size_t j = 0; j < c[i].n; j++) {
            double mean, score;

            channel_by_hand(i % 2 ? inputs.down[i / 2] : inputs.o[i / 2], i % 2 ? l->down : l->o, j,
                            &mean, &score);
            worst = fmax(worst, fabs(c[i].score[j] - score) / score);
            CHECK_NEAR(c[i].mean[j], mean, 1e-6);
        }
    }
    CHECK(worst < 1e-4); /* E x^2 - (E x)^2 of sums in float32 */
    flap_release(c, N_LAYERS);
}

/* Standardised scores of the units of one o or down, `span` channels each, by hand. */
static void units_by_hand(double *out, const float *x, struct tensor w, size_t span)
{
    double *score = xmalloc(w.cols * sizeof(*score)), unused, mean = 0, var = 0;

    for (size_t j = 0; j < w.cols; j++) {
        channel_by_hand(x, w, j, &unused, &score[j]);
        mean += score[j] / (double)w.cols;
    }
    for (size_t j = 0; j < w.cols; j++)
        var += pow(score[j] - mean, 2) / (double)(w.cols - 1);
    for (size_t i = 0; i < w.cols / span; i++) {
        out[i] = 0;
        for (size_t j = i * span; j < (i + 1) * span; j++)
            out[i] += (score[j] - mean) / sqrt(var) / (double)span;
    }
    free(score);
}

/* Which of n units the pruned matrix still has: rows of `now` (cols wide, `span` rows a unit) found
 * in order in `was`. */
static void units_left(char *left, const float *now, size_t n_now, const float *was, size_t n,
                       size_t span, size_t cols)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        left[i] = at < n_now && memcmp(now + at * span * cols, was + i * span * cols,
                                       span * cols * sizeof(float)) == 0;
        at += (size_t)left[i];
    }
    CHECK(at == n_now);
}

/* bias = sum of W_:,j mean_j over the channels of the units that went; none went: no bias. */
static void check_bias(struct tensor bias, const float *x, struct tensor w, const char *left,
                       size_t span)
{
    int any = 0;
    double worst = 0, unused, *mean = xmalloc(w.cols * sizeof(*mean));

    for (size_t j = 0; j < w.cols; j++) {
        channel_by_hand(x, w, j, &mean[j], &unused);
        any |= !left[j / span];
    }
    CHECK(any == (bias.data != NULL));
    for (size_t r = 0; bias.data && r < w.rows; r++) {
        double want = 0;

        for (size_t j = 0; j < w.cols; j++)
            want += left[j / span] ? 0 : ((float *)w.data)[r * w.cols + j] * mean[j];
        worst = fmax(worst, fabs(want - ((float *)bias.data)[r]));
    }
    CHECK(worst < 1e-5);
    free(mean);
}

/* One unit after the other goes, the lowest of all, as long as that comes nearer to `target`; then,
 * in every layer, neurons go or come back until their number is a multiple of 8. */
static void choose_by_hand(double *score[2 * N_LAYERS], char *left[2 * N_LAYERS], double target)
{
    size_t h = whole.model.config.hidden, d = whole.model.config.head_dim;

    for (;;) {
        size_t of = 0, at = 0;
        double lowest = INFINITY, cost;

        for (size_t i = 0; i < 2 * N_LAYERS; i++)
            for (size_t j = 0; j < (i % 2 ? inputs.m : inputs.q / d); j++)
                if (left[i][j] && score[i][j] < lowest) {
                    lowest = score[i][j];
                    of = i;
                    at = j;
                }
        cost = (double)((of % 2 ? 3 : 4 * d) * h);
        if (target < cost / 2)
            break;
        left[of][at] = 0;
        target -= cost;
    }
    for (size_t i = 1; i < 2 * N_LAYERS; i += 2) {
        size_t n = 0, want;

        for (size_t j = 0; j < inputs.m; j++)
            n += (size_t)left[i][j];
        for (want = (n + 4) / 8 * 8; n != want;) {
            size_t best = inputs.m;

            for (size_t j = 0; j < inputs.m; j++)
                if (left[i][j] == (n > want) &&
                    (best == inputs.m || (score[i][j] > score[i][best]) == (n < want)))
                    best = j;
            left[i][best] = n < want;
            n += n < want ? 1 : (size_t)-1;
        }
    }
}

static void test_flap(void)
{
    size_t h = whole.model.config.hidden, d = whole.model.config.head_dim;
    double all = (double)config_n_linear_params(&whole.model.config), *score[2 * N_LAYERS];
    char *left[2 * N_LAYERS], *got = xmalloc(inputs.m);

    CHECK(prune(&pruner_flap, 0.4) == 0);
    CHECK(demo.model.config.n_layers == N_LAYERS);
    CHECK_NEAR(model_zero_share(&demo.model), 0.4,
               (2.0 * (double)d + 4 * 3 * N_LAYERS) * (double)h / all + 1e-4);
    for (size_t i = 0; i < 2 * N_LAYERS; i++) {
        struct layer *w = &whole.model.layers[i / 2];

        score[i] = xmalloc(inputs.m * sizeof(double));
        left[i] = xmalloc(inputs.m);
        memset(left[i], 1, inputs.m);
        units_by_hand(score[i], i % 2 ? inputs.down[i / 2] : inputs.o[i / 2],
                      i % 2 ? w->down : w->o, i % 2 ? 1 : d);
    }
    choose_by_hand(score, left, 0.4 * all);
    for (size_t i = 0; i < 2 * N_LAYERS; i++) {
        struct layer *l = &demo.model.layers[i / 2], *w = &whole.model.layers[i / 2];
        size_t span = i % 2 ? 1 : d, n = i % 2 ? inputs.m : inputs.q / d;

        units_left(got, i % 2 ? l->gate_up.data : l->qkv.data,
                   i % 2 ? l->intermediate : l->shape.n_heads,
                   i % 2 ? w->gate_up.data : w->qkv.data, n, span, h);
        CHECK(memcmp(got, left[i], n) == 0);
        check_bias(i % 2 ? l->down_bias : l->o_bias, i % 2 ? inputs.down[i / 2] : inputs.o[i / 2],
                   i % 2 ? w->down : w->o, left[i], span);
        free(score[i]);
        free(left[i]);
    }
    free(got);
}

int main(void)
{
    structured_open();
    inputs_open();
    RUN(test_2ssp_attentions);
    RUN(test_2ssp_norms);
    RUN(test_2ssp);
    RUN(test_flap_channels);
    RUN(test_flap);
    inputs_close();
    structured_close();
    return 0;
}
