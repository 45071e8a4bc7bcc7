/* Causal attention over pages on the matrix units (mma m16n8k16, f32 accumulation), for f16 and
 * bf16: out = softmax(q k^T / sqrt(d)) v without the scores ever in memory.
 *
 * One block of 4 warps: 128 queries of one segment and one head; a warp owns 32 of them, two tiles
 * of 16, so that a fragment of keys or values serves two products. Keys pass in blocks of 64, four
 * pages, at absolute positions, from the first to the diagonal. Queries, keys and values lie in
 * shared memory in rows padded by 16 bytes (no bank conflicts for ldmatrix); values load while
 * scores are made, the next keys while values are used. The output accumulates in registers.
 *
 * Every product of a row walks its keys in the same order wherever its query lies in a tile, and a
 * masked key weighs exactly 0: a row's bits depend on its query and keys alone. Weights are
 * 2^x by ex2.approx (relative error 2^-22) and rounded to T for the product with the values.
 *
 * NVIDIA H100 80GB, f16, 4 x 2048 causal, 32 heads of 128: 190 TFLOP/s; there attention_wgmma.cu
 * serves d = 64 and 128. */
#include "harness/backend/cuda/attention.cuh"

#define QUERIES 128
#define KEYS 64
#define WARPS 4
#define NO_KEY (-1e30f) /* a maximum below every score, finite so that differences are */

__device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* 16 bytes to shared memory, zeros if not valid. */
__device__ __forceinline__ void copy16(unsigned to, const void *from, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(valid ? 16 : 0));
}

__device__ __forceinline__ void copies_done()
{
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
}

__device__ __forceinline__ void load_matrices(unsigned (&r)[4], unsigned address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

__device__ __forceinline__ void load_matrices_t(unsigned (&r)[4], unsigned address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

/* c (16 x 8) += a (16 x 16) b (16 x 8) */
__device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                    __half)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                    __nv_bfloat16)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float exp2_fast(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Rows [0, ROWS) of a tile of d columns, padded to D, begin to load; row(r): where row r lies, or
 * NULL for zeros. */
template <int ROWS, int D, typename T, typename F>
__device__ __forceinline__ void load_tile(T *tile, unsigned d, F row)
{
    constexpr int CHUNKS = D / 8;

#pragma unroll
    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += 32 * WARPS) {
        int r = i / CHUNKS, c = i % CHUNKS;
        const T *from = row(r);

        copy16(shared_address(tile + r * (D + 8) + 8 * c), from ? from + 8 * c : NULL,
               from && 8 * c < (int)d);
    }
}

/* Turns the queries of a tile in place; d is a multiple of 8. */
template <int D, typename T>
__device__ __forceinline__ void turn_queries(T *q, const attention_args &a, const struct tile &t)
{
    const unsigned apart = a.d / 2, per_row = apart / 4;

    for (unsigned i = threadIdx.x; i < (unsigned)t.n * per_row; i += 32 * WARPS) {
        unsigned r = i / per_row, j = i % per_row * 4;
        T *x = q + r * (D + 8) + j;

        turn_pairs(*(vec<T, 4> *)x, *(vec<T, 4> *)(x + apart),
                   a.cos_sin + (size_t)(t.pos + r) * a.d + j, apart);
    }
}

/* A warp's part of the state: accumulator e of a fragment belongs to row lane / 4 + 8 * (e / 2) of
 * its tile of 16 and column 2 * (lane % 4) + e % 2 of its 8. */
template <int D> struct state {
    float o[2][D / 8][4];
    float top[2][2], sum[2][2]; /* per tile of 16 and half of it */
};

