/* What decoding keeps on the device between launches, and recordings: CUDA graphs. */
#include <stdlib.h>

#include "harness/backend/cuda/decode.cuh"

/* Memory that recordings refer to is never given back before the device is closed: a larger one is
 * taken beside it. */
void *decode_scratch(struct device *device, size_t nbytes)
{
    struct cuda_device *dev = cuda_dev(device);

    if (nbytes > dev->n_scratch) {
        dev->scratch = cuda_alloc(device, nbytes);
        dev->n_scratch = nbytes;
    }
    return dev->scratch;
}

unsigned *decode_tickets(struct device *device, size_t n)
{
    struct cuda_device *dev = cuda_dev(device);

    if (n > dev->n_tickets) {
        dev->tickets = (unsigned *)cuda_alloc(device, n * sizeof(*dev->tickets));
        cuda_zero(device, dev->tickets, n * sizeof(*dev->tickets));
        dev->n_tickets = n;
    }
    return dev->tickets;
}

struct recording {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
};

void cuda_record_begin(struct device *dev)
{
    CU(cudaStreamBeginCapture(stream_of(dev), cudaStreamCaptureModeThreadLocal));
}

struct recording *cuda_record_end(struct device *dev)
{
    struct recording *r = (struct recording *)xcalloc(1, sizeof(*r));

    CU(cudaStreamEndCapture(stream_of(dev), &r->graph));
    CU(cudaGraphInstantiate(&r->exec, r->graph, 0));
    CU(cudaGraphUpload(r->exec, stream_of(dev)));
    return r;
}

void cuda_record_run(struct device *dev, struct recording *r)
{
    CU(cudaGraphLaunch(r->exec, stream_of(dev)));
}

void cuda_record_free(struct device *dev, struct recording *r)
{
    CU(cudaStreamSynchronize(stream_of(dev)));
    CU(cudaGraphExecDestroy(r->exec));
    CU(cudaGraphDestroy(r->graph));
    free(r);
}
