/* The rule of sparse activations on a row that a block holds in registers, eight neighbours a
 * thread at a time, already rounded to the type it is stored in.
 *
 * Exact top-k: the threshold is the largest t with at most idx magnitudes below it, idx =
 * floor(n s), found by bisection over the bits of |x|, whose order as integers is the order of the
 * magnitudes: 15 counts for f16 and bf16, two elements at a time, 31 for f32. A count costs one
 * instruction an element, a reduction in each warp and one barrier; ties are all kept. Against the
 * radix select by histogram it needs no atomics and its time does not depend on the data. */
#ifndef DUO_BACKEND_CUDA_TOPK_CUH
#define DUO_BACKEND_CUDA_TOPK_CUH

#include "harness/backend/cuda/device.cuh"

/* What the kernels need of a rule, by value. */
struct row_rule {
    enum act_kind kind;
    unsigned idx; /* ACT_TOPK: floor(n s) */
    float threshold;
    unsigned long long *n_zero; /* or NULL */
};

static inline struct row_rule row_rule_of(const struct act_rule *rule, size_t n)
{
    struct row_rule r = {ACT_DENSE, 0, 0, NULL};

    if (!rule || rule->kind == ACT_DENSE)
        return r;
    r.kind = rule->kind;
    r.idx = rule->kind == ACT_TOPK ? (unsigned)sparsity_index(n, rule->sparsity) : 0;
    r.threshold = rule->threshold;
    r.n_zero = (unsigned long long *)rule->n_zero;
    return r;
}

/* E elements a thread. Elements past the row's end are held as the greatest magnitude, 0x7fff or
 * 0x7fffffff, and are never below a threshold. */
template <typename T, int E> struct magnitudes;

template <int E> struct magnitudes<float, E> {
    unsigned m[E];

    __device__ __forceinline__ void set(int i, float x, bool inside)
    {
        m[i] = inside ? __float_as_uint(x) & 0x7fffffffu : 0x7fffffffu;
    }
    __device__ __forceinline__ unsigned below(unsigned t) const
    {
        unsigned n = 0;

#pragma unroll
        for (int i = 0; i < E; i++)
            n += m[i] < t;
        return n;
    }
    static constexpr int bits = 31;
};

/* Pairs of 15-bit magnitudes. Bit 15 of (t - 1 | 0x8000) - m stays set exactly where m < t. */
template <int E> struct magnitudes16 {
    unsigned m[E / 2];

    __device__ __forceinline__ void set_bits(int i, unsigned b, bool inside)
    {
        unsigned v = inside ? b & 0x7fffu : 0x7fffu;

        m[i / 2] = i % 2 ? m[i / 2] | v << 16 : v;
    }
    __device__ __forceinline__ unsigned below(unsigned t) const
    {
        unsigned guard = 0x80008000u | (t - 1) * 0x10001u, n = 0;

#pragma unroll
        for (int i = 0; i < E / 2; i++)
            n += (guard - m[i]) >> 15 & 0x10001u;
        return (n & 0xffff) + (n >> 16);
    }
    static constexpr int bits = 15;
};

template <int E> struct magnitudes<__half, E> : magnitudes16<E> {
    __device__ __forceinline__ void set(int i, __half x, bool inside)
    {
        this->set_bits(i, __half_as_ushort(x), inside);
    }
};

template <int E> struct magnitudes<__nv_bfloat16, E> : magnitudes16<E> {
    __device__ __forceinline__ void set(int i, __nv_bfloat16 x, bool inside)
    {
        this->set_bits(i, __bfloat16_as_ushort(x), inside);
    }
};

__device__ __forceinline__ unsigned magnitude_of(float x)
{
    return __float_as_uint(x) & 0x7fffffffu;
}
__device__ __forceinline__ unsigned magnitude_of(__half x)
{
    return __half_as_ushort(x) & 0x7fffu;
}
__device__ __forceinline__ unsigned magnitude_of(__nv_bfloat16 x)
{
    return __bfloat16_as_ushort(x) & 0x7fffu;
}

/* Bits of the idx-th smallest magnitude of the block's row. slots: 2 x 32 of shared memory. */
template <typename T, int E>
__device__ unsigned kth_magnitude(const magnitudes<T, E> &x, unsigned idx, unsigned (*slots)[32])
{
    unsigned t = 0;

    /* the largest t whose count stays within idx, bit by bit; t >= 1 in every count */
#pragma unroll 1
    for (int bit = magnitudes<T, E>::bits - 1; bit >= 0; bit--) {
        unsigned with = t | 1u << bit;

        if (block_sum(x.below(with), slots[bit & 1]) <= idx)
            t = with;
    }
    return t;
}

/* Applies the rule to the E elements of each thread: element i of thread t is number
 * (i / 8 * blockDim.x + t) * 8 + i % 8 of the row. */
template <typename T, int E>
__device__ __forceinline__ void apply_rule(vec<T, 8> (&x)[E / 8], size_t n, const struct row_rule &rule)
{
    __shared__ unsigned slots[2][32];
    unsigned zeros = 0, t = 0;

    if (rule.kind == ACT_DENSE)
        return;
    if (rule.kind == ACT_TOPK && rule.idx > 0) {
        magnitudes<T, E> m;

#pragma unroll
        for (int i = 0; i < E; i++)
            m.set(i, x[i / 8].v[i % 8],
                  ((size_t)(i / 8) * blockDim.x + threadIdx.x) * 8 + i % 8 < n);
        t = kth_magnitude<T, E>(m, rule.idx, slots);
    }
#pragma unroll
    for (int i = 0; i < E; i++) {
        T &v = x[i / 8].v[i % 8];
        bool keep = rule.kind == ACT_TOPK ? magnitude_of(v) >= t
                                          : fabsf(to_f32(v)) >= rule.threshold;

        v = keep ? v : T(0.0f);
        zeros += ((size_t)(i / 8) * blockDim.x + threadIdx.x) * 8 + i % 8 < n && magnitude_of(v) == 0;
    }
    if (!rule.n_zero)
        return;
    zeros = block_sum(zeros, slots[1]);
    if (threadIdx.x == 0)
        atomicAdd(rule.n_zero, (unsigned long long)zeros);
}

#endif
