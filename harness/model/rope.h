/* Rotary position embedding tables. */
#ifndef DUO_MODEL_ROPE_H
#define DUO_MODEL_ROPE_H

#include "harness/model/config.h"

/* Fills inv_freq[0 .. head_dim/2): theta^(-2i/d), scaled as the config says. llama3: wavelengths
 * 2 pi / f longer than original/low_freq_factor are divided by factor, shorter than
 * original/high_freq_factor kept, between them interpolated linearly in original/wavelength. */
void rope_frequencies(const struct llama_config *c, float *inv_freq);

/* Fills out (n_positions x head_dim): per position head_dim/2 cosines, then as many sines of
 * position * inv_freq, the angle rounded to float as the reference implementation does. */
void rope_table(const struct llama_config *c, size_t n_positions, float *out);

#endif
