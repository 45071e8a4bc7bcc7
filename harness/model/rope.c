/* Rotary position embedding tables. */
#include "harness/model/rope.h"

#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"

/* Long wavelengths divided by factor, short ones kept, the middle interpolated. */
static float llama3_scaled(const struct llama_config *c, float f)
{
    const float original = (float)c->rope.original_max_positions, factor = (float)c->rope.factor;
    const float low = (float)c->rope.low_freq_factor, high = (float)c->rope.high_freq_factor;
    float wavelength = 6.2831855f / f, smooth;

    if (wavelength > original / low)
        return f / factor;
    if (wavelength < original / high)
        return f;
    smooth = (original / wavelength - low) / (high - low);
    return (1 - smooth) * f / factor + smooth * f;
}

void rope_frequencies(const struct llama_config *c, float *inv_freq)
{
    /* In float, step by step as the reference implementation: one unit in the last place of a
     * frequency is an angle of 1e-4 at position 2000, which top-k turns into other channels. */
    for (size_t i = 0; i < c->head_dim / 2; i++) {
        float exponent = (float)(2 * i) / (float)c->head_dim;
        float f = 1.0f / (float)pow(c->rope.theta, (double)exponent);

        if (c->rope.type == ROPE_LINEAR)
            f /= (float)c->rope.factor;
        else if (c->rope.type == ROPE_LLAMA3)
            f = llama3_scaled(c, f);
        inv_freq[i] = f;
    }
}

void rope_table(const struct llama_config *c, size_t n_positions, float *out)
{
    size_t half = c->head_dim / 2;
    float *inv_freq = xmalloc(half * sizeof(*inv_freq));

    rope_frequencies(c, inv_freq);
    for (size_t p = 0; p < n_positions; p++)
        for (size_t i = 0; i < half; i++) {
            float angle = (float)p * inv_freq[i];

            out[p * c->head_dim + i] = (float)cos((double)angle);
            out[p * c->head_dim + half + i] = (float)sin((double)angle);
        }
    free(inv_freq);
}
