/* gemv of PACKED_ROWS, and the choice among the kinds. One warp a row, lane-wise 16 bytes at a time
 * with AHEAD loads in flight, the first of them before the wait for the input. The order of
 * additions is fixed.
 *
 * NVIDIA H100 80GB HBM3, f16, LLaMA-2-7B's shapes in a graph, ms per 32 layers of linears: 4.65
 * (2785 GB/s, 90.0 % of the 3096 GB/s that reading alone reaches; one large matrix 3082). Eight
 * loads in flight 4.95, 16 warps 4.66, 4 warps 4.63 - 4.65; cuBLAS 5.05. */
#include <assert.h>

#include "harness/backend/cuda/packed.cuh"

/* gemv_columns.cu; makes_input: whether in's row is made inside the product, which otherwise takes
 * an INPUT_ROW without a rule; never an INPUT_GATE: reading twice as much in float32 in every block
 * takes longer than a launch that is spread over the card. */
bool makes_input(const struct decode_input *, const struct packed *);
void gemv_by_columns(struct device *, struct tensor, const struct decode_input *,
                     const struct packed *, int);

/* Sum of the products of N elements. */
template <typename T, int N>
__device__ __forceinline__ float dot(const vec<T, N> &a, const vec<T, N> &b)
{
    float s = 0;

#pragma unroll
    for (int i = 0; i < N; i++)
        s = fmaf(to_f32(a.v[i]), to_f32(b.v[i]), s);
    return s;
}

/* Read once: not to stay in the caches. */
template <typename T, int N> __device__ __forceinline__ vec<T, N> load_once(const vec<T, N> *p)
{
    vec<T, N> r;

    static_assert(sizeof(r) == 16, "one load");
    *(uint4 *)&r = __ldcs((const uint4 *)p);
    return r;
}

/* WHOLE: rows and x are made of aligned 16 bytes. */
template <typename T, bool WHOLE, int WARPS, int AHEAD>
__global__ void __launch_bounds__(WARPS * 32)
    gemv_rows(float *out, const T *w, const T *x, unsigned n_out, unsigned n_in, bool accumulate)
{
    constexpr int N = 16 / sizeof(T);
    using V = vec<T, N>;
    const unsigned row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    const T *mine = w + (size_t)(row < n_out ? row : 0) * n_in;
    float s = 0;

    grid_release();
    if constexpr (WHOLE) {
        const unsigned n = n_in / N; /* vectors of a row */
        const V *a = (const V *)mine, *b = (const V *)x;
        V next[AHEAD];

#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            if (lane + 32 * i < n)
                next[i] = load_once(a + lane + 32 * i);
        grid_wait();
        for (unsigned at = lane; at < n; at += 32 * AHEAD)
#pragma unroll
            for (int i = 0; i < AHEAD; i++)
                if (at + 32 * i < n) {
                    V now = next[i], v;

                    if (at + 32 * (AHEAD + i) < n)
                        next[i] = load_once(a + at + 32 * (AHEAD + i));
                    *(uint4 *)&v = __ldg((const uint4 *)(b + at + 32 * i));
                    s += dot(now, v);
                }
    } else {
        grid_wait();
        for (unsigned j = lane; j < n_in; j += 32)
            s = fmaf(to_f32(mine[j]), to_f32(x[j]), s);
    }
    s = warp_sum(s);
    if (lane == 0 && row < n_out)
        out[row] = accumulate ? out[row] + s : s;
}

static void gemv_by_rows(struct device *dev, struct tensor out, struct tensor x,
                         const struct packed *w, int accumulate)
{
    constexpr int WARPS = 8, AHEAD = 4;
    unsigned n_out = (unsigned)w->n_out, n_in = (unsigned)w->n_in;
    bool whole = n_in * dtype_size(w->dtype) % 16 == 0 && (size_t)x.data % 16 == 0 &&
                 (size_t)w->data % 16 == 0;

    with_type(w->dtype, [&](auto t) {
        using T = decltype(t);
        auto kernel = whole ? gemv_rows<T, true, WARPS, AHEAD> : gemv_rows<T, false, WARPS, AHEAD>;

        launch_after(dev, kernel, n_blocks(n_out, WARPS), WARPS * 32, 0, (float *)out.data,
                     (const T *)w->data, (const T *)x.data, n_out, n_in, accumulate != 0);
    });
}

void cuda_gemv_of(struct device *dev, struct tensor out, const struct decode_input *in,
                  const struct packed *w, int accumulate)
{
    struct decode_input row = {};

    assert(out.rows == 1 && out.cols == w->n_out && out.dtype == DTYPE_F32);
    assert(in->x.rows == 1 && in->x.cols == (in->kind == INPUT_GATE ? 2 : 1) * w->n_in);
    if (w->n_out == 0)
        return;
    row.rule = in->rule;
    row.x = in->row;
    if (in->kind == INPUT_GATE && makes_input(&row, w)) {
        cuda_decode_silu_mul(dev, in->row, in->x, NULL);
        in = &row;
    } else if (!makes_input(in, w)) {
        row.x = decode_input_row(dev, in);
        row.rule = NULL;
        in = &row;
    }
    if (w->kind == PACKED_ROWS || w->n_in == 0)
        gemv_by_rows(dev, out, in->x, w, accumulate);
    else
        gemv_by_columns(dev, out, in, w, accumulate);
    LAUNCHED("gemv");
}

void cuda_gemv(struct device *dev, struct tensor out, struct tensor x, const struct packed *w,
               int accumulate)
{
    struct decode_input in = {};

    assert(x.dtype == w->dtype);
    in.x = x;
    cuda_gemv_of(dev, out, &in, w, accumulate);
}
