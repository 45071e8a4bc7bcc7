/* The CPU backend: plain C and OpenBLAS, float32, OpenMP over rows. The oracle of all others. */
#ifndef DUO_BACKEND_CPU_CPU_H
#define DUO_BACKEND_CPU_CPU_H

#include <string.h>

#include "harness/backend/backend.h"

extern const struct backend backend_cpu;
extern const struct decode_ops cpu_decode; /* decode.c */

struct cpu_device {
    struct device base;
    int n_threads;
    char *text;           /* describe() */
    size_t used, peak;    /* bytes that alloc gave out */
    double timer_started; /* timing.c */
    struct stream_times copies;
    struct cpu_scratch *scratch; /* linear.c: CPU_SCRATCHES for each thread */
};

static inline int cpu_threads(const struct device *dev)
{
    return ((const struct cpu_device *)dev)->n_threads;
}

/* Threads for so many pieces of work that are worth one each: the rows of one token are not. */
static inline int cpu_team(const struct device *dev, size_t n_pieces)
{
    size_t n = (size_t)cpu_threads(dev);

    return (int)(n_pieces == 0 ? 1 : n_pieces < n ? n_pieces : n);
}

/* memory.c */
void *cpu_alloc(struct device *, size_t);
void cpu_free(struct device *, void *);
size_t cpu_memory_free(struct device *);
size_t cpu_memory_peak(struct device *);
void cpu_copy(struct device *, void *, const void *, size_t);
void cpu_zero(struct device *, void *, size_t);
void *cpu_host_alloc(struct device *, size_t);
void cpu_host_free(struct device *, void *);
void cpu_stream_copy(struct device *, void *, const void *, size_t);
void cpu_stream_wait(struct device *);
void cpu_stream_times(struct device *, struct stream_times *);

int cpu_comm_open(struct device *, struct comm **); /* comm.c */

/* One file each; contracts in backend.h. */
void cpu_copy_columns(struct device *, struct tensor, size_t, struct tensor, size_t, size_t);
void cpu_fill(struct device *, struct tensor, float);
void cpu_fill_normal(struct device *, struct tensor, float, uint64_t, uint64_t);
void cpu_embed(struct device *, struct tensor, struct tensor, const int32_t *);
void cpu_rmsnorm(struct device *, struct tensor, struct tensor, struct tensor, float,
                 const struct act_rule *);
void cpu_linear(struct device *, struct tensor, struct tensor, struct tensor, int);
void cpu_add_row(struct device *, struct tensor, struct tensor);
void cpu_gather(struct device *, struct tensor, struct tensor, const int32_t *);
void cpu_kv_write(struct device *, struct kv_layer, struct tensor, struct attention_shape,
                  struct tensor, const struct batch_layout *);
void cpu_attention(struct device *, struct tensor, struct tensor, struct kv_layer,
                   struct attention_shape, struct tensor, const struct batch_layout *,
                   const struct act_rule *);
void cpu_silu_mul(struct device *, struct tensor, struct tensor, const struct act_rule *);
void cpu_linear_silu_mul(struct device *, struct tensor, struct tensor, struct tensor,
                         struct tensor, const struct act_rule *);
void cpu_sparsify(struct device *, struct tensor, struct tensor, const struct act_rule *);
void cpu_join(struct device *, struct tensor, const void *, size_t, const struct act_rule *);
void cpu_rmsnorm_joined(struct device *, struct tensor, struct tensor, size_t, struct tensor, float,
                        const struct act_rule *);
void cpu_logprob(struct device *, double *, int32_t *, struct tensor, struct tensor,
                 const int32_t *);
void cpu_divergence(struct device *, double *, int32_t *, struct tensor, struct tensor,
                    struct tensor, struct tensor);
void cpu_gram(struct device *, struct tensor, struct tensor);
void cpu_mirror(struct device *, struct tensor);
void cpu_cross(struct device *, struct tensor, struct tensor, struct tensor);
void cpu_sum_squares(struct device *, struct tensor, struct tensor);
void cpu_row_cosine(struct device *, double *, struct tensor, struct tensor);
void cpu_subtract(struct device *, struct tensor, struct tensor, struct tensor);
void cpu_scale(struct device *, struct tensor, float);
void cpu_get_diagonal(struct device *, struct tensor, struct tensor);
void cpu_add_diagonal(struct device *, struct tensor, const float *);
void cpu_permute(struct device *, struct tensor, struct tensor, const int32_t *, const int32_t *);
int cpu_inverse_factor(struct device *, struct tensor, struct tensor);
int cpu_eigen(struct device *, struct tensor, struct tensor, struct tensor);
#define CPU_ROW_TILE 128
void cpu_multiply(struct device *, struct tensor, struct tensor, struct tensor, int);
void cpu_strict_upper(struct device *, struct tensor, float);
void cpu_upper_row_squares(struct device *, struct tensor, struct tensor);
void cpu_obs_prune(struct device *, struct tensor, struct tensor, struct tensor, struct tensor,
                   const struct obs_options *);
