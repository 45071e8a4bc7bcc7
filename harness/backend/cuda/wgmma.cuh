/* Hopper's warpgroup products (sm_90a): operands in shared memory in rows of 128 bytes whose
 * 16-byte words are permuted (word w of row r at w ^ (r % 8), tiles aligned to 1024 bytes), or in
 * registers; sums in registers, row 16 (warp % 4) + lane / 4 + 8 (e / 2 % 2), column 8 (e / 4) + 2
 * (lane % 4) + e % 2 for element e of a thread. A batch of products: begin, products, end, then
 * wait. */
#ifndef DUO_BACKEND_CUDA_WGMMA_CUH
#define DUO_BACKEND_CUDA_WGMMA_CUH

#include "harness/backend/cuda/device.cuh"

/* Operand whose rows run along the summed dimension: 8 rows are 1024 bytes. */
__device__ __forceinline__ unsigned long long operand(unsigned address)
{
    return (unsigned long long)(address >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

/* Operand whose rows run across it: `stride` bytes between groups of 64 columns. */
__device__ __forceinline__ unsigned long long operand_across(unsigned address, unsigned stride)
{
    return (unsigned long long)(address >> 4 & 0x3fff) | (unsigned long long)(stride >> 4) << 16 |
           64ull << 32 | 1ull << 62;
}

__device__ __forceinline__ void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void products_end()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until at most N batches are under way. */
template <int N> __device__ __forceinline__ void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* After a wait: what follows reads the sums x no sooner. */
template <int N> __device__ __forceinline__ void sums_ready(float (&x)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(x[i])::"memory");
}

#define F8(x, i)                                                                                   \
    "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3]), "+f"(x[i + 4]), "+f"(x[i + 5]),    \
        "+f"(x[i + 6]), "+f"(x[i + 7])
#define F32(x) F8(x, 0), F8(x, 8), F8(x, 16), F8(x, 24)
#define F32_AT(x, i) F8(x, i), F8(x, i + 8), F8(x, i + 16), F8(x, i + 24)
#define F64(x) F32(x), F8(x, 32), F8(x, 40), F8(x, 48), F8(x, 56)
#define R32                                                                                        \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"  \
    "%25,%26,%27,%28,%29,%30,%31}"
#define R64                                                                                        \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"  \
    "%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
    "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}"

#define F128(x) F64(x), F32_AT(x, 64), F32_AT(x, 96)
#define R128                                                                                       \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,"          \
    "%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,"         \
    "%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,%64,"         \
    "%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,"         \
    "%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,"       \
    "%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,"        \
    "%123,%124,%125,%126,%127}"

/* c (64 x 128) = a (64 x 16) b^T (b: 128 x 16), added to c if add */
#define PRODUCT_SS(T, NAME)                                                                        \
    __device__ __forceinline__ void product(float(&c)[64], unsigned long long a,                   \
                                            unsigned long long b, int add, T)                      \
    {                                                                                              \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                  \
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32." NAME "." NAME " " R64          \
                     ", %64, %65, p, 1, 1, 0, 0;\n}"                                               \
                     : F64(c)                                                                      \
                     : "l"(a), "l"(b), "r"(add));                                                  \
    }
PRODUCT_SS(__half, "f16")
PRODUCT_SS(__nv_bfloat16, "bf16")

/* c (64 x 256) = a (64 x 16) b^T (b: 256 x 16), added to c if add */
#define PRODUCT_SS_256(T, NAME)                                                                    \
    __device__ __forceinline__ void product(float(&c)[128], unsigned long long a,                  \
                                            unsigned long long b, int add, T)                      \
    {                                                                                              \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"                                 \
                     "wgmma.mma_async.sync.aligned.m64n256k16.f32." NAME "." NAME " " R128         \
                     ", %128, %129, p, 1, 1, 0, 0;\n}"                                             \
                     : F128(c)                                                                     \
                     : "l"(a), "l"(b), "r"(add));                                                  \
    }
PRODUCT_SS_256(__half, "f16")
PRODUCT_SS_256(__nv_bfloat16, "bf16")

/* c (64 x N) += a (64 x 16, in registers) b (16 x N, across) */
#define PRODUCT_RS(T, NAME, N, COUNT, REGS, LIST, A0, A1, A2, A3, B)                               \
    __device__ __forceinline__ void product(float(&c)[COUNT], const unsigned *a,                   \
                                            unsigned long long b, T)                               \
    {                                                                                              \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" N "k16.f32." NAME "." NAME " " REGS       \
                     ", {" A0 "," A1 "," A2 "," A3 "}, " B ", 1, 1, 1, 1;"                         \
                     : LIST(c)                                                                     \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                        \
    }
PRODUCT_RS(__half, "f16", "128", 64, R64, F64, "%64", "%65", "%66", "%67", "%68")
PRODUCT_RS(__nv_bfloat16, "bf16", "128", 64, R64, F64, "%64", "%65", "%66", "%67", "%68")
PRODUCT_RS(__half, "f16", "64", 32, R32, F32, "%32", "%33", "%34", "%35", "%36")
PRODUCT_RS(__nv_bfloat16, "bf16", "64", 32, R32, F32, "%32", "%33", "%34", "%35", "%36")

/* ---- arrival counters in shared memory, and the copies that arrive at them */

__device__ __forceinline__ void arrivals_init(unsigned bar, unsigned n)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(n) : "memory");
}

__device__ __forceinline__ void arrive(unsigned bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

__device__ __forceinline__ void arrive_expecting(unsigned bar, unsigned nbytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(nbytes)
                 : "memory");
}

/* Until the phase of this parity is complete. */
__device__ __forceinline__ void arrivals_wait(unsigned bar, unsigned parity)
{
    asm volatile("{\n.reg .pred p;\nagain_%=:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra done_%=;\nbra again_%=;\ndone_%=:\n}" ::"r"(bar),
                 "r"(parity)
                 : "memory");
}

__device__ __forceinline__ void bulk_copy(unsigned to, const void *from, unsigned nbytes,
                                          unsigned bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], "
                 "%2, [%3];" ::"r"(to),
                 "l"(from), "r"(nbytes), "r"(bar)
                 : "memory");
}

/* What this thread stored to shared memory is seen by the products and copies that follow. */
__device__ __forceinline__ void stores_to_products()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Barrier of the 128 threads of warpgroup `group`. */
__device__ __forceinline__ void group_barrier(int group)
{
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

#endif
