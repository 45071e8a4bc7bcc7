/* What the attention kernels share: the work of a block, and the choice of the kernel. */
#ifndef DUO_BACKEND_CUDA_ATTENTION_CUH
#define DUO_BACKEND_CUDA_ATTENTION_CUH

#include "harness/backend/cuda/device.cuh"

/* By value; pointers as in struct batch_layout, pages as kv_write.cu lays them out. */
struct attention_args {
    void *out;       /* rows x n_heads d */
    const void *qkv; /* rows x ld */
    const void *k, *v;
    const float *cos_sin; /* positions x d, or NULL: queries do not turn */
    const int32_t *seg_row, *seg_pos, *seg_page, *pages;
    unsigned n_segments, n_heads, n_kv, d, ld;
    float factor; /* 1 / sqrt(d) */
};

/* Queries [row, row + n) of the batch, at positions pos, pos + 1, ...; n <= 0: no work. */
struct tile {
    int row, n, pos;
    const int32_t *pages;
};

/* Tiles of up to Q queries, of one segment each, are numbered so that segment s begins at tile
 * seg_row[s] / Q + s: that leaves room for ceil(length / Q) tiles in every segment, and a bisection
 * finds a tile's segment without any list. Some numbers stay empty. */
static inline unsigned n_tiles(const struct batch_layout *b, unsigned q)
{
    return (unsigned)(b->n_rows / q + b->n_segments);
}

#ifdef __CUDACC__
template <int Q>
__device__ __forceinline__ struct tile find_tile(const attention_args &a, int number)
{
    int lo = 0, hi = (int)a.n_segments - 1, first, begin;

    while (lo < hi) {
        int mid = (lo + hi + 1) / 2;

        if (a.seg_row[mid] / Q + mid <= number)
            lo = mid;
        else
            hi = mid - 1;
    }
    begin = a.seg_row[lo];
    first = (number - (begin / Q + lo)) * Q;
    return {begin + first, min(Q, a.seg_row[lo + 1] - begin - first), a.seg_pos[lo] + first,
            a.pages + a.seg_page[lo]};
}

/* The pair (a, b) turned by the cosine c and the sine s, rounded to T. Spelled out, so that the
 * compiler's choice of what to fuse is the same everywhere. */
template <typename T> __device__ __forceinline__ void turn(T &a, T &b, float c, float s)
{
    float x = to_f32(a), y = to_f32(b);

    a = from_f32<T>(__fmaf_rn(-y, s, __fmul_rn(x, c)));
    b = from_f32<T>(__fmaf_rn(x, s, __fmul_rn(y, c)));
}

/* N pairs of which a are the first halves and b the second; cs: the position's row of cos_sin, from
 * the first pair's cosine on; apart: d / 2. */
template <typename T, int N>
__device__ __forceinline__ void turn_pairs(vec<T, N> &a, vec<T, N> &b, const float *cs,
                                           unsigned apart)
{
    const vec<float, N> c = *(const vec<float, N> *)cs, s = *(const vec<float, N> *)(cs + apart);

#pragma unroll
    for (int i = 0; i < N; i++)
        turn(a.v[i], b.v[i], c.v[i], s.v[i]);
}
#endif

/* Pages for attention_wgmma.cu: per head, columns in groups of 64; a group is 16 rows of 128 bytes
 * whose 16-byte words are permuted, word w of row r at w ^ (r % 8), as the matrix units read them.
 */
static inline bool pages_are_tiled(struct device *dev, enum dtype t, size_t d)
{
    return cuda_dev(dev)->sm == 90 && t != DTYPE_F32 && (d == 64 || d == 128);
}

/* attention_wgmma.cu: tiled pages. attention_mma.cu: f16 or bf16, d a multiple of 8 up to 128.
 * attention_plain.cu: anything else. */
void attention_wgmma(struct device *dev, enum dtype t, const struct attention_args *a,
                     const struct batch_layout *b);
void attention_mma(struct device *dev, enum dtype t, const struct attention_args *a,
                   const struct batch_layout *b);
void attention_plain(struct device *dev, enum dtype t, const struct attention_args *a,
                     const struct batch_layout *b);

#endif
