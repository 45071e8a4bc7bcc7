/* Constant and random content. Each thread jumps to its first element's place in PCG32's sequence
 * and from there in strides of the grid: a jump by n steps is again one multiplication and one
 * addition (Brown, Random number generation with arbitrary strides, 1994). */
#include "harness/backend/cuda/device.cuh"

#define THREADS 256
#define MULTIPLIER 6364136223846793005ull

/* state -> mult * state + add */
struct jump {
    unsigned long long mult, add;
};

static __host__ __device__ jump jump_by(unsigned long long n, unsigned long long inc)
{
    unsigned long long mult = MULTIPLIER, add = inc;
    jump j = {1, 0};

    for (; n; n >>= 1) {
        if (n & 1) {
            j.mult *= mult;
            j.add = j.add * mult + add;
        }
        add *= mult + 1;
        mult *= mult;
    }
    return j;
}

static __device__ unsigned output(unsigned long long state)
{
    unsigned x = (unsigned)((state >> 18 ^ state) >> 27), rot = (unsigned)(state >> 59);

    return x >> rot | x << (32 - rot & 31);
}

/* Sum of 2 b - 255 over bytes of r, the lowest n of them. */
static __device__ int centred_bytes(unsigned r, int n)
{
    int sum = -255 * n;

    for (int i = 0; i < n; i++)
        sum += 2 * (int)(r >> 8 * i & 255);
    return sum;
}

/* t: n; start: PCG32's state before its first output; stride: a jump over the whole grid */
template <typename T>
__global__ void fill_normal(T *t, size_t n, float unit, unsigned long long start,
                            unsigned long long inc, jump stride)
{
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    jump j = jump_by(2 * i, inc);
    unsigned long long state = j.mult * start + j.add;

    for (; i < n; i += (size_t)gridDim.x * blockDim.x) {
        int sum = centred_bytes(output(state), 4);

        sum += centred_bytes(output(state * MULTIPLIER + inc), 3);
        t[i] = from_f32<T>((float)sum * unit);
        state = stride.mult * state + stride.add;
    }
}

void cuda_fill_normal(struct device *dev, struct tensor t, float stddev, uint64_t seed,
                      uint64_t stream)
{
    size_t n = tensor_numel(t);
    unsigned blocks = grid_for(dev, n, THREADS);
    unsigned long long inc = stream << 1 | 1, start = (inc + seed) * MULTIPLIER + inc;

    if (n == 0)
        return;
    with_type(t.dtype, [&](auto z) {
        using T = decltype(z);

        fill_normal<T><<<blocks, THREADS, 0, stream_of(dev)>>>(
            (T *)t.data, n, stddev / NORMAL_BYTES_STDDEV, start, inc,
            jump_by(2ull * blocks * THREADS, inc));
    });
    LAUNCHED("fill_normal");
}

template <typename T> __global__ void fill(T *t, size_t n, float value)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x)
        t[i] = from_f32<T>(value);
}

void cuda_fill(struct device *dev, struct tensor t, float value)
{
    size_t n = tensor_numel(t);

    if (n == 0)
        return;
    with_type(t.dtype, [&](auto z) {
        using T = decltype(z);

        fill<T><<<grid_for(dev, n, THREADS), THREADS, 0, stream_of(dev)>>>((T *)t.data, n, value);
    });
    LAUNCHED("fill");
}
