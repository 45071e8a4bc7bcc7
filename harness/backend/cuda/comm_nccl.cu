/* NCCL: the devices of a run's processes, seen by this file alone.
 *
 * Gathers run on the device's own stream, and can be recorded there: a few KB, for which the time
 * of a launch counts. Those on a stream beside it are large, and run while products hold all
 * multiprocessors, so they are the copy engines' (NCCL 2.28): on two H100s a perplexity window of a
 * 70B model takes 32.6 us a token and 20 layers, against 35.1 when a kernel of nine blocks gathers,
 * for whose end a part of each product waits. Copy engines ask for memory that lies alike on all
 * devices, a symmetric window (NCCL 2.27): alloc().
 *
 * Lost: such memory for the gathers on the own stream. A step of decoding took 2 % less (6 % where
 * weights and activations are half zero), but its texts differed from run to run (NCCL 2.28.3, half
 * of the activations zero): in 3 of 8 runs, and in 5 of 6 when our kernels were launched without
 * the attribute that lets them begin early; in none of 14 without such memory, and in none of 6
 * where a copy stood before the gather. Our kernels release what follows them before they have
 * written (decode.cuh); NCCL's kernel for such memory seems to begin then, and not to wait. */
#include <stdlib.h>

#include <nccl.h>

#include "harness/backend/cuda/device.cuh"
extern "C" {
#include "harness/base/procs.h"
}

#define MOST_WINDOWS 16
#define WINDOW_UNIT ((size_t)2 << 20) /* of memory that other devices see */

enum { OWN, BESIDE, N_STREAMS };

struct window {
    void *p; /* NULL: free */
    size_t nbytes;
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
    ncclWindow_t nccl;
#endif
};

struct nccl_comm {
    struct comm base;
    struct cuda_device *dev;
    ncclComm_t nccl[N_STREAMS];
    struct window windows[MOST_WINDOWS];
    cudaStream_t beside;
    cudaEvent_t computed, gathered;
};

#define NC(call)                                                                                   \
    do {                                                                                           \
        ncclResult_t rc_ = (call);                                                                 \
        if (rc_ != ncclSuccess)                                                                    \
            die("NCCL: %s: %s", #call, ncclGetErrorString(rc_));                                   \
    } while (0)

static void all_gather(struct comm *c, void *dst, const void *src, size_t nbytes)
{
    struct nccl_comm *n = (struct nccl_comm *)c;

    NC(ncclAllGather(src, dst, nbytes, ncclChar, n->nccl[OWN], n->dev->stream));
}

static void wait(struct comm *c)
{
    struct nccl_comm *n = (struct nccl_comm *)c;

    CU(cudaEventRecord(n->gathered, n->beside));
    CU(cudaStreamWaitEvent(n->dev->stream, n->gathered, 0));
}

static void begin(struct comm *c, void *dst, const void *src, size_t nbytes)
{
    struct nccl_comm *n = (struct nccl_comm *)c;

    wait(c);
    CU(cudaEventRecord(n->computed, n->dev->stream));
    CU(cudaStreamWaitEvent(n->beside, n->computed, 0));
    NC(ncclAllGather(src, dst, nbytes, ncclChar, n->nccl[BESIDE], n->beside));
}

#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)

static void *window_alloc(struct comm *c, size_t nbytes)
{
    struct nccl_comm *n = (struct nccl_comm *)c;
    struct window *w = n->windows;

    while (w->p)
        if (++w == n->windows + MOST_WINDOWS)
            die("NCCL: more than %d windows", MOST_WINDOWS);
    w->nbytes = (nbytes + WINDOW_UNIT - 1) / WINDOW_UNIT * WINDOW_UNIT;
    cuda_memory_room(&n->dev->base, w->nbytes);
    NC(ncclMemAlloc(&w->p, nbytes));
    NC(ncclCommWindowRegister(n->nccl[BESIDE], w->p, nbytes, &w->nccl, NCCL_WIN_COLL_SYMMETRIC));
    cuda_memory_count(&n->dev->base, (ptrdiff_t)w->nbytes);
    return w->p;
}

static void window_free(struct comm *c, void *p)
{
    struct nccl_comm *n = (struct nccl_comm *)c;
    struct window *w = n->windows;

    while (w->p != p)
        w++;
    CU(cudaStreamSynchronize(n->dev->stream));
    CU(cudaStreamSynchronize(n->beside));
    NC(ncclCommWindowDeregister(n->nccl[BESIDE], w->nccl));
    NC(ncclMemFree(p));
    cuda_memory_count(&n->dev->base, -(ptrdiff_t)w->nbytes);
    w->p = NULL;
}

#else

#define window_alloc NULL
#define window_free NULL

#endif

/* Joins the processes once more. */
static ncclResult_t join_for(struct nccl_comm *n, int stream)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id = {};
    ncclResult_t rc = procs_rank() == 0 ? ncclGetUniqueId(&id) : ncclSuccess;

#ifdef NCCL_CTA_POLICY_ZERO
    if (stream == BESIDE)
        config.CTAPolicy = NCCL_CTA_POLICY_ZERO;
#endif
    procs_broadcast(&id, sizeof(id), 0);
    if (rc == ncclSuccess)
        rc = ncclCommInitRankConfig(&n->nccl[stream], procs_size(), id, procs_rank(), &config);
    return rc;
}

int cuda_comm_open(struct device *dev, struct comm **out)
{
    struct nccl_comm *n = (struct nccl_comm *)xcalloc(1, sizeof(*n));

    n->base = {procs_rank(), procs_size(), all_gather, begin, wait, window_alloc, window_free};
    n->dev = cuda_dev(dev);
    for (int i = 0; i < N_STREAMS; i++) {
        ncclResult_t rc = join_for(n, i);

        if (procs_agree(rc == ncclSuccess ? 0
                                          : error("NCCL: rank %d of %d: %s", procs_rank(),
                                                  procs_size(), ncclGetErrorString(rc))) != 0)
            return -1; /* the run ends */
    }
    CU(cudaStreamCreateWithFlags(&n->beside, cudaStreamNonBlocking));
    CU(cudaEventCreateWithFlags(&n->computed, cudaEventDisableTiming));
    CU(cudaEventCreateWithFlags(&n->gathered, cudaEventDisableTiming));
    *out = &n->base;
    return 0;
}
