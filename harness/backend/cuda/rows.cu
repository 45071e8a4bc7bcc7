/* Operations on rows of tokens with the rule of sparse activations fused in: norm, gate, rule.
 *
 * One block per row; the row stays in registers between its one read and its one write. Thread t
 * holds the runs of eight neighbours t, t + threads, ...: 16 elements a thread up to 8192 columns
 * (256 threads at 4096), 32 up to 16384, 64 beyond. Bound by memory when dense; the counts of an
 * exact top-k hide behind it in part.
 *
 * NVIDIA H100 80GB, f16, 8192 rows (copy 3020 GB/s): rmsnorm of 4096 2876 GB/s, with 50 % top-k
 * 1730; silu_mul to 11008 2267 and 1274; sparsify of 4096 1600. 2047 rows, two parts, us; in
 * brackets with 32 elements a thread; * with the rule in the kernel, though there is none:
 *
 *     rmsnorm of 8192, f32    40 (70), 65*   half kept  72 (96)
 *     join of 8192            26 (27), 42*
 *     join of 28672          114, 90*        half kept 160      (a copy: 81) */
#include <type_traits>

#include "harness/backend/cuda/topk.cuh"

/* Elements a thread and the most threads of a block: what the registers are dealt out by. */
template <int E_, int MOST_> struct width {
    static constexpr int E = E_, MOST = MOST_;
};

/* f(width, threads) for rows of n. */
template <typename F> static void with_width(size_t n, F f)
{
    if (n <= 4096)
        f(width<16, 256>{}, n_blocks(n, 16 * 32) * 32);
    else if (n <= 8192)
        f(width<16, 512>{}, n_blocks(n, 16 * 32) * 32);
    else if (n <= 16384)
        f(width<32, 512>{}, n_blocks(n, 32 * 32) * 32);
    else if (n <= 32768)
        f(width<64, 512>{}, n_blocks(n, 64 * 32) * 32);
    else if (n <= 65536)
        f(width<64, 1024>{}, n_blocks(n, 64 * 32) * 32);
    else
        die("CUDA: rows of %zu elements; at most 65536 are supported", n);
}

/* f(true) or f(false), a type each, for rows of n: without a rule kernels need fewer registers, and
 * more blocks run at a time. It does not pay in wide rows: see the table above. */
#define DENSE_COLUMNS 16384

template <typename F> static void with_rule(const struct row_rule &rule, size_t n, F f)
{
    if (rule.kind == ACT_DENSE && n <= DENSE_COLUMNS)
        f(std::false_type{});
    else
        f(std::true_type{});
}

/* A block's row of n: its neighbours are neighbours in memory. */
template <typename T> struct one_part {
    const T *x;
    __device__ __forceinline__ vec<T, 8> load(size_t j, size_t n, bool whole) const
    {
        return load8(x + blockIdx.x * n, j, n, whole);
    }
};

/* The same of columns in parts of `cols`, a multiple of 8, one matrix after another. */
template <typename T> struct many_parts {
    const T *x;
    unsigned cols;
    __device__ __forceinline__ vec<T, 8> load(size_t j, size_t n, bool) const
    {
        const unsigned part = (unsigned)j / cols;

        return load8(x + ((size_t)part * gridDim.x + blockIdx.x) * cols, j - (size_t)part * cols,
                     j < n ? cols : 0, true);
    }
};

/* out: rows x n of T, x: rows x n, w: n of W; n <= E * blockDim.x. out may be x. */
template <bool RULED, typename T, typename W, int E, int MOST, typename Row>
__global__ void __launch_bounds__(MOST)
    rmsnorm(T *out, const Row row, const W *w, size_t n, float eps, struct row_rule rule)
{
    __shared__ float slots[32];
    const bool whole = n % 8 == 0;
    vec<float, 8> in[E / 8];
    vec<W, 8> g[E / 8];
    vec<T, 8> y[E / 8];
    float sum = 0, scale;

#pragma unroll
    for (int c = 0; c < E / 8; c++) {
        in[c] = row.load(((size_t)c * blockDim.x + threadIdx.x) * 8, n, whole);
        g[c] = load8(w, ((size_t)c * blockDim.x + threadIdx.x) * 8, n, whole);
        for (int i = 0; i < 8; i++)
            sum += in[c].v[i] * in[c].v[i];
    }
    scale = 1.0f / sqrtf(block_sum(sum, slots) / (float)n + eps);
#pragma unroll
    for (int c = 0; c < E / 8; c++) {
        for (int i = 0; i < 8; i++)
            y[c].v[i] = from_f32<T>(in[c].v[i] * scale * to_f32(g[c].v[i]));
    }
    if constexpr (RULED)
        apply_rule<T, E>(y, (int)n, rule);
#pragma unroll
    for (int c = 0; c < E / 8; c++)
        store8(out + blockIdx.x * n, ((size_t)c * blockDim.x + threadIdx.x) * 8, n, whole, y[c]);
}

