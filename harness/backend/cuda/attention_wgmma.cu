/* Causal attention over tiled pages on Hopper's warpgroup products: f16 and bf16, d = 64 or 128.
 *
 * One block: 128 queries of one segment and one head. Warpgroups 0 and 1 own 64 queries each; a
 * warp of warpgroup 2 does nothing but start copies: keys and values, 128 positions at a time from
 * absolute positions on, three blocks of each in flight, a bulk copy of 2 KiB per page and 64
 * columns. Pages lie in memory the way the products read them, so nothing is rearranged. Scores of
 * block j+1 and the product of block j's weights with the values run while the exponentials are
 * taken.
 *
 * Every product of a row walks its keys in the same order wherever its query lies in a tile, and a
 * masked key weighs exactly 0 (positions behind the segment's end may hold anything: their values
 * are zeroed in shared memory): a row's bits depend on its query and keys alone. Weights are 2^x by
 * ex2.approx (relative error 2^-22), rounded to T for the product with the values.
 *
 * NVIDIA H100 80GB HBM3, f16, queries and keys of 128, with 32 heads: 384 TFLOP/s for 4 x 2048
 * causal (32 and 8 heads: 390), 514 for 1 x 8192 (a product of 8192^3 runs at 700); 64 heads of 64:
 * 286. What attention_mma.cu reaches there: 190. Taking turns is worth 6 %, queries all loaded
 * before any is turned 2.5 %, three stages instead of two 1 - 3 %. Blocks that stay and take tile
 * after tile, with the next tile's queries brought by the spare warps: 364, and 306 for heads
 * of 64. */
#include "harness/backend/cuda/attention.cuh"
#include "harness/backend/cuda/wgmma.cuh"

#define QUERIES 128
#define KEYS 128
#define STAGES 3
#define NO_KEY (-1e30f) /* a maximum below every score, finite so that differences are */

/* Shared memory, offsets in bytes from a 1024-byte boundary. */
template <int D> struct layout {
    static constexpr unsigned TILE = KEYS * D * 2, HALF_Q = 64 * 128, GROUP_Q = 64 * D * 2;
    static constexpr unsigned COLUMNS = KEYS * 128; /* bytes of a tile's 64 columns */
    static constexpr unsigned Q = 0, K = 2 * GROUP_Q, V = K + STAGES * TILE;
    static constexpr unsigned BARS = V + STAGES * TILE, SIZE = BARS + 8 * 4 * STAGES + 1024;
};

/* Where word w of query r lies in its group's queries. */
template <int D> __device__ __forceinline__ int query_word(int r, int w)
{
    return w / 8 * (int)layout<D>::HALF_Q + r * 128 + (w % 8 ^ r % 8) * 16;
}

/* Addresses of the counters: full and empty, for keys and values, per stage. */
struct counters {
    unsigned base;