/* s = q k^T for 32 queries and 64 keys */
template <int D, typename T>
__device__ __forceinline__ void make_scores(float (&s)[2][KEYS / 8][4], const T *q, const T *k)
{
    const int lane = threadIdx.x % 32;
    const unsigned qa = shared_address(q + lane % 16 * (D + 8) + lane / 16 * 8);
    const unsigned ka = shared_address(k + (lane % 8 + lane / 16 * 8) * (D + 8) + lane / 8 % 2 * 8);

#pragma unroll
    for (int c = 0; c < D / 16; c++) {
        unsigned a[2][4], b[4];

        load_matrices(a[0], qa + 32 * c);
        load_matrices(a[1], qa + 32 * c + 16 * (D + 8) * 2);
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
            load_matrices(b, ka + 32 * c + n * 16 * (D + 8) * 2);
#pragma unroll
            for (int m = 0; m < 2; m++) {
                mma(s[m][2 * n], a[m], b[0], b[1], T());
                mma(s[m][2 * n + 1], a[m], b[2], b[3], T());
            }
        }
    }
}

/* Scores become weights, against the running maximum; earlier sums are scaled to the new one.
 * factor: log2(e) / sqrt(d). pos: position of the lane's first row; mask: some keys lie behind. */
template <int D>
__device__ __forceinline__ void softmax_step(struct state<D> &st, float (&s)[2][KEYS / 8][4],
                                             float factor, int at, int pos, bool mask)
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int last = pos + 16 * m + 8 * h - at - 2 * (lane % 4);
            float top = st.top[m][h], scale, sum = 0;

            if (mask)
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) {
                    s[m][n][2 * h] = 8 * n <= last ? s[m][n][2 * h] : -INFINITY;
                    s[m][n][2 * h + 1] = 8 * n + 1 <= last ? s[m][n][2 * h + 1] : -INFINITY;
                }
            float largest = -INFINITY;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
                largest = fmaxf(largest, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
            top = fmaxf(top, largest * factor);
            scale = exp2_fast(st.top[m][h] - top);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int e = 2 * h; e < 2 * h + 2; e++) {
                    s[m][n][e] = exp2_fast(fmaf(s[m][n][e], factor, -top));
                    sum += s[m][n][e];
                }
            st.top[m][h] = top;
            st.sum[m][h] = st.sum[m][h] * scale + sum;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                st.o[m][n][2 * h] *= scale;
                st.o[m][n][2 * h + 1] *= scale;
            }
        }
}

/* o += p v */
template <int D, typename T>
__device__ __forceinline__ void add_values(struct state<D> &st, const float (&p)[2][KEYS / 8][4],
                                           const T *v)
{
    const int lane = threadIdx.x % 32;
    const unsigned va = shared_address(v + (lane % 8 + lane / 8 % 2 * 8) * (D + 8) + lane / 16 * 8);

#pragma unroll
    for (int c = 0; c < KEYS / 16; c++) {
        unsigned a[2][4], b[4];

#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[m][i] =
                    pack(p[m][2 * c + i / 2][i % 2 * 2], p[m][2 * c + i / 2][i % 2 * 2 + 1], T());
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            load_matrices_t(b, va + c * 16 * (D + 8) * 2 + 32 * n);
#pragma unroll
            for (int m = 0; m < 2; m++) {
                mma(st.o[m][2 * n], a[m], b[0], b[1], T());
                mma(st.o[m][2 * n + 1], a[m], b[2], b[3], T());
            }
        }
    }
}

/* The warp's 32 rows: divided, to shared memory (its own rows of q), then out in runs of 16 bytes.
 */
template <int D, typename T>
__device__ __forceinline__ void write_rows(struct state<D> &st, T *q, const attention_args &a,
                                           const struct tile &t, unsigned head, int first)
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = st.sum[m][h];

            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                *(unsigned *)(q + (16 * m + 8 * h + lane / 4) * (D + 8) + 8 * n + lane % 4 * 2) =
                    pack(st.o[m][n][2 * h] / sum, st.o[m][n][2 * h + 1] / sum, T());
        }
    __syncwarp();
    for (int i = lane; i < 32 * (D / 8); i += 32) {
        int r = i / (D / 8), c = i % (D / 8) * 8;

        if (first + r < t.n && c < (int)a.d)
            *(uint4 *)((T *)a.out + ((size_t)(t.row + first + r) * a.n_heads + head) * a.d + c) =
                *(const uint4 *)(q + r * (D + 8) + c);
    }
}

