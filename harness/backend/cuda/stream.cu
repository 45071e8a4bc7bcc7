/* Copies from pinned host memory on a stream of their own, beside the computation. */
#include "harness/backend/cuda/device.cuh"

void copies_open(struct cuda_device *dev)
{
    CU(cudaStreamCreateWithFlags(&dev->copies, cudaStreamNonBlocking));
    CU(cudaEventCreateWithFlags(&dev->computed, cudaEventDisableTiming));
    CU(cudaEventCreateWithFlags(&dev->copied, cudaEventDisableTiming));
}

void copies_close(struct cuda_device *dev)
{
    CU(cudaStreamSynchronize(dev->copies));
    CU(cudaEventDestroy(dev->computed));
    CU(cudaEventDestroy(dev->copied));
    CU(cudaStreamDestroy(dev->copies));
}

void *cuda_host_alloc(struct device *dev, size_t nbytes)
{
    void *p = NULL;
    cudaError_t rc = cudaMallocHost(&p, nbytes ? nbytes : 1);

    (void)dev;
    if (rc != cudaSuccess)
        die("cannot pin %.3f GiB of the host's memory: %s", (double)nbytes / (1 << 30),
            cudaGetErrorString(rc));
    return p;
}

void cuda_host_free(struct device *dev, void *p)
{
    (void)dev;
    CU(cudaFreeHost(p));
}

void cuda_stream_in(struct device *device, void *dst, const void *host, size_t nbytes)
{
    struct cuda_device *dev = cuda_dev(device);

    CU(cudaEventRecord(dev->computed, dev->stream));
    CU(cudaStreamWaitEvent(dev->copies, dev->computed, 0));
    CU(cudaMemcpyAsync(dst, host, nbytes, cudaMemcpyHostToDevice, dev->copies));
}

void cuda_stream_wait(struct device *device)
{
    struct cuda_device *dev = cuda_dev(device);

    CU(cudaEventRecord(dev->copied, dev->copies));
    CU(cudaStreamWaitEvent(dev->stream, dev->copied, 0));
}
