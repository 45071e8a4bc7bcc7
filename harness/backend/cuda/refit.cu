/* Least squares over the weights that pruning left: conjugate gradients of all rows at once. Each
 * step is one product (n x k times k x k, float32) and one pass of a block per row over its state;
 * sums in f64 in a fixed order. */
#include "harness/backend/cuda/device.cuh"

#define THREADS 256

/* n x k each; rz: n, then n that it was at first */
struct gradients {
    float *w, *r, *p;
    const float *q;
    const float *diag; /* of h: k */
    unsigned char *kept;
    double *rz;
    size_t n, k;
};

static __global__ void take_diagonal(float *diag, const float *h, size_t k)
{
    size_t j = blockIdx.x * (size_t)blockDim.x + threadIdx.x;

    if (j < k)
        diag[j] = h[j * k + j];
}

/* q = w h: residual and first direction. */
static __global__ void begin(gradients g, const float *c)
{
    __shared__ double slots[32];
    size_t at = blockIdx.x * g.k;
    double sum = 0;

    for (size_t j = threadIdx.x; j < g.k; j += blockDim.x) {
        bool kept = g.w[at + j] != 0;
        float r = kept ? c[at + j] - g.q[at + j] : 0, z = r / g.diag[j];

        g.kept[at + j] = kept;
        g.r[at + j] = r;
        g.p[at + j] = z;
        sum += (double)r * z;
    }
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        g.rz[blockIdx.x] = g.rz[g.n + blockIdx.x] = sum;
}

/* q = p h: one step. */
static __global__ void step(gradients g)
{
    __shared__ double first[32], second[32];
    size_t at = blockIdx.x * g.k;
    double pq = 0, rz = g.rz[blockIdx.x], next = 0;
    float length, beta;

    for (size_t j = threadIdx.x; j < g.k; j += blockDim.x)
        pq += g.kept[at + j] ? (double)g.p[at + j] * g.q[at + j] : 0;
    pq = block_sum(pq, first);
    if (!(pq > 0) || !(rz > REFIT_SOLVED * g.rz[g.n + blockIdx.x])) /* the same in all threads */
        return;
    length = (float)(rz / pq);
    for (size_t j = threadIdx.x; j < g.k; j += blockDim.x) {
        float r = g.r[at + j];

        if (g.kept[at + j]) {
            g.w[at + j] += length * g.p[at + j];
            g.r[at + j] = r -= length * g.q[at + j];
        }
        next += (double)r * r / g.diag[j];
    }
    next = block_sum(next, second);
    beta = (float)(next / rz);
    for (size_t j = threadIdx.x; j < g.k; j += blockDim.x)
        g.p[at + j] = g.r[at + j] / g.diag[j] + beta * g.p[at + j];
    if (threadIdx.x == 0)
        g.rz[blockIdx.x] = next;
}

void cuda_refit(struct device *dev, struct tensor w, struct tensor h, struct tensor c,
                size_t n_steps)
{
    size_t n = w.rows, k = w.cols;
    struct tensor p = device_tensor(dev, DTYPE_F32, n, k), q = device_tensor(dev, DTYPE_F32, n, k);
    struct tensor r = device_tensor(dev, DTYPE_F32, n, k);
    gradients g = {(float *)w.data, (float *)r.data, (float *)p.data, (const float *)q.data,
                   (float *)cuda_alloc(dev, k * sizeof(float)),
                   (unsigned char *)cuda_alloc(dev, n * k),
                   (double *)cuda_alloc(dev, 2 * n * sizeof(double)), n, k};

    take_diagonal<<<n_blocks(k, THREADS), THREADS, 0, stream_of(dev)>>>((float *)g.diag,
                                                                        (const float *)h.data, k);
    cuda_multiply(dev, q, w, h, 0);
    begin<<<(unsigned)n, THREADS, 0, stream_of(dev)>>>(g, (const float *)c.data);
    for (size_t s = 0; s < n_steps; s++) {
        cuda_multiply(dev, q, p, h, 0);
        step<<<(unsigned)n, THREADS, 0, stream_of(dev)>>>(g);
    }
    LAUNCHED("refit");
    device_tensor_free(dev, &p);
    device_tensor_free(dev, &q);
    device_tensor_free(dev, &r);
    cuda_free(dev, (void *)g.diag);
    cuda_free(dev, g.kept);
    cuda_free(dev, g.rz);
}
