/* The backend seam: where arithmetic happens. A backend is a const table of operations; every slot
 * exists on the CPU first, in plain C, and that version is the oracle of all others.
 *
 * Conventions: T tokens, h hidden size, d head size, nh query heads, nkv key/value heads, V
 * vocabulary. Activations are row-major tokens x features, weights n_out x n_in. Pointers and
 * tensors are in the device's memory unless a comment says host. The statistics and the pruning
 * operations work in float32 whatever the weights' type. Operations cannot fail: what can be wrong
 * is checked before, and a broken device dies with a line that says what was asked for.
 * Operations of one device run in the order of their calls; download() waits for them. */
#ifndef DUO_BACKEND_BACKEND_H
#define DUO_BACKEND_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "harness/backend/comm.h"
#include "harness/backend/decode.h"
#include "harness/backend/tensor.h"

/* Keys and values live in pages of KV_PAGE positions, so that sequences that share a prefix share
 * its full pages. Page p of a sequence holds positions p * KV_PAGE .. p * KV_PAGE + KV_PAGE - 1. */
#define KV_PAGE 16

struct attention_shape {
    size_t n_heads, n_kv_heads, head_dim;
};

/* How the rows of a packed batch belong together (arrays on the device, made by model/batch.c).
 * Segment s owns rows seg_row[s] .. seg_row[s+1]-1, at positions seg_pos[s], seg_pos[s]+1, ...; its
 * keys are those of pages[seg_page[s] .. ] in order, up to each query's own position. */
struct batch_layout {
    size_t n_rows, n_segments, n_copies;
    size_t max_positions;     /* largest position + 1 over all segments */
    const int32_t *ids;       /* n_rows token ids */
    const int32_t *positions; /* n_rows */
    const int32_t *seg_row;   /* n_segments + 1 */
    const int32_t *seg_pos;   /* n_segments */
    const int32_t *seg_page;  /* n_segments: index of the first of its pages in pages[] */
    const int32_t *pages;
    /* Key and value of row copy_row[i] go to slot copy_slot[i] = page * KV_PAGE + offset; a row
     * goes to several slots where the last, partly filled page of a prefix is copied. */
    const int32_t *copy_row, *copy_slot;
};

/* One layer's keys and values: n_pages pages of n_kv_heads * head_dim * KV_PAGE elements each; the
 * order inside a page is the backend's own. */
struct kv_layer {
    void *k, *v;
};

/* What happens to the input of a linear (METHOD section 1). The rule is applied per token by the
 * operation that produces the input. */
enum act_kind {
    ACT_DENSE,
    ACT_TOPK,      /* keep |x_j| >= the (floor(n * sparsity))-th smallest of |x|, ties kept */
    ACT_THRESHOLD, /* keep |x_j| >= threshold (TEAL) */
    ACT_WINA,      /* as ACT_TOPK, of the scores |x_j| gate_j in float32 instead of |x_j| */
};

struct act_rule {
    enum act_kind kind;
    double sparsity;   /* share of channels to drop, 0 <= s < 1; ACT_THRESHOLD: about */
    float threshold;   /* ACT_THRESHOLD */
    uint64_t *n_zero;  /* device counter of zeros in the outputs, or NULL: not counted */
    const float *gate; /* ACT_WINA: one factor >= 0 per channel, on the device */
};

/* How one column of W is treated by the block walk; see obs_prune. */
struct obs_options {
    size_t block;      /* columns per block, B */
    double sparsity;   /* share of zeros per block over all rows; 0 prunes nothing */
    size_t nm_n, nm_m; /* N:M: zero the n smallest scores of m consecutive columns; 0: unused */
    int lazy_exact;    /* V = value before pruning (1) or after (0) */
    struct comm *comm; /* w: this process's rows of a matrix that so many share, in equal parts and
                          in the order of ranks; "all rows" are everybody's. NULL: w is whole */
};

/* Which weights go; see mask_smallest. */
struct mask_options {
    double sparsity;
    int per_row;
    size_t nm_n, nm_m; /* N:M, as above */
    struct comm *comm; /* as above */
};

