/* Random numbers: PCG32 (XSH-RR 64/32), O'Neill 2014, the project's own generator. */
#ifndef DUO_BASE_RNG_H
#define DUO_BASE_RNG_H

#include <stdint.h>

struct pcg32 {
    uint64_t state;
    uint64_t inc; /* odd; selects the stream */
};

/* The reference seeding: state and stream as in pcg32_srandom_r(seed, stream). */
void pcg32_init(struct pcg32 *g, uint64_t seed, uint64_t stream);

/* 32 uniform bits. */
uint32_t pcg32_next(struct pcg32 *g);

/* Uniform in [0, bound) without bias; bound > 0. As pcg32_boundedrand_r. */
uint32_t pcg32_below(struct pcg32 *g, uint32_t bound);

/* Uniform in [0, 1) with 53 random bits. */
double pcg32_double(struct pcg32 *g);

/* Standard normal (Box-Muller, one of the pair). */
double pcg32_normal(struct pcg32 *g);

#endif
