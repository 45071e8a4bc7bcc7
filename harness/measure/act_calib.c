/* Calibrating the rules of sparse activations, layer by layer on one stream of hidden states: that
 * of the model under the rules found so far. */
#include "harness/measure/act_calib.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/measure/act_histogram.h"
#include "harness/model/session.h"

/* Tokens per forward pass, as in the sweep; and of the sample on which shares are dealt out. */
#define CHUNK_ROWS_HOST 2048
#define CHUNK_ROWS_DEVICE 8192
#define SAMPLE_ROWS_HOST 1024
#define SAMPLE_ROWS_DEVICE 4096

struct calibration {
    struct model *m;
    const struct act_plan *plan;
    struct act_setting *out;
    struct session s;
    const int32_t *ids;
    size_t n_windows, window, per_chunk; /* windows per chunk */
    struct tensor x;                     /* n_windows * window x h, f32: the stream */
    struct act_histogram histogram;
    struct progress progress;
    size_t layer;
    int group;
    /* dealing out */
    size_t n_sample;                       /* windows: the first ones */
    struct tensor dense, trial, squares;   /* the layer's output on the sample; 1 x h */
    struct act_histogram inputs[N_GROUPS]; /* of the sample, dense within the layer */
};

static int deals_out(const struct act_plan *p)
{
    return p->greedy && !p->ratios;
}

static int is_there(const struct layer *l, int g)
{
    return g == GROUP_QKV || g == GROUP_O ? layer_has_attention(l) : layer_has_mlp(l);
}

static const struct layer *layer_of(struct calibration *c)
{
    return &c->m->layers[c->layer];
}

static double *shares_of(struct calibration *c)
{
    return c->out->ratios + c->layer * N_GROUPS;
}

static void set_rule(struct calibration *c, int g, enum act_kind kind)
{
    size_t at = c->layer * N_GROUPS + (size_t)g;

    model_set_rule(c->m, c->layer, (enum group)g, kind, c->out->ratios[at], c->out->thresholds[at]);
}

/* ---- walking */

/* Lays windows [first, first + n) out as the batch; their rows of the stream. */
static struct tensor lay_out(struct calibration *c, size_t first, size_t n)
{
    batch_clear(&c->s.batch);
    for (size_t i = 0; i < n; i++)
        batch_add(&c->s.batch, c->ids + (first + i) * c->window, c->window, -1);
    session_begin(&c->s);
    return tensor_rows(c->x, first * c->window, n * c->window);
}

static struct tensor rows_like(struct tensor room, struct tensor x, size_t cols)
{
    room.rows = x.rows;
    room.cols = cols;
    return room;
}

/* Group g's input of the layer for the stream x, under the layer's rules. The MLP's groups take x
 * as the attention left it. */
static struct tensor input_of(struct calibration *c, int g, struct tensor x)
{
    const struct layer *l = layer_of(c);
    struct tensor in = rows_like(c->s.in, x, x.cols), out;

    if (g == GROUP_QKV || g == GROUP_O)
        layer_attention_input(&c->s, l, x, in);
    else
        layer_mlp_input(&c->s, l, x, in);
    if (g == GROUP_O) {
        out = rows_like(c->s.attn, x, l->o.cols);
        layer_attention(&c->s, l, c->layer, in, out);
        return out;
    }
    if (g == GROUP_DOWN) {
        out = rows_like(c->s.act, x, l->down.cols);
        layer_mlp_hidden(&c->s, l, in, out);
        return out;
    }
    return in;
}

/* Runs step(c, rows of a chunk) over the whole stream. */
static void each_chunk(struct calibration *c, void (*step)(struct calibration *c, struct tensor x),
                       double share)
{
    for (size_t i = 0; i < c->n_windows; i += c->per_chunk) {
        size_t n = c->n_windows - i < c->per_chunk ? c->n_windows - i : c->per_chunk;

        step(c, lay_out(c, i, n));
        progress_add(&c->progress, share * (double)(n * c->window));
    }
}

static void embed(struct calibration *c, struct tensor x)
{
    session_embed(&c->s, x);
}

static void run_attention(struct calibration *c, struct tensor x)
{
    layer_attention_block(&c->s, layer_of(c), c->layer, x);
}

static void run_mlp(struct calibration *c, struct tensor x)
{
    layer_mlp_block(&c->s, layer_of(c), x);
}

