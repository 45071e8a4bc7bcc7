/* Eight float lanes by the compiler's vector extension (any architecture), and exp over them. */
#ifndef DUO_BACKEND_CPU_VEC_H
#define DUO_BACKEND_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

/* For a loop that sees the calling thread's memory alone: told of each of its accesses,
 * ThreadSanitizer does little else. */
#define UNSHARED __attribute__((no_sanitize_thread))

static inline __attribute__((always_inline)) v8f v8_load(const float *p)
{
    v8f v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline __attribute__((always_inline)) void v8_store(float *p, v8f v)
{
    memcpy(p, &v, sizeof(v));
}

static inline v8f v8_set(float x)
{
    return (v8f){x, x, x, x, x, x, x, x};
}

/* Lane by lane: a where mask is -1, b where it is 0 (masks come from comparisons). */
static inline v8f v8_select(v8i mask, v8f a, v8f b)
{
    return (v8f)(((v8i)a & mask) | ((v8i)b & ~mask));
}

static inline v8f v8_max(v8f a, v8f b)
{
    return v8_select(a > b, a, b);
}

static inline v8f v8_min(v8f a, v8f b)
{
    return v8_select(a < b, a, b);
}

/* Sum and maximum of the lanes in a fixed order. */
static inline float v8_sum(v8f v)
{
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

static inline float v8_hmax(v8f v)
{
    float m = v[0];

    for (int i = 1; i < 8; i++)
        m = v[i] > m ? v[i] : m;
    return m;
}

/* e^x, relative error below 2e-7 in [-87, 88]; clamped outside; exactly 1 at 0. x = n ln 2 + r,
 * |r| <= ln 2 / 2, and the Taylor-like minimax polynomial of Cephes' expf for e^r. */
static inline v8f v8_exp(v8f x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    v8f n, r, p;
    v8i bits;

    x = v8_min(v8_max(x, v8_set(-87.0f)), v8_set(88.0f));
    n = x * 1.44269504088896341f + magic;
    memcpy(&bits, &n, sizeof(bits));
    n -= magic;
    r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    bits = (bits - 0x4b400000 + 127) << 23;
    memcpy(&r, &bits, sizeof(r));
    return p * r;
}

#endif