void cpu_refit(struct device *, struct tensor, struct tensor, struct tensor, size_t);
void cpu_mask_smallest(struct device *, struct tensor, struct tensor, const struct mask_options *);
size_t cpu_count_zeros(struct device *, struct tensor);
int cpu_all_finite(struct device *, struct tensor);
void cpu_pack(struct device *, struct packed *, struct tensor, enum packed_kind);
void cpu_unpack(struct device *, struct tensor, const struct packed *);
void cpu_packed_free(struct device *, struct packed *);
void cpu_gemv(struct device *, struct tensor, struct tensor, const struct packed *, int);
void cpu_timer_start(struct device *);
double cpu_timer_stop(struct device *);
void cpu_clocks(struct device *, struct device_clocks *);
size_t cpu_cache_nbytes(struct device *);
void cpu_read(struct device *, const void *, size_t);

/* ---- shared inside the backend */

/* Element i of t, of any dtype; its data need not be aligned (a checkpoint's file). */
static inline float cpu_element(struct tensor t, size_t i)
{
    uint16_t h;
    float f;

    if (t.dtype == DTYPE_F32) {
        memcpy(&f, (const char *)t.data + i * sizeof(f), sizeof(f));
        return f;
    }
    memcpy(&h, (const char *)t.data + i * sizeof(h), sizeof(h));
    return t.dtype == DTYPE_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

/* Element i of t = v, rounded to t's type; t is in the backend's memory, so aligned. */
static inline void cpu_store(struct tensor t, size_t i, float v)
{
    if (t.dtype == DTYPE_F32)
        ((float *)t.data)[i] = v;
    else
        ((uint16_t *)t.data)[i] = t.dtype == DTYPE_F16 ? f32_to_f16(v) : f32_to_bf16(v);
}

/* C (m x n, row stride ldc) = alpha A op(B) + beta C on one thread. */
void cpu_sgemm(int a_transposed, int b_transposed, size_t m, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc);

/* A thread's packed copies of a task's operands and its slice of logits. They are kept until the
 * device closes: fresh memory for every call means page faults in all threads at once. */
struct cpu_scratch {
    float *x, *w, *logits;
    size_t n_x, n_w, n_logits;
};
#define CPU_SCRATCHES 2 /* as many products as one operation has in hand at a time */
/* The which-th of the calling thread of a team. */
struct cpu_scratch *cpu_scratch(struct device *dev, int which);
float *cpu_scratch_logits(struct cpu_scratch *s, size_t n);
void cpu_scratch_open(struct cpu_device *dev);
void cpu_scratch_close(struct cpu_device *dev);

/* out (n_rows x n, row stride ldo) = or += x W^T (x: n_rows x k, W: n x k) on the calling thread,
 * in two steps so that x is packed once for several W. A row's bits depend on its row of x alone, a
 * column's on its row of W. */
void cpu_pack_rows(struct cpu_scratch *s, const float *x, size_t n_rows, size_t k);
void cpu_packed_times(struct cpu_scratch *s, size_t n_rows, size_t k, const float *w, size_t n,
                      float *out, size_t ldo, int accumulate);

/* Rows of x that a thread takes at a time: enough tasks for all threads, bounded memory. */
size_t cpu_rows_per_task(size_t n_rows, size_t k, int n_threads);

/* In-place rule on one row; adds the zeros to *n_zero. */
void cpu_apply_rule(float *x, size_t n, const struct act_rule *rule, uint64_t *n_zero);

/* Adds to the rule's counter, if it has one, from any thread. */
void cpu_count(const struct act_rule *rule, uint64_t n_zero);

/* The idx-th smallest (0-based) of n values, without NaN. */
float cpu_kth_smallest(const float *v, size_t n, size_t idx);

#endif
