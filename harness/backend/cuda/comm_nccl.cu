/* NCCL: the devices of a run's processes, seen by this file alone. Gathers run on the device's own
 * stream (and can be recorded there), or on a stream beside it. */
#include <stdlib.h>

#include <nccl.h>

#include "harness/backend/cuda/device.cuh"
extern "C" {
#include "harness/base/procs.h"
}

struct nccl_comm {
    struct comm base;
    struct cuda_device *dev;
    ncclComm_t nccl;
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

    NC(ncclAllGather(src, dst, nbytes, ncclChar, n->nccl, n->dev->stream));
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
    NC(ncclAllGather(src, dst, nbytes, ncclChar, n->nccl, n->beside));
}

static void close_comm(struct comm *c)
{
    struct nccl_comm *n = (struct nccl_comm *)c;

    CU(cudaStreamSynchronize(n->dev->stream));
    CU(cudaStreamSynchronize(n->beside));
    NC(ncclCommDestroy(n->nccl));
    CU(cudaEventDestroy(n->computed));
    CU(cudaEventDestroy(n->gathered));
    CU(cudaStreamDestroy(n->beside));
    free(n);
}

int cuda_comm_open(struct device *dev, struct comm **out)
{
    struct nccl_comm *n = (struct nccl_comm *)xcalloc(1, sizeof(*n));
    ncclUniqueId id = {};
    ncclResult_t rc = ncclSuccess;

    n->base = {procs_rank(), procs_size(), all_gather, begin, wait, close_comm};
    n->dev = cuda_dev(dev);
    if (procs_rank() == 0)
        rc = ncclGetUniqueId(&id);
    procs_broadcast(&id, sizeof(id), 0);
    if (rc == ncclSuccess)
        rc = ncclCommInitRank(&n->nccl, procs_size(), id, procs_rank());
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
