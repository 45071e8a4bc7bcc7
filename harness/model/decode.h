/* Decoding: one token at a time through a model whose linears are packed for reading once a token.
 * Dense and sparse decoding share everything but the packed linears and the rules of the model. */
#ifndef DUO_MODEL_DECODE_H
#define DUO_MODEL_DECODE_H

#include <stdio.h>

#include "harness/model/session.h"

#define PACKED_AUTO (-1) /* the kind that should read fastest, from the measured zeros */

struct decode_options {
    int kind[N_GROUPS];   /* enum packed_kind of each group in every layer, or PACKED_AUTO */
    size_t max_positions; /* of the cache: prompt and generated tokens together; 0: the model's */
    float temperature;    /* 0: greedy */
    uint64_t seed;
    int library; /* products by the backend's linear(), to compare with; kinds are then ROWS */
};

struct decode_layer {
    struct packed w[N_GROUPS];
    struct tensor own[N_GROUPS]; /* what rows borrow where the model's layers are streamed */
};

/* How one group's linears are packed, all layers together. */
struct decode_group {
    size_t n_kind[3]; /* layers by enum packed_kind */
    size_t n_weights, n_nonzero;
    size_t nbytes;    /* read for a token whose activations are all non-zero */
    double act_share; /* share of the input's channels that the rule keeps */
};

struct decoder {
    const struct model *m;
    struct decode_options o;
    struct session session; /* prompts; its pages are the cache */
    struct sequence sequence;
    int32_t next_page;
    struct decode_layer *layers;
    struct packed head;
    struct tensor x, in, attn, act;     /* 1 x h (f32), x h, x nh d, x m */
    struct tensor qkv, gate_up, logits; /* f32: what gemv leaves; 1 x (nh + 2 nkv) d, x 2m, x V */
    struct decode_cursor *cursor;       /* device */
    int32_t *ids;                       /* device: the sequence so far, max_positions + 1 */
    double *logprob;                    /* device: of forced tokens, by position */
    size_t n_tokens; /* in the cache; the logits of the last one are there (0: nothing is) */
    struct {
        int warm;
        struct recording *recording;
    } step[2]; /* sampled, forced */
};

/* Packs the model's linears as they are now: prune before, and set the rules. The model stays the
 * caller's; neither weights nor rules are to be changed while the decoder is open. 0, or error() (a
 * backend without decoding). The packed weights of a model whose layers are streamed are on the
 * device; its prompts are streamed. Dies without memory. */
int decoder_open(struct decoder *d, const struct model *m, const struct decode_options *o);
void decoder_close(struct decoder *d);

/* All groups of the same kind, or PACKED_AUTO. */
struct decode_options decode_options_of(int kind, size_t max_positions);

/* Begins a sequence with a prompt of n >= 1 ids, through the batched path. */
void decoder_prefill(struct decoder *d, const int32_t *ids, size_t n);

/* Begins the draws of temperature anew. */
void decoder_seed(struct decoder *d, uint64_t seed);

/* Appends n tokens, each chosen from the logits of the one before and then run. Does not wait for
 * the device. n_tokens + n must be at most max_positions. */
void decoder_generate(struct decoder *d, size_t n);

/* The same with given tokens; logprob (host): of each, given those before it. */
void decoder_force(struct decoder *d, const int32_t *ids, size_t n, double *logprob);

/* Ids [first, first + n) of the sequence to host; waits for the device. */
void decoder_ids(struct decoder *d, size_t first, size_t n, int32_t *ids);

/* Logits (host, V) of the token after the last one. */
void decoder_logits(struct decoder *d, float *logits);

/* How group g is packed; and the same for all groups, a line each, then one on memory. */
void decoder_group(const struct decoder *d, enum group g, struct decode_group *out);
void decoder_report(const struct decoder *d, FILE *f);

/* Device memory beside the model's: packed weights (not the borrowed ones), and cache and scratch.
 */
size_t decoder_packed_nbytes(const struct decoder *d);
size_t decoder_cache_nbytes(const struct decoder *d);

/* "rows", "columns", "nonzeros" */
const char *packed_kind_name(enum packed_kind k);

#endif
