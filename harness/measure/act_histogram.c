/* Histograms of magnitudes. */
#include "harness/measure/act_histogram.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

#define SHIFT 11 /* bits of a float's fraction that a bin does not tell apart */

void act_histogram_init(struct act_histogram *h)
{
    h->count = xcalloc(ACT_BINS, sizeof(*h->count));
    h->n = 0;
}

void act_histogram_clear(struct act_histogram *h)
{
    memset(h->count, 0, ACT_BINS * sizeof(*h->count));
    h->n = 0;
}

void act_histogram_release(struct act_histogram *h)
{
    free(h->count);
    *h = (struct act_histogram){0};
}

/* The order of the bits of |x| is that of the magnitudes. */
static size_t bin_of(float x)
{
    uint32_t b;

    memcpy(&b, &x, sizeof(b));
    return (b & 0x7fffffff) >> SHIFT;
}

static float lower_end(size_t bin)
{
    uint32_t b = (uint32_t)bin << SHIFT;
    float x;

    memcpy(&x, &b, sizeof(x));
    return x;
}

void act_histogram_add(struct act_histogram *h, struct device *dev, struct tensor x)
{
    size_t n = tensor_numel(x);
    void *host = xmalloc(tensor_nbytes(x) + 1);
    const uint16_t *half = host;

    dev->ops->download(dev, host, x.data, tensor_nbytes(x));
    if (x.dtype == DTYPE_F32)
        for (size_t i = 0; i < n; i++)
            h->count[bin_of(((const float *)host)[i])]++;
    else if (x.dtype == DTYPE_F16)
        for (size_t i = 0; i < n; i++)
            h->count[bin_of(f16_to_f32(half[i]))]++;
    else
        for (size_t i = 0; i < n; i++)
            h->count[bin_of(bf16_to_f32(half[i]))]++;
    h->n += n;
    free(host);
}

float act_quantile(const struct act_histogram *h, double s)
{
    size_t idx = sparsity_index(h->n, s), bin = 0;

    while (h->n && idx >= h->count[bin])
        idx -= h->count[bin++];
    return lower_end(bin);
}

double act_share_below(const struct act_histogram *h, float threshold)
{
    uint64_t n = 0;

    for (size_t bin = 0; bin < bin_of(threshold); bin++)
        n += h->count[bin];
    return h->n ? (double)n / (double)h->n : 0;
}