template <typename Row>
static void run_rmsnorm(struct device *dev, struct tensor out, const Row &row, size_t n,
                        struct tensor weight, float eps, const struct act_rule *rule)
{
    struct row_rule r = row_rule_of(is_wina(rule) ? NULL : rule, n);

    if (out.rows == 0)
        return;
    if (weight.dtype != out.dtype && weight.dtype != DTYPE_F32)
        die("CUDA: rmsnorm by %s to %s", dtype_name(weight.dtype), dtype_name(out.dtype));
    with_type(out.dtype, [&](auto t) {
        using T = decltype(t);
        with_width(n, [&](auto e, unsigned threads) {
            constexpr int E = decltype(e)::E, MOST = decltype(e)::MOST;
            unsigned rows = (unsigned)out.rows;

            with_rule(r, n, [&](auto ruled) {
                if (weight.dtype == out.dtype)
                    rmsnorm<ruled.value, T, T, E, MOST><<<rows, threads, 0, stream_of(dev)>>>(
                        (T *)out.data, row, (const T *)weight.data, n, eps, r);
                else
                    rmsnorm<ruled.value, T, float, E, MOST><<<rows, threads, 0, stream_of(dev)>>>(
                        (T *)out.data, row, (const float *)weight.data, n, eps, r);
            });
        });
    });
    LAUNCHED("rmsnorm");
    if (is_wina(rule))
        cuda_wina(dev, out, rule);
}

void cuda_rmsnorm(struct device *dev, struct tensor out, struct tensor x, struct tensor weight,
                  float eps, const struct act_rule *rule)
{
    if (x.dtype != DTYPE_F32)
        die("CUDA: rmsnorm of %s", dtype_name(x.dtype));
    run_rmsnorm(dev, out, one_part<float>{(const float *)x.data}, x.cols, weight, eps, rule);
}

/* Vectors of eight stay within a part. */
static bool parts_are_whole(size_t cols, size_t n_parts)
{
    return cols % (8 * n_parts) == 0;
}

/* Parts of odd widths, which no model of size has: by copies. */
static void join_by_copies(struct device *dev, struct tensor out, const void *parts, size_t n_parts)
{
    struct tensor part = {(void *)parts, out.dtype, out.rows, out.cols / n_parts};

    for (size_t i = 0; i < n_parts; i++) {
        cuda_copy_columns(dev, out, i * part.cols, part, 0, part.cols);
        part.data = (char *)part.data + tensor_nbytes(part);
    }
}

void cuda_rmsnorm_joined(struct device *dev, struct tensor out, struct tensor x, size_t n_parts,
                         struct tensor weight, float eps, const struct act_rule *rule)
{
    many_parts<float> row = {(const float *)x.data, (unsigned)(x.cols / n_parts)};
    struct tensor whole = x;

    if (parts_are_whole(x.cols, n_parts)) {
        run_rmsnorm(dev, out, row, x.cols, weight, eps, rule);
        return;
    }
    whole.data = cuda_alloc(dev, tensor_nbytes(whole));
    join_by_copies(dev, whole, x.data, n_parts);
    cuda_rmsnorm(dev, out, whole, weight, eps, rule);
    cuda_free(dev, whole.data);
}

/* out: rows x n, gate_up: rows x 2n, [gate | up]. */
template <typename T, int E, int MOST>
__global__ void __launch_bounds__(MOST)
    silu_mul(T *out, const T *gate_up, size_t n, struct row_rule rule)
{
    const bool whole = n % 8 == 0;
    const T *row = gate_up + blockIdx.x * 2 * n;
    vec<T, 8> y[E / 8];

#pragma unroll
    for (int c = 0; c < E / 8; c++) {
        size_t j = ((size_t)c * blockDim.x + threadIdx.x) * 8;
        vec<T, 8> up = load8(row + n, j, n, whole);

        y[c] = load8(row, j, n, whole);
        for (int i = 0; i < 8; i++)
            y[c].v[i] = silu_times(y[c].v[i], up.v[i]);
    }
    apply_rule<T, E>(y, (int)n, rule);
#pragma unroll
    for (int c = 0; c < E / 8; c++)
        store8(out + blockIdx.x * n, ((size_t)c * blockDim.x + threadIdx.x) * 8, n, whole, y[c]);
}

void cuda_silu_mul(struct device *dev, struct tensor out, struct tensor gate_up,
                   const struct act_rule *rule)
{
    struct row_rule r = row_rule_of(is_wina(rule) ? NULL : rule, out.cols);

    if (out.rows == 0)
        return;
    with_type(out.dtype, [&](auto t) {
        using T = decltype(t);
        with_width(out.cols, [&](auto e, unsigned threads) {
            silu_mul<T, e.E, e.MOST><<<(unsigned)out.rows, threads, 0, stream_of(dev)>>>(
                (T *)out.data, (const T *)gate_up.data, out.cols, r);
        });
    });
    LAUNCHED("silu_mul");
    if (is_wina(rule))
        cuda_wina(dev, out, rule);
}

