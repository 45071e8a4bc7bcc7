/* PCG32. */
#include "harness/base/rng.h"

#include <math.h>

uint32_t pcg32_next(struct pcg32 *g)
{
    uint64_t old = g->state;
    uint32_t xorshifted = (uint32_t)(((old >> 18) ^ old) >> 27);
    uint32_t rot = (uint32_t)(old >> 59);

    g->state = old * 6364136223846793005ULL + g->inc;
    return (xorshifted >> rot) | (xorshifted << ((32 - rot) & 31));
}

void pcg32_init(struct pcg32 *g, uint64_t seed, uint64_t stream)
{
    g->state = 0;
    g->inc = stream << 1 | 1;
    pcg32_next(g);
    g->state += seed;
    pcg32_next(g);
}

uint32_t pcg32_below(struct pcg32 *g, uint32_t bound)
{
    uint32_t threshold = -bound % bound, r;

    do
        r = pcg32_next(g);
    while (r < threshold);
    return r % bound;
}

double pcg32_double(struct pcg32 *g)
{
    uint64_t hi = pcg32_next(g), lo = pcg32_next(g);

    return (double)((hi << 32 | lo) >> 11) * 0x1p-53;
}

double pcg32_normal(struct pcg32 *g)
{
    double u = 1.0 - pcg32_double(g), v = pcg32_double(g);

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
