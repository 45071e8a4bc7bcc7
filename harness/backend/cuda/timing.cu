/* Measuring time on a GPU: two events in the stream; and what its memory gives. */
#include <stdlib.h>

#include "harness/backend/cuda/device.cuh"

struct timing {
    cudaEvent_t begin, end;
    unsigned *sink; /* read_kernel's; on the device */
};

struct timing *timing_open(void)
{
    struct timing *t = (struct timing *)xcalloc(1, sizeof(*t));

    CU(cudaEventCreate(&t->begin));
    CU(cudaEventCreate(&t->end));
    CU(cudaMalloc((void **)&t->sink, sizeof(*t->sink)));
    return t;
}

void timing_close(struct timing *t)
{
    CU(cudaEventDestroy(t->begin));
    CU(cudaEventDestroy(t->end));
    CU(cudaFree(t->sink));
    free(t);
}

/* Holds the stream for about 30 us, while the host queues what is to be timed. */
static __global__ void hold_kernel(void)
{
    const long long until = clock64() + 50000;

    while (clock64() < until) {
    }
}

/* An event is taken when the device comes to it. Were the stream empty, the time that the host
 * takes to launch the first operation would be part of the stretch. */
void cuda_timer_start(struct device *dev)
{
    hold_kernel<<<1, 1, 0, stream_of(dev)>>>();
    LAUNCHED("hold");
    CU(cudaEventRecord(cuda_dev(dev)->timing->begin, stream_of(dev)));
}

double cuda_timer_stop(struct device *dev)
{
    struct timing *t = cuda_dev(dev)->timing;
    float ms = 0;

    CU(cudaEventRecord(t->end, stream_of(dev)));
    CU(cudaEventSynchronize(t->end));
    CU(cudaEventElapsedTime(&ms, t->begin, t->end));
    return 1e-3 * (double)ms;
}

size_t cuda_cache_nbytes(struct device *dev)
{
    int n = 0;

    (void)dev;
    CU(cudaDeviceGetAttribute(&n, cudaDevAttrL2CacheSize, 0));
    return (size_t)n;
}

/* Eight 16-byte loads in flight per thread, neighbours side by side. */
static __global__ void read_kernel(const uint4 *p, size_t n, unsigned *sink)
{
    const size_t step = (size_t)gridDim.x * blockDim.x;
    unsigned x = 0;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += 8 * step) {
        uint4 v[8];

#pragma unroll
        for (int k = 0; k < 8; k++)
            v[k] = i + k * step < n ? __ldcs(p + i + k * step) : uint4{0, 0, 0, 0};
#pragma unroll
        for (int k = 0; k < 8; k++)
            x ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
    }
    if (x == 0x9e3779b9u) /* next to never, but the compiler cannot know */
        *sink = x;
}

void cuda_read(struct device *dev, const void *p, size_t nbytes)
{
    read_kernel<<<(unsigned)cuda_dev(dev)->n_sm * 8, 256, 0, stream_of(dev)>>>(
        (const uint4 *)p, nbytes / sizeof(uint4), cuda_dev(dev)->timing->sink);
    LAUNCHED("read");
}
