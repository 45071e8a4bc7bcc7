/* Weights on their way into the second-level cache while the device would wait for others.
 *
 * A gather between cards takes some microseconds in which memory is idle; in each of them it could
 * bring 3 MB. The requests are made on a stream of their own, forked from the device's, so that the
 * gather does not wait for them. */
#include "harness/backend/cuda/packed.cuh"

#define AHEAD                                                                                      \
    ((size_t)16 << 20) /* bytes: what a gather's time is good for, and a third of the cache */
#define N_CHUNKS 512

/* Thread i asks for bytes [0, chunk) of the i-th stretch. */
__global__ void fetch_ahead(const char *p, size_t stretch, unsigned chunk)
{
    const char *at = p + (blockIdx.x * (size_t)blockDim.x + threadIdx.x) * stretch;

#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(at), "r"(chunk) : "memory");
#else
    for (unsigned i = 0; i < chunk; i += 128)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(at + i));
#endif
}

/* Rows are read from the first on; the blocks of other kinds all at once. */
void cuda_prefetch(struct device *device, const struct packed *w)
{
    struct cuda_device *dev = cuda_dev(device);
    size_t n = w->nbytes - (w->kind == PACKED_NONZEROS ? tables_nbytes(w) : 0), ahead, stretch;

    ahead = n / 2 < AHEAD ? n / 2 : AHEAD;
    ahead = ahead / N_CHUNKS / 128 * 128; /* of a chunk */
    stretch = w->kind == PACKED_ROWS ? ahead : n / N_CHUNKS / 128 * 128;
    if (!ahead)
        return;
    if (!dev->ahead) {
        CU(cudaStreamCreateWithFlags(&dev->ahead, cudaStreamNonBlocking));
        CU(cudaEventCreateWithFlags(&dev->forked, cudaEventDisableTiming));
        CU(cudaEventCreateWithFlags(&dev->fetched, cudaEventDisableTiming));
    }
    CU(cudaEventRecord(dev->forked, dev->stream));
    CU(cudaStreamWaitEvent(dev->ahead, dev->forked, 0));
    fetch_ahead<<<N_CHUNKS / 32, 32, 0, dev->ahead>>>((const char *)w->data, stretch,
                                                      (unsigned)ahead);
    LAUNCHED("fetch_ahead");
}

void cuda_prefetch_end(struct device *device)
{
    struct cuda_device *dev = cuda_dev(device);

    if (!dev->ahead)
        return;
    CU(cudaEventRecord(dev->fetched, dev->ahead));
    CU(cudaStreamWaitEvent(dev->stream, dev->fetched, 0));
}

void prefetch_close(struct cuda_device *dev)
{
    if (!dev->ahead)
        return;
    CU(cudaStreamSynchronize(dev->ahead));
    CU(cudaStreamDestroy(dev->ahead));
    CU(cudaEventDestroy(dev->forked));
    CU(cudaEventDestroy(dev->fetched));
}
