/* The product of a packed weight (PACKED_COLUMNS, PACKED_NONZEROS) and one activation vector:
 * streams those segments (packed.cuh) whose column meets a non-zero input through shared memory.
 *
 * A block of threads works on one block of 1024 rows and an equal share of the active columns. It
 * lists them (each thread tests its run of the input, a scan over the block ranks them), then each
 * team of TEAM warps walks through its part of the list with STAGES bulk copies in flight. Sums
 * stay in registers, 32 / TEAM rows a lane; the teams' sums meet in shared memory, those of
 * different blocks in `out`, by atomic additions in float32. Their order, and so the last bit of an
 * output, may change from run to run where a row block is shared (more SMs than row blocks). */
#ifndef DUO_BACKEND_CUDA_GEMV_COLUMNS_CUH
#define DUO_BACKEND_CUDA_GEMV_COLUMNS_CUH

#include "harness/backend/cuda/packed.cuh"

struct gemv_args {
    const unsigned char *data, *tables;
    unsigned *ready; /* one word for each block of rows, 0 between launches */
    const void *x;
    float *out;
    unsigned n_out, n_in;
    unsigned n_split; /* blocks of threads that share a block of rows */
    unsigned slot;    /* bytes of the largest segment */
    struct tables shape;
    bool accumulate;
};

/* An active column. */
template <typename T> struct active {
    unsigned at;     /* where its segment begins, in units of 16 bytes */
    unsigned size_x; /* its units << 16 | the bits of x */

    static __device__ __forceinline__ active make(unsigned at, unsigned size, T x)
    {
        return {at, size << 16 | (unsigned)*(unsigned short *)&x};
    }
    __device__ __forceinline__ unsigned size(void) const
    {
        return size_x >> 16;
    }
};
template <> struct active<float> {
    unsigned at, size_;
    float x;
    unsigned unused;

    static __device__ __forceinline__ active make(unsigned at, unsigned size, float x)
    {
        return {at, size, x, 0};
    }
    __device__ __forceinline__ unsigned size(void) const
    {
        return size_;
    }
};

#ifdef __CUDACC__

/* ---- shared memory by address, bulk copies and their barriers. Cards before Hopper have neither
 * bulk copies nor waits that sleep: a lane copies 16 bytes at a time. */

__device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void barrier_init(unsigned bar)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(bar) : "memory");
}

/* Makes initialised barriers and zeroed memory known to the copy engine. */
__device__ __forceinline__ void barriers_ready(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::
                     : "memory");
#endif
}

__device__ __forceinline__ void barrier_wait(unsigned bar, unsigned phase)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("{\n.reg .pred p;\nWAIT_%=:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra DONE_%=;\nbra WAIT_%=;\nDONE_%=:\n}" ::"r"(bar),
                 "r"(phase)
                 : "memory");
#else
    asm volatile("{\n.reg .pred p;\nWAIT_%=:\n"
                 "mbarrier.test_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra DONE_%=;\nbra WAIT_%=;\nDONE_%=:\n}" ::"r"(bar),
                 "r"(phase)
                 : "memory");
#endif
}

/* One lane: begins to copy nbytes (a multiple of 16); bar's phase ends when they are there. */
__device__ __forceinline__ void copy_in(unsigned to, const void *from, unsigned nbytes,
                                        unsigned bar)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(nbytes)
                 : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(nbytes), "r"(bar)
                 : "memory");
#else
    for (unsigned i = 0; i < nbytes; i += 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + i),
                     "l"((const char *)from + i)
                     : "memory");
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(bar) : "memory");
#endif
}

template <int N> __device__ __forceinline__ void load_words(unsigned (&w)[N], unsigned at)
{
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 4)
            asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                         : "=r"(w[i]), "=r"(w[i + 1]), "=r"(w[i + 2]), "=r"(w[i + 3])
                         : "r"(at + 4 * i));
    } else {
        asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(w[0]), "=r"(w[1]) : "r"(at));
    }
}