/* Of the group that is being settled. */
static void collect(struct calibration *c, struct tensor x)
{
    act_histogram_add(&c->histogram, c->m->dev, input_of(c, c->group, x));
}

/* ---- dealing out: the error of a layer's output on the sample */

static void run_layer(struct calibration *c, struct tensor x)
{
    run_attention(c, x);
    run_mlp(c, x);
}

/* The layer's output with dense rules, and the histograms of its inputs. */
static void prepare_sample(struct calibration *c)
{
    struct device *dev = c->m->dev;
    struct tensor x = lay_out(c, 0, c->n_sample);

    for (int g = 0; g < N_GROUPS; g++)
        set_rule(c, g, ACT_DENSE);
    dev->ops->copy(dev, c->dense.data, x.data, tensor_nbytes(x));
    for (int g = 0; g < N_GROUPS; g++) {
        if (g == GROUP_GATE_UP)
            run_attention(c, c->dense);
        act_histogram_clear(&c->inputs[g]);
        if (is_there(layer_of(c), g) && c->plan->kind == ACT_THRESHOLD)
            act_histogram_add(&c->inputs[g], dev, input_of(c, g, c->dense));
    }
    run_mlp(c, c->dense);
    for (int g = 0; g < N_GROUPS; g++)
        set_rule(c, g, c->plan->kind);
}

/* Squared error of the layer's output under these shares; thresholds are those of the dense inputs.
 */
static double layer_error(void *arg, const double shares[N_GROUPS])
{
    struct calibration *c = arg;
    struct device *dev = c->m->dev;
    struct act_rule *rules = c->m->layers[c->layer].rules;
    float *squares = xmalloc(c->squares.cols * sizeof(*squares));
    double sum = 0;

    for (int g = 0; g < N_GROUPS; g++) {
        rules[g].sparsity = shares[g];
        if (c->plan->kind == ACT_THRESHOLD && c->inputs[g].n)
            rules[g].threshold = act_quantile(&c->inputs[g], shares[g]);
    }
    dev->ops->copy(dev, c->trial.data, c->x.data, tensor_nbytes(c->trial));
    run_layer(c, c->trial);
    dev->ops->subtract(dev, c->trial, c->trial, c->dense);
    dev->ops->zero(dev, c->squares.data, tensor_nbytes(c->squares));
    dev->ops->sum_squares(dev, c->squares, c->trial);
    dev->ops->download(dev, squares, c->squares.data, tensor_nbytes(c->squares));
    for (size_t j = 0; j < c->squares.cols; j++)
        sum += squares[j];
    free(squares);
    return sum;
}

static void deal_out(struct calibration *c)
{
    double weights[N_GROUPS];

    for (int g = 0; g < N_GROUPS; g++)
        weights[g] = is_there(layer_of(c), g)
                         ? (double)tensor_numel(layer_group(layer_of(c), (enum group)g))
                         : 0;
    if (weights[GROUP_QKV] + weights[GROUP_GATE_UP] == 0)
        return;
    prepare_sample(c);
    act_allocate(shares_of(c), weights, c->plan->sparsity, layer_error, c);
    for (int g = 0; g < N_GROUPS; g++)
        set_rule(c, g, ACT_DENSE);
}

/* ---- one layer */

/* Group g's threshold from the stream, under the rules of the groups before it; then its rule. */
static int settle(struct calibration *c, int g)
{
    size_t at = c->layer * N_GROUPS + (size_t)g;

    if (!is_there(layer_of(c), g))
        return 0;
    if (c->plan->kind == ACT_THRESHOLD) {
        c->group = g;
        act_histogram_clear(&c->histogram);
        each_chunk(c, collect, 0.15);
        c->out->thresholds[at] = act_quantile(&c->histogram, c->out->ratios[at]);
        if (!isfinite(c->out->thresholds[at]))
            return error("layer %zu %s: inputs that are not finite", c->layer,
                         group_name((enum group)g));
    }
    set_rule(c, g, c->plan->kind);
    return 0;
}

static int calibrate_layer(struct calibration *c)
{
    model_layer(c->m, c->layer);
    if (deals_out(c->plan))
        deal_out(c);
    if (settle(c, GROUP_QKV) != 0 || settle(c, GROUP_O) != 0)
        return -1;
    each_chunk(c, run_attention, 0.2);
    if (settle(c, GROUP_GATE_UP) != 0 || settle(c, GROUP_DOWN) != 0)
        return -1;
    each_chunk(c, run_mlp, 0.2);
    return 0;
}

