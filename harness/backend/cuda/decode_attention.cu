/* One token's attention: rotation, storing of key and value, softmax and values.
 *
 * A block takes one key head with up to two of its query heads, and a part of the cache: as many
 * parts as fill the card, each a run of pages, chosen by the position when the kernel runs. A warp
 * takes every fourth page of the part; what is stored there does not change, so the first pages are
 * on their way to shared memory before the wait for q, k, v, and a block is small enough to be
 * there beside one of the product before. A page has 16 positions: two lanes take a position's key,
 * half of its dimensions each, while of the values every lane keeps eight dimensions of the output
 * for some of the positions. Maximum and sum run along as usual and are put together in a fixed
 * order: lanes, warps, parts. The block whose part the new key and value belong to stores them. The
 * last block of a key head to finish puts the parts together.
 *
 * What lost, after 512 tokens of LLaMA-2-7B's shape on an H100: 256 threads with pages straight
 * into registers (205 of them, so that no block fits beside a product's), and one block that puts
 * all heads together and applies the rule: 24 us without a rule and 32 with top-k. Loops unrolled,
 * 95 KB of code: 12 us, of which 7 for the pages. */
#include <math.h>

#include "harness/backend/cuda/attention.cuh"
#include "harness/backend/cuda/bulk_copy.cuh"
#include "harness/backend/cuda/decode.cuh"

#define MOST_WARPS 4
#define MOST_DEPTH 2
#define MOST_PARTS 32
#define MASKED (-1e30f)

struct decode_attention_args {
    void *out, *k, *v;
    const float *qkv, *cos_sin; /* 1 x (n_heads + 2 n_kv) d, positions x d */
    const int32_t *position;
    float *part_o;     /* n_heads x n_parts x d: numerators, as seen from the part's maximum */
    float2 *part_ml;   /* n_heads x n_parts: maximum and sum */
    unsigned *tickets; /* one for each run of parts; 0 between launches */
    int n_heads, n_kv, d;
    int n_parts, n_subs; /* blocks that share a key head's queries */
    int depth;           /* pages in flight, a warp */
    bool tiled;          /* attention.cuh */
    float factor;        /* log2(e) / sqrt(d) */
};

/* A part's pages: [first, end), by the position. */
struct run {
    int first, end, n_used; /* parts that have any */
};

__device__ __forceinline__ struct run run_of(int position, int part, int n_parts)
{
    int pages = position / KV_PAGE + 1, per = (pages + n_parts - 1) / n_parts;

    return {part * per, min(part * per + per, pages), (pages + per - 1) / per};
}

/* Element i of a head at x, rounded, and turned by the position's angles. */
template <typename T>
__device__ __forceinline__ T turned(const float *x, const float *angles, int i, int d)
{
    const int half = d / 2, j = i < half ? i : i - half;
    T p = from_f32<T>(x[j]), q = from_f32<T>(x[j + half]);

    if (angles)
        turn(p, q, angles[j], angles[j + half]);
    return i < half ? p : q;
}

/* Where the eight dimensions from j on of row r begin, in a page of one head. */
__device__ __forceinline__ int place(int r, int j, int d, bool tiled)
{
    if (!tiled)
        return r * d + j;
    return ((j / 64 * KV_PAGE + r) * 8 + ((j / 8 ^ r) & 7)) * 8;
}

/* One of G queries' running softmax: maximum; this lane's keys' part of the sum and of eight
 * dimensions of the output. */
struct running {
    float max, sum, o[8];
};

/* The page's positions up to `last` for the warp's queries, times factor in q: G x D. Rolled loops:
 * code that runs once or twice in a launch is read from memory, so a launch pays for its length. */
