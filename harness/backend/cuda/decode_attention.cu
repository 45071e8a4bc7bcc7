/* One token's attention: rotation, storing of key and value, softmax and values, rule.
 *
 * A block takes one key head with up to four of its query heads, and a part of the cache: as many
 * parts as fill the card, each a run of pages, chosen by the position when the kernel runs. A warp
 * takes every eighth page of the part. 8, 16 or 32 lanes (d up to 64, 128, 256) hold one position's
 * key, eight dimensions each, so that a warp loads whole lines; a score is summed over these lanes,
 * while for the values every lane keeps its own eight dimensions of the output. Maximum and sum run
 * along as usual, per group of lanes, and are put together in a fixed order: lanes, warps, parts.
 * The new key and value come from shared memory; the block whose part they belong to stores them.
 * The last block to finish puts the parts together and applies the rule, which looks at all heads.
 * While waiting for q, k, v the cache is called into L2: what is stored there does not change. */
#include <math.h>

#include "harness/backend/cuda/attention.cuh"
#include "harness/backend/cuda/decode_rule.cuh"

#define WARPS 8
#define THREADS (32 * WARPS)
#define MOST_PARTS 32
#define MASKED (-1e30f)

struct decode_attention_args {
    void *out, *k, *v;
    const float *qkv, *cos_sin; /* 1 x (n_heads + 2 n_kv) d, positions x d */
    const int32_t *position;
    float *part_o;    /* n_heads x n_parts x d: numerators, as seen from the part's maximum */
    float2 *part_ml;  /* n_heads x n_parts: maximum and sum */
    unsigned *ticket; /* 0 between launches */
    int n_heads, n_kv, d;
    int n_parts, n_subs; /* blocks that share a key head's queries */
    bool tiled;          /* attention.cuh */
    float factor;        /* log2(e) / sqrt(d) */
    struct row_rule rule;
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

/* Calls the first lines of a run of pages into L2. */
template <typename T>
__device__ __forceinline__ void prefetch(const struct decode_attention_args &a, struct run r,
                                         int kv_head)
{
    const int lines = (int)(KV_PAGE * a.d * sizeof(T) / 128), n = (r.end - r.first) * lines;

    for (int i = (int)threadIdx.x; i < min(n, 2 * THREADS); i += THREADS) {
        size_t at = ((size_t)(r.first + i / lines) * a.n_kv + kv_head) * KV_PAGE * a.d;

        asm volatile("prefetch.global.L2 [%0];" ::"l"((const T *)a.k + at + i % lines * 64));
        asm volatile("prefetch.global.L2 [%0];" ::"l"((const T *)a.v + at + i % lines * 64));
    }
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

/* One of G queries' running softmax over some keys, eight dimensions of the output. */
struct running {
    float max, sum, o[8];
};

__device__ __forceinline__ void merge(struct running *a, const struct running &b)
{
    float max = fmaxf(a->max, b.max), x = exp2f(a->max - max), y = exp2f(b.max - max);

    a->max = max;
    a->sum = a->sum * x + b.sum * y;
    for (int i = 0; i < 8; i++)
        a->o[i] = a->o[i] * x + b.o[i] * y;
}

/* The page's positions up to `last` for the warp's queries. q: G x 8, times factor. */
template <typename T, int LANES, int G>
__device__ __forceinline__ void attend_page(struct running (&run)[G], const float (&q)[G][8],
                                            const T *k, const T *v, int d, int last, bool has_new,
                                            const T *new_k, const T *new_v, bool tiled)
{
    constexpr int STEPS = KV_PAGE * LANES / 32;
    const int lane = (int)threadIdx.x % 32, j = lane % LANES * 8, first = lane / LANES;
    const bool whole = d % 8 == 0;
    vec<T, 8> kk[STEPS], vv[STEPS];
    float s[G][STEPS];

#pragma unroll
    for (int i = 0; i < STEPS; i++) {
        int r = i * (32 / LANES) + first;

        if (r < last || (r == last && !has_new)) {
            kk[i] = load8(k + place(r, j, d, tiled) - j, j, d, whole);
            vv[i] = load8(v + place(r, j, d, tiled) - j, j, d, whole);
        } else {
            bool is_new = r == last;

            for (int x = 0; x < 8; x++) {
                kk[i].v[x] = is_new ? new_k[j + x] : T(0.0f);
                vv[i].v[x] = is_new ? new_v[j + x] : T(0.0f);
            }
        }
    }
#pragma unroll
    for (int g = 0; g < G; g++) {
        float max = run[g].max, scale;

#pragma unroll
        for (int i = 0; i < STEPS; i++) {
            s[g][i] = 0;
            for (int x = 0; x < 8; x++)
                s[g][i] += q[g][x] * to_f32(kk[i].v[x]);
            for (int o = LANES / 2; o; o >>= 1)
                s[g][i] += __shfl_xor_sync(~0u, s[g][i], o);
            s[g][i] = i * (32 / LANES) + first <= last ? s[g][i] : -INFINITY;
            max = fmaxf(max, s[g][i]);
        }
        scale = exp2f(run[g].max - max);
        run[g].max = max;
        run[g].sum *= scale;
        for (int x = 0; x < 8; x++)
            run[g].o[x] *= scale;
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
            float p = exp2f(s[g][i] - max);

            run[g].sum += p;
            for (int x = 0; x < 8; x++)
                run[g].o[x] += p * to_f32(vv[i].v[x]);
        }
    }
}

/* Four elements from `at` on, all of one head, of each of FAR places: parts put together, running
 * as the softmax does. All loads of four parts are on their way at once. */
#define FAR 4
template <typename T>
__device__ __forceinline__ void put_together(const struct decode_attention_args &a, int n_used,
                                             int at, int n, T *y)
{
    float max[FAR], sum[FAR], o[FAR][4] = {};

    for (int f = 0; f < FAR; f++) {
        max[f] = MASKED;
        sum[f] = 0;
    }
    for (int s = 0; s < n_used; s += 4) {
        float2 ml[FAR][4];
        float4 x[FAR][4];

#pragma unroll
        for (int f = 0; f < FAR; f++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int e = at + f * 4 * THREADS;
                size_t p = (size_t)(e / a.d) * a.n_parts + s + i;
                bool there = e < n && s + i < n_used;

                ml[f][i] = there ? __ldcg(&a.part_ml[p]) : make_float2(MASKED, 0);
                x[f][i] = there ? __ldcg((const float4 *)&a.part_o[p * a.d + e % a.d])
                                : make_float4(0, 0, 0, 0);
            }
#pragma unroll
        for (int f = 0; f < FAR; f++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float m = fmaxf(max[f], ml[f][i].x), was = exp2f(max[f] - m);
                float is = exp2f(ml[f][i].x - m);

                max[f] = m;
                sum[f] = sum[f] * was + ml[f][i].y * is;
                o[f][0] = o[f][0] * was + x[f][i].x * is;
                o[f][1] = o[f][1] * was + x[f][i].y * is;
                o[f][2] = o[f][2] * was + x[f][i].z * is;
                o[f][3] = o[f][3] * was + x[f][i].w * is;
            }
    }
    for (int f = 0; f < FAR; f++)
        for (int i = 0; i < 4; i++)
            if (at + f * 4 * THREADS < n)
                y[at + f * 4 * THREADS + i] = from_f32<T>(o[f][i] / sum[f]);
}

/* The same for one element, where four may be of two heads. */
template <typename T>
__device__ __forceinline__ T put_one(const struct decode_attention_args &a, int n_used, int at)
{
    float max = MASKED, sum = 0, o = 0;

    for (int s = 0; s < n_used; s++) {
        size_t p = (size_t)(at / a.d) * a.n_parts + s;
        float2 ml = __ldcg(&a.part_ml[p]);
        float m = fmaxf(max, ml.x), was = exp2f(max - m), is = exp2f(ml.x - m);

        max = m;
        sum = sum * was + ml.y * is;
        o = o * was + __ldcg(&a.part_o[p * a.d + at % a.d]) * is;
    }
    return from_f32<T>(o / sum);
}

/* out = rule(parts put together), by one block. y: shared memory of the whole row. */
template <typename T>
__device__ __forceinline__ void finish(const struct decode_attention_args &a, int n_used, T *y,
                                       struct digits<T> *digits)
{
    const int n = a.n_heads * a.d;

