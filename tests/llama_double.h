/* LLaMA as the textbooks write it, in double over a checkpoint's own weights: the reference of the
 * tests of scores. No cache, no packing: every sequence attends to itself alone. Activations are
 * kept features x tokens, so that the innermost loops run over tokens. */
#ifndef DUO_TESTS_LLAMA_DOUBLE_H
#define DUO_TESTS_LLAMA_DOUBLE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/model/checkpoint.h"

/* T tokens of several sequences side by side. */
struct double_batch {
    const int32_t *ids;
    const size_t *begin, *pos; /* per token: the first token of its sequence, its place in it */
    size_t n;
};

/* Sign, exponent and fraction of a half or bfloat16. */
static inline float decode_half(uint16_t h, enum dtype t)
{
    int e_bits = t == DTYPE_F16 ? 5 : 8, f_bits = 15 - e_bits, bias = (1 << (e_bits - 1)) - 1;
    int e = h >> f_bits & ((1 << e_bits) - 1), f = h & ((1 << f_bits) - 1);
    double v = e ? ldexp((1 << f_bits) + f, e - bias - f_bits) : ldexp(f, 1 - bias - f_bits);

    return (float)(h & 0x8000 ? -v : v);
}

/* The weights of that name, rows x cols; the caller frees them. Ends the program without them. */
static inline float *double_weights(const struct checkpoint *c, const char *name, size_t rows,
                                    size_t cols)
{
    float *w = xmalloc(rows * cols * sizeof(*w)), *table = xmalloc(65536 * sizeof(*table));
    struct tensor t;

    if (checkpoint_tensor(c, name, rows, cols, &t) != 0)
        exit(1);
    for (int i = 0; t.dtype != DTYPE_F32 && i < 65536; i++)
        table[i] = decode_half((uint16_t)i, t.dtype);
    for (size_t i = 0; i < rows * cols; i++)
        w[i] = t.dtype == DTYPE_F32 ? ((const float *)t.data)[i]
                                    : table[((const uint16_t *)t.data)[i]];
    free(table);
    return w;
}

static inline float *layer_weights(const struct checkpoint *c, size_t layer, const char *part,
                                   size_t rows, size_t cols)
{
    char name[128];

    snprintf(name, sizeof(name), "model.layers.%zu.%s.weight", layer, part);
    return double_weights(c, name, rows, cols);
}

/* out (rows x n) += W x; x: cols x n. */
static inline void double_add(double *restrict out, const float *w, size_t rows, size_t cols,
                              const double *restrict x, size_t n)
{
    for (size_t o = 0; o < rows; o++)
        for (size_t i = 0; i < cols; i++) {
            double v = w[o * cols + i];

            for (size_t t = 0; t < n; t++)
                out[o * n + t] += v * x[i * n + t];
        }
}

/* The linear of one layer; the caller frees the result (rows x n). */
static inline double *double_linear(const struct checkpoint *c, size_t layer, const char *part,
                                    size_t rows, size_t cols, const double *x, size_t n)
{
    float *w = layer_weights(c, layer, part, rows, cols);
    double *out = xcalloc(rows * n, sizeof(*out));

    double_add(out, w, rows, cols, x, n);
    free(w);
    return out;
}

/* x / sqrt(mean x^2 + eps) * weight, per token; frees weight. The caller frees the result. */
static inline double *double_norm(const double *x, float *weight, size_t h, size_t n, double eps)
{
    double *out = xmalloc(h * n * sizeof(*out));

    for (size_t t = 0; t < n; t++) {
        double sum = 0;

        for (size_t i = 0; i < h; i++)
            sum += x[i * n + t] * x[i * n + t];
        for (size_t i = 0; i < h; i++)
            out[i * n + t] = x[i * n + t] / sqrt(sum / (double)h + eps) * weight[i];
    }
    free(weight);
    return out;
}

static inline double double_frequency(const struct llama_config *c, size_t i)
{
    double f = pow(c->rope.theta, -2.0 * (double)i / (double)c->head_dim);
    double wavelength = 2 * acos(-1) / f, original = c->rope.original_max_positions, smooth;

    if (c->rope.type == ROPE_LINEAR)
        return f / c->rope.factor;
    if (c->rope.type == ROPE_DEFAULT || wavelength < original / c->rope.high_freq_factor)
        return f;
    if (wavelength > original / c->rope.low_freq_factor)
        return f / c->rope.factor;
    smooth = (original / wavelength - c->rope.low_freq_factor) /
             (c->rope.high_freq_factor - c->rope.low_freq_factor);
    return (1 - smooth) * f / c->rope.factor + smooth * f;
}

/* Turns the pairs (i, i + d/2) of every head. */
static inline void double_rope(const struct llama_config *c, double *x, size_t heads,
                               const struct double_batch *b)
{
    size_t d = c->head_dim;

    for (size_t i = 0; i < d / 2; i++)
        for (size_t t = 0; t < b->n; t++) {
            double angle = (double)b->pos[t] * double_frequency(c, i), co = cos(angle),
                   si = sin(angle);

            for (size_t g = 0; g < heads; g++) {
                double *p = &x[(g * d + i) * b->n + t], *q = &x[(g * d + i + d / 2) * b->n + t];
                double v = *p;

                *p = v * co - *q * si;
                *q = *q * co + v * si;
            }
        }
}

