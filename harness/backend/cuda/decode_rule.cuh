/* The rule of sparse activations on one token's row, spread over the registers of one block.
 *
 * With one row there is one block, and what counts is how long it takes. Exact top-k by digits: the
 * magnitudes' upper 11 bits are counted in shared memory, a scan over the counts finds the digit of
 * the idx-th smallest, then the lower 4 bits (f16, bf16) or twice 10 (f32) of those that share it.
 * Two rounds with a few barriers stand against 15 of the bisection of topk.cuh, which is the better
 * one where many rows keep all units busy. Equal magnitudes are counted at one address, one after
 * the other: a row of nothing else takes some microseconds. */
#ifndef DUO_BACKEND_CUDA_DECODE_RULE_CUH
#define DUO_BACKEND_CUDA_DECODE_RULE_CUH

#include "harness/backend/cuda/decode.cuh"
#include "harness/backend/cuda/topk.cuh"

#ifdef __CUDACC__

/* Bits of |x|. */
__device__ __forceinline__ unsigned magnitude_of(float x)
{
    return __float_as_uint(x) & 0x7fffffff;
}

__device__ __forceinline__ unsigned magnitude_of(__half x)
{
    return __half_as_ushort(x) & 0x7fff;
}

__device__ __forceinline__ unsigned magnitude_of(__nv_bfloat16 x)
{
    return __bfloat16_as_ushort(x) & 0x7fff;
}

/* Shared memory of the counts: a table per digit, the first of 2048. */
template <typename T> struct digits {
    static constexpr int N = sizeof(T) == 2 ? 2 : 3;
    static constexpr int REST = sizeof(T) == 2 ? 4 : 10; /* bits of the digits but the first */
    unsigned count[2048 + (N - 1) * (1 << REST)];
    unsigned slots[32];
    unsigned found[2];

    /* By all threads, before the barrier that precedes apply_row_rule(). */
    __device__ __forceinline__ void clear(void)
    {
        for (unsigned i = threadIdx.x; i < sizeof(count) / sizeof(count[0]); i += blockDim.x)
            count[i] = 0;
    }
};

__device__ __forceinline__ unsigned warp_scan(unsigned x)
{
    for (int o = 1; o < 32; o <<= 1) {
        unsigned y = __shfl_up_sync(~0u, x, o);

        x += (int)(threadIdx.x % 32) >= o ? y : 0;
    }
    return x;
}

/* The table's entry that holds the rank-th of what is counted (0-based); *before: how many are
 * counted in the entries below it. Every thread calls and gets the result. */
template <typename T>
__device__ __forceinline__ unsigned find_entry(struct digits<T> *s, const unsigned *count, int n,
                                               unsigned rank, unsigned *before)
{
    const int per = (n + (int)blockDim.x - 1) / (int)blockDim.x, first = (int)threadIdx.x * per;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned sum = 0, upto, below;

    for (int i = first; i < min(first + per, n); i++)
        sum += count[i];
    upto = warp_scan(sum);
    if (lane == 31)
        s->slots[warp] = upto;
    __syncthreads();
    below = warp_sum(lane < warp ? s->slots[lane] : 0u) + upto - sum;
    if (below <= rank && rank < below + sum) {
        int i = first;

        while (below + count[i] <= rank)
            below += count[i++];
        s->found[0] = (unsigned)i;
        s->found[1] = below;
    }
    __syncthreads();
    *before = s->found[1];
    return s->found[0];
}

/* The same for 16 entries, by every warp on its own. */
__device__ __forceinline__ unsigned find_entry16(const unsigned *count, unsigned rank,
                                                 unsigned *before)
{
    const unsigned lane = threadIdx.x % 32;
    unsigned n = lane < 16 ? count[lane] : 0, upto = warp_scan(n);
    unsigned at = __ffs((int)__ballot_sync(~0u, rank < upto)) - 1;

    *before = __shfl_sync(~0u, upto - n, (int)at);
    return at;
}

/* Bits of the idx-th smallest magnitude of the row; *below: how many are smaller; or, where it is
 * zero, how many are. each(f) calls f(x) for every element x of this thread. */
