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
