/* The product of a packed weight (PACKED_COLUMNS, PACKED_NONZEROS) and one activation vector: reads
 * those segments (packed.cuh) whose column meets a non-zero input.
 *
 * A block of threads works on one block of 1024 rows and an equal share of the active columns. It
 * makes the input (gemv_input.cuh) and lists them (each thread tests its run of the input, a scan
 * over the block ranks them), then each
 * warp walks through every WARPS-th of the list: dense columns straight into registers, non-zeros
 * as bulk copies into shared memory, a few segments ahead. Sums stay in registers, 32 rows a lane;
 * the warps' sums meet in shared memory, those of different blocks in `out`, by atomic additions in
 * float32. Their order, and so the last bit of an output, may change from run to run where a block
 * of rows is shared (fewer blocks of rows than SMs).
 *
 * One block of threads fits on an SM (host code asks for more than half of the shared memory):
 * where two fit, one launch's blocks can pair up on some SMs and leave others idle.
 *
 * Measured on one NVIDIA H100 80GB HBM3 (driver 580.159.04), f16, LLaMA-2-7B's shapes in a graph,
 * ms per 32 layers of linears; the best dense product (gemv_rows.cu) 4.63. Zeros in weights /
 * inputs:
 *
 * - as here: 50/50 1.99, 60/60 1.51, 65/65 1.32, 50/0 3.25, 0/50 2.53
 * - two blocks of threads on an SM: 1.98, 1.55, 1.36, 3.25, but 3.54 at 50/50 (here 2.15) with a
 *   launch of one block before each product
 * - half or a quarter of a segment a warp: 2.45, 2.70 at 50/50, when whole ones took 2.26
 * - three copies in flight 2.08 - 2.25; cp.async for bulk copies 2.15, against 2.11
 * - copies of some columns ahead of x, active or not: 2.02 - 2.39
 * - sums that meet two by two in order of arrival: 2.20, against 2.11
 * - dense columns as bulk copies: 2.65 at 0/50
 * - registers and memory for two blocks on an SM, one of them of the next launch, which gets ready
 *   meanwhile: a whole decode step of 50/50 2.73 ms (here 2.71), of 0/50 4.25 (3.33)
 *
 * Of 15 us a launch at 50/50, 10 are copying at 2.9 TB/s; 1 goes by until the list is there, 1.5
 * until the first segment, 1 for sums, 0.4 from one launch to the next. */
#ifndef DUO_BACKEND_CUDA_GEMV_COLUMNS_CUH
#define DUO_BACKEND_CUDA_GEMV_COLUMNS_CUH

#include "harness/backend/cuda/gemv_formats.cuh"
#include "harness/backend/cuda/gemv_input.cuh"

struct gemv_args {
    const unsigned char *data;
    const unsigned char *tables;
    unsigned *ready; /* one word for each block of rows, 0 between launches */
    struct input_args in;
    float *out;
    unsigned n_out, n_in;
    unsigned first, cols; /* the columns of this panel */
    unsigned n_split;     /* blocks of threads that share a block of rows */
    unsigned slot;        /* bytes of the largest segment */
    struct tables shape;
    bool accumulate;
};

#ifdef __CUDACC__

/* ---- the list of active columns */

/* What a block of threads knows before it starts, the same in every thread. */
struct share {
    unsigned block, split;  /* which block of rows; which share of its active columns */
    unsigned rows;          /* PACKED_COLUMNS: values of a segment */
    const unsigned *groups; /* table, in shared memory */
    unsigned table_bar;
};

/* This share of the non-zeros of the input to list; returns how many. magic: for divisions by
 * n_split. Ends with a barrier, after which the ring is the copies'. */
template <typename F, int WARPS>
__device__ __forceinline__ unsigned
list_active(active<typename F::value> *list, unsigned *totals, const struct gemv_args &a,
            const struct share &s, const struct input_row<typename F::value> &row, unsigned magic)
{
    using T = typename F::value;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned mask = 0, count, upto, before, all, lo, n, rank;

    row.template each_vec<false>([&](vec<T, 8> &x, unsigned p) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            mask |= to_f32(x.v[i]) != 0.0f ? 1u << (8 * p + i) : 0u;
    });
    count = upto = __popc(mask);
