/* Operations without arithmetic to speak of: conversion, gathers, differences, diagonals,
 * triangles, permutation. All are bound by memory; a thread takes one element (8 in convert and
 * subtract) and the grid strides over the matrix.
 *
 * NVIDIA H100 80GB (copy 3020 GB/s): subtract 2048 x 11008 f16 2760 GB/s. */
#include "harness/backend/cuda/device.cuh"

#define THREADS 256

#define GRID_STRIDE(i, n)                                                                          \
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < (n);                        \
         i += (size_t)gridDim.x * blockDim.x)

/* dst, src: n elements */
template <typename D, typename S> __global__ void convert(D *dst, const S *src, size_t n)
{
    GRID_STRIDE(i, (n + 7) / 8)
    {
        vec<S, 8> s = load8(src, 8 * i, n, 8 * i + 8 <= n);
        vec<D, 8> d;

        for (int j = 0; j < 8; j++)
            d.v[j] = from_f32<D>(to_f32(s.v[j]));
        store8(dst, 8 * i, n, 8 * i + 8 <= n, d);
    }
}

void cuda_convert(struct device *dev, struct tensor dst, struct tensor src)
{
    size_t n = tensor_numel(dst);

    if (n == 0)
        return;
    with_type(dst.dtype, [&](auto d) {
        with_type(src.dtype, [&](auto s) {
            convert<<<grid_for(dev, (n + 7) / 8, THREADS), THREADS, 0, stream_of(dev)>>>(
                (decltype(d) *)dst.data, (const decltype(s) *)src.data, n);
        });
    });
    LAUNCHED("convert");
}

/* out: rows x n, table: any x n, ids: rows; one block per row */
template <typename D, typename S>
__global__ void gather_rows(D *out, const S *table, const int32_t *ids, size_t n)
{
    const S *from = table + (size_t)ids[blockIdx.x] * n;
    D *to = out + blockIdx.x * n;

    for (size_t j = 8 * threadIdx.x; j < n; j += 8 * blockDim.x) {
        vec<S, 8> s = load8(from, j, n, n % 8 == 0);
        vec<D, 8> d;

        for (int i = 0; i < 8; i++)
            d.v[i] = from_f32<D>(to_f32(s.v[i]));
        store8(to, j, n, n % 8 == 0, d);
    }
}

void cuda_embed(struct device *dev, struct tensor out, struct tensor table, const int32_t *ids)
{
    if (out.rows == 0)
        return;
    with_type(out.dtype, [&](auto d) {
        with_type(table.dtype, [&](auto s) {
            gather_rows<<<(unsigned)out.rows, THREADS, 0, stream_of(dev)>>>(
                (decltype(d) *)out.data, (const decltype(s) *)table.data, ids, out.cols);
        });
    });
    LAUNCHED("embed");
}

void cuda_gather(struct device *dev, struct tensor out, struct tensor x, const int32_t *rows)
{
    cuda_embed(dev, out, x, rows);
}

/* out, a, b: n elements of one type; the difference is rounded once */
template <typename T> __global__ void subtract(T *out, const T *a, const T *b, size_t n)
{
    GRID_STRIDE(i, (n + 7) / 8)
    {
        bool whole = 8 * i + 8 <= n;
        vec<T, 8> x = load8(a, 8 * i, n, whole), y = load8(b, 8 * i, n, whole);

        for (int j = 0; j < 8; j++)
            x.v[j] = from_f32<T>(to_f32(x.v[j]) - to_f32(y.v[j]));
        store8(out, 8 * i, n, whole, x);
    }
}

void cuda_subtract(struct device *dev, struct tensor out, struct tensor a, struct tensor b)
{
    size_t n = tensor_numel(out);

    if (n == 0)
        return;
    if (out.dtype != a.dtype || a.dtype != b.dtype)
        die("CUDA: subtract of %s and %s to %s", dtype_name(a.dtype), dtype_name(b.dtype),
            dtype_name(out.dtype));
    with_type(out.dtype, [&](auto t) {
        using T = decltype(t);
        subtract<<<grid_for(dev, (n + 7) / 8, THREADS), THREADS, 0, stream_of(dev)>>>(
            (T *)out.data, (const T *)a.data, (const T *)b.data, n);
    });
    LAUNCHED("subtract");
}

/* x: n */
static __global__ void scale(float *x, float factor, size_t n)
{
    GRID_STRIDE(i, n)
    {
        x[i] *= factor;
    }
}