/* softmax(q k^T / sqrt(d)) v within each sequence; over q. */
static inline void double_attention(const struct llama_config *c, double *q, const double *k,
                                    const double *v, const struct double_batch *b)
{
    size_t d = c->head_dim, n = b->n, per = c->n_heads / c->n_kv_heads;
    double *s = xmalloc(n * sizeof(*s));

    for (size_t g = 0; g < c->n_heads; g++)
        for (size_t t = n; t-- > 0;) { /* backwards: q is overwritten */
            size_t first = b->begin[t], at = g / per * d;
            double max = -INFINITY, sum = 0;

            for (size_t u = first; u <= t; u++) {
                s[u] = 0;
                for (size_t i = 0; i < d; i++)
                    s[u] += q[(g * d + i) * n + t] * k[(at + i) * n + u];
                s[u] /= sqrt((double)d);
                max = s[u] > max ? s[u] : max;
            }
            for (size_t u = first; u <= t; u++)
                sum += s[u] = exp(s[u] - max);
            for (size_t i = 0; i < d; i++) {
                double o = 0;

                for (size_t u = first; u <= t; u++)
                    o += s[u] * v[(at + i) * n + u];
                q[(g * d + i) * n + t] = o / sum;
            }
        }
    free(s);
}

static inline void double_layer(const struct checkpoint *c, size_t layer, double *x,
                                const struct double_batch *b)
{
    const struct llama_config *k = &c->config;
    size_t h = k->hidden, nq = k->n_heads * k->head_dim, nkv = k->n_kv_heads * k->head_dim;
    size_t n = b->n, m = k->intermediate;
    double *in = double_norm(x, layer_weights(c, layer, "input_layernorm", 1, h), h, n, k->eps);
    double *q = double_linear(c, layer, "self_attn.q_proj", nq, h, in, n);
    double *key = double_linear(c, layer, "self_attn.k_proj", nkv, h, in, n);
    double *v = double_linear(c, layer, "self_attn.v_proj", nkv, h, in, n), *gate, *up;
    float *w = layer_weights(c, layer, "self_attn.o_proj", h, nq);

    double_rope(k, q, k->n_heads, b);
    double_rope(k, key, k->n_kv_heads, b);
    double_attention(k, q, key, v, b);
    double_add(x, w, h, nq, q, n);
    free(w);
    free(in);
    in = double_norm(x, layer_weights(c, layer, "post_attention_layernorm", 1, h), h, n, k->eps);
    gate = double_linear(c, layer, "mlp.gate_proj", m, h, in, n);
    up = double_linear(c, layer, "mlp.up_proj", m, h, in, n);
    for (size_t i = 0; i < m * n; i++)
        up[i] *= gate[i] / (1 + exp(-gate[i]));
    w = layer_weights(c, layer, "mlp.down_proj", h, m);
    double_add(x, w, h, m, up, n);
    free(w);
    free(in);
    free(q);
    free(key);
    free(v);
    free(gate);
    free(up);
}

/* logprob[t] = log p(target[t] | the sequence up to t); top[t]: the most likely id. */
static inline void double_logprobs(const struct checkpoint *c, const struct double_batch *b,
                                   const int32_t *target, double *logprob, int32_t *top)
{
    const struct llama_config *k = &c->config;
    size_t h = k->hidden, n = b->n, vocab = k->n_vocab;
    float *embed = double_weights(c, "model.embed_tokens.weight", vocab, h), *head = embed;
    double *x = xmalloc(h * n * sizeof(*x)), *logits = xcalloc(vocab * n, sizeof(*logits)), *last;

    for (size_t i = 0; i < h; i++)
        for (size_t t = 0; t < n; t++)
            x[i * n + t] = embed[(size_t)b->ids[t] * h + i];
    for (size_t l = 0; l < k->n_layers; l++)
        double_layer(c, l, x, b);
    last = double_norm(x, double_weights(c, "model.norm.weight", 1, h), h, n, k->eps);
    if (!k->tied_head)
        head = double_weights(c, "lm_head.weight", vocab, h);
    double_add(logits, head, vocab, h, last, n);
    for (size_t t = 0; t < n; t++) {
        double sum = 0;

        top[t] = 0;
        for (size_t v = 0; v < vocab; v++)
            if (logits[v * n + t] > logits[(size_t)top[t] * n + t])
                top[t] = (int32_t)v;
        for (size_t v = 0; v < vocab; v++)
            sum += exp(logits[v * n + t] - logits[(size_t)top[t] * n + t]);
        logprob[t] = logits[(size_t)target[t] * n + t] - logits[(size_t)top[t] * n + t] - log(sum);
    }
    if (head != embed)
        free(head);
    free(embed);
    free(x);
    free(logits);
    free(last);
}

#endif
