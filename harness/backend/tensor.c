/* Element types. */
#include "harness/backend/tensor.h"

#include <string.h>

size_t dtype_size(enum dtype t)
{
    return t == DTYPE_F32 ? 4 : 2;
}

const char *dtype_name(enum dtype t)
{
    static const char *const names[] = {"f32", "f16", "bf16"};

    return names[t];
}

struct tensor tensor_rows(struct tensor t, size_t first, size_t n)
{
    t.data = (char *)t.data + first * t.cols * dtype_size(t.dtype);
    t.rows = n;
    return t;
}

static float bits_to_float(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

static uint32_t float_to_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

float bf16_to_f32(uint16_t h)
{
    return bits_to_float((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t b = float_to_bits(f);

    if ((b & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(b >> 16 | 0x40);
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, mant = h & 0x3ff;

    if (exp == 31)
        return bits_to_float(sign | 0x7f800000 | mant << 13);
    if (exp == 0) { /* zero or subnormal: mant * 2^-24 is exact */
        float f = (float)mant * 0x1p-24f;

        return sign ? -f : f;
    }
    return bits_to_float(sign | (exp + 112) << 23 | mant << 13);
}

uint16_t f32_to_f16(float f)
{
    uint32_t b = float_to_bits(f), sign = b >> 16 & 0x8000, a = b & 0x7fffffff;

    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (a >= 0x477ff000) /* rounds past 65504 */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) { /* below 2^-14: let the adder of 0.5 round to a multiple of 2^-24 */
        float r = bits_to_float(a) + 0.5f;

        return (uint16_t)(sign | (float_to_bits(r) - 0x3f000000));
    }
    return (uint16_t)(sign | (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13);
}