template <typename T, int LANES, int G>
__device__ __forceinline__ void attend_page(struct running (&run)[G],
                                            const float (&q)[G][8 * LANES], const T *k, const T *v,
                                            int d, int last, bool tiled)
{
    constexpr int ROWS = KV_PAGE * LANES / 32; /* of values, a lane */
    const int lane = (int)threadIdx.x % 32, row = lane % KV_PAGE;
    const bool whole = d % 8 == 0;
    float s[G] = {};

#pragma unroll 2
    for (int j = lane / KV_PAGE * 8; j < d; j += 8 * (32 / KV_PAGE)) {
        vec<T, 8> key = load8(k + place(row, j, d, tiled) - j, j, d, whole);

#pragma unroll
        for (int g = 0; g < G; g++)
#pragma unroll
            for (int x = 0; x < 8; x++)
                s[g] += q[g][j + x] * to_f32(key.v[x]);
    }
#pragma unroll
    for (int g = 0; g < G; g++) {
        float max, scale;

        s[g] += __shfl_xor_sync(~0u, s[g], KV_PAGE);
        s[g] = row <= last ? s[g] : -INFINITY;
        max = s[g];
        for (int o = KV_PAGE / 2; o; o >>= 1)
            max = fmaxf(max, __shfl_xor_sync(~0u, max, o));
        max = fmaxf(max, run[g].max);
        scale = exp2f(run[g].max - max);
        s[g] = exp2f(s[g] - max);
        run[g].max = max;
        run[g].sum = run[g].sum * scale + (lane < KV_PAGE ? s[g] : 0.0f);
        for (int x = 0; x < 8; x++)
            run[g].o[x] *= scale;
    }
#pragma unroll 2
    for (int i = 0; i < ROWS; i++) {
        const int r = lane / LANES * ROWS + i, j = lane % LANES * 8;
        vec<T, 8> value = load8(v + place(r, j, d, tiled) - j, j, d, whole);

#pragma unroll
        for (int g = 0; g < G; g++) {
            float p = __shfl_sync(~0u, s[g], r);

#pragma unroll
            for (int x = 0; x < 8; x++)
                run[g].o[x] += p * to_f32(value.v[x]);
        }
    }
}

/* The page in shared memory that the new position is in: its row, and zeros behind it, where the
 * page holds whatever was there. By one warp. */
template <typename T>
__device__ __forceinline__ void complete_page(T *k, T *v, const T *new_k, const T *new_v, int d,
                                              int last, bool tiled)
{
#pragma unroll 1
    for (int j = (int)threadIdx.x % 32; j < d; j += 32) {
        const int at = place(last, j / 8 * 8, d, tiled) + j % 8;

        k[at] = new_k[j];
        v[at] = new_v[j];
#pragma unroll 1
        for (int r = last + 1; r < KV_PAGE; r++)
            v[place(r, j / 8 * 8, d, tiled) + j % 8] = T(0.0f);
    }
    __syncwarp();
}

/* Shared memory of a block; behind it the pages in flight, from a multiple of 128 on. */
template <typename T, int D, int G> struct attend_shared {
    unsigned long long bars[MOST_WARPS * MOST_DEPTH];
    float q[G][D];
    T k[D], v[D];
    float max[MOST_WARPS][G], sum[MOST_WARPS][G], o[MOST_WARPS][G][D];
    bool last;
};

/* A warp's way through its pages: p = first, first + n_warps, ... */
struct walk {
    int p, end, step;
    unsigned slot, phases;
};

/* Pages [p, end) in steps from memory to the warp's slots. */
template <typename T> struct pages {
    const T *k, *v;      /* of this key head */
    size_t apart;        /* elements from a page to the next */
    unsigned nbytes;     /* of one head's page of keys */
    unsigned ring, bars; /* shared: slots of 2 nbytes, and a barrier for each */
    T *slots;
    int depth;

    __device__ __forceinline__ void issue(int p, unsigned slot) const
    {
        const unsigned to = ring + slot * 2 * nbytes;

        copy_in(to, k + p * apart, nbytes, bars + 8 * slot);
        copy_in(to + nbytes, v + p * apart, nbytes, bars + 8 * slot);
    }

    /* The first `depth` pages; one lane's work. */
    __device__ __forceinline__ void begin(const struct walk &w, unsigned lane) const
    {
#pragma unroll 1
        for (int i = 0; i < depth; i++)
            if (lane == 0 && w.p + i * w.step < w.end)
                issue(w.p + i * w.step, (unsigned)i);
    }

    /* Until what begin() issued is there. */
    __device__ __forceinline__ void drain(struct walk *w) const
    {
#pragma unroll 1
        for (int i = 0; i < depth; i++)
            if (w->p + i * w->step < w->end) {
                barrier_wait(bars + 8 * i, w->phases >> i & 1);
                w->phases ^= 1u << i;
            }
    }
};

