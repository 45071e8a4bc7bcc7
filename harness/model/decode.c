/* Decoding. */
#include "harness/model/decode.h"

#include <assert.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/model/parallel.h"

#define PROMPT_ROWS 2048 /* longer prompts run in pieces */

enum { SAMPLED, FORCED };

/* ---- packing */

const char *packed_kind_name(enum packed_kind k)
{
    static const char *const names[] = {"rows", "columns", "nonzeros"};

    return names[k];
}

struct decode_options decode_options_of(int kind, size_t max_positions)
{
    struct decode_options o = {.max_positions = max_positions};

    for (int g = 0; g < N_GROUPS; g++)
        o.kind[g] = kind;
    return o;
}

/* Share of the channels that the rule keeps, as far as it says. */
static double kept_share(const struct act_rule *rule)
{
    return rule->kind == ACT_DENSE ? 1 : 1 - rule->sparsity;
}

static void pack_layer(struct decoder *d, size_t i)
{
    struct device *dev = d->m->dev;
    const struct layer *l = model_layer(d->m, i);

    for (int g = 0; g < N_GROUPS; g++) {
        struct tensor w = layer_group(l, (enum group)g);
        enum packed_kind kind = (enum packed_kind)d->o.kind[g];
        size_t zeros;
        double density;

        if (!w.data) /* a part that was removed */
            continue;
        zeros = dev->ops->count_zeros(dev, w);
        density = 1 - (double)zeros / (double)tensor_numel(w);
        if (d->o.kind[g] == PACKED_AUTO)
            kind = packed_choose(1 - density, 1 - kept_share(&l->rules[g]), w.dtype);
        if (kind == PACKED_ROWS && d->m->store) { /* which are borrowed: only while it is there */
            struct tensor *own = &d->layers[i].own[g];

            *own = device_tensor(dev, w.dtype, w.rows, w.cols);
            dev->ops->copy(dev, own->data, w.data, tensor_nbytes(w));
            w = *own;
        }
        dev->ops->decode->pack(dev, &d->layers[i].w[g], w, kind);
        d->layers[i].w[g].n_nonzero = tensor_numel(w) - zeros;
    }
}

/* ---- opening */

static void open_tensors(struct decoder *d)
{
    const struct model *m = d->m;
    struct device *dev = m->dev;
    const struct llama_config *c = &m->config;
    size_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim, n = d->o.max_positions;

    d->x = device_tensor(dev, DTYPE_F32, 1, c->hidden);
    d->in = device_tensor(dev, m->dtype, 1, c->hidden);
    d->attn = device_tensor(dev, m->dtype, 1, q);
    d->act = device_tensor(dev, m->dtype, 1, c->intermediate);
    d->qkv = device_tensor(dev, DTYPE_F32, 1, (q + 2 * kv) / parallel_size(m));
    d->gate_up = device_tensor(dev, DTYPE_F32, 1, 2 * c->intermediate / parallel_size(m));
    d->logits = device_tensor(dev, DTYPE_F32, 1, c->n_vocab);
    d->cursor = dev->ops->alloc(dev, sizeof(*d->cursor));
    d->ids = dev->ops->alloc(dev, (n + 1) * sizeof(*d->ids));
    d->logprob = dev->ops->alloc(dev, (n + 1) * sizeof(*d->logprob));
}

/* Each device computes its part of the logits, if they can be dealt out evenly. */
static int splits_head(const struct model *m)
{
    return m->comm && m->config.n_vocab % parallel_size(m) == 0;
}

int decoder_open(struct decoder *d, const struct model *m, const struct decode_options *o)
{
    struct device *dev = m->dev;
    size_t n;

    *d = (struct decoder){0};
    if (!dev->ops->decode)
        return error("the %s backend does not decode", dev->ops->name);
    d->m = m;
    d->o = *o;
    for (int g = 0; g < N_GROUPS && o->library; g++)
        d->o.kind[g] = PACKED_ROWS;
    if (!d->o.max_positions || d->o.max_positions > m->config.max_positions)
        d->o.max_positions = m->config.max_positions;
    n = d->o.max_positions;
    session_open(&d->session, m, n < PROMPT_ROWS ? n : PROMPT_ROWS, batch_pages_for(0, n), 1);
    d->layers = xcalloc(m->config.n_layers, sizeof(*d->layers));
    for (size_t i = 0; i < m->config.n_layers; i++)
        pack_layer(d, i);
    dev->ops->decode->pack(dev, &d->head, splits_head(m) ? parallel_part(m, m->head) : m->head,
                           PACKED_ROWS);
    open_tensors(d);
    decoder_seed(d, o->seed);
    return 0;
}

