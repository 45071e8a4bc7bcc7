/* Measuring time on the CPU: operations are complete when they return. */
#include <math.h>
#include <time.h>
#include <unistd.h>

#include "harness/backend/cpu/cpu.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cpu_timer_start(struct device *dev)
{
    ((struct cpu_device *)dev)->timer_started = now();
}

double cpu_timer_stop(struct device *dev)
{
    return now() - ((struct cpu_device *)dev)->timer_started;
}

/* What /proc/cpuinfo says is a rated clock in a virtual machine: not known. */
void cpu_clocks(struct device *dev, struct device_clocks *out)
{
    (void)dev;
    *out = (struct device_clocks){NAN, NAN, NAN, NAN, 0, 0};
}

size_t cpu_cache_nbytes(struct device *dev)
{
    long n = sysconf(_SC_LEVEL3_CACHE_SIZE);

    (void)dev;
    n = n > 0 ? n : sysconf(_SC_LEVEL2_CACHE_SIZE);
#ifdef __SANITIZE_THREAD__
    /* No speed means anything here, and the notes about a buffer of eight caches take a minute. */
    n = 1 << 20;
#endif
    return n > 0 ? (size_t)n : 0;
}

#define RUNS 8 /* read side by side: a processor that reads one run of memory waits for it */

/* An xor of all words, so that the reads cannot be left out. */
void cpu_read(struct device *dev, const void *p, size_t nbytes)
{
    const uint64_t *v = p;
    size_t n = nbytes / sizeof(*v), run = n / (RUNS * 8) * 8;
    uint64_t x = 0;
    static volatile uint64_t sink;

#pragma omp parallel for reduction(^ : x) num_threads(cpu_threads(dev))
    for (size_t i = 0; i < run; i += 8)
        for (size_t r = 0; r < RUNS; r++)
            for (size_t j = 0; j < 8; j++)
                x ^= v[r * run + i + j];
    for (size_t i = RUNS * run; i < n; i++)
        x ^= v[i];
    sink = x;
    (void)sink;
}
