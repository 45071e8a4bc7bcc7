/* Rotary position embedding tables. */
#include "harness/model/rope.h"

#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"

void rope_frequencies(const struct llama_config *c, float *inv_freq)
{
    const double two_pi = 6.283185307179586;

    for (size_t i = 0; i < c->head_dim / 2; i++) {
        double f = 1.0 / pow(c->rope.theta, 2.0 * (double)i / (double)c->head_dim);

        if (c->rope.type == ROPE_LINEAR) {
            f /= c->rope.factor;
        } else if (c->rope.type == ROPE_LLAMA3) {
            double turns = c->rope.original_max_positions * f / two_pi;
            double low = c->rope.low_freq_factor, high = c->rope.high_freq_factor;
            double smooth = (turns - low) / (high - low);

            smooth = smooth < 0 ? 0 : smooth > 1 ? 1 : smooth;
            f = (1 - smooth) * f / c->rope.factor + smooth * f;
        }
        inv_freq[i] = (float)f;
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