/* ---- products on the matrix units: sum[i] += a_i x for four values of this lane, with x on the
 * diagonal of the other operand, so that neither conversion nor addition is an instruction of its
 * own. Products are exact, sums in float32. */

/* a: packed pairs (0, 1), (2, 3); b: x in the half that pairs(x) says */
template <typename T>
__device__ __forceinline__ void add_pairs(float (&d)[4], unsigned a0, unsigned a1, unsigned b)
{
    if constexpr (sizeof(T) == 2 && __is_same(T, __half))
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a0), "r"(a1), "r"(b));
    else
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a0), "r"(a1), "r"(b));
}

/* v: four values, each in the low half of a word; sums come in the order 0, 2, 1, 3 */
template <typename T>
__device__ __forceinline__ void add_single(float (&d)[4], const unsigned (&v)[4], unsigned b0,
                                           unsigned b1)
{
    if constexpr (__is_same(T, __half))
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]), "r"(b0), "r"(b1));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]), "r"(b0), "r"(b1));
}

/* The values of four consecutive rows, packed from `at` on where the low bits of mask are set, as
 * words; 0 for the others. */
template <int NBYTES>
__device__ __forceinline__ void expand4(unsigned (&v)[4], unsigned mask, unsigned at)
{
    if constexpr (NBYTES == 2)
        asm volatile("{\n.reg .pred p, q, r, s;\n.reg .b32 t, a;\nmov.b32 a, %5;\n"
                     "and.b32 t, %4, 1;\nsetp.ne.u32 p, t, 0;\n"
                     "and.b32 t, %4, 2;\nsetp.ne.u32 q, t, 0;\n"
                     "and.b32 t, %4, 4;\nsetp.ne.u32 r, t, 0;\n"
                     "and.b32 t, %4, 8;\nsetp.ne.u32 s, t, 0;\n"
                     "mov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
                     "@p ld.shared.u16 %0, [a];\n@p add.u32 a, a, 2;\n"
                     "@q ld.shared.u16 %1, [a];\n@q add.u32 a, a, 2;\n"
                     "@r ld.shared.u16 %2, [a];\n@r add.u32 a, a, 2;\n"
                     "@s ld.shared.u16 %3, [a];\n}"
                     : "=&r"(v[0]), "=&r"(v[1]), "=&r"(v[2]), "=&r"(v[3])
                     : "r"(mask), "r"(at));
    else
        asm volatile("{\n.reg .pred p, q, r, s;\n.reg .b32 t, a;\nmov.b32 a, %5;\n"
                     "and.b32 t, %4, 1;\nsetp.ne.u32 p, t, 0;\n"
                     "and.b32 t, %4, 2;\nsetp.ne.u32 q, t, 0;\n"
                     "and.b32 t, %4, 4;\nsetp.ne.u32 r, t, 0;\n"
                     "and.b32 t, %4, 8;\nsetp.ne.u32 s, t, 0;\n"
                     "mov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
                     "@p ld.shared.u32 %0, [a];\n@p add.u32 a, a, 4;\n"
                     "@q ld.shared.u32 %1, [a];\n@q add.u32 a, a, 4;\n"
                     "@r ld.shared.u32 %2, [a];\n@r add.u32 a, a, 4;\n"
                     "@s ld.shared.u32 %3, [a];\n}"
                     : "=&r"(v[0]), "=&r"(v[1]), "=&r"(v[2]), "=&r"(v[3])
                     : "r"(mask), "r"(at));
}

/* ---- the two formats. add(): sums of this lane += its rows of the segment at `at` times x; ROWS
 * of them a lane, part h of TEAM. store(): the sums to sum[] (BLOCK_ROWS), by row. */