template <typename T, typename Each>
__device__ __forceinline__ unsigned kth_of_row(Each each, unsigned idx, struct digits<T> *s,
                                               unsigned *below)
{
    constexpr int REST = digits<T>::REST;
    unsigned t = 0, before, rank = idx, entry;
    unsigned *count = s->count;

#pragma unroll
    for (int digit = 0; digit < digits<T>::N; digit++) {
        const int shift = (digits<T>::N - 1 - digit) * REST, bits = digit ? REST : 11;

        each([&](T &x) {
            unsigned m = magnitude_of(x);

            if (digit == 0 || m >> (shift + bits) == t)
                atomicAdd(&count[m >> shift & ((1u << bits) - 1)], 1u);
        });
        __syncthreads();
        entry = bits == 4 ? find_entry16(count, rank, &before)
                          : find_entry(s, count, 1 << bits, rank, &before);
        t = t << bits | entry;
        rank -= before;
        if (digit + 1 == digits<T>::N && t == 0)
            *below = count[0];
        count += 1 << bits;
    }
    if (t)
        *below = idx - rank;
    return t;
}

/* Bits of the magnitude that a rule, not ACT_DENSE, asks of what stays; *zeros: what is zero then.
 * s cleared, with a barrier since. */
template <typename T, typename Each>
__device__ __forceinline__ unsigned threshold_of_row(Each each, const struct row_rule &rule,
                                                     struct digits<T> *s, unsigned *zeros)
{
    unsigned t;

    if (rule.kind == ACT_TOPK)
        return kth_of_row<T>(each, rule.idx, s, zeros);
    t = magnitude<T>::at_least(rule.threshold);
    *zeros = 0;
    each([&](T &x) { *zeros += magnitude_of(x) < max(t, 1u); });
    *zeros = block_sum(*zeros, s->slots);
    return t;
}

/* By one thread. */
__device__ __forceinline__ void count_zeros(const struct row_rule &rule, unsigned zeros)
{
    if (rule.n_zero)
        atomicAdd(rule.n_zero, (unsigned long long)zeros);
}

template <typename T, typename Each>
__device__ __forceinline__ void drop_below(Each each, unsigned t)
{
    t = min(t, magnitude<T>::INFINITE); /* a NaN is never below a threshold */
    each([&](T &x) {
        if (magnitude_of(x) < t)
            x = T(0.0f);
    });
}

/* Applies the rule; s as above. */
template <typename T, typename Each>
__device__ __forceinline__ void apply_row_rule(Each each, const struct row_rule &rule,
                                               struct digits<T> *s)
{
    unsigned t, zeros;

    if (rule.kind == ACT_DENSE)
        return;
    t = threshold_of_row<T>(each, rule, s, &zeros);
    if (threadIdx.x == 0)
        count_zeros(rule, zeros);
    drop_below<T>(each, t);
}

/* silu(gate) up of T, from float32 rounded first; precision as in rows.cu. */
template <typename T> __device__ __forceinline__ T gated(float gate, float up)
{
    float g = to_f32(from_f32<T>(gate)), u = to_f32(from_f32<T>(up));

    return from_f32<T>(__fdividef(g, 1.0f + __expf(-g)) * u);
}

/* Number of element i of chunk c of this thread. */
__device__ __forceinline__ int row_index(int c, int i)
{
    return (c * (int)blockDim.x + (int)threadIdx.x) * 4 + i;
}

/* f(x) for the elements of a row of n in registers. */
template <typename T, int C, typename F>
__device__ __forceinline__ void each_of(vec<T, 4> (&y)[C], int n, F f)
{
#pragma unroll
    for (int c = 0; c < C; c++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (row_index(c, i) < n)
                f(y[c].v[i]);
}

/* Elements [j, j + 4) of a row of n: one load if whole (n % 4 == 0), else one by one. Past the end:
 * 0. */
template <typename T>
__device__ __forceinline__ vec<T, 4> load4(const T *row, int j, int n, bool whole)
{
    vec<T, 4> r;

    if (whole && j < n)
        return *(const vec<T, 4> *)(row + j);
    for (int i = 0; i < 4; i++)
        r.v[i] = j + i < n ? row[j + i] : T(0.0f);
    return r;
}

template <typename T>
__device__ __forceinline__ void store4(T *row, int j, int n, bool whole, const vec<T, 4> &x)
{
    if (whole && j < n) {
        *(vec<T, 4> *)(row + j) = x;
        return;
    }
    for (int i = 0; i < 4; i++)
        if (j + i < n)
            row[j + i] = x.v[i];
}

#endif
#endif