/* What a device runs at; NaN: not known. */
struct device_clocks {
    double compute_mhz, memory_mhz, watts, celsius;
    int throttle_known;
    unsigned throttled; /* enum throttle: why it runs slower than it could; 0: it does not */
};
enum throttle {
    THROTTLE_POWER = 1, /* the power limit */
    THROTTLE_HEAT = 2,
    THROTTLE_HARDWARE = 4, /* slowed down by the hardware itself: heat or power brake */
};

/* Copies beside the computation: how long they ran, and how much of it operations had to wait. */
struct stream_times {
    double seconds, waited;
    double nbytes;
};

/* A row's residual, squared, as a share of what it was: beyond it there is nothing but float32's
 * rounding, and steps along that would lead anywhere. */
#define REFIT_SOLVED 1e-14

struct device;

struct backend {
    const char *name;
    const char *summary;
    unsigned dtypes;       /* bit 1 << enum dtype for each type of weights that it computes with */
    const char *linear_by; /* what linear() computes with */
    int is_host;           /* 1: its memory is the host's, shared with everybody */

    /* 0, or error() (no such device). n_threads 0: the backend's choice. */
    int (*open)(struct device **out, int n_threads);
    void (*close)(struct device *dev);
    /* One line for records: processor or card and what matters of it; owned by dev. */
    const char *(*describe)(const struct device *dev);

    /* ---- memory: alloc dies when there is none; contents are undefined */
    void *(*alloc)(struct device *dev, size_t nbytes);
    void (*free)(struct device *dev, void *p);
    size_t (*memory_free)(struct device *dev); /* bytes that alloc could still give, about */
    /* The most bytes that alloc had given out at a time since the last call (of a GPU the scratch
     * of operations too; of the host theirs not). */
    size_t (*memory_peak)(struct device *dev);
    /* Rows of a forward pass that keep the device busy; more are no faster. */
    size_t (*busy_rows)(const struct device *dev);
    /* How often alloc, here and in operations, has had to go to the system for memory: not at all
     * any more in a loop that has run before. NULL: not counted. */
    size_t (*n_allocations)(struct device *dev);
    void (*upload)(struct device *dev, void *dst, const void *host, size_t nbytes);
    void (*download)(struct device *dev, void *host, const void *src, size_t nbytes);
    void (*copy)(struct device *dev, void *dst, const void *src, size_t nbytes);
    void (*zero)(struct device *dev, void *dst, size_t nbytes);
    /* dst[i] = (dst type) src[i]; same number of elements. */
    void (*convert)(struct device *dev, struct tensor dst, struct tensor src);
    /* dst[:,to + j] = src[:,from + j] for j < n; one type, the same number of rows. */
    void (*copy_columns)(struct device *dev, struct tensor dst, size_t to, struct tensor src,
                         size_t from, size_t n);
    /* Every element = value; or stddev * z, z_i near standard normal and never 0: the sum of
     * 2 b - 255 over seven bytes b of outputs 2 i and 2 i + 1 of PCG32 with this seed and stream,
     * low bytes first, divided by its standard deviation. The same bits on every backend. */
    void (*fill)(struct device *dev, struct tensor t, float value);
    void (*fill_normal)(struct device *dev, struct tensor t, float stddev, uint64_t seed,
                        uint64_t stream);

    /* ---- from the host's memory beside the computation. Memory that copies run from at full
     * speed; dies when there is none. */
    void *(*host_alloc)(struct device *dev, size_t nbytes);
    void (*host_free)(struct device *dev, void *p);
    /* Begins to copy once all operations called before are done; operations called after
     * stream_wait() run after all copies begun before it. host: of host_alloc, not to be changed
     * until then. */
    void (*stream_in)(struct device *dev, void *dst, const void *host, size_t nbytes);
    void (*stream_wait)(struct device *dev);
    /* The way back: begins to copy once all operations called before are done. The copies of both
     * ways run in the order of their calls. */
    void (*stream_out)(struct device *dev, void *host, const void *src, size_t nbytes);
    /* Returns when all copies begun so far are done. */
    void (*stream_sync)(struct device *dev);
    /* What the copies took since the device was opened; waits for them. */
    void (*stream_times)(struct device *dev, struct stream_times *out);

