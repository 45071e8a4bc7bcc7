/* A product of many rows on Hopper's warpgroup products with what follows it fused in (f16, bf16):
 * the template behind gated.cu.
 *
 * x: rows x k, W: n x k, both row-major. A tile is 128 rows of x times 256 rows of W. Two blocks
 * form a cluster: they take different rows of x and the same rows of W, of which each loads one
 * half for both. The tiles of a cluster are fixed: number cluster, cluster + clusters, ... of an
 * order that keeps what is read together in L2. One warp of a block copies, four steps of 64
 * columns ahead, also across tiles; two warpgroups own 64 rows each and walk the columns from the
 * first to the last, 16 at a time, into one sum: a row's bits depend on that row alone. */
#ifndef DUO_BACKEND_CUDA_PRODUCT_CUH
#define DUO_BACKEND_CUDA_PRODUCT_CUH

#include <cuda.h>

#include "harness/backend/cuda/wgmma.cuh"

#define STAGES 4
#define STEP 64       /* columns per stage: rows of 128 bytes */
#define TILE_ROWS 128 /* of x, per block */
#define TILE_COLS 256 /* of the product */
#define TOGETHER 8    /* pairs of tiles of rows that are walked together */

struct product_args {
    void *out;
    unsigned rows, k;
    unsigned tiles; /* of rows of W: tile i takes 128 from i * step on, and 128 that lie `apart` */
    unsigned step, apart;
    unsigned n; /* columns of out */
};

/* Shared memory, offsets in bytes from a 1024-byte boundary. */
struct product_layout {
    static constexpr unsigned X = TILE_ROWS * STEP * 2, HALF_W = TILE_COLS / 2 * STEP * 2;
    static constexpr unsigned STAGE = X + 2 * HALF_W, OUT = STAGES * STAGE;
    static constexpr unsigned GROUP_OUT = 64 * 128 * 2; /* 64 rows of 128 elements, permuted */
    static constexpr unsigned BARS = OUT + 2 * GROUP_OUT, SIZE = BARS + 16 * STAGES + 1024;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ __forceinline__ unsigned cluster_rank()
{
    unsigned r;

    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}

__device__ __forceinline__ void cluster_sync()
{
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}

/* Arrives at the counter of the same address in the cluster's block `rank`. */
__device__ __forceinline__ void arrive_in(unsigned bar, unsigned rank)
{
    asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [at];\n}" ::"r"(bar),
                 "r"(rank)
                 : "memory");
}

/* The box of `map` at (column, row) to shared memory; with a mask, to every block in it. */
__device__ __forceinline__ void copy_box(unsigned to, const CUtensorMap *map, unsigned column,
                                         unsigned row, unsigned bar)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(map), "r"(column), "r"(row), "r"(bar)
                 : "memory");
}

__device__ __forceinline__ void copy_box(unsigned to, const CUtensorMap *map, unsigned column,
                                         unsigned row, unsigned bar, unsigned short mask)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
                 "l"(map), "r"(column), "r"(row), "r"(bar), "h"(mask)
                 : "memory");
}

/* Where a block's tile lies: its first row of x and out, and the number of its rows of W. */
struct spot {
    unsigned row, col;
};

/* Tile `number` of the block `rank` of a cluster; pairs: of tiles of rows. */
__device__ __forceinline__ struct spot find_spot(unsigned number, unsigned pairs, unsigned tiles,
                                                 unsigned rank)
{
    const unsigned first = number / (TOGETHER * tiles) * TOGETHER;
    const unsigned together = min((unsigned)TOGETHER, pairs - first);
    const unsigned at = number - first * tiles;

    return {(2 * (first + at % together) + rank) * TILE_ROWS, at / together};
}

/* Counts the stages of the ring: which, and the parity of its round. */
struct ring {
    unsigned stage, parity;

    __device__ void next()
    {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

/* sum (64 x 256) = the stage's x W^T, or += it if ADD; begun, not waited for. */
template <typename T, int ADD>
__device__ __forceinline__ void multiply_step(float (&sum)[128], unsigned shared, unsigned full,
                                              struct ring at, int group)
{
    using L = product_layout;
    const unsigned x = shared + at.stage * L::STAGE + group * (L::X / 2);
    const unsigned w = shared + at.stage * L::STAGE + L::X;

    arrivals_wait(full + 8 * at.stage, at.parity);
    products_begin();
#pragma unroll
    for (int c = 0; c < STEP / 16; c++)
        product(sum, operand(x + 32 * c), operand(w + 32 * c), ADD || c > 0, T());
    products_end();
}

/* F: void f(float (&sum)[128], struct spot, int group, char *staging), the epilogue of 64 rows. */
template <typename T, typename F>
__device__ void product_walk(const CUtensorMap *x, const CUtensorMap *w, const product_args &a,
                             F epilogue)
{
    using L = product_layout;
    extern __shared__ char memory[];
    const unsigned unaligned = (unsigned)__cvta_generic_to_shared(memory);
    const unsigned shared = (unaligned + 1023) & ~1023u;
    const unsigned full = shared + L::BARS, empty = full + 8 * STAGES;
    const unsigned rank = cluster_rank(), lane = threadIdx.x % 32;
    const unsigned pairs = (a.rows + 2 * TILE_ROWS - 1) / (2 * TILE_ROWS);
    const unsigned steps = (a.k + STEP - 1) / STEP;
    const int group = threadIdx.x / 128;
    struct ring at = {0, 0};

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            arrivals_init(full + 8 * i, 1);
            arrivals_init(empty + 8 * i, 16); /* one for each warp of both blocks */
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    cluster_sync();
    if (group == 2) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (threadIdx.x == 256)
            for (unsigned number = blockIdx.x / 2; number < pairs * a.tiles;
                 number += gridDim.x / 2) {
                const struct spot s = find_spot(number, pairs, a.tiles, rank);
                const unsigned w_row = s.col * a.step + rank * a.apart;

#pragma unroll 1
                for (unsigned i = 0; i < steps; i++, at.next()) {
                    const unsigned to = shared + at.stage * L::STAGE, bar = full + 8 * at.stage;

                    arrivals_wait(empty + 8 * at.stage, at.parity ^ 1);
                    arrive_expecting(bar, L::STAGE);
                    copy_box(to, x, i * STEP, s.row, bar);
                    copy_box(to + L::X + rank * L::HALF_W, w, i * STEP, w_row, bar, 3);
                }
            }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
        for (unsigned number = blockIdx.x / 2; number < pairs * a.tiles; number += gridDim.x / 2) {
            float sum[128];
            unsigned before;

            multiply_step<T, 0>(sum, shared, full, at, group);
#pragma unroll 1
            for (unsigned i = 1; i < steps; i++) {
                before = at.stage;
                at.next();
                multiply_step<T, 1>(sum, shared, full, at, group);
                products_wait<1>();
                if (lane < 2)
                    arrive_in(empty + 8 * before, lane);
            }
            before = at.stage;
            at.next();
            products_wait<0>();
            sums_ready(sum);
            if (lane < 2)
                arrive_in(empty + 8 * before, lane);
            epilogue(sum, find_spot(number, pairs, a.tiles, rank), group,
                     memory + (shared - unaligned) + L::OUT + group * L::GROUP_OUT);
        }
    }
    cluster_sync(); /* nobody leaves while the other may still arrive here */
}

#endif

/* ---- host */

/* rows x cols, row-major, read in boxes of box_rows x STEP, permuted as the products read them. */
bool product_map(CUtensorMap *map, enum dtype t, const void *data, size_t rows, size_t cols,
                 unsigned box_rows);

#endif
