/* The rule of sparse activations on a row that a block holds in registers, already rounded to the
 * type it is stored in.
 *
 * Exact top-k: the threshold is the largest t with at most idx magnitudes below it, idx =
 * floor(n s), found by bisection over the bits of |x|, whose order as integers is the order of the
 * magnitudes: 15 counts for f16 and bf16, two elements at a time, 31 for f32. A count costs one
 * instruction an element, a reduction in each warp and one barrier; ties are all kept. Unlike a
 * radix select by histogram it needs no atomics, and its time does not depend on the data.
 * A NaN is never below a threshold: it stays, to be seen. */
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

/* WINA's rule is not fused into the operations: they run without a rule, then cuda_wina() in place.
 * Its scores are float32 and take a register an element, which the kernels of the other rules
 * should not have to spare. rows.cu */
static inline int is_wina(const struct act_rule *rule)
{
    return rule && rule->kind == ACT_WINA;
}
void cuda_wina(struct device *dev, struct tensor x, const struct act_rule *rule);

static inline struct row_rule row_rule_of(const struct act_rule *rule, size_t n)
{
    struct row_rule r = {ACT_DENSE, 0, 0, NULL};

    if (!rule || rule->kind == ACT_DENSE)
        return r;
    if (rule->kind == ACT_WINA)
        die("CUDA: WINA's rule is applied by cuda_wina()");
    r.kind = rule->kind;
    r.idx = rule->kind == ACT_TOPK ? (unsigned)sparsity_index(n, rule->sparsity) : 0;
    r.threshold = rule->threshold;
    r.n_zero = (unsigned long long *)rule->n_zero;
    return r;
}

/* A type's magnitudes: how many bits, and those of infinity. Elements come eight at a time as words
 * of 32 bits: one f32, or two f16 or bf16. */
template <typename T> struct magnitude;

template <> struct magnitude<float> {
    static constexpr int BITS = 31;
    static constexpr unsigned INFINITE = 0x7f800000, NOT_A_NUMBER = 0x7fffffff;

    /* Smallest magnitude that is at least x. */
    static __device__ __forceinline__ unsigned at_least(float x)
    {
        return __float_as_uint(fmaxf(x, 0.0f));
    }
};

template <> struct magnitude<__half> {
    using pair = __half2;
    static constexpr int BITS = 15;
    static constexpr unsigned INFINITE = 0x7c00, NOT_A_NUMBER = 0x7fff;

    static __device__ __forceinline__ unsigned at_least(float x)
    {
        return __half_as_ushort(__float2half_ru(fmaxf(x, 0.0f)));
    }
};

template <> struct magnitude<__nv_bfloat16> {
    using pair = __nv_bfloat162;
    static constexpr int BITS = 15;
    static constexpr unsigned INFINITE = 0x7f80, NOT_A_NUMBER = 0x7fff;

    static __device__ __forceinline__ unsigned at_least(float x)
    {
        return __bfloat16_as_ushort(__float2bfloat16_ru(fmaxf(x, 0.0f)));
    }
};

/* How many of the thread's words hold magnitudes below t. */
template <typename T, int WORDS>
__device__ __forceinline__ unsigned count_below(const unsigned (&x)[WORDS], unsigned t)
{
    if constexpr (sizeof(T) == 4) {
        unsigned n = 0;

#pragma unroll
        for (int i = 0; i < WORDS; i++)
            n += fabsf(__uint_as_float(x[i])) < __uint_as_float(t);
        return n;
    } else { /* ones and zeros added pairwise: below 64 in each half, exact in both types */
        using P = typename magnitude<T>::pair;
        unsigned both = t * 0x10001u;
        P with = *(P *)&both, n = {};

#pragma unroll
        for (int i = 0; i < WORDS; i++)
            n = __hadd2(n, __hlt2(__habs2(*(const P *)&x[i]), with));
        return (unsigned)((float)n.x + (float)n.y);
    }
}

/* Magnitudes below t become 0. */
template <typename T> __device__ __forceinline__ unsigned drop_below(unsigned x, unsigned t)
{
    if constexpr (sizeof(T) == 4) {
        return fabsf(__uint_as_float(x)) < __uint_as_float(t) ? 0 : x;
    } else {
        using P = typename magnitude<T>::pair;
        unsigned both = t * 0x10001u;

        return x & ~__hlt2_mask(__habs2(*(P *)&x), *(P *)&both);
    }
}

/* Bits of the idx-th smallest magnitude of the block's row. slots: 2 x 32 of shared memory. */
template <typename T, int WORDS>
__device__ __forceinline__ unsigned kth_magnitude(const unsigned (&x)[WORDS], unsigned idx,
                                                  unsigned (*slots)[32])
{
    unsigned t = 0;

#pragma unroll 1
    for (int bit = magnitude<T>::BITS - 1; bit >= 0; bit--) {
        unsigned with = t | 1u << bit;

        /* a NaN as threshold would find nothing below it, where all numbers are */
        if (with <= magnitude<T>::INFINITE &&
            block_sum(count_below<T>(x, with), slots[bit & 1]) <= idx)
            t = with;
    }
    return t;
}

/* Applies the rule to the E elements of each thread: element i of thread t is number
 * (i / 8 * blockDim.x + t) * 8 + i % 8 of the row. */
template <typename T, int E>
__device__ __forceinline__ void apply_rule(vec<T, 8> (&y)[E / 8], int n,
                                           const struct row_rule &rule)
{
    constexpr int PER = 4 / sizeof(T), WORDS = E / PER;
    __shared__ unsigned slots[2][32];
    unsigned x[WORDS], t;

    if (rule.kind == ACT_DENSE)
        return;
#pragma unroll
    for (int i = 0; i < WORDS; i++) {
        int last = (i * PER / 8 * (int)blockDim.x + (int)threadIdx.x) * 8 + i * PER % 8 + PER - 1;

        x[i] = *(unsigned *)&y[i * PER / 8].v[i * PER % 8];
        if (last >= n) /* behind the row, at least in part */
            x[i] = last - PER + 1 >= n || PER == 1
                       ? magnitude<T>::NOT_A_NUMBER * (PER == 2 ? 0x10001u : 1u)
                       : (x[i] & 0xffff) | magnitude<T>::NOT_A_NUMBER << 16;
        asm volatile("" : "+r"(x[i])); /* or ptxas makes it anew in every count */
    }
    t = rule.kind == ACT_THRESHOLD ? magnitude<T>::at_least(rule.threshold)
        : rule.idx > 0             ? kth_magnitude<T>(x, rule.idx, slots)
                                   : 0;
    if (rule.n_zero) { /* zeros after the rule: what is below t, or was zero */
        unsigned zeros = block_sum(count_below<T>(x, t ? t : 1), slots[1]);

        if (threadIdx.x == 0)
            atomicAdd(rule.n_zero, (unsigned long long)zeros);
    }
#pragma unroll
    for (int i = 0; i < WORDS; i++)
        *(unsigned *)&y[i * PER / 8].v[i * PER % 8] = drop_below<T>(x[i], t);
}

#endif