/* ---- the whole */

static void open_all(struct calibration *c)
{
    struct device *dev = c->m->dev;
    size_t h = c->m->config.hidden, host = dev->ops->is_host;
    size_t chunk = host ? CHUNK_ROWS_HOST : CHUNK_ROWS_DEVICE;
    size_t sample = (host ? SAMPLE_ROWS_HOST : SAMPLE_ROWS_DEVICE) / c->window;

    c->per_chunk = c->window < chunk ? chunk / c->window : 1;
    session_open(&c->s, c->m, c->per_chunk * c->window,
                 c->per_chunk * batch_pages_for(0, c->window), 0);
    if (deals_out(c->plan)) {
        c->n_sample = sample < 1 ? 1 : sample < c->n_windows ? sample : c->n_windows;
        if (c->plan->kind != ACT_THRESHOLD) /* nothing is asked of the others */
            c->n_windows = c->n_sample;
    }
    c->x = device_tensor(dev, DTYPE_F32, c->n_windows * c->window, h);
    act_histogram_init(&c->histogram);
    if (!deals_out(c->plan))
        return;
    c->dense = device_tensor(dev, DTYPE_F32, c->n_sample * c->window, h);
    c->trial = device_tensor(dev, DTYPE_F32, c->n_sample * c->window, h);
    c->squares = device_tensor(dev, DTYPE_F32, 1, h);
    for (int g = 0; g < N_GROUPS; g++)
        act_histogram_init(&c->inputs[g]);
}

static void close_all(struct calibration *c)
{
    struct tensor *const all[] = {&c->x, &c->dense, &c->trial, &c->squares};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        device_tensor_free(c->m->dev, all[i]);
    act_histogram_release(&c->histogram);
    for (int g = 0; g < N_GROUPS; g++)
        act_histogram_release(&c->inputs[g]);
    session_close(&c->s);
}

int act_needs_ids(const struct act_plan *p)
{
    return p->kind == ACT_THRESHOLD || deals_out(p);
}

static int run_all(struct calibration *c)
{
    size_t n_layers = c->m->config.n_layers;
    int rc = 0;

    model_set_activation(c->m, ACT_DENSE, 0);
    open_all(c);
    progress_begin(&c->progress, "calibrate activations", "tokens x layers",
                   (double)(n_layers * c->n_windows * c->window));
    each_chunk(c, embed, 0);
    for (c->layer = 0; c->layer < n_layers && rc == 0; c->layer++)
        rc = calibrate_layer(c);
    if (rc == 0)
        progress_end(&c->progress);
    if (deals_out(c->plan) && c->plan->kind != ACT_THRESHOLD)
        act_whole_channels(c->m, c->plan->sparsity, c->out->ratios);
    close_all(c);
    model_set_activation(c->m, ACT_DENSE, 0);
    return rc;
}

int act_calibrate(struct act_setting *out, struct model *m, const struct act_plan *p,
                  const int32_t *ids, size_t n_windows, size_t window)
{
    size_t n = m->config.n_layers * N_GROUPS;
    struct calibration c = {
        .m = m, .plan = p, .out = out, .ids = ids, .n_windows = n_windows, .window = window};

    *out = (struct act_setting){.kind = p->kind, .n_layers = m->config.n_layers};
    out->ratios = xcalloc(n, sizeof(*out->ratios));
    out->thresholds = xcalloc(n, sizeof(*out->thresholds));
    for (size_t i = 0; i < n; i++)
        out->ratios[i] = p->ratios ? p->ratios[i] : p->sparsity;
    return act_needs_ids(p) ? run_all(&c) : 0;
}

void act_setting_release(struct act_setting *s)
{
    free(s->ratios);
    free(s->thresholds);
    *s = (struct act_setting){0};
}

void act_set(struct model *m, const struct act_setting *s)
{
    for (size_t i = 0; i < s->n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++)
            model_set_rule(m, i, (enum group)g, s->kind, s->ratios[i * N_GROUPS + (size_t)g],
                           s->thresholds[i * N_GROUPS + (size_t)g]);
}