    __device__ unsigned full(int values, int stage) const
    {
        return base + 8 * (2 * STAGES * 0 + values * STAGES + stage);
    }
    __device__ unsigned empty(int values, int stage) const
    {
        return base + 8 * (2 * STAGES * 1 + values * STAGES + stage);
    }
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ __forceinline__ float exp2_fast(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* One warp starts the copies of all blocks of keys and values, as stages become free. */
template <int D>
__device__ void copy_pages(const attention_args &a, const struct tile &t, unsigned kv_head,
                           unsigned shared, struct counters bars)
{
    using L = layout<D>;
    constexpr int PARTS = D / 64, RUN = KV_PAGE * 128;
    const int lane = threadIdx.x % 32, page = lane / PARTS, part = lane % PARTS, end = t.pos + t.n;

    for (int at = 0, j = 0; at < end; at += KEYS, j++) {
        const int stage = j % STAGES, round = j / STAGES;
        const int pages = min(KEYS / KV_PAGE, (end - at + KV_PAGE - 1) / KV_PAGE);
        const bool mine = page < pages;
        size_t from = 0;

        if (mine)
            from = ((size_t)t.pages[at / KV_PAGE + page] * a.n_kv + kv_head) * KV_PAGE * D * 2 +
                   part * RUN;
        for (int values = 0; values < 2; values++) {
            const unsigned tile = shared + (values ? L::V : L::K) + stage * L::TILE;

            if (round > 0)
                arrivals_wait(bars.empty(values, stage), (round - 1) & 1);
            if (lane == 0)
                arrive_expecting(bars.full(values, stage), (unsigned)(pages * PARTS * RUN));
            __syncwarp();
            if (mine)
                bulk_copy(tile + part * L::COLUMNS + page * RUN,
                          (const char *)(values ? a.v : a.k) + from, RUN, bars.full(values, stage));
        }
    }
}

/* A warpgroup's 64 queries to shared memory (q), turned and permuted; zeros behind the segment. */
template <int D, typename T>
__device__ void load_queries(const attention_args &a, const struct tile &t, unsigned head,
                             int first, char *q)
{
    constexpr int HALF = D / 2, WORDS = HALF / 8; /* words of half a row */
    constexpr int EACH = 64 * WORDS / 128;        /* pairs of words per thread, all on their way */
    const int thread = threadIdx.x % 128, w = thread % WORDS;
    vec<T, 8> x[EACH], y[EACH];

#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const int r = min(first + (thread + 128 * i) / WORDS, t.n - 1);
        const T *from = (const T *)a.qkv + (size_t)(t.row + r) * a.ld + head * D + 8 * w;

        x[i] = *(const vec<T, 8> *)from;
        y[i] = *(const vec<T, 8> *)(from + HALF);
    }
    if (a.cos_sin)
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int r = min(first + (thread + 128 * i) / WORDS, t.n - 1);

            turn_pairs(x[i], y[i], a.cos_sin + (size_t)(t.pos + r) * D + 8 * w, HALF);
        }
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const int r = (thread + 128 * i) / WORDS;
        const bool inside = first + r < t.n;

        *(vec<T, 8> *)(q + query_word<D>(r, w)) = inside ? x[i] : vec<T, 8>{};
        *(vec<T, 8> *)(q + query_word<D>(r, w + WORDS)) = inside ? y[i] : vec<T, 8>{};
    }
    stores_to_products();
}

/* s (64 x 128) = q k^T */
template <int D, typename T>
__device__ __forceinline__ void scores_begin(float (&s)[64], unsigned q, unsigned k)
{
    products_begin();
#pragma unroll
    for (int c = 0; c < D / 16; c++)
        product(s, operand(q + c / 4 * layout<D>::HALF_Q + c % 4 * 32),
                operand(k + c / 4 * layout<D>::COLUMNS + c % 4 * 32), c > 0, T());
    products_end();
}

/* o (64 x D) += p (64 x 128) v */
template <int D, typename T>
__device__ __forceinline__ void values_begin(float (&o)[D / 2], const unsigned (&p)[32], unsigned v)
{
    products_begin();
#pragma unroll
    for (int c = 0; c < KEYS / 16; c++)
        product(o, p + 4 * c, operand_across(v + c * 2048, layout<D>::COLUMNS), T());
    products_end();
}

/* Running maximum and sum of the thread's two rows. */
struct running {
    float top[2], sum[2];
};

/* Scores become weights; returns through scale what earlier sums are multiplied by. last[h]: the
 * last key that row h sees, counted from the thread's first column. */
__device__ __forceinline__ void softmax_step(struct running &st, float (&s)[64], float (&scale)[2],
                                             float factor, int last, bool mask)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = NO_KEY, sum = 0;

        if (mask)
#pragma unroll
            for (int n = 0; n < 16; n++) {
                s[4 * n + 2 * h] = 8 * n <= last + 8 * h ? s[4 * n + 2 * h] : -INFINITY;
                s[4 * n + 2 * h + 1] = 8 * n + 1 <= last + 8 * h ? s[4 * n + 2 * h + 1] : -INFINITY;
            }
#pragma unroll
        for (int n = 0; n < 16; n++)
            top = fmaxf(top, fmaxf(s[4 * n + 2 * h], s[4 * n + 2 * h + 1]));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        top = fmaxf(st.top[h], top * factor);
        scale[h] = exp2_fast(st.top[h] - top);
