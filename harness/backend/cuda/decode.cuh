/* Inside the decode path: launches that overlap their start with the end of the launch before.
 *
 * A kernel launched by launch_after() may begin as soon as every block of the kernel before it has
 * called grid_release() or ended. Before grid_wait() it may touch nothing that an operation
 * recorded or called earlier writes, and write nothing at all: only weights and what pack() made of
 * them, which are finished when pack() returns. Every such kernel calls grid_wait() in every
 * thread, so that what it leaves is ordered for the next one. */
#ifndef DUO_BACKEND_CUDA_DECODE_CUH
#define DUO_BACKEND_CUDA_DECODE_CUH

#include "harness/backend/cuda/device.cuh"

/* The table's slots; contracts in decode.h. pack.cu, gemv*.cu: */
void cuda_pack(struct device *, struct packed *, struct tensor, enum packed_kind);
void cuda_unpack(struct device *, struct tensor, const struct packed *);
void cuda_packed_free(struct device *, struct packed *);
void cuda_gemv(struct device *, struct tensor, struct tensor, const struct packed *, int);
void cuda_gemv_of(struct device *, struct tensor, const struct decode_input *,
                  const struct packed *, int);

/* decode_rows.cu, decode_attention.cu, decode_sample.cu, record.cu: */
void cuda_decode_rmsnorm(struct device *, struct tensor, struct tensor, struct tensor, float,
                         const struct act_rule *);
void cuda_decode_attention(struct device *, struct tensor, struct tensor, struct kv_layer,
                           struct attention_shape, struct tensor, const int32_t *, size_t);
void cuda_decode_silu_mul(struct device *, struct tensor, struct tensor, const struct act_rule *);
void cuda_decode_sample(struct device *, struct decode_cursor *, int32_t *, struct tensor, float);
void cuda_decode_force(struct device *, struct decode_cursor *, const int32_t *, struct tensor,
                       double *);
void cuda_record_begin(struct device *);
struct recording *cuda_record_end(struct device *);
void cuda_record_run(struct device *, struct recording *);
void cuda_record_free(struct device *, struct recording *);

/* At least nbytes, the same for all operations: what a launch leaves there is gone with the next
 * one. And n counters that are 0 between launches. Recordings may refer to both. */
void *decode_scratch(struct device *, size_t nbytes);
unsigned *decode_tickets(struct device *, size_t n);

#ifdef __CUDACC__

/* Launches kernel on the device's stream. */
template <typename... P, typename... A>
static void launch_after(struct device *dev, void (*kernel)(P...), unsigned blocks,
                         unsigned threads, size_t shared, A... args)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute overlap = {};

    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared;
    config.stream = stream_of(dev);
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &overlap;
    config.numAttrs = cuda_dev(dev)->sm >= 90;
    CU(cudaLaunchKernelEx(&config, kernel, (P)args...));
}

/* Until everything launched before is done and visible. */
__device__ __forceinline__ void grid_wait(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Lets the next launch begin. */
__device__ __forceinline__ void grid_release(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#endif
#endif