    /* ---- forward */
    /* out[t,:] = table[ids[t],:] */
    void (*embed)(struct device *dev, struct tensor out, struct tensor table, const int32_t *ids);
    /* out = rule(x / sqrt(mean(x^2) + eps) * weight); weight: 1 x h. out may be x. */
    void (*rmsnorm)(struct device *dev, struct tensor out, struct tensor x, struct tensor weight,
                    float eps, const struct act_rule *rule);
    /* out = x W^T, or out += x W^T if accumulate. x: T x n_in, W: n_out x n_in, out: T x n_out.
     * A row of out depends on its row of x alone, to the bit, whatever T is. */
    void (*linear)(struct device *dev, struct tensor out, struct tensor x, struct tensor w,
                   int accumulate);
    /* x[t,:] += row (1 x n); float32 */
    void (*add_row)(struct device *dev, struct tensor x, struct tensor row);
    /* out[r,:] = x[rows[r],:] */
    void (*gather)(struct device *dev, struct tensor out, struct tensor x, const int32_t *rows);
    /* qkv: T x (nh + 2 nkv) d, heads [q|k|v], not yet turned. The rotary embedding is part of the
     * two operations that follow: kv_write turns keys, attention queries, each as it reads them, in
     * float32 and rounded to the type they came in. Pairs (i, i + d/2) turn by position *
     * inv_freq[i]: a' = a cos - b sin, b' = b cos + a sin. cos_sin: positions x d, as made by
     * model/rope.c: d/2 cosines, then d/2 sines; data NULL: nothing turns. */
    /* Stores the k (turned) and v parts of qkv's rows to their slots. */
    void (*kv_write)(struct device *dev, struct kv_layer kv, struct tensor qkv,
                     struct attention_shape shape, struct tensor cos_sin,
                     const struct batch_layout *b);
    /* out (T x nh d) = rule(softmax(q k^T / sqrt(d)) v), q turned, causal, over each segment's
     * pages. A row's bits depend on its query and keys alone. */
    void (*attention)(struct device *dev, struct tensor out, struct tensor qkv, struct kv_layer kv,
                      struct attention_shape shape, struct tensor cos_sin,
                      const struct batch_layout *b, const struct act_rule *rule);
    /* out (T x m) = rule(silu(gate) * up), gate_up: T x 2m, [gate | up], silu(x) = x / (1 + e^-x)
     */
    void (*silu_mul)(struct device *dev, struct tensor out, struct tensor gate_up,
                     const struct act_rule *rule);
    /* out (T x m) = rule(silu(x Wg^T) * (x Wu^T)), w: 2m x n_in, [Wg | Wu] one above the other:
     * what linear and silu_mul make of it, to the bit. gate_up: T x 2m, scratch. */
    void (*linear_silu_mul)(struct device *dev, struct tensor out, struct tensor gate_up,
                            struct tensor x, struct tensor w, const struct act_rule *rule);
    /* out = rule(x); out may be x. */
    void (*sparsify)(struct device *dev, struct tensor out, struct tensor x,
                     const struct act_rule *rule);
    /* What several devices have gathered: the columns of a matrix in n_parts equal parts, rows x
     * cols / n_parts each, one after another. out = rule(the matrix); and rmsnorm of it, x giving
     * its size and place. The bits are those of sparsify and rmsnorm. */
    void (*join)(struct device *dev, struct tensor out, const void *parts, size_t n_parts,
                 const struct act_rule *rule);
    void (*rmsnorm_joined)(struct device *dev, struct tensor out, struct tensor x, size_t n_parts,
                           struct tensor weight, float eps, const struct act_rule *rule);
    /* For each row r of x (R x h): logits = head x_r; logprob[r] = logits[target[r]] -
     * logsumexp(logits), is_top[r] = 1 if no logit is larger than the target's and none of a
     * smaller id is equal (argmax == target). Logits are never all in memory. logprob: double. */
    void (*logprob)(struct device *dev, double *logprob, int32_t *is_top, struct tensor x,
                    struct tensor head, const int32_t *target);
    /* How far the next-token distributions of b are from those of a. For each row r, with logits
     * a = head_a xa_r and b = head_b xb_r (heads of one V), m the largest logit of each,
     * S = sum e^(x - m) and T = sum e^(a - m_a) (a - b):
     * kl[r] = T / S_a - (m_a + log S_a) + (m_b + log S_b) = KL(softmax a || softmax b) in nats,
     * exactly 0 for equal logits, else off by rounding (also below 0); same_top[r] = 1 if both
     * arg-maxes are the same id, the lowest among equals. Logits are never all in memory; sums and
     * kl: double. NULL in a backend that does not have it yet. */
    void (*divergence)(struct device *dev, double *kl, int32_t *same_top, struct tensor xa,
                       struct tensor head_a, struct tensor xb, struct tensor head_b);