#pragma unroll
        for (int n = 0; n < 16; n++)
#pragma unroll
            for (int e = 4 * n + 2 * h; e < 4 * n + 2 * h + 2; e++) {
                s[e] = exp2_fast(fmaf(s[e], factor, -top));
                sum += s[e];
            }
        st.top[h] = top;
        st.sum[h] = st.sum[h] * scale[h] + sum;
    }
}

template <int D> __device__ __forceinline__ void rescale(float (&o)[D / 2], const float (&scale)[2])
{
#pragma unroll
    for (int e = 0; e < D / 2; e++)
        o[e] *= scale[e / 2 % 2];
}

template <typename T>
__device__ __forceinline__ void pack_weights(unsigned (&p)[32], const float (&s)[64])
{
#pragma unroll
    for (int i = 0; i < 32; i++)
        p[i] = pack(s[2 * i], s[2 * i + 1], T());
}

/* Values of positions at and behind `end`, row `end` of the tile on, become 0. */
template <int D> __device__ void zero_values(unsigned v, int end, int group)
{
    for (int i = threadIdx.x % 128; i < (KEYS - end) * (D / 8); i += 128) {
        int r = end + i / (D / 8), w = i % (D / 8);

        asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(
                         v + w / 8 * layout<D>::COLUMNS + r * 128 + w % 8 * 16),
                     "r"(0)
                     : "memory");
    }
    stores_to_products();
    group_barrier(group);
}

/* Rows divided by their sums, through shared memory (the group's own queries), out. */
template <int D, typename T>
__device__ void write_rows(float (&o)[D / 2], struct running &st, const attention_args &a,
                           const struct tile &t, unsigned head, int first, char *q, int group)
{
    const int lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane / 4;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        float sum = st.sum[h];
        int r = row + 8 * h;

        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            *(unsigned *)(q + query_word<D>(r, n) + lane % 4 * 4) =
                pack(o[4 * n + 2 * h] / sum, o[4 * n + 2 * h + 1] / sum, T());
    }
    group_barrier(group);
    for (int i = threadIdx.x % 128; i < 64 * (D / 8); i += 128) {
        int r = i / (D / 8), w = i % (D / 8);

        if (first + r < t.n)
            *(uint4 *)((T *)a.out + ((size_t)(t.row + first + r) * a.n_heads + head) * D + 8 * w) =
                *(const uint4 *)(q + query_word<D>(r, w));
    }
}

/* Barriers by which the two groups take turns: one's products run while the other takes its
 * exponentials. */
__device__ __forceinline__ void turn_wait(int group)
{
    asm volatile("bar.sync %0, 256;" ::"r"(3 + group) : "memory");
}

__device__ __forceinline__ void turn_pass(int group)
{
    asm volatile("bar.arrive %0, 256;" ::"r"(3 + (1 - group)) : "memory");
}