void decoder_close(struct decoder *d)
{
    struct device *dev = d->m ? d->m->dev : NULL;
    struct tensor *const tensors[] = {&d->x,   &d->in,      &d->attn,  &d->act,
                                      &d->qkv, &d->gate_up, &d->logits};

    if (!dev)
        return;
    for (int i = 0; i < 2; i++)
        if (d->step[i].recording)
            dev->ops->decode->record_free(dev, d->step[i].recording);
    for (size_t i = 0; i < d->m->config.n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++) {
            dev->ops->decode->packed_free(dev, &d->layers[i].w[g]);
            device_tensor_free(dev, &d->layers[i].own[g]);
        }
    dev->ops->decode->packed_free(dev, &d->head);
    free(d->layers);
    free(d->sequence.pages.v);
    session_close(&d->session);
    for (size_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]); i++)
        device_tensor_free(dev, tensors[i]);
    dev->ops->free(dev, d->cursor);
    dev->ops->free(dev, d->ids);
    dev->ops->free(dev, d->logprob);
    *d = (struct decoder){0};
}

/* ---- one token */

static void product(struct decoder *d, struct tensor out, const struct decode_input *in,
                    const struct packed *w, int accumulate)
{
    struct device *dev = d->m->dev;
    struct tensor rows = {w->data, w->dtype, w->n_out, w->n_in}; /* of PACKED_ROWS */

    if (d->o.library)
        dev->ops->linear(dev, out, decode_input_row(dev, in), rows, accumulate);
    else
        dev->ops->decode->gemv_of(dev, out, in, w, accumulate);
}

/* norm(x) as an input. */
static struct decode_input normed(const struct decoder *d, struct tensor x, struct tensor weight,
                                  const struct act_rule *rule)
{
    return (struct decode_input){.kind = INPUT_NORM,
                                 .x = x,
                                 .weight = weight,
                                 .eps = d->m->config.eps,
                                 .rule = rule,
                                 .row = d->in};
}

/* The first n columns of a row: a layer may be smaller than the model's largest. */
static struct tensor columns_of(struct tensor row, size_t n)
{
    row.cols = n;
    return row;
}

/* This device's columns of a row: all where the model is whole. */
static struct tensor own_columns(const struct decoder *d, struct tensor row)
{
    row.cols /= parallel_size(d->m);
    row.data = (char *)row.data + parallel_rank(d->m) * tensor_nbytes(row);
    return row;
}

/* Everybody's columns of a row. Asking for the next weight meanwhile lost (results/h100-two.md). */
static void gather(struct decoder *d, struct tensor row)
{
    struct comm *c = d->m->comm;
    struct tensor part = own_columns(d, row);

    if (c)
        c->all_gather(c, row.data, part.data, tensor_nbytes(part));
}

/* x += w in, in the basis that this puts the residual stream into, plus a bias; w NULL: the bias
 * alone. Of d->in nothing is left. */
static void add_to_stream(struct decoder *d, const struct decode_input *in, const struct packed *w,
                          struct tensor basis, struct tensor bias)
{
    struct device *dev = d->m->dev;

    if (w && basis.data) {
        dev->ops->convert(dev, d->in, d->x);
        dev->ops->linear(dev, d->x, d->in, basis, 0);
    }
    if (w) {
        product(d, own_columns(d, d->x), in, w, 1);
        gather(d, d->x);
    }
    if (bias.data)
        dev->ops->add_row(dev, d->x, bias);
}