    if (a.d % 4 == 0)
        for (int i = (int)threadIdx.x * 4; i < n; i += FAR * 4 * THREADS)
            put_together(a, n_used, i, n, y);
    else
        for (int i = (int)threadIdx.x; i < n; i += THREADS)
            y[i] = put_one<T>(a, n_used, i);
    __syncthreads();
    apply_row_rule<T>(
        [&](auto f) {
            for (int i = (int)threadIdx.x; i < n; i += THREADS)
                f(y[i]);
        },
        a.rule, digits);
    for (int i = (int)threadIdx.x; i < n; i += THREADS) /* each its own */
        ((T *)a.out)[i] = y[i];
}

/* Shared memory of a block; behind it, the whole row of the output. */
template <typename T, int D, int G> struct alignas(16) attend_shared {
    struct digits<T> digits;
    float q[G][D];
    T k[D], v[D];
    float max[WARPS][G], sum[WARPS][G], o[WARPS][G][D];
    bool last;
};

template <typename T, int LANES, int G>
__global__ void __launch_bounds__(THREADS) decode_attend(const struct decode_attention_args a)
{
    constexpr int D = 8 * LANES;
    extern __shared__ uint4 shared[];
    struct attend_shared<T, D, G> &s = *(struct attend_shared<T, D, G> *)shared;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, d = a.d;
    const int part = (int)blockIdx.x % a.n_parts, sub = (int)blockIdx.x / a.n_parts % a.n_subs;
    const int kv_head = (int)blockIdx.x / a.n_parts / a.n_subs, group = a.n_heads / a.n_kv;
    const int head = kv_head * group + sub * G, n_q = min(G, group - sub * G);
    int pos = __ldcg(a.position), n_done; /* before the wait: perhaps an old one, for a hint */
    struct run r = run_of(pos, part, a.n_parts);
    struct running run[G];
    const float *angles;
    float q[G][8];
    bool owner;

    s.digits.clear();
    prefetch<T>(a, r, kv_head);
    grid_wait();
    grid_release();
    pos = __ldcg(a.position);
    r = run_of(pos, part, a.n_parts);
    if (r.first >= r.end)
        return;
    owner = r.end * KV_PAGE > pos;
    angles = a.cos_sin ? a.cos_sin + (size_t)pos * d : NULL;
    for (int i = (int)threadIdx.x; i < G * D; i += THREADS) {
        int g = i / D, j = i % D;

        s.q[g][j] = 0;
        if (g < n_q && j < d)
            s.q[g][j] = to_f32(turned<T>(a.qkv + (size_t)(head + g) * d, angles, j, d)) * a.factor;
    }
    if (owner && (int)threadIdx.x < D) {
        const float *k = a.qkv + (size_t)(a.n_heads + kv_head) * d, *v = k + (size_t)a.n_kv * d;
        int j = (int)threadIdx.x, row = pos % KV_PAGE;
        size_t at = ((size_t)(pos / KV_PAGE) * a.n_kv + kv_head) * KV_PAGE * d;
        T key = j < d ? turned<T>(k, angles, j, d) : T(0.0f);
        T value = j < d ? from_f32<T>(v[j]) : T(0.0f);

        s.k[j] = key;
        s.v[j] = value;
        if (sub == 0 && j < d) {
            at += (size_t)place(row, j / 8 * 8, d, a.tiled) + j % 8;
            ((T *)a.k)[at] = key;
            ((T *)a.v)[at] = value;
        }
    }
    __syncthreads();
#pragma unroll
    for (int g = 0; g < G; g++) {
        run[g] = {MASKED, 0, {}};
        for (int x = 0; x < 8; x++)
            q[g][x] = s.q[g][lane % LANES * 8 + x];
    }
    for (int p = r.first + warp; p < r.end; p += WARPS) {
        size_t at = ((size_t)p * a.n_kv + kv_head) * KV_PAGE * d;

        attend_page<T, LANES, G>(run, q, (const T *)a.k + at, (const T *)a.v + at, d,
                                 min(pos - p * KV_PAGE, KV_PAGE - 1), p == pos / KV_PAGE, s.k, s.v,
                                 a.tiled);
    }
#pragma unroll
    for (int g = 0; g < G; g++) {
        for (int o = LANES; o < 32; o <<= 1) {
            struct running other;

            other.max = __shfl_xor_sync(~0u, run[g].max, o);
            other.sum = __shfl_xor_sync(~0u, run[g].sum, o);
            for (int x = 0; x < 8; x++)
                other.o[x] = __shfl_xor_sync(~0u, run[g].o[x], o);
            merge(&run[g], other);
        }
        if (lane < LANES)
            for (int x = 0; x < 8; x++)
                s.o[warp][g][lane * 8 + x] = run[g].o[x];
        if (lane == 0) {
            s.max[warp][g] = run[g].max;
            s.sum[warp][g] = run[g].sum;
        }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n_q * d; i += THREADS) {
        int g = i / d, j = i % d;
        size_t to = (size_t)(head + g) * a.n_parts + part;
        float max = MASKED, sum = 0, o = 0;

        for (int w = 0; w < WARPS; w++)
            max = fmaxf(max, s.max[w][g]);
        for (int w = 0; w < WARPS; w++) {
            float x = exp2f(s.max[w][g] - max);

            sum += s.sum[w][g] * x;
            o += s.o[w][g][j] * x;
        }
        a.part_o[to * d + j] = o;
        if (j == 0)
            a.part_ml[to] = make_float2(max, sum);
    }
    __threadfence();
    __syncthreads();
    n_done = r.n_used * a.n_kv * a.n_subs;
    if (threadIdx.x == 0)
        s.last = atomicAdd(a.ticket, 1u) == (unsigned)n_done - 1;
    __syncthreads();
    if (!s.last)
        return;
    __threadfence();
    if (threadIdx.x == 0)
        *a.ticket = 0;
    finish<T>(a, r.n_used, (T *)(&s + 1), &s.digits);
}

template <typename T, int LANES, int G>
static void launch(struct device *dev, const struct decode_attention_args *a)
{
    unsigned blocks = (unsigned)(a->n_parts * a->n_subs * a->n_kv);
    size_t shared =
        sizeof(attend_shared<T, 8 * LANES, G>) + (size_t)(a->n_heads * a->d) * sizeof(T);

    if (shared > cuda_dev(dev)->max_shared)
        die("CUDA: heads of %d elements in all do not fit the shared memory", a->n_heads * a->d);
    CU(cudaFuncSetAttribute(decode_attend<T, LANES, G>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                            (int)shared));
    launch_after(dev, decode_attend<T, LANES, G>, blocks, THREADS, shared, *a);
}

/* Queries of a block: registers for four, one in float32 and where the head is wide. */
static int queries(int group, int d, enum dtype t)
{
    return t == DTYPE_F32 || d > 128 || group == 1 ? 1 : 4;
}

template <typename T, int LANES>
static void launch_group(struct device *dev, const struct decode_attention_args *a, int g)
{
    if constexpr (sizeof(T) == 2 && LANES < 32)
        if (g == 4) {
            launch<T, LANES, 4>(dev, a);
            return;
        }
    launch<T, LANES, 1>(dev, a);
}

void cuda_decode_attention(struct device *dev, struct tensor out, struct tensor qkv,
                           struct kv_layer kv, struct attention_shape shape, struct tensor cos_sin,
                           const int32_t *position, size_t max_positions,
                           const struct act_rule *rule)
{
    struct decode_attention_args a = {};
    int d = (int)shape.head_dim, group = (int)(shape.n_heads / shape.n_kv_heads);
    int g = queries(group, d, out.dtype), most = (int)n_blocks(max_positions, KV_PAGE);
    size_t n_out = shape.n_heads * shape.head_dim, parts;

    if (is_wina(rule)) {
        cuda_decode_attention(dev, out, qkv, kv, shape, cos_sin, position, max_positions, NULL);
        cuda_wina(dev, out, rule);
        return;
    }
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
    a.rule = row_rule_of(rule, n_out);
    parts = (size_t)a.n_heads * (size_t)a.n_parts;
    a.ticket = decode_ticket(dev);
    a.part_ml = (float2 *)decode_scratch(dev, parts * (sizeof(float2) + (size_t)d * 4));
    a.part_o = (float *)(a.part_ml + (parts + 1) / 2 * 2); /* 16 bytes */
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