/* q of the block's queries, turned, times factor, and its key and value, which the owner of the
 * position stores; to shared memory. */
template <typename T, int D, int G>
__device__ __forceinline__ void take_qkv(const struct decode_attention_args &a,
                                         struct attend_shared<T, D, G> &s, int pos, int head,
                                         int n_q, int kv_head, bool owner, bool stores)
{
    const int d = a.d;
    const float *angles = a.cos_sin ? a.cos_sin + (size_t)pos * d : NULL;
    const float *k = a.qkv + (size_t)(a.n_heads + kv_head) * d, *v = k + (size_t)a.n_kv * d;

#pragma unroll 1
    for (int i = (int)threadIdx.x; i < G * D; i += (int)blockDim.x) {
        int g = i / D, j = i % D;

        s.q[g][j] = 0;
        if (g < n_q && j < d)
            s.q[g][j] = to_f32(turned<T>(a.qkv + (size_t)(head + g) * d, angles, j, d)) * a.factor;
    }
#pragma unroll 1
    for (int j = (int)threadIdx.x; owner && j < D; j += (int)blockDim.x) {
        size_t at = ((size_t)(pos / KV_PAGE) * a.n_kv + kv_head) * KV_PAGE * d;

        s.k[j] = j < d ? turned<T>(k, angles, j, d) : T(0.0f);
        s.v[j] = j < d ? from_f32<T>(v[j]) : T(0.0f);
        if (stores && j < d) {
            at += (size_t)place(pos % KV_PAGE, j / 8 * 8, d, a.tiled) + j % 8;
            ((T *)a.k)[at] = s.k[j];
            ((T *)a.v)[at] = s.v[j];
        }
    }
}

/* The warp's lanes' sums put together, to shared memory. */
template <typename T, int LANES, int G>
__device__ __forceinline__ void leave_sums(struct attend_shared<T, 8 * LANES, G> &s,
                                           struct running (&run)[G])
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

#pragma unroll
    for (int g = 0; g < G; g++) {
        run[g].sum = warp_sum(run[g].sum);
        for (int o = LANES; o < 32; o <<= 1)
            for (int x = 0; x < 8; x++)
                run[g].o[x] += __shfl_xor_sync(~0u, run[g].o[x], o);
        if (lane < LANES)
            for (int x = 0; x < 8; x++)
                s.o[warp][g][lane * 8 + x] = run[g].o[x];
        if (lane == 0) {
            s.max[warp][g] = run[g].max;
            s.sum[warp][g] = run[g].sum;
        }
    }
}

/* Parts of one query put together, element j. */
__device__ __forceinline__ float put_together(const struct decode_attention_args &a, size_t at,
                                              int n_used, int j)
{
    float max = MASKED, sum = 0, o = 0;

#pragma unroll 4
    for (int i = 0; i < n_used; i++) {
        float2 ml = __ldcg(&a.part_ml[at + i]);
        float x = __ldcg(&a.part_o[(at + i) * a.d + j]);
        float m = fmaxf(max, ml.x), was = exp2f(max - m), is = exp2f(ml.x - m);

        max = m;
        sum = sum * was + ml.y * is;
        o = o * was + x * is;
    }
    return o / sum;
}

