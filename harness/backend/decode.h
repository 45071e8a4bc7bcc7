/* Decoding, one token at a time: the operations of a backend that read each weight once per token.
 * Bound by the bytes of the weights, so a weight is packed for it: what is zero in the weight, and
 * what meets a zero of the input, is not read.
 *
 * Conventions as in backend.h; every tensor of activations has one row. Products leave float32;
 * the operation that follows rounds to the model's type first, as the batched path does, so that
 * decoding and prefill see the same numbers up to the order of summation. Operations may be
 * recorded (record_begin) and then read everything that changes from token to token from device
 * memory: the id and the position in struct decode_cursor. */
#ifndef DUO_BACKEND_DECODE_H
#define DUO_BACKEND_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "harness/backend/tensor.h"

struct device;
struct attention_shape;
struct kv_layer;
struct act_rule;
struct recording;

enum packed_kind {
    PACKED_ROWS,     /* dense, row-major: the tensor itself, borrowed; no zero is skipped */
    PACKED_COLUMNS,  /* dense, column by column: columns that meet a zero input are skipped */
    PACKED_NONZEROS, /* non-zeros alone, column by column in blocks of rows: both are skipped */
};

/* A weight n_out x n_in as gemv reads it. */
struct packed {
    enum packed_kind kind;
    enum dtype dtype;
    size_t n_out, n_in;
    size_t n_nonzero;
    size_t nbytes;      /* of data and index: what gemv reads when no input is zero */
    void *data, *index; /* on the device, in the backend's own layout */
    size_t layout;      /* what the backend has to remember of it */
};

/* What a product of a decode step reads: a row, made from what the step before left. A backend may
 * make it inside the product, where it would take a launch of its own. */
enum decode_input_kind {
    INPUT_ROW,  /* rule(x);                  x: 1 x n_in of the weight's type, may be overwritten */
    INPUT_NORM, /* rule(rmsnorm(x, weight)); x: 1 x n_in, f32, as the operation below */
    INPUT_GATE, /* rule(silu(gate) * up);    x: 1 x 2 n_in, f32, [gate | up], as the one below */
};

struct decode_input {
    enum decode_input_kind kind;
    struct tensor x;
    struct tensor weight;        /* INPUT_NORM: 1 x n_in, f32 */
    float eps;                   /* INPUT_NORM */
    const struct act_rule *rule; /* or NULL */
    struct tensor row;           /* 1 x n_in of the weight's type: scratch; INPUT_ROW: unused */
};

/* The row itself, by operations of its own; in in->row, or for INPUT_ROW in in->x. */
struct tensor decode_input_row(struct device *dev, const struct decode_input *in);

/* What moves from token to token, in device memory. */
struct decode_cursor {
    int32_t id;       /* the token that the next step reads */
    int32_t position; /* its position: as many tokens are in the cache */
    uint64_t rng;     /* state of PCG32 (base/rng.h) in the stream DECODE_RNG_INC, for sampling */
};
#define DECODE_RNG_INC 1 /* pcg32_init(&g, seed, 0) */

struct decode_ops {
    /* Packs w for gemv; allocates unless PACKED_ROWS. unpack restores the very bits of every value
     * that is not zero; zeros become +0. */
    void (*pack)(struct device *dev, struct packed *out, struct tensor w, enum packed_kind kind);
    void (*unpack)(struct device *dev, struct tensor w, const struct packed *p);
    void (*packed_free)(struct device *dev, struct packed *p);

    /* out = W x, or out += W x if accumulate. x: 1 x n_in of W's type, out: 1 x n_out, f32. */
    void (*gemv)(struct device *dev, struct tensor out, struct tensor x, const struct packed *w,
                 int accumulate);

    /* out = W x, or out += W x if accumulate, for what `in` makes of x. */
    void (*gemv_of)(struct device *dev, struct tensor out, const struct decode_input *in,
                    const struct packed *w, int accumulate);

    /* As backend.h's rmsnorm, of one row: the sum of squares in another order, perhaps. */
    void (*rmsnorm)(struct device *dev, struct tensor out, struct tensor x, struct tensor weight,
                    float eps, const struct act_rule *rule);

    /* One token's attention at position *position: rounds qkv (1 x (nh + 2 nkv) d, f32) to out's
     * type, turns q and k by cos_sin (backend.h), stores k and v, and writes
     * out (1 x nh d) = softmax(q k^T / sqrt(d)) v over positions 0 .. *position.
     * Page p of kv holds positions p * KV_PAGE and on; max_positions of them are there. */
    void (*attention)(struct device *dev, struct tensor out, struct tensor qkv, struct kv_layer kv,
                      struct attention_shape shape, struct tensor cos_sin, const int32_t *position,
                      size_t max_positions);

    /* out (1 x m) = rule(silu(gate) * up), gate_up: 1 x 2m, f32, rounded to out's type first. */
    void (*silu_mul)(struct device *dev, struct tensor out, struct tensor gate_up,
                     const struct act_rule *rule);

    /* The next token from logits (1 x V, f32): temperature 0: the arg-max, the lowest id among
     * equals; else a draw from softmax(logits / temperature). It becomes cursor->id and
     * ids[position + 1]; the position moves on. ids: device, longer than any position + 1. */
    void (*sample)(struct device *dev, struct decode_cursor *cursor, int32_t *ids,
                   struct tensor logits, float temperature);

    /* As sample, but the next token is given: ids[position + 1] becomes cursor->id, and
     * logprob[position + 1] = logits[id] - logsumexp(logits). */
    void (*force)(struct device *dev, struct decode_cursor *cursor, const int32_t *ids,
                  struct tensor logits, double *logprob);

    /* Operations between begin and end are recorded instead of run; the caller runs them as one, as
     * often as it likes. NULL where recording gains nothing (the CPU). */
    void (*record_begin)(struct device *dev);
    struct recording *(*record_end)(struct device *dev);
    void (*record_run)(struct device *dev, struct recording *r);
    void (*record_free)(struct device *dev, struct recording *r);
};

/* The kind of packing with the fastest gemv, for a weight with this share of zeros and inputs of
 * which act_sparsity are zero: by bytes read and time spent beside reading, measured on an H100 at
 * 7B's shapes. In f16 columns pay with any zero inputs, non-zeros from 20 % of zero weights on with
 * dense inputs, from 26 % on with half of the inputs zero. */
enum packed_kind packed_choose(double weight_zeros, double act_sparsity, enum dtype dtype);

#endif
