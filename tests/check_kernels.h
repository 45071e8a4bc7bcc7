/* The kernel checker's parts: every operation of a backend against the CPU's, then its speed. */
#ifndef DUO_TESTS_CHECK_KERNELS_H
#define DUO_TESTS_CHECK_KERNELS_H

#include "tests/kernels.h"

extern struct device *dev; /* under test */
extern struct device *ref; /* the CPU */
extern struct pcg32 rng;
extern unsigned checked_dtypes; /* bit 1 << enum dtype */
extern int quick;               /* leave out what takes long under a sanitizer */

/* Each prints a line per operation, as tests/test.h does, and returns how many failed. */
int check_rows(void);
int check_linear(void);
int check_attention(void);
int check_prune(void);
int check_decode(void);
int check_decode_step(void);
void bench(void);

#define RUN_AND_COUNT(fn, failed)                                                                  \
    do {                                                                                           \
        RUN(fn);                                                                                   \
        failed += test_bad;                                                                        \
    } while (0)

/* The statement that follows, for every type t that is checked. */
#define FOR_DTYPES(t)                                                                              \
    for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++)                                           \
        if (checked_dtypes >> t & 1)

/* A device counter of zeros, 0; and what it counted, after which it is gone. */
static UNUSED uint64_t *counter(void)
{
    uint64_t *n = dev->ops->alloc(dev, sizeof(*n));

    dev->ops->zero(dev, n, sizeof(*n));
    return n;
}

static UNUSED uint64_t counted(uint64_t *n)
{
    uint64_t host;

    dev->ops->download(dev, &host, n, sizeof(host));
    dev->ops->free(dev, n);
    return host;
}

/* Largest relative error of rounding to t, and the size below which it grows (subnormals). */
static UNUSED double rounding(enum dtype t)
{
    return t == DTYPE_F32 ? 0x1p-24 : t == DTYPE_F16 ? 0x1p-11 : 0x1p-8;
}

static UNUSED double smallest(enum dtype t)
{
    return t == DTYPE_F16 ? 0x1p-24 : 0x1p-126;
}

/* Magnitudes that squares and products of this type can bear. */
static UNUSED float huge_of(enum dtype t)
{
    return t == DTYPE_F16 ? 30 : 1e15f;
}

static UNUSED float tiny_of(enum dtype t)
{
    return t == DTYPE_F16 ? 1e-5f : 1e-39f; /* subnormal */
}

/* Silences "unused" in the files that run no test. */
static UNUSED int *const test_bad_used = &test_bad;

/* Prints what failed, with its case, and fails the running test. */
#define EXPECT(cond, ...)                                                                          \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("# %s:%d: %s: ", __FILE__, __LINE__, #cond);                                    \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
            test_bad = 1;                                                                          \
        }                                                                                          \
    } while (0)

#endif