template <typename T, int LANES, int G>
__global__ void __launch_bounds__(32 * MOST_WARPS, 4)
    decode_attend(const struct decode_attention_args a)
{
    constexpr int D = 8 * LANES;
    extern __shared__ __align__(128) unsigned char shared[];
    struct attend_shared<T, D, G> &s = *(struct attend_shared<T, D, G> *)shared;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, d = a.d;
    const int n_warps = (int)blockDim.x / 32;
    const int part = (int)blockIdx.x % a.n_parts, sub = (int)blockIdx.x / a.n_parts % a.n_subs;
    const int kv_head = (int)blockIdx.x / a.n_parts / a.n_subs, group = a.n_heads / a.n_kv;
    const int head = kv_head * group + sub * G, n_q = min(G, group - sub * G);
    const int hint = __ldcg(a.position); /* perhaps an old one */
    struct run r = run_of(hint, part, a.n_parts);
    struct walk w = {r.first + warp, r.end, n_warps, 0, 0};
    struct running run[G];
    struct pages<T> g;
    int pos;

    g.apart = (size_t)a.n_kv * KV_PAGE * d;
    g.k = (const T *)a.k + (size_t)kv_head * KV_PAGE * d;
    g.v = (const T *)a.v + (size_t)kv_head * KV_PAGE * d;
    g.nbytes = (unsigned)(KV_PAGE * d * sizeof(T));
    g.depth = a.depth;
    g.slots = (T *)(shared + (sizeof(s) + 127) / 128 * 128 + warp * a.depth * 2 * g.nbytes);
    g.ring = shared_address(g.slots);
    g.bars = shared_address(s.bars + warp * MOST_DEPTH);
    if (lane < a.depth)
        barrier_init(g.bars + 8 * lane, 2);
    barriers_ready();
    __syncwarp();
    g.begin(w, lane);
    if (a.cos_sin && (int)threadIdx.x * 32 < d) /* 32 angles in a line */
        asm volatile(
            "prefetch.global.L1 [%0];" ::"l"(a.cos_sin + (size_t)hint * d + threadIdx.x * 32));
    grid_wait();
    grid_release();
    pos = __ldcg(a.position);
    if (pos != hint) {
        g.drain(&w);
        r = run_of(pos, part, a.n_parts);
        w.p = r.first + warp;
        w.end = r.end;
        g.begin(w, lane);
    }
    if (r.first >= r.end)
        return;
    take_qkv<T, D, G>(a, s, pos, head, n_q, kv_head, r.end * KV_PAGE > pos, sub == 0);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < G; i++)
        run[i] = {MASKED, 0, {}};
#pragma unroll 1
    for (; w.p < w.end; w.p += w.step) {
        T *k = g.slots + w.slot * 2 * (g.nbytes / sizeof(T)), *v = k + g.nbytes / sizeof(T);
        int last = pos - w.p * KV_PAGE;

        barrier_wait(g.bars + 8 * w.slot, w.phases >> w.slot & 1);
        if (last < KV_PAGE)
            complete_page(k, v, s.k, s.v, d, last, a.tiled);
        attend_page<T, LANES, G>(run, s.q, k, v, d, last, a.tiled);
        __syncwarp();
        w.phases ^= 1u << w.slot;
        if (lane == 0 && w.p + a.depth * w.step < w.end)
            g.issue(w.p + a.depth * w.step, w.slot);
        w.slot = (int)w.slot + 1 == a.depth ? 0 : w.slot + 1;
    }
    leave_sums<T, LANES, G>(s, run);
    __syncthreads();
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < n_q * d; i += (int)blockDim.x) {
        int h = i / d, j = i % d;
        size_t to = (size_t)(head + h) * a.n_parts + part;
        float max = MASKED, sum = 0, o = 0;

#pragma unroll 1
        for (int x = 0; x < n_warps; x++)
            max = fmaxf(max, s.max[x][h]);
#pragma unroll 1
        for (int x = 0; x < n_warps; x++) {
            float scale = exp2f(s.max[x][h] - max);

            sum += s.sum[x][h] * scale;
            o += s.o[x][h][j] * scale;
        }
        if (r.n_used == 1) {
            ((T *)a.out)[(head + h) * d + j] = from_f32<T>(o / sum);
            continue;
        }
        a.part_o[to * d + j] = o;
        if (j == 0)
            a.part_ml[to] = make_float2(max, sum);
    }
    if (r.n_used == 1)
        return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) /* the count wraps: 0 after the last */
        s.last = atomicInc(&a.tickets[kv_head * a.n_subs + sub], (unsigned)r.n_used - 1) ==
                 (unsigned)r.n_used - 1;
    __syncthreads();
    if (!s.last)
        return;
    __threadfence();
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < n_q * d; i += (int)blockDim.x)
        ((T *)a.out)[head * d + i] =
            from_f32<T>(put_together(a, (size_t)(head + i / d) * a.n_parts, r.n_used, i % d));
}

