/* Inside the CUDA backend: the device, error checks, element types, and reductions of a block.
 *
 * One stream: operations run in the order of their calls, and memory that is freed may be given out
 * again at once. T below is __half, __nv_bfloat16 or float. */
#ifndef DUO_BACKEND_CUDA_DEVICE_CUH
#define DUO_BACKEND_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

extern "C" {
#include "harness/base/error.h"
#include "harness/backend/comm.h"
#include "harness/backend/cuda/cuda.h"
}

struct pool;   /* memory.cu */
struct gemm;   /* gemm.cu */
struct solver; /* factor.cu */
struct timing; /* timing.cu */

struct cuda_device {
    struct device base;
    cudaStream_t stream;
    cudaStream_t copies; /* stream.cu */
    cudaEvent_t computed, copied;
    struct copy_log *copy_log;
    int n_sm, sm;      /* multiprocessors; compute capability, 90 for 9.0 */
    size_t max_shared; /* bytes of shared memory that a block can have */
    struct pool *pool;
    struct gemm *gemm;
    struct solver *solver;
    struct timing *timing;
    void *scratch; /* of decoding, record.cu */
    size_t n_scratch, n_tickets;
    unsigned *tickets;
    char *text; /* describe() */
};

static inline struct cuda_device *cuda_dev(struct device *dev)
{
    return (struct cuda_device *)dev;
}

static inline cudaStream_t stream_of(struct device *dev)
{
    return cuda_dev(dev)->stream;
}

/* Dies with the call's text and CUDA's reason. */
#define CU(call)                                                                                   \
    do {                                                                                           \
        cudaError_t rc_ = (call);                                                                  \
        if (rc_ != cudaSuccess)                                                                    \
            die("CUDA: %s: %s", #call, cudaGetErrorString(rc_));                                   \
    } while (0)

/* After a kernel launch: what could not be launched. */
#define LAUNCHED(what)                                                                             \
    do {                                                                                           \
        cudaError_t rc_ = cudaGetLastError();                                                      \
        if (rc_ != cudaSuccess)                                                                    \
            die("CUDA: cannot launch %s: %s", what, cudaGetErrorString(rc_));                      \
    } while (0)

void copies_open(struct cuda_device *dev);
void copies_close(struct cuda_device *dev);
/* Before a library takes nbytes for us: unused blocks go back to the driver, if they must; dies
 * like alloc. After: counts them (negative: given back) as given out. */
void cuda_memory_room(struct device *dev, size_t nbytes);
void cuda_memory_count(struct device *dev, ptrdiff_t nbytes);
struct pool *pool_open(void);
void pool_close(struct pool *p);
struct gemm *gemm_open(cudaStream_t stream);
void gemm_close(struct gemm *g);
/* "cuBLAS 13.1.0" */
const char *gemm_version(void);
struct solver *solver_open(cudaStream_t stream);
void solver_close(struct solver *s);
struct timing *timing_open(void);
void timing_close(struct timing *t);

/* f(T{}) with the C++ type of t. */
template <typename F> static void with_type(enum dtype t, F f)
{
    if (t == DTYPE_F16)
        f(__half{});
    else if (t == DTYPE_BF16)
        f(__nv_bfloat16{});
    else
        f(float{});
}

static inline unsigned n_blocks(size_t n, size_t per)
{
    return (unsigned)((n + per - 1) / per);
}

/* Blocks for a loop over n items whose threads stride over the grid. */
static inline unsigned grid_for(struct device *dev, size_t n, size_t threads)
{
    size_t most = (size_t)cuda_dev(dev)->n_sm * 16, want = (n + threads - 1) / threads;

    return (unsigned)(want < most ? want : most);
}

/* ---- gemm.cu, for the other files */

/* Row-major C (rows x n) = alpha A (rows x k) op(B) + beta C; B: k x n, transposed n x k; lda ...
 * row strides. f32 on the FMA units (no TF32); a row's bits do not depend on the number of rows. */
void gemm_rows(struct device *dev, int b_t, size_t rows, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc);
/* Column-major f64: B (m x n) = R^-1 B for upper triangular R (m x m). */
void gemm_solve_upper(struct device *dev, size_t m, size_t n, const double *r, size_t ldr,
                      double *b, size_t ldb);

/* Random operands for a trial of kernels; whether two tensors have the same bits; and what is known
 * of gated.cu for weights n x k: 0 nothing, 1 that it gives linear's bits, -1 that it does not. */
void fill_trial(struct device *dev, struct tensor x);
bool same_words(struct device *dev, struct tensor a, struct tensor b);
signed char *gemm_gated(struct device *dev, size_t n, size_t k, enum dtype t);

/* ---- select.cu: *out (device) = the idx-th smallest (0-based) of the n = rows * run scores
 * w[r, first + j]^2 coef[first + j] (square) or |w[r, first + j]| coef[first + j]; coef NULL: 1 */
struct scores {
    const float *w, *coef; /* w: rows x ld */
    size_t rows, ld, first, run;
    int square;
};
void select_score(struct device *dev, float *out, const struct scores *s, size_t idx);

#ifdef __CUDACC__

/* ---- element types */

template <typename T> __device__ __forceinline__ float to_f32(T x)
{
    return (float)x;
}

template <typename T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ __half from_f32<__half>(float x)
{
    return __float2half_rn(x);
}
template <> __device__ __forceinline__ __nv_bfloat16 from_f32<__nv_bfloat16>(float x)
{
    return __float2bfloat16_rn(x);
}

/* Two values rounded to T in one word, the first in its low half. */
__device__ __forceinline__ unsigned pack(float lo, float hi, __half)
{
    __half2 h = __floats2half2_rn(lo, hi);

    return *(unsigned *)&h;
}

__device__ __forceinline__ unsigned pack(float lo, float hi, __nv_bfloat16)
{
    __nv_bfloat162 h = __floats2bfloat162_rn(lo, hi);

    return *(unsigned *)&h;
}

/* silu(gate) * up. By __expf and __fdividef: relative error below 2e-6 for |gate| <= 16, 1e-5 up to
 * 88. */
template <typename T> __device__ __forceinline__ T silu_times(T gate, T up)
{
    float g = to_f32(gate);

    return from_f32<T>(__fdividef(g, 1.0f + __expf(-g)) * to_f32(up));
}

/* N consecutive elements, loaded and stored as whole 16-byte words where they make some. */
template <typename T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) vec {
    T v[N];
};