#pragma unroll
    for (int o = 1; o < 32; o *= 2) {
        unsigned y = __shfl_up_sync(~0u, upto, o);

        upto += lane >= o ? y : 0;
    }
    if (lane == 31)
        totals[warp] = upto;
    __syncthreads();
    all = lane < WARPS ? totals[lane] : 0;
    before = __reduce_add_sync(~0u, lane < warp ? all : 0) + upto - count;
    all = __reduce_add_sync(~0u, all);
    /* all * split / n_split, exact: all * n_split < 2^32 / n_split */
    lo = a.n_split == 1 ? 0 : __umulhi(all * s.split, magic);
    n = (a.n_split == 1 ? all : __umulhi(all * (s.split + 1), magic)) - lo;
    rank = before - lo; /* wraps below 0 */
    if (F::HAS_TABLES)
        barrier_wait(s.table_bar, 0);
    if (before < lo + n && before + count > lo)
        row.template each_vec<false>([&](vec<T, 8> &x, unsigned p) {
            const unsigned bits = mask >> 8 * p;
            unsigned at[9];

            if (!(bits & 255))
                return;
            F::begin9(at, s.groups, a.shape.n_groups, s.rows, 8 * (row.first + p));
#pragma unroll
            for (int i = 0; i < 8; i++) {
                if ((bits >> i & 1) && rank < n)
                    list[rank] = active<T>::make(at[i], at[i + 1] - at[i], x.v[i]);
                rank += bits >> i & 1;
            }
        });
    async_may_write();
    __syncthreads();
    return n;
}

/* ---- out */

/* Two sums to out[row], out[row + 1], below n: by atomic additions if others add there too. */
__device__ __forceinline__ void add_to(float *out, const float (&s)[2], unsigned row, unsigned n,
                                       bool shared, bool accumulate)
{
#if __CUDA_ARCH__ >= 900
    if (shared && row + 2 <= n && (size_t)(out + row) % 8 == 0) {
        asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1,%2};" ::"l"(out + row), "f"(s[0]),
                     "f"(s[1])
                     : "memory");
        return;
    }
#endif
    for (unsigned i = 0; i < 2 && row + i < n; i++)
        if (shared)
            atomicAdd(out + row + i, s[i]);
        else
            out[row + i] = s[i] + (accumulate ? out[row + i] : 0.0f);
}

/* One warp: sets out[first .. n) to 0, up to BLOCK_ROWS, and says so. The first share of a block of
 * rows does it, the others look before they add; every share counts once, and the last leaves 0
 * again, because the count wraps. The first share has the lowest index, so it runs when they do. */
__device__ __forceinline__ void zero_rows(float *out, unsigned first, unsigned n, unsigned *ready,
                                          unsigned n_split)
{
    for (unsigned r = first + threadIdx.x % 32; r < n && r < first + BLOCK_ROWS; r += 32)
        out[r] = 0;
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        atomicInc(ready, n_split - 1);
}

/* One thread. No fence: it would empty L1, and additions happen in L2, where the zeros are by now.
 */
__device__ __forceinline__ void wait_for_zeros(unsigned *ready, unsigned n_split)
{
    unsigned seen;

    do {
        asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(ready) : "memory");
    } while (seen == 0);
    atomicInc(ready, n_split - 1);
}

/* ---- the kernel */

/* Dynamic shared memory: the input, then the ring, then sums; barriers, totals, what the input
 * needs, table, list. */
template <typename F, int WARPS> struct shared_layout {
    unsigned bars, totals, input, table, list, nbytes;

    __host__ __device__ shared_layout(unsigned slot, const struct tables &t, unsigned n_split)
    {
        unsigned ring = WARPS * F::SLOTS * slot, sums = WARPS * BLOCK_ROWS * 4;

        bars = ring > sums ? ring : sums;
        totals = bars + 8 * (WARPS * F::SLOTS + 1);
        input = totals + 4 * WARPS;
        table = (input + (unsigned)sizeof(input_shared<typename F::value>) + 15) / 16 * 16;
        list = table + (F::HAS_TABLES ? t.nbytes : 0);
        nbytes = list + (unsigned)sizeof(active<typename F::value>) * (t.cols / n_split + 1);
    }
};

