/* What bench times: products of one row, whole decode steps, batches; dense and sparse. */
#ifndef DUO_MEASURE_BENCH_WORK_H
#define DUO_MEASURE_BENCH_WORK_H

#include "harness/measure/bench_run.h"
#include "harness/model/model.h"

/* Ways to do the same work. The first two compute the dense model. */
enum bench_path {
    PATH_OWN,      /* decode: gemv over whole rows */
    PATH_LIBRARY,  /* the backend's linear() */
    PATH_ROWS,     /* the same as PATH_OWN on a model with parts removed */
    PATH_COLUMNS,  /* gemv that skips the columns of dropped inputs; zeros in weights are read */
    PATH_NONZEROS, /* gemv over the non-zeros of the columns that are left */
    PATH_SPARSE,   /* batches: linear() with zeros in inputs and weights */
    N_PATHS,
};
extern const char *const bench_path_names[N_PATHS]; /* "own", "library", ... */

struct bench_models {
    const struct model *dense, *pruned;
    int dense_is_pruned; /* two do not fit: `dense` reads the pruned weights too */
    double act_sparsity;
    double weight_zeros; /* share of the dense model's linears that is zero or gone */
    double read_rate;    /* bytes a second, of bench_read_rate(); NaN: not known */
    uint64_t seed;       /* of made-up inputs */
    struct bench_limits limits;
};

/* What one work gave; to be released. */
struct bench_outcome {
    const char *task;  /* static text */
    const char *cache; /* "cold" or "warm" */
    double context;    /* NaN: none */
    double tokens;     /* per unit of time; 0: the unit is no token */
    size_t n_paths;
    enum bench_path path[BENCH_MAX_PROGRAMS]; /* of samples.ns[] */
    double bytes[BENCH_MAX_PROGRAMS];         /* read and written per unit, NaN: not known */
    struct bench_samples samples;
    char note[160]; /* what was left out and why; "" */
};
void bench_outcome_release(struct bench_outcome *o);

/* Is there anything to skip in the weights? */
static inline int bench_is_pruned(const struct bench_models *m)
{
    return m->weight_zeros > 0.01;
}

/* The sparse paths of decoding that apply and for whose copy of the weights, n elements dense,
 * there is memory; a note says which there is not. */
void bench_add_sparse_paths(struct bench_outcome *out, const struct bench_models *m, size_t n);

/* ---- products of one row, the linears of decoding */

enum bench_products {
    PRODUCTS_QKV,
    PRODUCTS_O,
    PRODUCTS_GATE_UP,
    PRODUCTS_DOWN,
    PRODUCTS_HEAD,
    PRODUCTS_LAYER, /* the four of a layer, one after another */
    N_PRODUCTS,
};

/* Times them in every layer of the model one after another; the unit is one layer (the head: one
 * product). Cold: the weights come from memory: those of all layers are larger than the cache, or
 * it is flushed before each sample. Warm: the first layer's again and again; -1 without a message
 * where these do not fit the cache. Not of a model with parts removed. Inputs are normal random
 * numbers of which the rule drops act_sparsity; making and dropping them is not timed. 0 or -1:
 * nothing to time. */
int bench_products(struct bench_outcome *out, const struct bench_models *m,
                   enum bench_products what, int warm);

/* ---- decoding */

/* Times whole steps of decoding after ids[0 .. context): the layers, the head and the choice of the
 * next token. The unit is a token. 0 or -1: nothing to time (no decoding here,
 * no room). */
int bench_decode(struct bench_outcome *out, const struct bench_models *m, const int32_t *ids,
                 size_t context);

/* ---- batches */

/* One prompt of n tokens through the model up to the log-probability of one more; and windows of
 * `window` ids as perplexity scores them, two batches of as many as fit rows. The unit is a token.
 */
int bench_prefill(struct bench_outcome *out, const struct bench_models *m, size_t n);
int bench_windows(struct bench_outcome *out, const struct bench_models *m, size_t window,
                  size_t rows);

#endif