/* Elements [j, j + 8) of a row of n: one or two 16-byte loads if whole (n % 8 == 0 and the row
 * aligned, so that every row is), else element by element; those past the end are 0. */
template <typename T>
__device__ __forceinline__ vec<T, 8> load8(const T *row, size_t j, size_t n, bool whole)
{
    vec<T, 8> r;

    if (whole && j < n)
        return *(const vec<T, 8> *)(row + j);
    for (int i = 0; i < 8; i++)
        r.v[i] = j + i < n ? row[j + i] : T(0.0f);
    return r;
}

template <typename T>
__device__ __forceinline__ void store8(T *row, size_t j, size_t n, bool whole, const vec<T, 8> &x)
{
    if (whole && j < n) {
        *(vec<T, 8> *)(row + j) = x;
        return;
    }
    for (int i = 0; i < 8; i++)
        if (j + i < n)
            row[j + i] = x.v[i];
}

/* Order-preserving map of floats to unsigned integers; -0 equals +0. */
__device__ __forceinline__ unsigned ordered_key(float x)
{
    unsigned b = __float_as_uint(x + 0.0f);

    return b & 0x80000000u ? ~b : b | 0x80000000u;
}

__device__ __forceinline__ float key_value(unsigned key)
{
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/* w^2 coef, or |w| coef: with the CPU's roundings. */
__device__ __forceinline__ float score_of(float w, float coef, int square)
{
    return __fmul_rn(square ? __fmul_rn(w, w) : fabsf(w), coef);
}

/* ---- reductions; every thread of the block calls, every thread gets the result; the order of
 * additions is fixed. slots: 32 values of shared memory, free to be used again after the next
 * __syncthreads() */

__device__ __forceinline__ float warp_sum(float x)
{
    for (int o = 16; o; o >>= 1)
        x += __shfl_xor_sync(~0u, x, o);
    return x;
}

__device__ __forceinline__ double warp_sum(double x)
{
    for (int o = 16; o; o >>= 1)
        x += __shfl_xor_sync(~0u, x, o);
    return x;
}

__device__ __forceinline__ unsigned warp_sum(unsigned x)
{
    return __reduce_add_sync(~0u, x);
}

template <typename T> __device__ __forceinline__ T block_sum(T x, T *slots)
{
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = blockDim.x / 32;

    x = warp_sum(x);
    if (lane == 0)
        slots[warp] = x;
    __syncthreads();
    return warp_sum(lane < n ? slots[lane] : T(0));
}

__device__ __forceinline__ unsigned block_max(unsigned x, unsigned *slots)
{
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = blockDim.x / 32;

    x = __reduce_max_sync(~0u, x);
    if (lane == 0)
        slots[warp] = x;
    __syncthreads();
    return __reduce_max_sync(~0u, lane < n ? slots[lane] : 0);
}

#endif
#endif