/* The walk of one warpgroup over its blocks of keys. */
template <int D, typename T>
__device__ void attend_rows(const attention_args &a, const struct tile &t, unsigned head, int group,
                            unsigned shared, char *generic, struct counters bars)
{
    using L = layout<D>;
    const int first = 64 * group, end = t.pos + t.n, low = t.pos + first, lane = threadIdx.x % 32;
    const int blocks = (end + KEYS - 1) / KEYS;
    const bool turns = t.n > 64; /* both groups have work: they take turns at starting products */
    const int seen = low + threadIdx.x % 128 / 32 * 16 + lane / 4 - 2 * (lane % 4);
    const float factor = a.factor * 1.4426950408889634f;
    const unsigned q = shared + L::Q + group * L::GROUP_Q;
    float s[64], o[D / 2] = {}, scale[2];
    unsigned p[32], last_v;
    struct running st = {{NO_KEY, NO_KEY}, {0, 0}};

    load_queries<D, T>(a, t, head, first, generic + L::Q + group * L::GROUP_Q);
    group_barrier(group);
    arrivals_wait(bars.full(0, 0), 0);
    scores_begin<D, T>(s, q, shared + L::K);
    products_wait<0>();
    sums_ready(s);
    if (lane == 0)
        arrive(bars.empty(0, 0));
    softmax_step(st, s, scale, factor, seen, KEYS > low);
    pack_weights<T>(p, s);
    if (turns && group == 1)
        turn_pass(group);
    for (int j = 1; j < blocks; j++) {
        const int stage = j % STAGES, before = (j - 1) % STAGES;

        arrivals_wait(bars.full(0, stage), j / STAGES & 1);
        arrivals_wait(bars.full(1, before), (j - 1) / STAGES & 1);
        if (turns)
            turn_wait(group);
        scores_begin<D, T>(s, q, shared + L::K + stage * L::TILE);
        values_begin<D, T>(o, p, shared + L::V + before * L::TILE);
        if (turns)
            turn_pass(group);
        products_wait<1>();
        sums_ready(s);
        if (lane == 0)
            arrive(bars.empty(0, stage));
        softmax_step(st, s, scale, factor, seen - j * KEYS, (j + 1) * KEYS > low);
        products_wait<0>();
        sums_ready(o);
        if (lane == 0)
            arrive(bars.empty(1, before));
        rescale<D>(o, scale);
        pack_weights<T>(p, s);
    }
    last_v = shared + L::V + (blocks - 1) % STAGES * L::TILE;
    arrivals_wait(bars.full(1, (blocks - 1) % STAGES), (blocks - 1) / STAGES & 1);
    if (blocks * KEYS > end)
        zero_values<D>(last_v, end - (blocks - 1) * KEYS, group);
    values_begin<D, T>(o, p, last_v);
    products_wait<0>();
    sums_ready(o);
    write_rows<D, T>(o, st, a, t, head, first, generic + L::Q + group * L::GROUP_Q, group);
}

/* A warpgroup without queries in this tile only keeps step. */
__device__ void idle(int end, struct counters bars)
{
    for (int at = 0, j = 0; at < end; at += KEYS, j++)
        for (int values = 0; values < 2; values++) {
            arrivals_wait(bars.full(values, j % STAGES), j / STAGES & 1);
            if (threadIdx.x % 32 == 0)
                arrive(bars.empty(values, j % STAGES));
        }
}

#endif

template <typename T, int D>
__global__ void __launch_bounds__(384, 1) attend_wgmma(const attention_args a)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ char memory[];
    const unsigned unaligned = (unsigned)__cvta_generic_to_shared(memory);
    const unsigned shared = (unaligned + 1023) & ~1023u;
    const struct tile t = find_tile<QUERIES>(a, (int)(gridDim.y - 1 - blockIdx.y));
    const unsigned head = blockIdx.x;
    const struct counters bars = {shared + layout<D>::BARS};
    const int group = threadIdx.x / 128;

    if (t.n <= 0)
        return;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2 * STAGES; i++) {
            arrivals_init(bars.full(i / STAGES, i % STAGES), 1);
            arrivals_init(bars.empty(i / STAGES, i % STAGES), 8); /* one for each warp */
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (group == 2) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (threadIdx.x < 256 + 32)
            copy_pages<D>(a, t, head * a.n_kv / a.n_heads, shared, bars);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
        if (64 * group < t.n)
            attend_rows<D, T>(a, t, head, group, shared, memory + (shared - unaligned), bars);
        else
            idle(t.pos + t.n, bars);
    }
#endif
}

void attention_wgmma(struct device *dev, enum dtype t, const struct attention_args *a,
                     const struct batch_layout *b)
{
    dim3 grid(a->n_heads, n_tiles(b, QUERIES));

    auto launch = [&](auto z, auto width) {
        using T = decltype(z);
        constexpr int D = decltype(width)::value;

        CU(cudaFuncSetAttribute(attend_wgmma<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)layout<D>::SIZE));
        attend_wgmma<T, D><<<grid, 384, layout<D>::SIZE, stream_of(dev)>>>(*a);
    };
    auto by_width = [&](auto z) {
        if (a->d == 64)
            launch(z, std::integral_constant<int, 64>{});
        else
            launch(z, std::integral_constant<int, 128>{});
    };
    if (t == DTYPE_F16)
        by_width(__half{});
    else
        by_width(__nv_bfloat16{});
    LAUNCHED("attention");
}