template <typename T, int TEAM_> struct nonzeros {
    using value = T;
    static constexpr int TEAM = TEAM_, Q = 8 / TEAM; /* groups of 4 rows a lane */
    static constexpr bool HAS_TABLES = true;

    static __device__ __forceinline__ active<T> segment(const struct gemv_args &, unsigned,
                                                        const unsigned *groups, unsigned n_groups,
                                                        unsigned, unsigned col, T x)
    {
        const unsigned short *delta = (const unsigned short *)(groups + n_groups);
        unsigned at = groups[col / 32] + delta[col];

        return active<T>::make(at, groups[(col + 1) / 32] + delta[col + 1] - at, x);
    }

    static __device__ __forceinline__ void add(float (&sum)[Q][4], unsigned at, active<T> a,
                                               unsigned h, unsigned lane)
    {
        const unsigned j = lane / 8, shift = 4 * (lane % 8), below = (1u << shift) - 1;
        unsigned w[Q], start, base, b0 = 0, b1 = 0;

        if constexpr (sizeof(T) == 2) {
            const unsigned row = lane / 4, pair = lane % 4;

            b0 = row == 2 * pair ? a.size_x & 0xffff : 0;
            b1 = row == 2 * pair + 1 ? a.size_x & 0xffff : 0;
        }
        load_words(w, at + 32 * j + 4 * Q * h);
        asm volatile("ld.shared.u16 %0, [%1];"
                     : "=r"(start)
                     : "r"(at + MASK_NBYTES + 8 * h + 2 * j));
        base = at + head_nbytes<TEAM> + start * (unsigned)sizeof(T);
#pragma unroll
        for (int q = 0; q < Q; q++) {
            unsigned v[4];

            expand4<sizeof(T)>(v, w[q] >> shift, base + (unsigned)sizeof(T) * __popc(w[q] & below));
            base += (unsigned)sizeof(T) * __popc(w[q]);
            if constexpr (sizeof(T) == 2) {
                add_single<T>(sum[q], v, b0, b1);
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    sum[q][i] = fmaf(__uint_as_float(v[i]), a.x, sum[q][i]);
            }
        }
    }

    static __device__ __forceinline__ void store(float *out, const float (&sum)[Q][4], unsigned h,
                                                 unsigned lane)
    {
        constexpr int ONE = sizeof(T) == 2 ? 2 : 1;

#pragma unroll
        for (int q = 0; q < Q; q++)
            ((float4 *)out)[(h * Q + q) * 32 + lane] =
                make_float4(sum[q][0], sum[q][ONE], sum[q][3 - ONE], sum[q][3]);
    }
};

template <typename T, int TEAM_> struct columns {
    using value = T;
    static constexpr int TEAM = TEAM_, Q = 8 / TEAM;
    static constexpr bool HAS_TABLES = false;
    static constexpr unsigned PER = 16 / sizeof(T); /* rows of one load */

    static __device__ __forceinline__ active<T> segment(const struct gemv_args &, unsigned rows,
                                                        const unsigned *, unsigned, unsigned first,
                                                        unsigned col, T x)
    {
        return active<T>::make((first + col) * (rows / PER), rows / PER, x);
    }

    /* Group q of loads: rows (32 (h Q' + q) + lane) PER and on, Q' = 32 / TEAM / PER. */
    static __device__ __forceinline__ void add(float (&sum)[Q][4], unsigned at, active<T> a,
                                               unsigned h, unsigned lane)
    {
        constexpr int LOADS = 4 * Q / PER;
        const unsigned row = lane / 4, pair = lane % 4;

#pragma unroll
        for (int q = 0; q < LOADS; q++) {
            unsigned v[4];

            load_words(v, at + 16 * (32 * (h * LOADS + q) + lane));
            if constexpr (sizeof(T) == 2) {
                unsigned x = a.size_x & 0xffff;
                unsigned b = row == 2 * pair ? x : row == 2 * pair + 1 ? x << 16 : 0;

                add_pairs<T>(sum[2 * q], v[0], v[1], b);
                add_pairs<T>(sum[2 * q + 1], v[2], v[3], b);
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    sum[q][i] = fmaf(__uint_as_float(v[i]), a.x, sum[q][i]);
            }
        }
    }

    static __device__ __forceinline__ void store(float *out, const float (&sum)[Q][4], unsigned h,
                                                 unsigned lane)
    {
        constexpr int LOADS = 4 * Q / PER, EACH = PER / 4;

#pragma unroll
        for (int q = 0; q < Q; q++)
            ((float4 *)out)[(32 * (h * LOADS + q / EACH) + lane) * EACH + q % EACH] =
                make_float4(sum[q][0], sum[q][1], sum[q][2], sum[q][3]);
    }
};