    /* ---- statistics, float32, sums over the T rows added to what is there */
    /* H (k x k) += x^T x, upper triangle only; mirror() copies it to the lower one. */
    void (*gram)(struct device *dev, struct tensor h, struct tensor x);
    void (*mirror)(struct device *dev, struct tensor h);
    /* C (k x m) += a^T b; a: T x k, b: T x m */
    void (*cross)(struct device *dev, struct tensor c, struct tensor a, struct tensor b);
    /* s (1 x k) += column sums of x^2 */
    void (*sum_squares)(struct device *dev, struct tensor s, struct tensor x);
    /* out[t] = a[t,:] . b[t,:] / (|a[t,:]| |b[t,:]|), 0 where a norm is 0; a, b: float32, sums and
     * out: double */
    void (*row_cosine)(struct device *dev, double *out, struct tensor a, struct tensor b);
    /* out = a - b */
    void (*subtract)(struct device *dev, struct tensor out, struct tensor a, struct tensor b);

    /* ---- pruning, float32 */
    /* x *= factor */
    void (*scale)(struct device *dev, struct tensor x, float factor);
    /* Diagonal of square h to d (1 x k); and h[i,i] += v[i] for a host vector v of k values. */
    void (*get_diagonal)(struct device *dev, struct tensor d, struct tensor h);
    void (*add_diagonal)(struct device *dev, struct tensor h, const float *host_v);
    /* out[i,j] = x[row_index[i], col_index[j]] for host indices; NULL: identity. out is not x and
     * may have fewer rows and columns. */
    void (*permute)(struct device *dev, struct tensor out, struct tensor x,
                    const int32_t *row_index, const int32_t *col_index);
    /* U upper triangular with H^-1 = U^T U (H symmetric, full storage; destroyed). 0, or the
     * 1-based order of the leading minor (in reversed column order) that is not positive definite;
     * no message, U is then undefined. The lower triangle of U is zero. */
    int (*inverse_factor)(struct device *dev, struct tensor u, struct tensor h);
    /* Eigenvectors and values of symmetric H (k x k, full storage; destroyed), computed in double:
     * row i of v (k x k) is the unit vector of values[i] (1 x k), descending. 0, or what LAPACK
     * calls it when the iteration fails; no message, v is then undefined. */
    int (*eigen)(struct device *dev, struct tensor v, struct tensor values, struct tensor h);
    /* multiply and obs_prune take so many rows at a time: in parts of a multiple of these, a row
     * gets the bits that it gets in the whole matrix. */
    size_t row_tile;
    /* C = A op(B): A m x n, B n x p, or p x n if transposed. */
    void (*multiply)(struct device *dev, struct tensor c, struct tensor a, struct tensor b,
                     int b_transposed);
    /* x[i,j] = 0 for j <= i (keeps the strictly upper part), times factor. */
    void (*strict_upper)(struct device *dev, struct tensor x, float factor);
    /* b_p = sum_{j>p} q[p,j]^2 to out (1 x k) */
    void (*upper_row_squares)(struct device *dev, struct tensor out, struct tensor q);
    /* Optimal-brain-surgeon walk over the columns of w (n x k), METHOD sections 3 and 4: per block
     * of B columns the scores S[:,p] = w[:,p]^2 coef[p] from the block-start weights, one threshold
     * t = sort(S)[floor(numel s)] over all rows, S <= t pruned (or N:M by current weights); then
     * column by column err = (w - q) / U_pp; w[:,p:] -= err (x) U[p,p:] - v (x) D[p,p:], and the
     * lazy update of the columns right of the block. d.data NULL: no D term. coef: 1 x k. */
    void (*obs_prune)(struct device *dev, struct tensor w, struct tensor u, struct tensor d,
                      struct tensor coef, const struct obs_options *opt);
    /* The non-zero weights of w (n x k), each row on its own, move towards the least of
     * w_r h w_r^T - 2 w_r c_r^T: n_steps of conjugate gradients from where they are, preconditioned
     * by h's diagonal; a row is left alone once its residual is solved (REFIT_SOLVED) or it has no
     * weights. h: k x k, symmetric, positive definite; c: n x k. */
    void (*refit)(struct device *dev, struct tensor w, struct tensor h, struct tensor c,
                  size_t n_steps);
    /* Zeroes w where its score is among the smallest. Score = |w[i,j]| * scale[j] (scale 1 x k, or
     * data NULL: 1). per_row 0: score <= sort(all)[floor(numel s)]; per_row 1: the floor(k s)
     * smallest of every row, lowest column first among equals; nm_m > 0: the nm_n smallest of every
     * nm_m consecutive columns, lowest first. */
    void (*mask_smallest)(struct device *dev, struct tensor w, struct tensor scale,
                          const struct mask_options *opt);
    /* Number of zeros; and 1 if every element is finite, else 0. */
    size_t (*count_zeros)(struct device *dev, struct tensor w);
    int (*all_finite)(struct device *dev, struct tensor w);