static void attention_step(struct decoder *d, size_t i)
{
    const struct model *m = d->m;
    struct device *dev = m->dev;
    const struct decode_ops *ops = dev->ops->decode;
    const struct layer *l = &m->layers[i];
    const struct packed *w = d->layers[i].w;
    struct tensor qkv = columns_of(d->qkv, l->qkv.rows), attn = columns_of(d->attn, l->o.cols);
    struct decode_input in = {.kind = INPUT_ROW, .x = attn, .rule = &l->rules[GROUP_O]};

    if (layer_has_attention(l)) {
        struct decode_input norm = normed(d, d->x, l->norm1, &l->rules[GROUP_QKV]);

        product(d, qkv, &norm, &w[GROUP_QKV], 0);
        ops->attention(dev, own_columns(d, attn), qkv, d->session.kv[i], l->shape, m->cos_sin,
                       &d->cursor->position, d->o.max_positions);
        gather(d, attn);
    }
    add_to_stream(d, &in, layer_has_attention(l) ? &w[GROUP_O] : NULL, l->attention_basis,
                  l->o_bias);
}

static void mlp_step(struct decoder *d, size_t i)
{
    struct device *dev = d->m->dev;
    const struct layer *l = &d->m->layers[i];
    const struct packed *w = d->layers[i].w;
    struct tensor gate_up = columns_of(d->gate_up, l->gate_up.rows);
    struct decode_input gate = {.kind = INPUT_GATE,
                                .x = gate_up,
                                .rule = &l->rules[GROUP_DOWN],
                                .row = columns_of(d->act, l->down.cols)};

    if (layer_has_mlp(l)) {
        struct decode_input norm = normed(d, d->x, l->norm2, &l->rules[GROUP_GATE_UP]);

        product(d, gate_up, &norm, &w[GROUP_GATE_UP], 0);
        if (d->m->comm) {
            dev->ops->decode->silu_mul(dev, own_columns(d, gate.row), gate_up, NULL);
            gather(d, gate.row);
            gate.kind = INPUT_ROW;
            gate.x = gate.row;
        }
    }
    add_to_stream(d, &gate, layer_has_mlp(l) ? &w[GROUP_DOWN] : NULL, l->mlp_basis, l->down_bias);
}

/* logits = head norm(x) */
static void logits_of(struct decoder *d, struct tensor x)
{
    struct decode_input norm = normed(d, x, d->m->norm, NULL);

    if (splits_head(d->m)) {
        product(d, own_columns(d, d->logits), &norm, &d->head, 0);
        gather(d, d->logits);
    } else {
        product(d, d->logits, &norm, &d->head, 0);
    }
}

/* Chooses the next token and runs it. Everything that differs from token to token is read from the
 * device's memory. */
static void run_step(struct decoder *d, int how)
{
    struct device *dev = d->m->dev;

    if (how == SAMPLED)
        dev->ops->decode->sample(dev, d->cursor, d->ids, d->logits, d->o.temperature);
    else
        dev->ops->decode->force(dev, d->cursor, d->ids, d->logits, d->logprob);
    dev->ops->embed(dev, d->x, d->m->embed, &d->cursor->id);
    for (size_t i = 0; i < d->m->config.n_layers; i++) {
        attention_step(d, i);
        mlp_step(d, i);
    }
    logits_of(d, d->x);
}

/* The first step runs as it is, so that whatever a backend makes on first use is there; the second
 * is recorded; all others run the recording. */
static void step(struct decoder *d, int how)
{
    struct device *dev = d->m->dev;
    const struct decode_ops *ops = dev->ops->decode;

    if (!ops->record_begin || !d->step[how].warm) {
        run_step(d, how);
        d->step[how].warm = 1;
    } else {
        if (!d->step[how].recording) {
            ops->record_begin(dev);
            run_step(d, how);
            d->step[how].recording = ops->record_end(dev);
        }
        ops->record_run(dev, d->step[how].recording);
    }
    d->n_tokens++;
}

/* ---- sequences */

void decoder_seed(struct decoder *d, uint64_t seed)
{
    struct device *dev = d->m->dev;
    struct pcg32 g;

    pcg32_init(&g, seed, 0);
    assert(g.inc == DECODE_RNG_INC);
    d->o.seed = seed;
    dev->ops->upload(dev, &d->cursor->rng, &g.state, sizeof(g.state));
}

