/* Timing several programs against each other, interleaved in one process. */
#ifndef DUO_MEASURE_BENCH_RUN_H
#define DUO_MEASURE_BENCH_RUN_H

#include "harness/backend/backend.h"
#include "harness/measure/bench.h"

#define BENCH_MAX_PROGRAMS 8

/* One way of doing the work that is measured. */
struct bench_program {
    const char *name;
    void (*prepare)(void *arg); /* before each sample, not timed; NULL: nothing */
    void (*run)(void *arg);     /* calls operations of the device; need not wait for them */
    void *arg;
    double units;   /* what a run does of what the time is stated of: layers, tokens */
    int repeatable; /* runs may follow each other within a sample, so that it is long enough */
};

struct bench_samples {
    size_t n_programs, n;
    double *ns[BENCH_MAX_PROGRAMS]; /* n each, nanoseconds per unit; pairs as in bench_ratio() */
    enum bench_stop why;
    double seconds;              /* all of it, by the host's clock */
    struct device_clocks clocks; /* mean over the run; reasons of throttling: all that were seen */
};

/* A sample of a repeatable program is at least that long: the clock's grain and the start of the
 * first operation then no longer count. */
#define BENCH_SAMPLE_SECONDS 200e-6

/* Warms up, then rounds of one sample of each program, every other round in reverse, until
 * bench_should_stop(). Program 0 is the baseline. out is to be released. */
void bench_run(struct bench_samples *out, struct device *dev, const struct bench_program *programs,
               size_t n_programs, const struct bench_limits *limits);
void bench_samples_release(struct bench_samples *s);

/* Bytes a second that the device reads from its memory: the median over reads of a buffer of eight
 * times its cache (256 MiB where that is not known), at most a quarter of what is free. */
double bench_read_rate(struct device *dev, double seconds);

/* A buffer to push out what the device's cache holds; flush() is for `prepare`. */
struct bench_flush {
    struct device *dev;
    void *buffer;
    size_t nbytes; /* twice the cache; 64 MiB where its size is not known */
};
void bench_flush_open(struct bench_flush *f, struct device *dev);
void bench_flush(struct bench_flush *f);
void bench_flush_close(struct bench_flush *f);

#endif
