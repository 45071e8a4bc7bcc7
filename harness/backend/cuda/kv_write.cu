/* The paged key/value store; keys turn on their way into it.
 *
 * A page holds n_kv x KV_PAGE x d elements, keys and values alike: sixteen positions of one head
 * are one run of memory, row by row or in the tiles of attention.cuh.
 *
 * NVIDIA H100 80GB, f16, 8192 rows, 32 heads of 128 (copy 3020 GB/s): kv_write 2695 GB/s. */
#include "harness/backend/cuda/attention.cuh"

#define THREADS 256

/* k, v: pages x n_kv x KV_PAGE x d; row, at its end, a row's keys and values: n_kv d each. Thread i
 * moves N elements a time; a key's go with those half a head away. TILED: as attention.cuh says. */
template <typename T, int N, bool TILED>
__global__ void kv_write(T *k, T *v, const T *qkv, const float *cos_sin, const int32_t *positions,
                         const int32_t *copy_row, const int32_t *copy_slot, unsigned ld,
                         unsigned k_at, unsigned n_kv, unsigned d)
{
    const unsigned row = (unsigned)copy_row[blockIdx.x], slot = (unsigned)copy_slot[blockIdx.x];
    const unsigned at = slot % KV_PAGE, apart = d / 2, words = apart / N, n = n_kv * words;
    const T *from = qkv + (size_t)row * ld + k_at;
    const float *cs = cos_sin ? cos_sin + (size_t)positions[row] * d : NULL;
    auto place = [&](T *store, unsigned head, unsigned j) {
        T *page = store + ((size_t)slot / KV_PAGE * n_kv + head) * KV_PAGE * d;

        return (vec<T, N> *)(TILED ? page + (j / 64 * KV_PAGE + at) * 64 + ((j / 8 ^ at) & 7) * 8
                                   : page + at * d + j);
    };

    for (unsigned i = threadIdx.x; i < 2 * n; i += blockDim.x) {
        const bool is_key = i < n;
        const unsigned head = i / words % n_kv, j = i % words * N;
        const T *x = from + (is_key ? 0 : n_kv * d) + head * d + j;
        vec<T, N> a = *(const vec<T, N> *)x, b = *(const vec<T, N> *)(x + apart);

        if (is_key && cs)
            turn_pairs(a, b, cs + j, apart);
        *place(is_key ? k : v, head, j) = a;
        *place(is_key ? k : v, head, j + apart) = b;
    }
}

void cuda_kv_write(struct device *dev, struct kv_layer kv, struct tensor qkv,
                   struct attention_shape shape, struct tensor cos_sin,
                   const struct batch_layout *b)
{
    unsigned n = (unsigned)b->n_copies, d = (unsigned)shape.head_dim;

    if (n == 0)
        return;
    with_type(qkv.dtype, [&](auto t) {
        using T = decltype(t);
        auto write = [&](auto kernel) {
            kernel<<<n, THREADS, 0, stream_of(dev)>>>(
                (T *)kv.k, (T *)kv.v, (const T *)qkv.data, (const float *)cos_sin.data,
                b->positions, b->copy_row, b->copy_slot, (unsigned)qkv.cols,
                (unsigned)shape.n_heads * d, (unsigned)shape.n_kv_heads, d);
        };

        if (pages_are_tiled(dev, qkv.dtype, d))
            write(kv_write<T, 8, true>);
        else if (d % 16 == 0) /* then half a head and every row begin at 16 bytes */
            write(kv_write<T, 8, false>);
        else
            write(kv_write<T, 1, false>);
    });
    LAUNCHED("kv_write");
}
