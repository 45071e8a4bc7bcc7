/* Copies to and from pinned host memory on a stream of their own, beside the computation. */
#include <stdlib.h>

#include "harness/backend/cuda/device.cuh"

/* What is being timed: stretches of either stream between two events, read when the ring is full or
 * when the times are asked for. */
#define N_STRETCHES 256

struct stretch {
    cudaEvent_t begin, end;
    bool is_wait;
};

struct copy_log {
    struct stretch ring[N_STRETCHES];
    size_t n;
    struct stream_times sum;
};

void copies_open(struct cuda_device *dev)
{
    struct copy_log *log = (struct copy_log *)xcalloc(1, sizeof(*log));

    CU(cudaStreamCreateWithFlags(&dev->copies, cudaStreamNonBlocking));
    CU(cudaEventCreateWithFlags(&dev->computed, cudaEventDisableTiming));
    CU(cudaEventCreateWithFlags(&dev->copied, cudaEventDisableTiming));
    for (int i = 0; i < N_STRETCHES; i++) {
        CU(cudaEventCreate(&log->ring[i].begin));
        CU(cudaEventCreate(&log->ring[i].end));
    }
    dev->copy_log = log;
}

void copies_close(struct cuda_device *dev)
{
    CU(cudaStreamSynchronize(dev->copies));
    for (int i = 0; i < N_STRETCHES; i++) {
        CU(cudaEventDestroy(dev->copy_log->ring[i].begin));
        CU(cudaEventDestroy(dev->copy_log->ring[i].end));
    }
    free(dev->copy_log);
    CU(cudaEventDestroy(dev->computed));
    CU(cudaEventDestroy(dev->copied));
    CU(cudaStreamDestroy(dev->copies));
}

/* Adds up what was logged; waits for it. */
static void read_log(struct copy_log *log)
{
    for (size_t i = 0; i < log->n; i++) {
        struct stretch *s = &log->ring[i];
        float ms = 0;

        CU(cudaEventSynchronize(s->end));
        CU(cudaEventElapsedTime(&ms, s->begin, s->end));
        *(s->is_wait ? &log->sum.waited : &log->sum.seconds) += 1e-3 * (double)ms;
    }
    log->n = 0;
}

/* Begins a stretch on a stream; its end is the caller's to record. */
static struct stretch *log_begin(struct copy_log *log, cudaStream_t stream, bool is_wait)
{
    struct stretch *s;

    if (log->n == N_STRETCHES)
        read_log(log);
    s = &log->ring[log->n++];
    s->is_wait = is_wait;
    CU(cudaEventRecord(s->begin, stream));
    return s;
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

static void copy_beside(struct cuda_device *dev, void *dst, const void *src, size_t nbytes,
                        enum cudaMemcpyKind kind)
{
    struct stretch *s;

    CU(cudaEventRecord(dev->computed, dev->stream));
    CU(cudaStreamWaitEvent(dev->copies, dev->computed, 0));
    s = log_begin(dev->copy_log, dev->copies, false);
    CU(cudaMemcpyAsync(dst, src, nbytes, kind, dev->copies));
    CU(cudaEventRecord(s->end, dev->copies));
    dev->copy_log->sum.nbytes += (double)nbytes;
}

void cuda_stream_in(struct device *dev, void *dst, const void *host, size_t nbytes)
{
    copy_beside(cuda_dev(dev), dst, host, nbytes, cudaMemcpyHostToDevice);
}

void cuda_stream_out(struct device *dev, void *host, const void *src, size_t nbytes)
{
    copy_beside(cuda_dev(dev), host, src, nbytes, cudaMemcpyDeviceToHost);
}

void cuda_stream_wait(struct device *device)
{
    struct cuda_device *dev = cuda_dev(device);
    struct stretch *s = log_begin(dev->copy_log, dev->stream, true);

    CU(cudaEventRecord(dev->copied, dev->copies));
    CU(cudaStreamWaitEvent(dev->stream, dev->copied, 0));
    CU(cudaEventRecord(s->end, dev->stream));
}

void cuda_stream_sync(struct device *dev)
{
    CU(cudaStreamSynchronize(cuda_dev(dev)->copies));
}

void cuda_stream_times(struct device *device, struct stream_times *out)
{
    struct cuda_device *dev = cuda_dev(device);

    read_log(dev->copy_log);
    *out = dev->copy_log->sum;
}