template <typename F, int WARPS>
__global__ void __launch_bounds__(WARPS * 32, 1) gemv_columns(const struct gemv_args a)
{
    using T = typename F::value;
    constexpr int EACH = BLOCK_ROWS / (WARPS * 32);
    extern __shared__ __align__(128) unsigned char shared[];
    const shared_layout<F, WARPS> lay(a.slot, a.shape, a.n_split);
    const unsigned tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    const unsigned magic = ~0u / a.n_split + 1; /* 0 for 1 */
    const unsigned n_vec = (a.cols + 7) / 8, per_thread = (n_vec + 32 * WARPS - 1) / (32 * WARPS);
    const struct input_row<T> row = {
        (vec<T, 8> *)shared, a.cols, min(tid *per_thread, n_vec),
            min(tid *per_thread + per_thread, n_vec)
    };
    const bool zeroes = a.n_split > 1 && !a.accumulate;
    static_assert(PANEL <= 32 * 32 * WARPS, "one mask of 32 bits a thread");
    static_assert(PANEL * sizeof(T) <= WARPS * BLOCK_ROWS * 4,
                  "the row fits where the sums will be");
    struct input_shared<T> &input = *(struct input_shared<T> *)(shared + lay.input);
    float sum[8][4] = {}, total[EACH] = {};
    struct walk_args<T> g;
    struct share s;
    vec<float, 8> gains[NORM_MOST];
    unsigned *ready, guess;

    /* what needs no input */
    s.block = blockIdx.x / a.n_split;
    s.split = blockIdx.x % a.n_split;
    s.rows = segment_rows(a.n_out, s.block, sizeof(T));
    s.groups = (const unsigned *)(shared + lay.table);
    s.table_bar = shared_address(shared + lay.bars) + 8 * WARPS * F::SLOTS;
    ready = a.ready + s.block;
    input_gains<T>(gains, a.in, row);
    guess = *a.in.guess;
    input.clear();
    if (F::HAS_TABLES && tid < WARPS * F::SLOTS + 1)
        barrier_init(shared_address(shared + lay.bars) + 8 * tid, 1);
    barriers_ready();
    __syncthreads();
    if (F::HAS_TABLES && tid == 0)
        copy_in(shared_address(s.groups), a.tables + (size_t)s.block * a.shape.nbytes,
                a.shape.nbytes, s.table_bar);
    grid_release();
    grid_wait();
    make_input<T>(row, gains, a.in, guess, &input);

    g.list = (const active<T> *)(shared + lay.list);
    g.n = list_active<F, WARPS>((active<T> *)g.list, (unsigned *)(shared + lay.totals), a, s, row,
                                magic);
    g.rows = s.rows;
    g.data = a.data;
    if (!F::HAS_TABLES)
        g.data += ((size_t)s.block * BLOCK_ROWS * a.n_in + (size_t)s.rows * a.first) * sizeof(T);
    g.ring = shared_address(shared);
    g.slot = a.slot;
    g.bars = shared_address(shared + lay.bars);
    if (zeroes && s.split == 0 && warp == WARPS - 1) /* it has the fewest segments */
        zero_rows(a.out, s.block * BLOCK_ROWS, a.n_out, ready, a.n_split);
    F::template walk<WARPS>(sum, g);
    if (zeroes && s.split != 0 && warp == WARPS - 1 && lane == 0)
        wait_for_zeros(ready, a.n_split);

    __syncthreads();
    F::store((float *)shared + warp * BLOCK_ROWS, sum, lane);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        vec<float, EACH> t = ((vec<float, EACH> *)shared)[i * WARPS * 32 + tid];

#pragma unroll
        for (int k = 0; k < EACH; k++)
            total[k] += t.v[k];
    }
    add_to(a.out, total, s.block * BLOCK_ROWS + tid * EACH, a.n_out, a.n_split > 1, a.accumulate);
}

#endif
#endif
