/* Device memory: a cache of cudaMalloc's blocks, and copies.
 *
 * cudaMalloc and cudaFree wait for the whole device, so freed blocks are kept and given out again;
 * with one stream that needs no events. A block serves a request if it is at most an eighth too
 * large. When the card is full, the unused blocks go back before the request fails. Operations take
 * their scratch from here, too: once a loop has run a time or two, nothing in it waits for the
 * driver (n_allocations; the kernel checker tests it). */
#include <stdlib.h>
#include <string.h>

#include "harness/backend/cuda/device.cuh"

#define STAGE (16u << 20) /* bytes of each of the two pinned buffers that uploads pass through */

struct block {
    void *p;
    size_t nbytes;
    bool used;
};

struct pool {
    struct block *blocks;
    size_t n, cap;
    void *stage[2];
    cudaEvent_t staged[2]; /* the copy out of the buffer is done */
    int next;
    size_t n_fresh, used, peak; /* used: bytes given out */
    size_t outside;             /* of these, the bytes that do not come from here */
};

struct pool *pool_open(void)
{
    struct pool *p = (struct pool *)xcalloc(1, sizeof(*p));

    for (int i = 0; i < 2; i++) {
        CU(cudaMallocHost(&p->stage[i], STAGE));
        CU(cudaEventCreateWithFlags(&p->staged[i], cudaEventDisableTiming));
    }
    return p;
}

/* Gives the unused blocks back to the driver; all of them if everything. */
static void release(struct pool *p, bool everything)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->n; i++) {
        if (p->blocks[i].used && !everything)
            p->blocks[kept++] = p->blocks[i];
        else
            CU(cudaFree(p->blocks[i].p));
    }
    p->n = kept;
}

void pool_close(struct pool *p)
{
    release(p, true);
    for (int i = 0; i < 2; i++) {
        CU(cudaFreeHost(p->stage[i]));
        CU(cudaEventDestroy(p->staged[i]));
    }
    free(p->blocks);
    free(p);
}

static struct block *best_fit(struct pool *p, size_t nbytes)
{
    struct block *best = NULL;

    for (size_t i = 0; i < p->n; i++) {
        struct block *b = &p->blocks[i];

        if (!b->used && b->nbytes >= nbytes && b->nbytes <= nbytes + nbytes / 8 + 512 &&
            (!best || b->nbytes < best->nbytes))
            best = b;
    }
    return best;
}

static size_t held_by(const struct pool *p)
{
    size_t held = p->outside;

    for (size_t i = 0; i < p->n; i++)
        held += p->blocks[i].nbytes;
    return held;
}

static bool over_limit(const struct pool *p, size_t nbytes, size_t limit)
{
    return limit && held_by(p) + nbytes > limit;
}

/* From the driver, within the limit; NULL: no. */
static void *from_driver(struct pool *p, size_t nbytes, size_t limit)
{
    void *mem = NULL;

    if (over_limit(p, nbytes, limit))
        return NULL;
    if (cudaMalloc(&mem, nbytes) != cudaSuccess) {
        cudaGetLastError();
        return NULL;
    }
    return mem;
}

[[noreturn]] static void no_room(const struct pool *p, size_t nbytes, size_t limit)
{
    size_t unused = 0, total = 0;

    if (limit)
        die("out of GPU memory: asked for %.3f GiB beside %.3f GiB in use here; the limit is %.3f "
            "GiB",
            (double)nbytes / (1 << 30), (double)held_by(p) / (1 << 30), (double)limit / (1 << 30));
    cudaMemGetInfo(&unused, &total);
    die("out of GPU memory: asked for %.3f GiB beside %.3f GiB in use here; %.3f of the card's "
        "%.1f GiB are free, and no more than that would fit",
        (double)nbytes / (1 << 30), (double)held_by(p) / (1 << 30), (double)unused / (1 << 30),
        (double)total / (1 << 30));
}

static void *fresh(struct pool *p, size_t nbytes, size_t limit)
{
    void *mem = from_driver(p, nbytes, limit);

    p->n_fresh++;
    if (!mem) {
        release(p, false);
        mem = from_driver(p, nbytes, limit);
    }
    if (!mem)
        no_room(p, nbytes, limit);
    return mem;
}