template <typename T, int D>
__global__ void __launch_bounds__(32 * WARPS, 2) attend_mma(const attention_args a)
{
    extern __shared__ __align__(16) unsigned char shared[];
    T *q = (T *)shared, *k = q + QUERIES * (D + 8), *v = k + KEYS * (D + 8);
    const struct tile t = find_tile<QUERIES>(a, (int)(gridDim.y - 1 - blockIdx.y));
    const unsigned head = blockIdx.x, kv_head = head * a.n_kv / a.n_heads;
    const int first = threadIdx.x / 32 * 32, end = t.pos + t.n;
    const int pos = t.pos + first + threadIdx.x % 32 / 4; /* of the lane's first row */
    const float factor = a.factor * 1.4426950408889634f;
    struct state<D> st = {
    };

    if (t.n <= 0)
        return;
    auto page_row = [&](const void *store, int at) {
        return [&, store, at](int r) -> const T * {
            int p = at + r;

            if (p >= end)
                return NULL;
            return (const T *)store +
                   (((size_t)t.pages[p / KV_PAGE] * a.n_kv + kv_head) * KV_PAGE + p % KV_PAGE) *
                       a.d;
        };
    };
    load_tile<QUERIES, D>(q, a.d, [&](int r) -> const T * {
        return r < t.n ? (const T *)a.qkv + (size_t)(t.row + r) * a.ld + head * a.d : NULL;
    });
    load_tile<KEYS, D>(k, a.d, page_row(a.k, 0));
    if (a.cos_sin) {
        copies_done();
        turn_queries<D>(q, a, t);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        st.top[i / 2][i % 2] = NO_KEY;
    for (int at = 0; at < end; at += KEYS) {
        float s[2][KEYS / 8][4] = {};
        /* a warp whose queries all lie before these keys, or behind the segment, has nothing to do
         */
        const bool busy = at <= t.pos + first + 31 && first < t.n;

        copies_done();
        load_tile<KEYS, D>(v, a.d, page_row(a.v, at));
        if (busy)
            make_scores<D>(s, q + first * (D + 8), k);
        copies_done();
        if (at + KEYS < end)
            load_tile<KEYS, D>(k, a.d, page_row(a.k, at + KEYS));
        if (busy) {
            softmax_step(st, s, factor, at, pos, at + KEYS - 1 > t.pos + first);
            add_values<D>(st, s, v);
        }
    }
    write_rows<D>(st, q + first * (D + 8), a, t, head, first);
}

void attention_mma(struct device *dev, enum dtype t, const struct attention_args *a,
                   const struct batch_layout *b)
{
    dim3 grid(a->n_heads, n_tiles(b, QUERIES));

    auto launch = [&](auto z, auto width) {
        using T = decltype(z);
        constexpr int D = decltype(width)::value;
        int shared = (QUERIES + 2 * KEYS) * (D + 8) * (int)sizeof(T);

        CU(cudaFuncSetAttribute(attend_mma<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                shared));
        attend_mma<T, D><<<grid, 32 * WARPS, shared, stream_of(dev)>>>(*a);
    };
    auto by_width = [&](auto z) {
        if (a->d <= 32)
            launch(z, std::integral_constant<int, 32>{});
        else if (a->d <= 64)
            launch(z, std::integral_constant<int, 64>{});
        else if (a->d <= 96)
            launch(z, std::integral_constant<int, 96>{});
        else
            launch(z, std::integral_constant<int, 128>{});
    };
    if (t == DTYPE_F16)
        by_width(__half{});
    else
        by_width(__nv_bfloat16{});
    LAUNCHED("attention");
}
