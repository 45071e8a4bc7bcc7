/* Sums over columns and rows, and counts. No atomics on floats: the same input gives the same bits.
 *
 * NVIDIA H100 80GB (copy 3020 GB/s): sum_squares 2048 x 11008 f16 2055 GB/s, count_zeros 2280. */
#include "harness/backend/cuda/device.cuh"

#define THREADS 256
#define SPLITS 64 /* runs of rows whose column sums are taken apart */

/* part: SPLITS x k; x: rows x k; a thread sums 8 neighbouring columns of one run of rows */
template <typename T> __global__ void column_squares(float *part, const T *x, size_t rows, size_t k)
{
    size_t j = 8 * (blockIdx.x * (size_t)blockDim.x + threadIdx.x);
    size_t run = (rows + SPLITS - 1) / SPLITS, first = blockIdx.y * run;
    size_t end = first + run < rows ? first + run : rows;
    vec<float, 8> s = {};

    if (j >= k)
        return;
    for (size_t r = first; r < end; r++) {
        vec<T, 8> v = load8(x + r * k, j, k, k % 8 == 0);

        for (int i = 0; i < 8; i++)
            s.v[i] += to_f32(v.v[i]) * to_f32(v.v[i]);
    }
    store8(part + blockIdx.y * k, j, k, k % 8 == 0, s);
}

/* s: k; part: SPLITS x k */
static __global__ void add_splits(float *s, const float *part, size_t k)
{
    size_t j = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    float sum = 0;

    if (j >= k)
        return;
    for (int i = 0; i < SPLITS; i++)
        sum += part[i * k + j];
    s[j] += sum;
}

void cuda_sum_squares(struct device *dev, struct tensor s, struct tensor x)
{
    size_t k = x.cols;
    float *part = (float *)cuda_alloc(dev, SPLITS * k * sizeof(*part));
    dim3 grid(n_blocks(k, 8 * 32), SPLITS);

    with_type(x.dtype, [&](auto t) {
        using T = decltype(t);
        column_squares<T><<<grid, 32, 0, stream_of(dev)>>>(part, (const T *)x.data, x.rows, k);
    });
    add_splits<<<n_blocks(k, THREADS), THREADS, 0, stream_of(dev)>>>((float *)s.data, part, k);
    LAUNCHED("sum_squares");
    cuda_free(dev, part);
}

/* out: rows; q: rows x k; one block per row, sums in f64 */
static __global__ void upper_row_squares(float *out, const float *q, size_t k)
{
    __shared__ double slots[32];
    const float *row = q + blockIdx.x * k;
    double s = 0;

    for (size_t j = threadIdx.x; j < k; j += blockDim.x)
        if (j > blockIdx.x)
            s += (double)row[j] * row[j];
    s = block_sum(s, slots);
    if (threadIdx.x == 0)
        out[blockIdx.x] = (float)s;
}

void cuda_upper_row_squares(struct device *dev, struct tensor out, struct tensor q)
{
    upper_row_squares<<<(unsigned)q.rows, THREADS, 0, stream_of(dev)>>>(
        (float *)out.data, (const float *)q.data, q.cols);
    LAUNCHED("upper_row_squares");
}

/* count[0] += zeros, count[1] += values that are not finite, among the n of x */
template <typename T> __global__ void count(unsigned long long *count, const T *x, size_t n)
{
    __shared__ unsigned slots[2][32];
    unsigned zeros = 0, bad = 0;

    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < (n + 7) / 8;
         i += (size_t)gridDim.x * blockDim.x) {
        vec<T, 8> v = load8(x, 8 * i, n, 8 * i + 8 <= n);

        for (int j = 0; j < 8; j++) {
            zeros += 8 * i + j < n && to_f32(v.v[j]) == 0;
            bad += !isfinite(to_f32(v.v[j]));
        }
    }
    zeros = block_sum(zeros, slots[0]);
    bad = block_sum(bad, slots[1]);
    if (threadIdx.x == 0) {
        atomicAdd(&count[0], (unsigned long long)zeros);
        atomicAdd(&count[1], (unsigned long long)bad);
    }
}

static void count_both(struct device *dev, struct tensor w, unsigned long long host[2])
{
    unsigned long long *d = (unsigned long long *)cuda_alloc(dev, 2 * sizeof(*d));
    size_t n = tensor_numel(w);

    cuda_zero(dev, d, 2 * sizeof(*d));
    if (n)
        with_type(w.dtype, [&](auto t) {
            using T = decltype(t);
            count<T><<<grid_for(dev, (n + 7) / 8, THREADS), THREADS, 0, stream_of(dev)>>>(
                d, (const T *)w.data, n);
        });
    LAUNCHED("count_zeros");
    cuda_download(dev, host, d, 2 * sizeof(*d));
    cuda_free(dev, d);
}

size_t cuda_count_zeros(struct device *dev, struct tensor w)
{
    unsigned long long n[2];

    count_both(dev, w, n);
    return n[0];
}

int cuda_all_finite(struct device *dev, struct tensor w)
{
    unsigned long long n[2];

    count_both(dev, w, n);
    return n[1] == 0;
}
