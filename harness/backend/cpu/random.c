/* Constant and random content. */
#include "harness/backend/cpu/cpu.h"

#include "harness/base/rng.h"

void cpu_fill(struct device *dev, struct tensor t, float value)
{
    (void)dev;
    for (size_t i = 0; i < tensor_numel(t); i++)
        cpu_store(t, i, value);
}

/* Sum of 2 b - 255 over the four bytes of r. */
static int centred_bytes(uint32_t r)
{
    return 2 * (int)((r & 255) + (r >> 8 & 255) + (r >> 16 & 255) + (r >> 24)) - 4 * 255;
}

void cpu_fill_normal(struct device *dev, struct tensor t, float stddev, uint64_t seed,
                     uint64_t stream)
{
    float unit = stddev / NORMAL_BYTES_STDDEV;
    struct pcg32 g;

    (void)dev;
    pcg32_init(&g, seed, stream);
    for (size_t i = 0; i < tensor_numel(t); i++) {
        int sum = centred_bytes(pcg32_next(&g));
        uint32_t r = pcg32_next(&g);

        sum += centred_bytes(r & 0xffffff) + 255; /* three bytes: the fourth is 0 */
        cpu_store(t, i, (float)sum * unit);
    }
}
