/* The norm and the gate of one token, with the rule fused in.
 *
 * One block of up to 1024 threads; the row stays in registers, four neighbours a thread and chunk.
 * What does not depend on the launch before (weights, cleared counts) is there before the wait. */
#include "harness/backend/cuda/decode_rule.cuh"

#define GATE_THREADS 128

template <int C_> struct chunks {
    static constexpr int C = C_;
};

/* f(chunks, threads) for rows of n. */
template <typename F> static void with_chunks(size_t n, F f)
{
    unsigned threads = n < 4096 ? n_blocks(n, 4 * 32) * 32 : 1024;

    if (n <= 4096)
        f(chunks<1>{}, threads);
    else if (n <= 2 * 4096)
        f(chunks<2>{}, threads);
    else if (n <= 4 * 4096)
        f(chunks<4>{}, threads);
    else if (n <= 16 * 4096)
        f(chunks<16>{}, threads);
    else
        die("CUDA: rows of %zu elements; at most 65536 are supported", n);
}

/* out: n of T, x: n, w: n. */
template <typename T, int C>
__global__ void __launch_bounds__(1024)
    decode_rmsnorm(T *out, const float *x, const float *w, int n, float eps, struct row_rule rule)
{
    __shared__ struct digits<T> s;
    __shared__ float slots[32];
    const bool whole = n % 4 == 0;
    vec<float, 4> in[C], g[C];
    vec<T, 4> y[C];
    float sum = 0, scale;

#pragma unroll
    for (int c = 0; c < C; c++)
        g[c] = load4(w, row_index(c, 0), n, whole);
    s.clear();
    grid_wait();
    grid_release();
#pragma unroll
    for (int c = 0; c < C; c++) {
        in[c] = load4(x, row_index(c, 0), n, whole);
        for (int i = 0; i < 4; i++)
            sum += in[c].v[i] * in[c].v[i];
    }
    scale = 1.0f / sqrtf(block_sum(sum, slots) / (float)n + eps);
#pragma unroll
    for (int c = 0; c < C; c++)
        for (int i = 0; i < 4; i++)
            y[c].v[i] = from_f32<T>(in[c].v[i] * scale * g[c].v[i]);
    apply_row_rule<T>([&](auto f) { each_of(y, n, f); }, rule, &s);
#pragma unroll
    for (int c = 0; c < C; c++)
        store4(out, row_index(c, 0), n, whole, y[c]);
}

void cuda_decode_rmsnorm(struct device *dev, struct tensor out, struct tensor x,
                         struct tensor weight, float eps, const struct act_rule *rule)
{
    if (is_wina(rule)) {
        cuda_decode_rmsnorm(dev, out, x, weight, eps, NULL);
        cuda_wina(dev, out, rule);
        return;
    }
    with_type(out.dtype, [&](auto t) {
        using T = decltype(t);
        with_chunks(x.cols, [&](auto c, unsigned threads) {
            launch_after(dev, decode_rmsnorm<T, c.C>, 1, threads, 0, (T *)out.data,
                         (const float *)x.data, (const float *)weight.data, (int)x.cols, eps,
                         row_rule_of(rule, x.cols));
        });
    });
}

/* out: n of T, gate_up: 2n. */
template <typename T, int C>
__global__ void __launch_bounds__(1024)
    decode_silu_mul(T *out, const float *gate_up, int n, struct row_rule rule)
{
    __shared__ struct digits<T> s;
    const bool whole = n % 4 == 0;
    vec<T, 4> y[C];

    s.clear();
    grid_wait();
    grid_release();
#pragma unroll
    for (int c = 0; c < C; c++) {
        vec<float, 4> gate = load4(gate_up, row_index(c, 0), n, whole);
        vec<float, 4> up = load4(gate_up + n, row_index(c, 0), n, whole);

        for (int i = 0; i < 4; i++)
            y[c].v[i] = gated<T>(gate.v[i], up.v[i]);
    }
    __syncthreads(); /* the counts are cleared */
    apply_row_rule<T>([&](auto f) { each_of(y, n, f); }, rule, &s);
#pragma unroll
    for (int c = 0; c < C; c++)
        store4(out, row_index(c, 0), n, whole, y[c]);
}

/* The same without a rule, spread over the card. */
template <typename T>
__global__ void __launch_bounds__(GATE_THREADS) decode_gate(T *out, const float *gate_up, int n)
{
    const bool whole = n % 4 == 0;
    const int j = (int)(blockIdx.x * GATE_THREADS + threadIdx.x) * 4;
    vec<float, 4> gate, up;
    vec<T, 4> y;

    grid_wait();
    grid_release();
    gate = load4(gate_up, j, n, whole);
    up = load4(gate_up + n, j, n, whole);
    for (int i = 0; i < 4; i++)
        y.v[i] = gated<T>(gate.v[i], up.v[i]);
    store4(out, j, n, whole, y);
}

void cuda_decode_silu_mul(struct device *dev, struct tensor out, struct tensor gate_up,
                          const struct act_rule *rule)
{
    if (is_wina(rule)) {
        cuda_decode_silu_mul(dev, out, gate_up, NULL);
        cuda_wina(dev, out, rule);
        return;
    }
    with_type(out.dtype, [&](auto t) {
        using T = decltype(t);
        if (!rule || rule->kind == ACT_DENSE) {
            launch_after(dev, decode_gate<T>, n_blocks(out.cols, 4 * GATE_THREADS), GATE_THREADS, 0,
                         (T *)out.data, (const float *)gate_up.data, (int)out.cols);
            return;
        }
        with_chunks(out.cols, [&](auto c, unsigned threads) {
            launch_after(dev, decode_silu_mul<T, c.C>, 1, threads, 0, (T *)out.data,
                         (const float *)gate_up.data, (int)out.cols, row_rule_of(rule, out.cols));
        });
    });
}
