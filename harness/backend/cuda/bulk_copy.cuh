/* Shared memory by address, bulk copies into it and the barriers that they arrive at. Cards before
 * Hopper have neither bulk copies nor waits that sleep: a lane copies 16 bytes at a time. */
#ifndef DUO_BACKEND_CUDA_BULK_COPY_CUH
#define DUO_BACKEND_CUDA_BULK_COPY_CUH

#ifdef __CUDACC__

__device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* A phase ends with n arrivals: as many calls of copy_in(). */
__device__ __forceinline__ void barrier_init(unsigned bar, unsigned n)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(n) : "memory");
}

/* Makes initialised barriers and zeroed memory known to the copy engine. */
__device__ __forceinline__ void barriers_ready(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::
                     : "memory");
#endif
}

/* What was read and written of shared memory so far comes before copies that begin after the next
 * barrier of the block. */
__device__ __forceinline__ void async_may_write(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

__device__ __forceinline__ void barrier_wait(unsigned bar, unsigned phase)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("{\n.reg .pred p;\nWAIT_%=:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra DONE_%=;\nbra WAIT_%=;\nDONE_%=:\n}" ::"r"(bar),
                 "r"(phase)
                 : "memory");
#else
    asm volatile("{\n.reg .pred p;\nWAIT_%=:\n"
                 "mbarrier.test_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra DONE_%=;\nbra WAIT_%=;\nDONE_%=:\n}" ::"r"(bar),
                 "r"(phase)
                 : "memory");
#endif
}

/* One lane: begins to copy nbytes (a multiple of 16); arrives at bar when
 * they are there. */
__device__ __forceinline__ void copy_in(unsigned to, const void *from, unsigned nbytes,
                                        unsigned bar)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(nbytes)
                 : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(nbytes), "r"(bar)
                 : "memory");
#else
    for (unsigned i = 0; i < nbytes; i += 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + i),
                     "l"((const char *)from + i)
                     : "memory");
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(bar) : "memory");
#endif
}

#endif
#endif