/* ---- the list of active columns */

/* Eight values from x[j] on; behind n: 0. From L2: x was written while this kernel was there. */
template <typename T>
__device__ __forceinline__ vec<T, 8> input8(const T *x, unsigned j, unsigned n)
{
    vec<T, 8> r;

    if (j + 8 <= n && (size_t)x % 16 == 0) {
#pragma unroll
        for (unsigned i = 0; i < sizeof(r) / 16; i++)
            ((uint4 *)&r)[i] = __ldcg((const uint4 *)(x + j) + i);
        return r;
    }
    for (unsigned i = 0; i < 8; i++)
        r.v[i] = j + i < n ? __ldcg(x + j + i) : T(0.0f);
    return r;
}

/* Share `split` of the non-zeros of x (cols of them, the panel from column `first` on) to list;
 * returns how many. Ends with a barrier. */
template <typename F, int WARPS>
__device__ __forceinline__ unsigned
list_active(active<typename F::value> *list, unsigned *totals, const struct gemv_args &a,
            unsigned rows, const unsigned *groups, unsigned table_bar, unsigned phase,
            unsigned split, unsigned first, unsigned cols)
{
    using T = typename F::value;
    const T *x = (const T *)a.x + first;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned runs = (cols + 256 * WARPS - 1) / (256 * WARPS), mine = threadIdx.x * 8 * runs;
    unsigned long long mask = 0;
    unsigned count, upto, before, all, lo, n;

    static_assert(PANEL <= 32 * WARPS * 64, "a thread's run of x has at most 64 values");
    for (unsigned p = 0; p < runs; p++) {
        vec<T, 8> v = input8(x, mine + 8 * p, cols);
        unsigned bits = 0;

#pragma unroll
        for (int i = 0; i < 8; i++)
            bits |= to_f32(v.v[i]) != 0.0f ? 1u << i : 0u;
        mask |= (unsigned long long)bits << 8 * p;
    }
    count = upto = __popcll(mask);
#pragma unroll
    for (int o = 1; o < 32; o *= 2) {
        unsigned y = __shfl_up_sync(~0u, upto, o);

        upto += lane >= o ? y : 0;
    }
    if (lane == 31)
        totals[warp] = upto;
    __syncthreads();
    all = lane < WARPS ? totals[lane] : 0;
    before = __reduce_add_sync(~0u, lane < warp ? all : 0);
    all = __reduce_add_sync(~0u, all);
    lo = all * split / a.n_split;
    n = all * (split + 1) / a.n_split - lo;
    if (F::HAS_TABLES)
        barrier_wait(table_bar, phase);
    before += upto - count;
    if (before < lo + n && before + count > lo) {
        unsigned rank = before - lo; /* wraps below 0 */

        for (unsigned p = 0; p < runs; p++) {
            unsigned bits = (unsigned)(mask >> 8 * p) & 255;
            vec<T, 8> v;

            if (!bits)
                continue;
            v = input8(x, mine + 8 * p, cols);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                if ((bits >> i & 1) && rank < n)
                    list[rank] = F::segment(a, rows, groups, a.shape.n_groups, first,
                                            mine + 8 * p + i, v.v[i]);
                rank += bits >> i & 1;
            }
        }
    }
    __syncthreads();
    return n;
}