/* Warps and pages in flight by what fits. */
template <typename T, int LANES, int G>
static void launch(struct device *dev, struct decode_attention_args *a)
{
    size_t fixed = (sizeof(attend_shared<T, 8 * LANES, G>) + 127) / 128 * 128;
    size_t page = 2 * (size_t)(KV_PAGE * a->d) * sizeof(T), most = cuda_dev(dev)->max_shared;
    size_t warps = MOST_WARPS, shared;

    a->depth = page > 16384 ? 1 : MOST_DEPTH;
    while (warps > 1 && fixed + warps * (size_t)a->depth * page > most)
        warps /= 2;
    shared = fixed + warps * (size_t)a->depth * page;
    if (shared > most)
        die("CUDA: attention over heads of %d needs %zu bytes of shared memory, this card has %zu",
            a->d, shared, most);
    CU(cudaFuncSetAttribute(decode_attend<T, LANES, G>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                            (int)shared));
    launch_after(dev, decode_attend<T, LANES, G>, (unsigned)(a->n_parts * a->n_subs * a->n_kv),
                 (unsigned)(32 * warps), shared, *a);
}

template <typename T, int LANES>
static void launch_group(struct device *dev, struct decode_attention_args *a, int g)
{
    if constexpr (sizeof(T) == 2 && LANES < 32)
        if (g == 2) {
            launch<T, LANES, 2>(dev, a);
            return;
        }
    launch<T, LANES, 1>(dev, a);
}

/* Queries of a block: registers for two, one in float32 and where the head is wide. */
static int queries(int group, int d, enum dtype t)
{
    return t == DTYPE_F32 || d > 128 || group == 1 ? 1 : 2;
}

void cuda_decode_attention(struct device *dev, struct tensor out, struct tensor qkv,
                           struct kv_layer kv, struct attention_shape shape, struct tensor cos_sin,
                           const int32_t *position, size_t max_positions)
{
    struct decode_attention_args a = {};
    int d = (int)shape.head_dim, group = (int)(shape.n_heads / shape.n_kv_heads);
    int g = queries(group, d, out.dtype), most = (int)n_blocks(max_positions, KV_PAGE);
    size_t parts;

    if (d > 256)
        die("CUDA: head size %d; at most 256 is supported", d);
    a.out = out.data;
    a.k = kv.k;
    a.v = kv.v;
    a.qkv = (const float *)qkv.data;
    a.cos_sin = (const float *)cos_sin.data;
    a.position = position;
    a.n_heads = (int)shape.n_heads;
    a.n_kv = (int)shape.n_kv_heads;
    a.d = d;
    a.tiled = pages_are_tiled(dev, out.dtype, shape.head_dim);
    a.n_subs = (group + g - 1) / g;
    a.n_parts = cuda_dev(dev)->n_sm / (a.n_kv * a.n_subs);
    a.n_parts = a.n_parts < 1 ? 1 : a.n_parts > MOST_PARTS ? MOST_PARTS : a.n_parts;
    a.n_parts = a.n_parts < most ? a.n_parts : most;
    a.factor = (float)(1.4426950408889634 / sqrt((double)d));
    parts = (size_t)a.n_heads * (size_t)a.n_parts;
    a.tickets = decode_tickets(dev, (size_t)(a.n_kv * a.n_subs));
    a.part_ml = (float2 *)decode_scratch(dev, parts * (sizeof(float2) + (size_t)d * 4));
    a.part_o = (float *)(a.part_ml + parts);
    with_type(out.dtype, [&](auto t) {
        using T = decltype(t);

        if (d <= 64)
            launch_group<T, 8>(dev, &a, g);
        else if (d <= 128)
            launch_group<T, 16>(dev, &a, g);
        else
            launch_group<T, 32>(dev, &a, g);
    });
}