void cuda_scale(struct device *dev, struct tensor x, float factor)
{
    size_t n = tensor_numel(x);

    scale<<<grid_for(dev, n, THREADS), THREADS, 0, stream_of(dev)>>>((float *)x.data, factor, n);
    LAUNCHED("scale");
}

/* d: k, h: k x k */
static __global__ void get_diagonal(float *d, const float *h, size_t k)
{
    GRID_STRIDE(i, k)
    {
        d[i] = h[i * k + i];
    }
}

static __global__ void add_diagonal(float *h, const float *v, size_t k)
{
    GRID_STRIDE(i, k)
    {
        h[i * k + i] += v[i];
    }
}

void cuda_get_diagonal(struct device *dev, struct tensor d, struct tensor h)
{
    get_diagonal<<<n_blocks(h.rows, THREADS), THREADS, 0, stream_of(dev)>>>(
        (float *)d.data, (const float *)h.data, h.rows);
    LAUNCHED("get_diagonal");
}

void cuda_add_diagonal(struct device *dev, struct tensor h, const float *host_v)
{
    float *v = (float *)cuda_alloc(dev, h.rows * sizeof(*v));

    cuda_upload(dev, v, host_v, h.rows * sizeof(*v));
    add_diagonal<<<n_blocks(h.rows, THREADS), THREADS, 0, stream_of(dev)>>>((float *)h.data, v,
                                                                            h.rows);
    LAUNCHED("add_diagonal");
    cuda_free(dev, v);
}

/* out: rows x cols, x: any x ld; row, col: indices or NULL; one block per row */
static __global__ void permute(float *out, const float *x, const int32_t *row, const int32_t *col,
                               size_t cols, size_t ld)
{
    const float *from = x + (size_t)(row ? row[blockIdx.x] : (int)blockIdx.x) * ld;

    for (size_t j = threadIdx.x; j < cols; j += blockDim.x)
        out[blockIdx.x * cols + j] = from[col ? (size_t)col[j] : j];
}

void cuda_permute(struct device *dev, struct tensor out, struct tensor x, const int32_t *row_index,
                  const int32_t *col_index)
{
    int32_t *idx = (int32_t *)cuda_alloc(dev, (out.rows + out.cols) * sizeof(*idx));

    if (row_index)
        cuda_upload(dev, idx, row_index, out.rows * sizeof(*idx));
    if (col_index)
        cuda_upload(dev, idx + out.rows, col_index, out.cols * sizeof(*idx));
    permute<<<(unsigned)out.rows, THREADS, 0, stream_of(dev)>>>(
        (float *)out.data, (const float *)x.data, row_index ? idx : NULL,
        col_index ? idx + out.rows : NULL, out.cols, x.cols);
    LAUNCHED("permute");
    cuda_free(dev, idx);
}

/* x: rows x cols; one block per row */
static __global__ void strict_upper(float *x, float factor, size_t cols)
{
    float *r = x + blockIdx.x * cols;

    for (size_t j = threadIdx.x; j < cols; j += blockDim.x)
        r[j] = j > blockIdx.x ? r[j] * factor : 0;
}

void cuda_strict_upper(struct device *dev, struct tensor x, float factor)
{
    strict_upper<<<(unsigned)x.rows, THREADS, 0, stream_of(dev)>>>((float *)x.data, factor, x.cols);
    LAUNCHED("strict_upper");
}

/* h: k x k; a block of 32 x 8 threads copies one 32 x 32 tile of the upper triangle, transposed */
static __global__ void mirror(float *h, size_t k)
{
    __shared__ float tile[32][33];
    size_t i = blockIdx.y * 32, j = blockIdx.x * 32;

    if (j < i)
        return;
    for (size_t r = threadIdx.y; r < 32; r += 8)
        if (i + r < k && j + threadIdx.x < k)
            tile[r][threadIdx.x] = h[(i + r) * k + j + threadIdx.x];
    __syncthreads();
    for (size_t r = threadIdx.y; r < 32; r += 8)
        if (j + r < k && i + threadIdx.x < j + r && i + threadIdx.x < k)
            h[(j + r) * k + i + threadIdx.x] = tile[threadIdx.x][r];
}

void cuda_mirror(struct device *dev, struct tensor h)
{
    unsigned n = n_blocks(h.rows, 32);

    mirror<<<dim3(n, n), dim3(32, 8), 0, stream_of(dev)>>>((float *)h.data, h.rows);
    LAUNCHED("mirror");
}
