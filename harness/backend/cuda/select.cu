/* Exact order statistics of scores over a whole matrix or block of columns: radix select.
 *
 * Three passes over the bits of the scores' ordered keys (11, 11 and 10 of them): each block counts
 * the digits of its share in shared memory and adds them to the global histogram; then one block
 * finds the digit that holds the wanted rank. Scores are computed again in each pass from the
 * weights. Counts are integers: no order of blocks changes the result.
 *
 * NVIDIA H100 80GB: mask over 11008 x 4096 f32, three passes here and one that writes, 0.59 ms
 * (1215 GB/s). */
#include "harness/backend/cuda/device.cuh"

#define THREADS 512
#define DIGITS 2048

/* Where the selection stands. */
struct search {
    unsigned prefix, mask;  /* keys in play have key & mask == prefix */
    unsigned long long idx; /* rank among them */
};

__device__ __forceinline__ unsigned digit_of(unsigned key, int pass)
{
    return pass == 0 ? key >> 21 : pass == 1 ? key >> 10 & 0x7ff : key & 0x3ff;
}

static __global__ void histogram(unsigned *count, const struct search *at, struct scores s,
                                 int pass)
{
    __shared__ unsigned local[DIGITS];
    const unsigned prefix = at->prefix, mask = at->mask;
    const size_t n = s.rows * s.run;

    for (int i = threadIdx.x; i < DIGITS; i += blockDim.x)
        local[i] = 0;
    __syncthreads();
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t j = s.first + i % s.run;
        unsigned key =
            ordered_key(score_of(s.w[i / s.run * s.ld + j], s.coef ? s.coef[j] : 1.0f, s.square));

        if ((key & mask) == prefix)
            atomicAdd(&local[digit_of(key, pass)], 1u);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < DIGITS; i += blockDim.x)
        if (local[i])
            atomicAdd(&count[i], local[i]);
}

/* One thread walks the counts of 2048 digits in runs of 32: 64 run sums come from all threads. */
static __global__ void descend(float *out, struct search *at, unsigned *count, int pass)
{
    __shared__ unsigned long long run[DIGITS / 32];
    int t = threadIdx.x;

    if (t < DIGITS / 32) {
        run[t] = 0;
        for (int i = 0; i < 32; i++)
            run[t] += count[32 * t + i];
    }
    __syncthreads();
    if (t == 0) {
        unsigned long long idx = at->idx;
        unsigned d = 0;

        while (idx >= run[d])
            idx -= run[d++];
        d *= 32;
        while (idx >= count[d])
            idx -= count[d++];
        at->idx = idx;
        at->prefix |= pass == 0 ? d << 21 : pass == 1 ? d << 10 : d;
        at->mask |= pass == 0 ? 0x7ffu << 21 : pass == 1 ? 0x7ffu << 10 : 0x3ffu;
        *out = key_value(at->prefix);
    }
    __syncthreads();
    for (int i = t; i < DIGITS; i += blockDim.x)
        count[i] = 0;
}

static __global__ void begin(struct search *at, unsigned *count, unsigned long long idx)
{
    if (threadIdx.x == 0)
        *at = {0, 0, idx};
    for (int i = threadIdx.x; i < DIGITS; i += blockDim.x)
        count[i] = 0;
}

void select_score(struct device *dev, float *out, const struct scores *s, size_t idx)
{
    struct search *at = (struct search *)cuda_alloc(dev, sizeof(*at));
    unsigned *count = (unsigned *)cuda_alloc(dev, DIGITS * sizeof(*count));
    unsigned blocks = grid_for(dev, s->rows * s->run, 8 * THREADS);

    begin<<<1, THREADS, 0, stream_of(dev)>>>(at, count, idx);
    for (int pass = 0; pass < 3; pass++) {
        histogram<<<blocks, THREADS, 0, stream_of(dev)>>>(count, at, *s, pass);
        descend<<<1, THREADS, 0, stream_of(dev)>>>(out, at, count, pass);
    }
    LAUNCHED("select");
    cuda_free(dev, at);
    cuda_free(dev, count);
}
