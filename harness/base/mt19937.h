/* CPython's random.Random, for calibration sets that others published by seed: MT19937 (Matsumoto and
 * Nishimura 1998) seeded by init_by_array, integers by rejection of the top bits. */
#ifndef DUO_BASE_MT19937_H
#define DUO_BASE_MT19937_H

#include <stdint.h>

struct mt19937 {
    uint32_t state[624];
    int at;
};

/* random.seed(seed) for a non-negative integer below 2^64. */
void mt19937_init(struct mt19937 *g, uint64_t seed);
uint32_t mt19937_next(struct mt19937 *g);

/* random.randint(0, n - 1), n >= 1, n < 2^32. */
uint32_t mt19937_below(struct mt19937 *g, uint32_t n);

#endif
