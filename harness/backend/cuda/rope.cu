/* Rotary embedding, and the paged key/value store.
 *
 * A page holds n_kv x KV_PAGE x d elements, keys and values alike: sixteen positions of one head
 * are one run of memory, row by row or in the tiles of attention.cuh.
 *
 * NVIDIA H100 80GB, f16, 8192 rows, 32 heads of 128 (copy 3020 GB/s): rope 2767 GB/s, kv_write
 * 2695 GB/s. */
#include "harness/backend/cuda/attention.cuh"

#define THREADS 256

/* N pairs (i, i + d/2) a thread; qkv: rows x ld, cos_sin: positions x d. One block per row. */
template <typename T, int N>
__global__ void rope(T *qkv, const float *cos_sin, const int32_t *positions, unsigned ld,
                     unsigned heads, unsigned d)
{
    const unsigned half = d / 2, per_head = half / N;
    const float *c = cos_sin + (size_t)positions[blockIdx.x] * d;

    for (unsigned i = threadIdx.x; i < heads * per_head; i += blockDim.x) {
        unsigned head = i / per_head, j = i % per_head * N;
        T *x = qkv + (size_t)blockIdx.x * ld + head * d + j;
        vec<T, N> a = *(vec<T, N> *)x, b = *(vec<T, N> *)(x + half);
        vec<float, N> co = *(const vec<float, N> *)(c + j);
        vec<float, N> si = *(const vec<float, N> *)(c + half + j);

        for (int n = 0; n < N; n++) {
            float p = to_f32(a.v[n]), q = to_f32(b.v[n]);

            a.v[n] = from_f32<T>(p * co.v[n] - q * si.v[n]);
            b.v[n] = from_f32<T>(q * co.v[n] + p * si.v[n]);
        }
        *(vec<T, N> *)x = a;
        *(vec<T, N> *)(x + half) = b;
    }
}

void cuda_rope(struct device *dev, struct tensor qkv, struct attention_shape shape,
               struct tensor cos_sin, const int32_t *positions)
{
    unsigned heads = (unsigned)(shape.n_heads + shape.n_kv_heads), d = (unsigned)shape.head_dim;
    unsigned ld = (unsigned)qkv.cols;

    if (qkv.rows == 0)
        return;
    with_type(qkv.dtype, [&](auto t) {
        using T = decltype(t);
        const float *c = (const float *)cos_sin.data;

        if (d % 16 == 0) /* then every head and the row begin at 16 bytes */
            rope<T, 8><<<(unsigned)qkv.rows, THREADS, 0, stream_of(dev)>>>((T *)qkv.data, c,
                                                                           positions, ld, heads, d);
        else
            rope<T, 1><<<(unsigned)qkv.rows, THREADS, 0, stream_of(dev)>>>((T *)qkv.data, c,
                                                                           positions, ld, heads, d);
    });
    LAUNCHED("rope");
}

/* k, v: pages x n_kv x KV_PAGE x d; qkv: rows x ld, of which columns [k_at, k_at + 2 n_kv d) are
 * keys and values. One block per copy; W: uint4 (16 bytes) or T, d_w of them per head. TILED: as
 * attention.cuh says. */
template <typename W, bool TILED>
__global__ void kv_write(W *k, W *v, const W *qkv, const int32_t *copy_row,
                         const int32_t *copy_slot, unsigned ld, unsigned k_at, unsigned n_kv,
                         unsigned d_w)
{
    const W *from = qkv + (size_t)copy_row[blockIdx.x] * ld + k_at;
    size_t page = (size_t)copy_slot[blockIdx.x] / KV_PAGE;
    unsigned at = (unsigned)copy_slot[blockIdx.x] % KV_PAGE;

    for (unsigned i = threadIdx.x; i < 2 * n_kv * d_w; i += blockDim.x) {
        unsigned head = i / d_w % n_kv, j = i % d_w;
        W *store = i < n_kv * d_w ? k : v;
        size_t to = (page * n_kv + head) * KV_PAGE * d_w;

        to += TILED ? (j / 8 * KV_PAGE + at) * 8 + ((j ^ at) & 7) : at * d_w + j;
        store[to] = from[i];
    }
}

void cuda_kv_write(struct device *dev, struct kv_layer kv, struct tensor qkv,
                   struct attention_shape shape, const struct batch_layout *b)
{
    size_t e = dtype_size(qkv.dtype), d = shape.head_dim, k_at = shape.n_heads * d;
    unsigned n = (unsigned)b->n_copies;
    size_t word = d * e % 16 == 0 ? 16 : e;

    if (n == 0)
        return;
#define WRITE(W, TILED)                                                                            \
    kv_write<W, TILED><<<n, THREADS, 0, stream_of(dev)>>>(                                         \
        (W *)kv.k, (W *)kv.v, (const W *)qkv.data, b->copy_row, b->copy_slot,                      \
        (unsigned)(qkv.cols * e / word), (unsigned)(k_at * e / word), (unsigned)shape.n_kv_heads,  \
        (unsigned)(d * e / word))
    if (pages_are_tiled(dev, qkv.dtype, d))
        WRITE(uint4, true);
    else if (word == 16)
        WRITE(uint4, false);
    else if (word == 4)
        WRITE(uint32_t, false);
    else
        WRITE(uint16_t, false);
#undef WRITE
    LAUNCHED("kv_write");
}
