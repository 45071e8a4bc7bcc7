/* Operations on the residual stream, float32; bound by memory. */
#include "harness/backend/cuda/device.cuh"

#define THREADS 256

/* x: n_rows x n, row: n; one block per row of x */
static __global__ void add_row(float *x, const float *row, size_t n)
{
    for (size_t j = threadIdx.x; j < n; j += blockDim.x)
        x[blockIdx.x * n + j] += row[j];
}

void cuda_add_row(struct device *dev, struct tensor x, struct tensor row)
{
    if (x.rows == 0)
        return;
    add_row<<<(unsigned)x.rows, THREADS, 0, stream_of(dev)>>>((float *)x.data,
                                                              (const float *)row.data, x.cols);
    LAUNCHED("add_row");
}

/* out: rows; a, b: rows x n; one block per row, sums in f64 */
static __global__ void row_cosine(double *out, const float *a, const float *b, size_t n)
{
    __shared__ double slots[3][32];
    const float *x = a + blockIdx.x * n, *y = b + blockIdx.x * n;
    double xx = 0, yy = 0, xy = 0;

    for (size_t j = threadIdx.x; j < n; j += blockDim.x) {
        xx += (double)x[j] * x[j];
        yy += (double)y[j] * y[j];
        xy += (double)x[j] * y[j];
    }
    xx = block_sum(xx, slots[0]);
    yy = block_sum(yy, slots[1]);
    xy = block_sum(xy, slots[2]);
    if (threadIdx.x == 0)
        out[blockIdx.x] = xx > 0 && yy > 0 ? xy / (sqrt(xx) * sqrt(yy)) : 0;
}

void cuda_row_cosine(struct device *dev, double *out, struct tensor a, struct tensor b)
{
    if (a.rows == 0)
        return;
    row_cosine<<<(unsigned)a.rows, THREADS, 0, stream_of(dev)>>>(out, (const float *)a.data,
                                                                 (const float *)b.data, a.cols);
    LAUNCHED("row_cosine");
}
