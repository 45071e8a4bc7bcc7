/* MT19937 as CPython uses it. */
#include "harness/base/mt19937.h"

#define N 624
#define M 397

static void init_genrand(struct mt19937 *g, uint32_t s)
{
    g->state[0] = s;
    for (uint32_t i = 1; i < N; i++)
        g->state[i] = 1812433253u * (g->state[i - 1] ^ (g->state[i - 1] >> 30)) + i;
    g->at = N;
}

void mt19937_init(struct mt19937 *g, uint64_t seed)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, *s = g->state;
    uint32_t n_key = key[1] ? 2 : 1, i = 1, j = 0;

    init_genrand(g, 19650218u);
    for (int k = 0; k < N; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + key[j] + j;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
        j = (j + 1) % n_key;
    }
    for (int k = 0; k < N - 1; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000u;
}

static void twist(uint32_t *s)
{
    for (int k = 0; k < N; k++) {
        uint32_t y = (s[k] & 0x80000000u) | (s[(k + 1) % N] & 0x7fffffffu);

        s[k] = s[(k + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
}

uint32_t mt19937_next(struct mt19937 *g)
{
    uint32_t y;

    if (g->at == N) {
        twist(g->state);
        g->at = 0;
    }
    y = g->state[g->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

uint32_t mt19937_below(struct mt19937 *g, uint32_t n)
{
    int bits = 32 - __builtin_clz(n);
    uint32_t r;

    do
        r = mt19937_next(g) >> (32 - bits);
    while (r >= n);
    return r;
}
