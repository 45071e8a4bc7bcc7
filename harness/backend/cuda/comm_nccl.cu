/* NCCL: the devices of a run's processes, seen by this file alone.
 *
 * Gathers run on the device's own stream, and can be recorded there: a few KB, for which the time
 * of a launch counts. Those on a stream beside it are large, and run while products hold all
 * multiprocessors, so they are the copy engines' (NCCL 2.28): on two H100s windows of a 70B model
 * take 32.6 us a token and 20 layers, against 35.1 when a kernel of nine blocks gathers, for whose
 * end a part of each product waits. Copy engines ask for memory that lies alike on all devices, a
 * symmetric window (NCCL 2.27): alloc().
 *
 * Lost: such windows for the gathers on the own stream. A step of decoding took 2 % less (6 %
 * where weights and activations are half zero), but its texts differed from run to run
 * (NCCL 2.28.3, half of the activations zero: 3 of 8 runs, and 5 of 6 without overlapping launches;
 * none of 14 without windows, none of 6 where a copy stood before the gather). The kernels before
 * them release what follows before they have written (decode.cuh), for which NCCL's kernels there
 * seem not to wait. */
#include <stdlib.h>

#include <nccl.h>

#include "harness/backend/cuda/device.cuh"
extern "C" {
#include "harness/base/procs.h"
}

#define MOST_WINDOWS 16

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
    w->nbytes = nbytes;
    NC(ncclMemAlloc(&w->p, nbytes));
    NC(ncclCommWindowRegister(n->nccl[BESIDE], w->p, nbytes, &w->nccl, NCCL_WIN_COLL_SYMMETRIC));
    cuda_memory_count(&n->dev->base, (ptrdiff_t)nbytes);
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

static void close_comm(struct comm *c)
{
    struct nccl_comm *n = (struct nccl_comm *)c;

    CU(cudaStreamSynchronize(n->dev->stream));
    CU(cudaStreamSynchronize(n->beside));
    for (int i = 0; i < N_STREAMS; i++)
        NC(ncclCommDestroy(n->nccl[i]));
    CU(cudaEventDestroy(n->computed));
    CU(cudaEventDestroy(n->gathered));
    CU(cudaStreamDestroy(n->beside));
    free(n);
}

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
    ncclResult_t rc = ncclSuccess;

    n->base = {procs_rank(), procs_size(), all_gather,  begin,
               wait,         window_alloc, window_free, close_comm};
    n->dev = cuda_dev(dev);
    for (int i = 0; i < N_STREAMS && rc == ncclSuccess; i++)
        rc = join_for(n, i);
    if (rc != ncclSuccess) {
        free(n);
        return error("NCCL: rank %d of %d: %s", procs_rank(), procs_size(), ncclGetErrorString(rc));
    }
    CU(cudaStreamCreateWithFlags(&n->beside, cudaStreamNonBlocking));
    CU(cudaEventCreateWithFlags(&n->computed, cudaEventDisableTiming));
    CU(cudaEventCreateWithFlags(&n->gathered, cudaEventDisableTiming));
    *out = &n->base;
    return 0;
}
