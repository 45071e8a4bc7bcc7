/* The interleaving loop. */
#include "harness/measure/bench_run.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/base/procs.h"
#include "harness/base/progress.h"

#define WARM_UP 2         /* the first run may tune, the second fills caches */
#define WARM_UP_SECONDS 1 /* then one is enough */
#define CLOCKS_EVERY 0.05 /* seconds between two looks at the clocks */
#define FLUSH_UNKNOWN ((size_t)64 << 20)

/* ---- clocks */

struct clock_sums {
    double sum[4];
    size_t n[4];
    unsigned throttled;
    int known;
    double next;
};

static void look_at_clocks(struct clock_sums *c, struct device *dev)
{
    struct device_clocks k;
    double v[4];

    if (!dev->ops->clocks || now_seconds() < c->next)
        return;
    dev->ops->clocks(dev, &k);
    v[0] = k.compute_mhz;
    v[1] = k.memory_mhz;
    v[2] = k.watts;
    v[3] = k.celsius;
    for (int i = 0; i < 4; i++)
        if (!isnan(v[i])) {
            c->sum[i] += v[i];
            c->n[i]++;
        }
    c->known |= k.throttle_known;
    c->throttled |= k.throttled;
    c->next = now_seconds() + CLOCKS_EVERY;
}

static struct device_clocks mean_clocks(const struct clock_sums *c)
{
    double v[4];

    for (int i = 0; i < 4; i++)
        v[i] = c->n[i] ? c->sum[i] / (double)c->n[i] : NAN;
    return (struct device_clocks){v[0], v[1], v[2], v[3], c->known, c->throttled};
}

/* ---- samples. Processes that run one model together do so equally often: as the first says. */

static double agreed(double v)
{
    procs_broadcast(&v, sizeof(v), 0);
    return v;
}

/* Seconds of n runs, one after the other. */
static double time_runs(struct device *dev, const struct bench_program *p, size_t n)
{
    if (p->prepare)
        p->prepare(p->arg);
    dev->ops->timer_start(dev);
    for (size_t i = 0; i < n; i++)
        p->run(p->arg);
    return dev->ops->timer_stop(dev);
}

/* Runs per sample. */
static size_t warm_up(struct device *dev, const struct bench_program *p)
{
    double seconds = 0;

    for (int i = 0; i < WARM_UP + 1 && seconds < WARM_UP_SECONDS; i++)
        seconds = agreed(time_runs(dev, p, 1));
    if (!p->repeatable || !(seconds < BENCH_SAMPLE_SECONDS) || !(seconds > 0))
        return 1;
    return (size_t)ceil(BENCH_SAMPLE_SECONDS / seconds);
}

static void grow(struct bench_samples *s, size_t *cap)
{
    if (s->n < *cap)
        return;
    *cap = *cap ? 2 * *cap : 64;
    for (size_t p = 0; p < s->n_programs; p++)
        s->ns[p] = xrealloc(s->ns[p], *cap * sizeof(double));
}

/* Sorting all samples after each of thousands of rounds would take longer than the rounds. */
static int is_time_to_look(size_t n, double elapsed, const struct bench_limits *l)
{
    return n <= 64 || n % 32 == 0 || n >= l->max_samples || elapsed >= l->seconds;
}

void bench_run(struct bench_samples *out, struct device *dev, const struct bench_program *programs,
               size_t n_programs, const struct bench_limits *limits)
{
    size_t repeats[BENCH_MAX_PROGRAMS], cap = 0;
    struct clock_sums clocks = {.next = 0};
    double begin, elapsed;

    assert(n_programs <= BENCH_MAX_PROGRAMS);
    *out = (struct bench_samples){.n_programs = n_programs};
    for (size_t p = 0; p < n_programs; p++)
        repeats[p] = warm_up(dev, &programs[p]);
    for (begin = now_seconds(); out->why == BENCH_GO_ON;) {
        grow(out, &cap);
        for (size_t i = 0; i < n_programs; i++) {
            size_t p = out->n % 2 ? n_programs - 1 - i : i;

            out->ns[p][out->n] = 1e9 * time_runs(dev, &programs[p], repeats[p]) /
                                 (programs[p].units * (double)repeats[p]);
        }
        look_at_clocks(&clocks, dev);
        out->n++;
        elapsed = agreed(now_seconds() - begin);
        if (is_time_to_look(out->n, elapsed, limits))
            out->why = (enum bench_stop)agreed(bench_should_stop(
                (const double *const *)out->ns, n_programs, out->n, elapsed, limits));
    }
    out->seconds = now_seconds() - begin;
    out->clocks = mean_clocks(&clocks);
}

void bench_samples_release(struct bench_samples *s)
{
    for (size_t p = 0; p < s->n_programs; p++)
        free(s->ns[p]);
    *s = (struct bench_samples){0};
}

/* ---- the memory */

static size_t twice_the_cache(struct device *dev)
{
    size_t n = dev->ops->cache_nbytes(dev);

    return n ? 2 * n : FLUSH_UNKNOWN;
}

struct read_program {
    struct device *dev;
    void *buffer;
    size_t nbytes;
};

static void read_all(void *arg)
{
    struct read_program *r = arg;

    r->dev->ops->read(r->dev, r->buffer, r->nbytes);
}

double bench_read_rate(struct device *dev, double seconds)
{
    size_t nbytes = 4 * twice_the_cache(dev), most = dev->ops->memory_free(dev) / 4;
    struct read_program r = {dev, NULL, nbytes < most ? nbytes : most};
    struct bench_program p = {.name = "read", .run = read_all, .arg = &r, .units = 1};
    struct bench_limits limits = {10, 1000, 0.2, seconds};
    struct bench_samples s;
    struct bench_stats st;

    r.buffer = dev->ops->alloc(dev, r.nbytes);
    dev->ops->zero(dev, r.buffer, r.nbytes);
    bench_run(&s, dev, &p, 1, &limits);
    bench_stats(s.ns[0], s.n, &st);
    bench_samples_release(&s);
    dev->ops->free(dev, r.buffer);
    return 1e9 * (double)r.nbytes / st.median;
}

void bench_flush_open(struct bench_flush *f, struct device *dev)
{
    *f = (struct bench_flush){dev, NULL, twice_the_cache(dev)};
    f->buffer = dev->ops->alloc(dev, f->nbytes);
}

void bench_flush(struct bench_flush *f)
{
    f->dev->ops->zero(f->dev, f->buffer, f->nbytes);
}

void bench_flush_close(struct bench_flush *f)
{
    if (f->buffer)
        f->dev->ops->free(f->dev, f->buffer);
    *f = (struct bench_flush){0};
}
