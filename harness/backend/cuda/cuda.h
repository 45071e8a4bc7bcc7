/* The CUDA backend: cuBLAS, cuSOLVER and own kernels on one GPU, one stream. Weights and
 * activations in f16, bf16 or f32; accumulation in f32. C's view; device.cuh is the inside. */
#ifndef DUO_BACKEND_CUDA_CUDA_H
#define DUO_BACKEND_CUDA_CUDA_H

#include "harness/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct backend backend_cuda;
extern const struct decode_ops decode_cuda; /* decode.cu */

/* memory.cu */
void *cuda_alloc(struct device *, size_t);
void cuda_free(struct device *, void *);
size_t cuda_memory_free(struct device *);
size_t cuda_memory_peak(struct device *);
size_t cuda_n_allocations(struct device *);
void cuda_upload(struct device *, void *, const void *, size_t);
void cuda_download(struct device *, void *, const void *, size_t);
void cuda_copy(struct device *, void *, const void *, size_t);
void cuda_zero(struct device *, void *, size_t);

/* stream.cu */
void *cuda_host_alloc(struct device *, size_t);
void cuda_host_free(struct device *, void *);
void cuda_stream_in(struct device *, void *, const void *, size_t);
void cuda_stream_wait(struct device *);
void cuda_stream_out(struct device *, void *, const void *, size_t);
void cuda_stream_sync(struct device *);
void cuda_stream_times(struct device *, struct stream_times *);

int cuda_comm_open(struct device *, struct comm **); /* comm_nccl.cu, or comm_none.cu */

/* One file each; contracts in backend.h. */
void cuda_copy_columns(struct device *, struct tensor, size_t, struct tensor, size_t, size_t);
void cuda_fill(struct device *, struct tensor, float);
void cuda_fill_normal(struct device *, struct tensor, float, uint64_t, uint64_t);
void cuda_convert(struct device *, struct tensor, struct tensor);
void cuda_embed(struct device *, struct tensor, struct tensor, const int32_t *);
void cuda_rmsnorm(struct device *, struct tensor, struct tensor, struct tensor, float,
                  const struct act_rule *);
void cuda_linear(struct device *, struct tensor, struct tensor, struct tensor, int);
void cuda_add_row(struct device *, struct tensor, struct tensor);
void cuda_gather(struct device *, struct tensor, struct tensor, const int32_t *);
void cuda_kv_write(struct device *, struct kv_layer, struct tensor, struct attention_shape,
                   struct tensor, const struct batch_layout *);
void cuda_attention(struct device *, struct tensor, struct tensor, struct kv_layer,
                    struct attention_shape, struct tensor, const struct batch_layout *,
                    const struct act_rule *);
void cuda_silu_mul(struct device *, struct tensor, struct tensor, const struct act_rule *);
void cuda_linear_silu_mul(struct device *, struct tensor, struct tensor, struct tensor,
                          struct tensor, const struct act_rule *);
void cuda_sparsify(struct device *, struct tensor, struct tensor, const struct act_rule *);
void cuda_join(struct device *, struct tensor, const void *, size_t, const struct act_rule *);
void cuda_rmsnorm_joined(struct device *, struct tensor, struct tensor, size_t, struct tensor,
                         float, const struct act_rule *);
void cuda_logprob(struct device *, double *, int32_t *, struct tensor, struct tensor,
                  const int32_t *);
void cuda_divergence(struct device *, double *, int32_t *, struct tensor, struct tensor,
                     struct tensor, struct tensor);
void cuda_gram(struct device *, struct tensor, struct tensor);
void cuda_mirror(struct device *, struct tensor);
void cuda_cross(struct device *, struct tensor, struct tensor, struct tensor);
void cuda_sum_squares(struct device *, struct tensor, struct tensor);
void cuda_row_cosine(struct device *, double *, struct tensor, struct tensor);
void cuda_subtract(struct device *, struct tensor, struct tensor, struct tensor);
void cuda_scale(struct device *, struct tensor, float);
void cuda_get_diagonal(struct device *, struct tensor, struct tensor);
void cuda_add_diagonal(struct device *, struct tensor, const float *);
void cuda_permute(struct device *, struct tensor, struct tensor, const int32_t *, const int32_t *);
int cuda_inverse_factor(struct device *, struct tensor, struct tensor);
int cuda_eigen(struct device *, struct tensor, struct tensor, struct tensor);
void cuda_multiply(struct device *, struct tensor, struct tensor, struct tensor, int);
void cuda_strict_upper(struct device *, struct tensor, float);
void cuda_upper_row_squares(struct device *, struct tensor, struct tensor);
void cuda_obs_prune(struct device *, struct tensor, struct tensor, struct tensor, struct tensor,
                    const struct obs_options *);
void cuda_refit(struct device *, struct tensor, struct tensor, struct tensor, size_t);
void cuda_mask_smallest(struct device *, struct tensor, struct tensor, const struct mask_options *);
size_t cuda_count_zeros(struct device *, struct tensor);
int cuda_all_finite(struct device *, struct tensor);
void cuda_timer_start(struct device *);
double cuda_timer_stop(struct device *);
void cuda_clocks(struct device *, struct device_clocks *); /* nvml.cu */
size_t cuda_cache_nbytes(struct device *);
void cuda_read(struct device *, const void *, size_t);

#ifdef __cplusplus
}
#endif

#endif