    /* ---- measuring time: by the device's own clock. timer_stop() waits for the operations called
     * since timer_start() and returns their seconds; one stretch at a time. */
    void (*timer_start)(struct device *dev);
    double (*timer_stop)(struct device *dev);
    void (*clocks)(struct device *dev, struct device_clocks *out);
    size_t (*cache_nbytes)(struct device *dev); /* the last cache before memory; 0: not known */
    /* Reads all of p once, as fast as it can: what the memory gives. */
    void (*read)(struct device *dev, const void *p, size_t nbytes);

    /* Joins the devices of all processes of the run (base/procs.h); all call it. 0, or error(). */
    int (*comm_open)(struct device *dev, struct comm **out);

    const struct decode_ops *decode; /* decode.h; NULL in a backend that does not have it yet */
};

/* Standard deviation of the sum of 2 b - 255 over seven uniform bytes: sqrt(7 (256^2 - 1) / 3). */
#define NORMAL_BYTES_STDDEV 391.0435f

/* What every backend's device begins with. */
struct device {
    const struct backend *ops;
    size_t memory_limit; /* the caller's to set: alloc gives at most so many bytes at a time, as if
                            the device were so small; 0: as much as there is */
};

/* NULL-terminated; the first is the CPU. The one place that knows which backends are built. */
extern const struct backend *const backends[];

/* By name, or NULL after error() that lists the known ones. NULL name or "auto": the last one that
 * opens (a GPU before the CPU). */
int device_open(struct device **out, const char *name, int n_threads);
void device_close(struct device *dev);

/* Allocates a tensor on the device. */
struct tensor device_tensor(struct device *dev, enum dtype dtype, size_t rows, size_t cols);
void device_tensor_free(struct device *dev, struct tensor *t);

/* Index of the threshold in the ascending order of n values: floor(n * sparsity), as the reference
 * code computes it in double. One definition for all top-k and block thresholds. */
static inline size_t sparsity_index(size_t n, double sparsity)
{
    return (size_t)((double)n * sparsity);
}

#endif
