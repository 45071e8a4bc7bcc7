/* Running a model: scratch memory, the key/value store, packed batches through the layers. */
#ifndef DUO_MODEL_SESSION_H
#define DUO_MODEL_SESSION_H

#include "harness/model/batch.h"
#include "harness/model/model.h"

/* Zeros in the inputs of each group's linears, and the tokens that there were. */
struct act_count {
    uint64_t n_zero[N_GROUPS], n_rows;
};

struct session {
    const struct model *m;
    size_t max_rows, n_pages;
    int cached;          /* keys and values of all layers stay (decoding) */
    struct kv_layer *kv; /* n_kv of them: one a layer, or 1 that every layer uses in turn */
    size_t n_kv;
    struct tensor x;             /* max_rows x h, f32: the residual stream */
    struct tensor in;            /* max_rows x h: input of qkv and gate_up */
    struct tensor qkv, attn;     /* max_rows x (nh + 2 nkv) d, x nh d */
    struct tensor gate_up, act;  /* max_rows x 2m, x m */
    struct tensor picked, final; /* rows to be scored: f32, and normed */
    size_t max_picked;
    void *scratch; /* device: 24 bytes for each of max_picked rows */
    void *scoring; /* device: rows, targets and results between the two halves of scoring */
    size_t scoring_cap, n_scoring;
    size_t n_rows_run;  /* tokens that session_forward has run, all batches together */
    struct batch batch; /* the caller's to fill; one at a time */

    /* Of a model on several devices (session_parallel.c): what is gathered, everybody's parts one
     * after another, for each half of the batch; and this device's columns of x. */
    void *gathered;       /* max_rows x session_gathered_width bytes */
    struct tensor x_part; /* max_rows x h/n, f32 */
    struct batch half[2];
    int now; /* whose rows the pieces of a layer work on: 0 the batch's, else half[now - 1]'s */
    size_t first_row; /* of them in the batch */
};

/* Memory for batches of up to max_rows tokens over n_pages pages. cached: 1 to keep every layer's
 * keys and values between batches. The model may become smaller while the session is open, and be
 * restored to what it was, but not grow. Dies without memory. */
void session_open(struct session *s, const struct model *m, size_t max_rows, size_t n_pages,
                  int cached);
void session_close(struct session *s);

/* Bytes of device memory that session_open takes. */
size_t session_nbytes(const struct model *m, size_t max_rows, size_t n_pages, int cached);

/* Uploads s->batch and runs it through all layers; s->x then holds the last layer's output. */
void session_forward(struct session *s);

/* Parts of session_forward: uploads s->batch; runs x, the residual stream of its rows, through
 * layers [first, end). */
void session_begin(struct session *s);
void session_layers(struct session *s, struct tensor x, size_t first, size_t end);

/* After session_forward: for each of n rows of the batch, the log-probability of target[i] as the
 * next token and whether it is the arg-max. Host arrays. In two halves: between begin and end the
 * device works, and the host may build s->batch anew (but not run it). */
void session_logprobs_begin(struct session *s, const int32_t *rows, const int32_t *targets,
                            size_t n);
void session_logprobs_end(struct session *s, double *logprob, int32_t *is_top);
void session_logprobs(struct session *s, const int32_t *rows, const int32_t *targets, size_t n,
                      double *logprob, int32_t *is_top);

/* What was counted since the last call (or since the session was opened): for a session with nothing
 * on its way. Adds to *sum. The counters of zeros are the model's: one session counts at a time. */
void session_take_counts(struct session *s, struct act_count *sum);

/* After session_forward: logits of n rows to host, n x V float32. */
void session_logits(struct session *s, const int32_t *rows, size_t n, float *logits);

/* ---- the pieces of a layer, for calibration; rows as in the uploaded batch. Layers are given
 * apart from the model, so that a dense copy can stand in. x: residual stream. */

/* in = rules[QKV](norm1(x)) */
void layer_attention_input(struct session *s, const struct layer *l, struct tensor x,
                           struct tensor in);
/* attn = rules[O](attention(rope(qkv(in)))) */
void layer_attention(struct session *s, const struct layer *l, size_t index, struct tensor in,
                     struct tensor attn);
/* in = rules[GATE_UP](norm2(x)) */
void layer_mlp_input(struct session *s, const struct layer *l, struct tensor x, struct tensor in);
/* act = rules[DOWN](silu(gate(in)) * up(in)) */
void layer_mlp_hidden(struct session *s, const struct layer *l, struct tensor in,
                      struct tensor act);
/* x += w in */
void layer_add(struct session *s, struct tensor x, struct tensor in, struct tensor w);

/* The two halves of a layer, under its rules: x as it comes becomes x as it leaves. */
void layer_attention_block(struct session *s, const struct layer *l, size_t index, struct tensor x);
void layer_mlp_block(struct session *s, const struct layer *l, struct tensor x);

/* x = embeddings of the uploaded batch's ids. */
void session_embed(struct session *s, struct tensor x);

#endif
