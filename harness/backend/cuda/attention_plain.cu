/* Causal attention over pages on the FMA units: float32, and head sizes that the matrix units'
 * kernel does not take. Also the entry for both.
 *
 * For small models and for tests: no attempt at speed.
 *
 * One block: 16 queries of one segment and head, a warp 4 of them. Keys pass in chunks of 32 at
 * absolute positions through shared memory; for the scores a lane owns a key, for the values it
 * owns the dimensions lane, lane + 32, ... The running maximum and sum are per query; a masked key
 * weighs exactly 0, so a row's bits depend on its query and keys alone. */
#include <math.h>

#include "harness/backend/cuda/attention.cuh"

#define QUERIES 16
#define WARPS 4
#define PER_WARP (QUERIES / WARPS)
#define KEYS 32
#define MAX_D 256

/* keys: KEYS x (d + 1) floats: the positions [at, at + KEYS) that exist (below end), else 0. */
template <typename T>
__device__ void load_keys(float *keys, const T *store, const attention_args &a, unsigned kv_head,
                          const int32_t *pages, int at, int end)
{
    for (unsigned i = threadIdx.x; i < KEYS * a.d; i += blockDim.x) {
        unsigned r = i / a.d, j = i % a.d;
        int p = at + (int)r;
        float x = 0;

        if (p < end)
            x = to_f32(
                store[(((size_t)pages[p / KV_PAGE] * a.n_kv + kv_head) * KV_PAGE + p % KV_PAGE) *
                          a.d +
                      j]);
        keys[r * (a.d + 1) + j] = x;
    }
}

/* q: t.n x d floats, turned. d is even. */
template <typename T>
__device__ void load_queries(float *q, const attention_args &a, const struct tile &t, unsigned head)
{
    const unsigned apart = a.d / 2;

    for (unsigned i = threadIdx.x; i < (unsigned)t.n * apart; i += blockDim.x) {
        unsigned r = i / apart, j = i % apart;
        const T *from = (const T *)a.qkv + (size_t)(t.row + r) * a.ld + head * a.d + j;
        T x = from[0], y = from[apart];

        if (a.cos_sin) {
            const float *cs = a.cos_sin + (size_t)(t.pos + r) * a.d + j;

            turn(x, y, cs[0], cs[apart]);
        }
        q[r * a.d + j] = to_f32(x);
        q[r * a.d + apart + j] = to_f32(y);
    }
}

template <typename T> __global__ void attend_plain(const attention_args a)
{
    extern __shared__ float shared[];
    float *q = shared, *k = q + QUERIES * a.d, *v = k + KEYS * (a.d + 1);
    const struct tile t = find_tile<QUERIES>(a, (int)(gridDim.y - 1 - blockIdx.y));
    const unsigned head = blockIdx.x, kv_head = head * a.n_kv / a.n_heads;
    const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * PER_WARP, end = t.pos + t.n;
    float o[PER_WARP][MAX_D / 32] = {}, top[PER_WARP], sum[PER_WARP] = {};

    if (t.n <= 0)
        return;
    for (int i = 0; i < PER_WARP; i++)
        top[i] = -1e30f;
    load_queries<T>(q, a, t, head);
    for (int at = 0; at < end; at += KEYS) {
        __syncthreads();
        load_keys(k, (const T *)a.k, a, kv_head, t.pages, at, end);
        load_keys(v, (const T *)a.v, a, kv_head, t.pages, at, end);
        __syncthreads();
        for (int i = 0; i < PER_WARP && first + i < t.n; i++) {
            const float *qi = q + (first + i) * a.d;
            int pos = t.pos + first + i;
            float s = 0, m, p, scale;

            if (at > pos)
                continue;
            for (unsigned j = 0; j < a.d; j++)
                s += qi[j] * k[lane * (a.d + 1) + j];
            s = at + lane <= pos ? s * a.factor : -INFINITY;
            m = s;
            for (int x = 16; x; x >>= 1)
                m = fmaxf(m, __shfl_xor_sync(~0u, m, x));
            m = fmaxf(m, top[i]);
            p = expf(s - m);
            scale = expf(top[i] - m);
            top[i] = m;
            sum[i] = sum[i] * scale + warp_sum(p);
#pragma unroll
            for (int c = 0; c < MAX_D / 32; c++)
                o[i][c] *= scale;
            for (int key = 0; key < KEYS; key++) {
                float w = __shfl_sync(~0u, p, key);

#pragma unroll
                for (int c = 0; c < MAX_D / 32; c++)
                    if (lane + 32 * c < (int)a.d)
                        o[i][c] += w * v[key * (a.d + 1) + lane + 32 * c];
            }
        }
    }
    for (int i = 0; i < PER_WARP && first + i < t.n; i++)
#pragma unroll
        for (int c = 0; c < MAX_D / 32; c++)
            if (lane + 32 * c < (int)a.d)
                ((T *)a
                     .out)[((size_t)(t.row + first + i) * a.n_heads + head) * a.d + lane + 32 * c] =
                    from_f32<T>(o[i][c] / sum[i]);
}

void attention_plain(struct device *dev, enum dtype t, const struct attention_args *a,
                     const struct batch_layout *b)
{
    size_t shared = (QUERIES * a->d + 2 * KEYS * (a->d + 1)) * sizeof(float);
    dim3 grid(a->n_heads, n_tiles(b, QUERIES));

    with_type(t, [&](auto z) {
        using T = decltype(z);
        CU(cudaFuncSetAttribute(attend_plain<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)shared));
        attend_plain<T><<<grid, 32 * WARPS, shared, stream_of(dev)>>>(*a);
    });
    LAUNCHED("attention");
}

void cuda_attention(struct device *dev, struct tensor out, struct tensor qkv, struct kv_layer kv,
                    struct attention_shape shape, struct tensor cos_sin,
                    const struct batch_layout *b, const struct act_rule *rule)
{
    struct attention_args a;

    if (b->n_rows == 0)
        return;
    if (shape.head_dim > MAX_D || shape.head_dim % 2)
        die("CUDA: head size %zu; even sizes up to %d are supported", shape.head_dim, MAX_D);
    a.out = out.data;
    a.qkv = qkv.data;
    a.k = kv.k;
    a.v = kv.v;
    a.cos_sin = (const float *)cos_sin.data;
    a.seg_row = b->seg_row;
    a.seg_pos = b->seg_pos;
    a.seg_page = b->seg_page;
    a.pages = b->pages;
    a.n_segments = (unsigned)b->n_segments;
    a.n_heads = (unsigned)shape.n_heads;
    a.n_kv = (unsigned)shape.n_kv_heads;
    a.d = (unsigned)shape.head_dim;
    a.ld = (unsigned)qkv.cols;
    a.factor = 1.0f / sqrtf((float)shape.head_dim);
    if (pages_are_tiled(dev, qkv.dtype, a.d))
        attention_wgmma(dev, qkv.dtype, &a, b);
    else if (qkv.dtype != DTYPE_F32 && a.d % 8 == 0 && a.d <= 128)
        attention_mma(dev, qkv.dtype, &a, b);
    else
        attention_plain(dev, qkv.dtype, &a, b);
    if (rule && rule->kind != ACT_DENSE)
        cuda_sparsify(dev, out, out, rule);
}