/* out, x: rows x n; out may be x */
template <bool RULED, typename T, int E, int MOST, typename Row>
__global__ void __launch_bounds__(MOST)
    sparsify(T *out, const Row row, size_t n, struct row_rule rule)
{
    const bool whole = n % 8 == 0;
    vec<T, 8> y[E / 8];

#pragma unroll
    for (int c = 0; c < E / 8; c++)
        y[c] = row.load(((size_t)c * blockDim.x + threadIdx.x) * 8, n, whole);
    if constexpr (RULED)
        apply_rule<T, E>(y, (int)n, rule);
#pragma unroll
    for (int c = 0; c < E / 8; c++)
        store8(out + blockIdx.x * n, ((size_t)c * blockDim.x + threadIdx.x) * 8, n, whole, y[c]);
}

void cuda_sparsify(struct device *dev, struct tensor out, struct tensor x,
                   const struct act_rule *rule)
{
    struct row_rule r = row_rule_of(is_wina(rule) ? NULL : rule, x.cols);

    if (x.rows == 0)
        return;
    if (is_wina(rule)) {
        if (out.data != x.data)
            dev->ops->copy(dev, out.data, x.data, tensor_nbytes(x));
        cuda_wina(dev, out, rule);
        return;
    }
    with_type(x.dtype, [&](auto t) {
        using T = decltype(t);
        with_width(x.cols, [&](auto e, unsigned threads) {
            sparsify<true, T, e.E, e.MOST><<<(unsigned)x.rows, threads, 0, stream_of(dev)>>>(
                (T *)out.data, one_part<T>{(const T *)x.data}, x.cols, r);
        });
    });
    LAUNCHED("sparsify");
}

void cuda_join(struct device *dev, struct tensor out, const void *parts, size_t n_parts,
               const struct act_rule *rule)
{
    struct row_rule r = row_rule_of(is_wina(rule) ? NULL : rule, out.cols);
    unsigned cols = (unsigned)(out.cols / n_parts);

    if (out.rows == 0)
        return;
    if (!parts_are_whole(out.cols, n_parts)) {
        join_by_copies(dev, out, parts, n_parts);
        cuda_sparsify(dev, out, out, rule);
        return;
    }
    with_type(out.dtype, [&](auto t) {
        using T = decltype(t);
        with_width(out.cols, [&](auto e, unsigned threads) {
            with_rule(r, out.cols, [&](auto ruled) {
                sparsify<ruled.value, T, e.E, e.MOST>
                    <<<(unsigned)out.rows, threads, 0, stream_of(dev)>>>(
                        (T *)out.data, many_parts<T>{(const T *)parts, cols}, out.cols, r);
            });
        });
    });
    LAUNCHED("join");
    if (is_wina(rule))
        cuda_wina(dev, out, rule);
}

/* x: rows x n, in place; gate: n. The bisection of topk.cuh over the float32 scores: 31 counts. */
template <typename T, int E, int MOST>
__global__ void __launch_bounds__(MOST)
    wina(T *x, const float *gate, size_t n, unsigned idx, unsigned long long *n_zero)
{
    __shared__ unsigned slots[2][32], last[32];
    const bool whole = n % 8 == 0;
    T *row = x + blockIdx.x * n;
    vec<T, 8> y[E / 8];
    unsigned score[E], t, zeros = 0;

#pragma unroll
    for (int c = 0; c < E / 8; c++) {
        size_t j = ((size_t)c * blockDim.x + threadIdx.x) * 8;
        vec<float, 8> g = load8(gate, j, n, whole);

        y[c] = load8((const T *)row, j, n, whole);
        for (int i = 0; i < 8; i++)
            score[c * 8 + i] = j + i < n ? __float_as_uint(fabsf(to_f32(y[c].v[i])) * g.v[i])
                                         : magnitude<float>::NOT_A_NUMBER;
    }
    t = idx > 0 ? kth_magnitude<float>(score, idx, slots) : 0;
#pragma unroll
    for (int c = 0; c < E / 8; c++) {
        size_t j = ((size_t)c * blockDim.x + threadIdx.x) * 8;

        for (int i = 0; i < 8; i++) {
            if (__uint_as_float(score[c * 8 + i]) < __uint_as_float(t))
                y[c].v[i] = from_f32<T>(0.0f);
            zeros += j + i < n && to_f32(y[c].v[i]) == 0.0f;
        }
        store8(row, j, n, whole, y[c]);
    }
    zeros = block_sum(zeros, last);
    if (n_zero && threadIdx.x == 0)
        atomicAdd(n_zero, (unsigned long long)zeros);
}

void cuda_wina(struct device *dev, struct tensor x, const struct act_rule *rule)
{
    unsigned idx = (unsigned)sparsity_index(x.cols, rule->sparsity);

    if (x.rows == 0)
        return;
    with_type(x.dtype, [&](auto t) {
        using T = decltype(t);
        with_width(x.cols, [&](auto e, unsigned threads) {
            wina<T, e.E, e.MOST><<<(unsigned)x.rows, threads, 0, stream_of(dev)>>>(
                (T *)x.data, rule->gate, x.cols, idx, (unsigned long long *)rule->n_zero);
        });
    });
    LAUNCHED("wina");
}
