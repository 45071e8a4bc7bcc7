/* Quantiles of |x| from a histogram of fixed size, filled in one pass.
 *
 * A bin holds the magnitudes with the same exponent and the same 12 leading bits of fraction. It
 * holds one value where x was f16 or bf16, so the quantile is then exact; where x was f32 it holds
 * values that differ by less than 2^-12 of themselves. */
#ifndef DUO_MEASURE_ACT_HISTOGRAM_H
#define DUO_MEASURE_ACT_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "harness/backend/backend.h"

#define ACT_BINS ((size_t)1 << 20)

struct act_histogram {
    uint64_t *count; /* ACT_BINS */
    uint64_t n;      /* values */
};

void act_histogram_init(struct act_histogram *h);
void act_histogram_clear(struct act_histogram *h);
void act_histogram_release(struct act_histogram *h);

/* Adds the values of x, which lies on the device. */
void act_histogram_add(struct act_histogram *h, struct device *dev, struct tensor x);

/* The lower end of the bin of the floor(n s)-th smallest magnitude (0-based): "|x| >= threshold" as
 * top-k has it, over all values at once. Drops at most the share s, and less by at most what the
 * bin holds. 0 <= s < 1; NaN or infinite if so many values are, 0
 * without any. */
float act_quantile(const struct act_histogram *h, double s);

/* The share of the values that are below a threshold of act_quantile(). */
double act_share_below(const struct act_histogram *h, float threshold);

#endif
