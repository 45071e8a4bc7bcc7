/* Exact order statistics of floats, by counting the leading bits (radix select). */
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"

/* Order-preserving map of floats to unsigned integers (-0 just below +0, then made equal). */
static uint32_t key_of(float x)
{
    uint32_t b;

    x += 0.0f; /* -0 becomes +0, so that equal values have equal keys */
    memcpy(&b, &x, sizeof(b));
    return b & 0x80000000u ? ~b : b | 0x80000000u;
}

static float value_of(uint32_t key)
{
    uint32_t b = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float x;

    memcpy(&x, &b, sizeof(x));
    return x;
}

float cpu_kth_smallest(const float *v, size_t n, size_t idx)
{
    static const int shift[] = {21, 10, 0};
    static const uint32_t digit[] = {0x7ff, 0x7ff, 0x3ff};
    uint32_t prefix = 0, mask = 0;
    size_t *count = xmalloc(2048 * sizeof(*count));

    for (int pass = 0; pass < 3; pass++) {
        uint32_t d = 0;

        memset(count, 0, 2048 * sizeof(*count));
        for (size_t i = 0; i < n; i++) {
            uint32_t key = key_of(v[i]);

            count[key >> shift[pass] & digit[pass]] += (key & mask) == prefix;
        }
        for (; idx >= count[d]; d++)
            idx -= count[d];
        prefix |= d << shift[pass];
        mask |= digit[pass] << shift[pass];
    }
    free(count);
    return value_of(prefix);
}
