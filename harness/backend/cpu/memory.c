/* The host's memory as a device's: counted, so that a limit can stand for a small device. Streaming
 * is copying from the host to itself, at once. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/backend/cpu/cpu.h"
#include "harness/base/error.h"
#include "harness/base/progress.h"

static struct cpu_device *cpu_dev(struct device *dev)
{
    return (struct cpu_device *)dev;
}

void *cpu_alloc(struct device *device, size_t nbytes)
{
    struct cpu_device *dev = cpu_dev(device);
    void *p;

    if (dev->base.memory_limit && dev->used + nbytes > dev->base.memory_limit)
        die("out of memory: asked for %.3f MiB beside %.3f MiB in use; the limit is %.3f MiB",
            (double)nbytes / (1 << 20), (double)dev->used / (1 << 20),
            (double)dev->base.memory_limit / (1 << 20));
    p = xalloc_aligned(nbytes);
    dev->used += xaligned_size(p);
    dev->peak = dev->used > dev->peak ? dev->used : dev->peak;
    return p;
}

void cpu_free(struct device *device, void *p)
{
    cpu_dev(device)->used -= xaligned_size(p);
    xfree_aligned(p);
}

size_t cpu_memory_free(struct device *device)
{
    struct cpu_device *dev = cpu_dev(device);
    size_t n = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE), left;

    if (!dev->base.memory_limit)
        return n;
    left = dev->base.memory_limit > dev->used ? dev->base.memory_limit - dev->used : 0;
    return left < n ? left : n;
}

size_t cpu_memory_peak(struct device *dev)
{
    struct cpu_device *d = cpu_dev(dev);
    size_t peak = d->peak;

    d->peak = d->used;
    return peak;
}

void cpu_copy(struct device *dev, void *dst, const void *src, size_t nbytes)
{
    (void)dev;
    memcpy(dst, src, nbytes);
}

void cpu_zero(struct device *dev, void *dst, size_t nbytes)
{
    (void)dev;
    memset(dst, 0, nbytes);
}

void *cpu_host_alloc(struct device *dev, size_t nbytes)
{
    (void)dev;
    return xalloc_aligned(nbytes);
}

void cpu_host_free(struct device *dev, void *p)
{
    (void)dev;
    xfree_aligned(p);
}

void cpu_stream_copy(struct device *device, void *dst, const void *src, size_t nbytes)
{
    struct cpu_device *dev = cpu_dev(device);
    double begin = now_seconds();

    memcpy(dst, src, nbytes);
    dev->copies.seconds += now_seconds() - begin;
    dev->copies.waited = dev->copies.seconds;
    dev->copies.nbytes += (double)nbytes;
}

void cpu_stream_wait(struct device *dev)
{
    (void)dev;
}

void cpu_stream_times(struct device *dev, struct stream_times *out)
{
    *out = cpu_dev(dev)->copies;
}