/* ---- out */

/* N consecutive sums to out[row ..): one atomic instruction where there is one. */
template <int N>
__device__ __forceinline__ void add_to(float *out, const float (&s)[N], unsigned row, unsigned n)
{
#if __CUDA_ARCH__ >= 900
    if (row + N <= n && (size_t)(out + row) % (4 * N) == 0) {
        if constexpr (N == 2)
            asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1,%2};" ::"l"(out + row),
                         "f"(s[0]), "f"(s[1])
                         : "memory");
        else if constexpr (N == 4)
            asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(out + row),
                         "f"(s[0]), "f"(s[1]), "f"(s[2]), "f"(s[3])
                         : "memory");
        return;
    }
#endif
    for (unsigned i = 0; i < N && row + i < n; i++)
        atomicAdd(out + row + i, s[i]);
}

/* The first share of a block of rows sets its outputs to 0; the others wait for that with
 * zeroed(), just before they add. Every share counts once, and the last leaves 0 again: atomicInc
 * wraps. The first share has the lowest index of the blocks of threads, so it runs when they do. */
__device__ __forceinline__ void count_share(unsigned *ready, unsigned n_split)
{
    __threadfence();
    atomicInc(ready, n_split - 1);
}

__device__ __forceinline__ void wait_for_zeros(const unsigned *ready)
{
    unsigned seen;

    do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(ready) : "memory");
    } while (seen == 0);
}

/* ---- the kernel */

/* Bytes of dynamic shared memory: sums or ring, barriers, totals, table, list. */
template <typename F, int WARPS, int STAGES> struct shared_layout {
    static constexpr unsigned TEAMS = WARPS / F::TEAM, SLOTS = TEAMS * STAGES;
    unsigned bars, totals, table, list, nbytes;

    __host__ __device__ shared_layout(unsigned slot, const struct tables &t, unsigned n_split)
    {
        unsigned ring = SLOTS * slot, sums = TEAMS * BLOCK_ROWS * 4;

        bars = (ring > sums ? ring : sums);
        totals = bars + 8 * (SLOTS + 1);
        table = (totals + 4 * WARPS + 15) / 16 * 16;
        list = table + (F::HAS_TABLES ? t.nbytes : 0);
        nbytes = list + (unsigned)sizeof(active<typename F::value>) * (t.cols / n_split + 1);
    }
};