void decoder_prefill(struct decoder *d, const int32_t *ids, size_t n)
{
    struct device *dev = d->m->dev;
    struct session *s = &d->session;
    int32_t at[] = {ids[n - 1], (int32_t)n - 1};
    size_t rows = 0;

    assert(n >= 1 && n <= d->o.max_positions);
    d->sequence.n_tokens = 0;
    for (size_t i = 0; i < n; i += rows) {
        rows = n - i < s->max_rows ? n - i : s->max_rows;
        batch_clear(&s->batch);
        batch_add_cached(&s->batch, ids + i, rows, &d->sequence, &d->next_page);
        if (d->m->act_last_half && i < n - n / 2)
            batch_spare(&s->batch, n - n / 2 - i < rows ? n - n / 2 - i : rows);
        session_forward(s);
    }
    logits_of(d, tensor_rows(s->x, rows - 1, 1));
    dev->ops->upload(dev, d->ids, ids, n * sizeof(*ids));
    dev->ops->upload(dev, d->cursor, at, sizeof(at)); /* id and position, not the generator */
    d->n_tokens = n;
}

static void check_room(const struct decoder *d, size_t n)
{
    assert(d->n_tokens > 0);
    if (d->n_tokens + n > d->o.max_positions)
        die("decoding %zu tokens after %zu: the cache holds %zu", n, d->n_tokens,
            d->o.max_positions);
}

void decoder_generate(struct decoder *d, size_t n)
{
    check_room(d, n);
    for (size_t i = 0; i < n; i++)
        step(d, SAMPLED);
}

void decoder_force(struct decoder *d, const int32_t *ids, size_t n, double *logprob)
{
    struct device *dev = d->m->dev;
    size_t first = d->n_tokens;

    check_room(d, n);
    dev->ops->upload(dev, d->ids + first, ids, n * sizeof(*ids));
    for (size_t i = 0; i < n; i++)
        step(d, FORCED);
    dev->ops->download(dev, logprob, d->logprob + first, n * sizeof(*logprob));
}

void decoder_ids(struct decoder *d, size_t first, size_t n, int32_t *ids)
{
    assert(first + n <= d->n_tokens);
    d->m->dev->ops->download(d->m->dev, ids, d->ids + first, n * sizeof(*ids));
}

void decoder_logits(struct decoder *d, float *logits)
{
    d->m->dev->ops->download(d->m->dev, logits, d->logits.data, tensor_nbytes(d->logits));
}

/* ---- what it is made of */

void decoder_group(const struct decoder *d, enum group g, struct decode_group *out)
{
    size_t n = 0;

    *out = (struct decode_group){0};
    for (size_t i = 0; i < d->m->config.n_layers; i++) {
        const struct packed *w = &d->layers[i].w[g];

        if (!w->n_out) /* the layer lacks the part */
            continue;
        n++;
        out->n_kind[w->kind]++;
        out->n_weights += w->n_out * w->n_in;
        out->n_nonzero += w->n_nonzero;
        out->nbytes += w->nbytes;
        out->act_share += kept_share(&d->m->layers[i].rules[g]);
    }
    out->act_share = n ? out->act_share / (double)n : 1;
}

size_t decoder_packed_nbytes(const struct decoder *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->m->config.n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++)
            if (d->layers[i].w[g].kind != PACKED_ROWS)
                n += d->layers[i].w[g].nbytes;
    return n;
}

size_t decoder_cache_nbytes(const struct decoder *d)
{
    return session_nbytes(d->m, d->session.max_rows, d->session.n_pages, 1);
}

void decoder_report(const struct decoder *d, FILE *f)
{
    static const char *const names[N_GROUPS] = {"q, k, v", "o", "gate, up", "down"};

    for (int g = 0; g < N_GROUPS; g++) {
        struct decode_group of;

        decoder_group(d, (enum group)g, &of);
        fprintf(f, "  %-9s", names[g]);
        if (!of.n_weights) {
            fprintf(f, "in no layer\n");
            continue;
        }
        for (int k = 0; k < 3; k++)
            if (of.n_kind[k])
                fprintf(f, "%s in %zu layer%s, ", packed_kind_name((enum packed_kind)k),
                        of.n_kind[k], of.n_kind[k] == 1 ? "" : "s");
        fprintf(f, "%.1f %% of the weights non-zero, %.1f %% of the input kept, %.1f MiB\n",
                100.0 * (double)of.n_nonzero / (double)of.n_weights, 100 * of.act_share,
                (double)of.nbytes / (1 << 20));
    }
    fprintf(f, "  memory beside the model's: packed weights %.1f MiB, cache and scratch %.1f MiB\n",
            (double)decoder_packed_nbytes(d) / (1 << 20),
            (double)decoder_cache_nbytes(d) / (1 << 20));
}