void *cuda_alloc(struct device *dev, size_t nbytes)
{
    struct pool *p = cuda_dev(dev)->pool;
    size_t unit = nbytes < (1u << 20) ? 512 : 1u << 16;
    struct block *b;

    nbytes = (nbytes + unit - 1) / unit * unit;
    nbytes = nbytes ? nbytes : unit;
    b = best_fit(p, nbytes);
    if (!b) {
        void *mem = fresh(p, nbytes, dev->memory_limit);

        if (p->n == p->cap) {
            p->cap = p->cap ? 2 * p->cap : 64;
            p->blocks = (struct block *)xrealloc(p->blocks, p->cap * sizeof(*p->blocks));
        }
        b = &p->blocks[p->n++];
        *b = {mem, nbytes, false};
    }
    b->used = true;
    p->used += b->nbytes;
    p->peak = p->used > p->peak ? p->used : p->peak;
    return b->p;
}

void cuda_free(struct device *dev, void *mem)
{
    struct pool *p = cuda_dev(dev)->pool;

    for (size_t i = 0; i < p->n; i++)
        if (p->blocks[i].p == mem && p->blocks[i].used) {
            p->blocks[i].used = false;
            p->used -= p->blocks[i].nbytes;
        }
}

void cuda_memory_room(struct device *dev, size_t nbytes)
{
    struct pool *p = cuda_dev(dev)->pool;
    size_t limit = dev->memory_limit, unused = 0, total = 0;

    CU(cudaMemGetInfo(&unused, &total));
    if (unused >= nbytes && !over_limit(p, nbytes, limit))
        return;
    release(p, false);
    CU(cudaMemGetInfo(&unused, &total));
    if (over_limit(p, nbytes, limit))
        no_room(p, nbytes, limit);
    if (unused < nbytes)
        no_room(p, nbytes, 0);
}

void cuda_memory_count(struct device *dev, ptrdiff_t nbytes)
{
    struct pool *p = cuda_dev(dev)->pool;

    p->outside += (size_t)nbytes;
    p->used += (size_t)nbytes;
    p->peak = p->used > p->peak ? p->used : p->peak;
}

size_t cuda_memory_free(struct device *dev)
{
    struct pool *p = cuda_dev(dev)->pool;
    size_t unused = 0, total = 0;

    CU(cudaMemGetInfo(&unused, &total));
    for (size_t i = 0; i < p->n; i++)
        unused += p->blocks[i].used ? 0 : p->blocks[i].nbytes;
    if (dev->memory_limit && dev->memory_limit < p->used + unused)
        return dev->memory_limit > p->used ? dev->memory_limit - p->used : 0;
    return unused;
}

size_t cuda_memory_peak(struct device *dev)
{
    struct pool *p = cuda_dev(dev)->pool;
    size_t peak = p->peak;

    p->peak = p->used;
    return peak;
}

size_t cuda_n_allocations(struct device *dev)
{
    return cuda_dev(dev)->pool->n_fresh;
}

/* Returns when the host's memory may be changed; the copy itself is ordered like any operation.
 * Two pinned buffers take turns, so that filling one overlaps with sending the other. */
void cuda_upload(struct device *dev, void *dst, const void *host, size_t nbytes)
{
    struct pool *p = cuda_dev(dev)->pool;

    for (size_t at = 0; at < nbytes; at += STAGE) {
        size_t n = nbytes - at < STAGE ? nbytes - at : STAGE;
        int i = p->next;

        p->next = 1 - i;
        CU(cudaEventSynchronize(p->staged[i]));
        memcpy(p->stage[i], (const char *)host + at, n);
        CU(cudaMemcpyAsync((char *)dst + at, p->stage[i], n, cudaMemcpyHostToDevice,
                           stream_of(dev)));
        CU(cudaEventRecord(p->staged[i], stream_of(dev)));
    }
}

void cuda_download(struct device *dev, void *host, const void *src, size_t nbytes)
{
    CU(cudaMemcpyAsync(host, src, nbytes, cudaMemcpyDeviceToHost, stream_of(dev)));
    CU(cudaStreamSynchronize(stream_of(dev)));
}

void cuda_copy(struct device *dev, void *dst, const void *src, size_t nbytes)
{
    CU(cudaMemcpyAsync(dst, src, nbytes, cudaMemcpyDeviceToDevice, stream_of(dev)));
}

void cuda_zero(struct device *dev, void *dst, size_t nbytes)
{
    CU(cudaMemsetAsync(dst, 0, nbytes, stream_of(dev)));
}

void cuda_copy_columns(struct device *dev, struct tensor dst, size_t to, struct tensor src,
                       size_t from, size_t n)
{
    size_t e = dtype_size(dst.dtype);

    CU(cudaMemcpy2DAsync((char *)dst.data + to * e, dst.cols * e, (const char *)src.data + from * e,
                         src.cols * e, n * e, dst.rows, cudaMemcpyDeviceToDevice, stream_of(dev)));
}