template <typename F, int WARPS, int STAGES, int RESIDENT>
__global__ void __launch_bounds__(WARPS * 32, RESIDENT) gemv_columns(const struct gemv_args a)
{
    using T = typename F::value;
    constexpr int TEAM = F::TEAM, TEAMS = WARPS / TEAM, EACH = BLOCK_ROWS / (WARPS * 32);
    extern __shared__ __align__(128) unsigned char shared[];
    const shared_layout<F, WARPS, STAGES> at(a.slot, a.shape, a.n_split);
    const unsigned tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    const unsigned team = warp / TEAM, part = warp % TEAM;
    const unsigned block = blockIdx.x / a.n_split, split = blockIdx.x % a.n_split;
    const unsigned n_blocks_of_rows = gridDim.x / a.n_split;
    const unsigned rows = F::HAS_TABLES ? 0 : segment_rows(a.n_out, block, sizeof(T));
    const unsigned char *data =
        a.data + (F::HAS_TABLES ? 0 : (size_t)block * BLOCK_ROWS * a.n_in * sizeof(T));
    const unsigned ring = shared_address(shared) + team * STAGES * a.slot;
    const unsigned bars = shared_address(shared + at.bars) + 8 * team * STAGES;
    const unsigned table_bar = shared_address(shared + at.bars) + 8 * TEAMS * STAGES;
    const unsigned *groups = (const unsigned *)(shared + at.table);
    active<T> *list = (active<T> *)(shared + at.list);
    const bool zeroes = a.n_split > 1 && !a.accumulate;
    float sum[F::Q][4] = {};
    unsigned stage = 0, phase = 0;

    /* what needs no input */
    if (tid < TEAMS * STAGES + 1)
        barrier_init(shared_address(shared + at.bars) + 8 * tid);
    if (!F::HAS_TABLES && rows < BLOCK_ROWS) /* nothing is copied there, but read */
        for (unsigned i = tid; i < TEAMS * STAGES * a.slot / 16; i += WARPS * 32)
            ((uint4 *)shared)[i] = make_uint4(0, 0, 0, 0);
    barriers_ready();
    __syncthreads();
    if (F::HAS_TABLES && tid == 0 && a.n_in)
        copy_in(shared_address(groups), a.tables + (size_t)block * a.shape.nbytes, a.shape.nbytes,
                table_bar);

    grid_wait();
    grid_release();
    if (zeroes && split == 0) {
        for (unsigned r = tid; r < BLOCK_ROWS; r += WARPS * 32)
            if (block * BLOCK_ROWS + r < a.n_out)
                a.out[block * BLOCK_ROWS + r] = 0;
        __threadfence();
    }
    for (unsigned panel = 0, first = 0; first < a.n_in; panel++, first += PANEL) {
        unsigned n = list_active<F, WARPS>(list, (unsigned *)(shared + at.totals), a, rows, groups,
                                           table_bar, panel & 1, split, first,
                                           min(a.n_in - first, a.shape.cols));
        auto issue = [&](unsigned m, unsigned slot) {
            active<T> e = list[m];

            copy_in(ring + slot * a.slot, data + (size_t)e.at * 16, e.size() * 16, bars + 8 * slot);
        };

        if (part == 0 && lane < STAGES && team + lane * TEAMS < n)
            issue(team + lane * TEAMS, (stage + lane) % STAGES);
        if (F::HAS_TABLES && tid == 0 && first + PANEL < a.n_in)
            copy_in(shared_address(groups),
                    a.tables + ((size_t)(panel + 1) * n_blocks_of_rows + block) * a.shape.nbytes,
                    a.shape.nbytes, table_bar);
        if (zeroes && split == 0 && panel == 0 && tid == 0)
            count_share(a.ready + block, a.n_split);
        for (unsigned m = team; m < n; m += TEAMS) {
            active<T> e = list[m];

            barrier_wait(bars + 8 * stage, phase);
            F::add(sum, ring + stage * a.slot, e, part, lane);
            if constexpr (TEAM == 1)
                __syncwarp();
            else
                asm volatile("bar.sync %0, %1;" ::"r"(1 + team), "n"(TEAM * 32) : "memory");
            if (part == 0 && lane == 0 && m + STAGES * TEAMS < n)
                issue(m + STAGES * TEAMS, stage);
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            phase ^= stage == 0;
        }
        __syncthreads(); /* the list is free, and so is the ring */
    }

    F::store((float *)shared + team * BLOCK_ROWS, sum, part, lane);
    if (zeroes && split != 0 && tid == 0) {
        wait_for_zeros(a.ready + block);
        count_share(a.ready + block, a.n_split);
    }
    __syncthreads();
    {
        const unsigned row = block * BLOCK_ROWS + tid * EACH;
        float s[EACH] = {};

        for (int i = 0; i < TEAMS; i++) {
            vec<float, EACH> t =
                *(vec<float, EACH> *)((float *)shared + i * BLOCK_ROWS + tid * EACH);

            for (int k = 0; k < EACH; k++)
                s[k] += t.v[k];
        }
        if (a.n_split > 1)
            add_to(a.out, s, row, a.n_out);
        else
            for (unsigned k = 0; k < EACH && row + k < a.n_out; k++)
                a.out[row + k] = s[k] + (a.accumulate ? a.out[row + k] : 0.0f);
    }
}

#endif
#endif
