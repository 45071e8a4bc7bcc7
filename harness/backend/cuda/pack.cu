/* Packing weights for gemv, and back; layouts in packed.cuh.
 *
 * One block of 8 warps for each 32 columns of a block of rows: lane = column, so that reads are
 * coalesced, each thread builds masks of 32 rows by itself, and nothing is exchanged but the sizes.
 */
#include <assert.h>
#include <string.h>

#include "harness/backend/cuda/packed.cuh"

static constexpr int WARPS = 8, WORDS = BLOCK_ROWS / 32;

/* The bits of a value: zero if it is +0 or -0. */
template <typename T> __device__ __forceinline__ bool is_zero(T x)
{
    return to_f32(x) == 0.0f;
}

/* Element (row, col) of w, +0 outside. */
template <typename T>
__device__ __forceinline__ T element(const T *w, unsigned n_out, unsigned n_in, unsigned row,
                                     unsigned col)
{
    return row < n_out && col < n_in ? w[(size_t)row * n_in + col] : T(0.0f);
}

/* Which of the 32 rows from row on are not zero in this column. */
template <typename T>
__device__ __forceinline__ unsigned mask_of(const T *w, unsigned n_out, unsigned n_in, unsigned row,
                                            unsigned col)
{
    unsigned mask = 0;

#pragma unroll 8
    for (unsigned i = 0; i < 32; i++)
        mask |= (is_zero(element(w, n_out, n_in, row + i, col)) ? 0u : 1u) << i;
    return mask;
}

/* Size of every segment, in units of 16 bytes, at block * n_in + column. */
template <typename T>
__global__ void segment_sizes(unsigned *size, const T *w, unsigned n_out, unsigned n_in)
{
    __shared__ unsigned counts[WARPS][32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = 0;
    unsigned col = blockIdx.x * 32 + lane, block = blockIdx.y;

    for (unsigned i = warp; i < WORDS; i += WARPS)
        n += __popc(mask_of(w, n_out, n_in, block * BLOCK_ROWS + 32 * i, col));
    counts[warp][lane] = n;
    __syncthreads();
    if (warp != 0 || col >= n_in)
        return;
    for (unsigned i = 1; i < WARPS; i++)
        n += counts[i][lane];
    size[(size_t)block * n_in + col] = (HEAD_NBYTES + n * sizeof(T) + 15) / 16;
}

/* Sizes become offsets, in place, with one more entry for the end. totals: the end, the largest
 * size. One block. */
static __global__ void sizes_to_offsets(unsigned *size, size_t n, unsigned *totals)
{
    __shared__ unsigned sums[32], slots[32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, base = 0, most = 0;

    for (size_t at = 0; at < n; at += blockDim.x) {
        size_t i = at + threadIdx.x;
        unsigned x = i < n ? size[i] : 0, sum = x, before;

        most = max(most, x);
        for (int o = 1; o < 32; o *= 2) {
            unsigned y = __shfl_up_sync(~0u, sum, o);

            sum += lane >= o ? y : 0;
        }
        if (lane == 31)
            sums[warp] = sum;
        __syncthreads();
        before = warp_sum(lane < warp ? sums[lane] : 0u);
        if (i < n)
            size[i] = base + before + sum - x;
        base += warp_sum(lane < blockDim.x / 32 ? sums[lane] : 0u);
        __syncthreads();
    }
    most = block_max(most, slots);
    if (threadIdx.x == 0) {
        size[n] = totals[0] = base;
        totals[1] = most;
    }
}

/* Calls f(j, q) for the 32 words of a segment in the order of their values. */
template <typename F> __device__ __forceinline__ void for_words(F f)
{
    for (unsigned j = 0; j < 4; j++)
        for (unsigned q = 0; q < 8; q++)
            f(j, q);
}

/* The segments themselves. */
template <typename T>
__global__ void write_segments(unsigned char *data, const unsigned *offset, const T *w,
                               unsigned n_out, unsigned n_in)
{
    __shared__ unsigned masks[WORDS][33];
    __shared__ unsigned short first[WORDS][32]; /* values before those of a word */
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned col = blockIdx.x * 32 + lane, block = blockIdx.y;
    unsigned char *segment =
        data + (col < n_in ? (size_t)offset[(size_t)block * n_in + col] * 16 : 0);
    T *values = (T *)(segment + HEAD_NBYTES);

    for (unsigned i = warp; i < WORDS;
         i += WARPS) /* word i: rows 32 i and on: q = i / 4, j = i % 4 */
        masks[i][lane] = mask_of(w, n_out, n_in, block * BLOCK_ROWS + 32 * i, col);
    __syncthreads();
    if (warp == 0 && col < n_in) {
        unsigned n = 0;

        for_words([&](unsigned j, unsigned q) {
            if (q == 0)
                ((unsigned short *)(segment + MASK_NBYTES))[j] = (unsigned short)n;
            ((unsigned *)segment)[8 * j + q] = masks[4 * q + j][lane];
            first[4 * q + j][lane] = (unsigned short)n;
            n += __popc(masks[4 * q + j][lane]);
        });
        for (; (HEAD_NBYTES + n * sizeof(T)) % 16; n++)
            values[n] = T(0.0f);
    }
    __syncthreads();
    if (col >= n_in)
        return;
    for (unsigned i = warp; i < WORDS; i += WARPS) {
        T *to = values + first[i][lane];

        for (unsigned m = masks[i][lane]; m; m &= m - 1)
            *to++ = w[(size_t)(block * BLOCK_ROWS + 32 * i + __ffs(m) - 1) * n_in + col];
    }
}

/* One block of threads for each table. */
static __global__ void write_tables(unsigned char *tables, struct tables t, const unsigned *offset,
                                    unsigned n_in)
{
    unsigned block = blockIdx.x, first = blockIdx.y * PANEL;
    unsigned cols = min(n_in - first, t.cols);
    unsigned *groups = (unsigned *)(tables + ((size_t)blockIdx.y * gridDim.x + block) * t.nbytes);
    unsigned short *delta = (unsigned short *)(groups + t.n_groups);
    const unsigned *from = offset + (size_t)block * n_in + first;

    for (unsigned i = threadIdx.x; i < t.n_groups; i += blockDim.x)
        groups[i] = from[min(32 * i, cols)];
    for (unsigned i = threadIdx.x; i < t.n_delta; i += blockDim.x)
        delta[i] = i <= cols ? (unsigned short)(from[i] - from[i - i % 32]) : 0;
}

/* From segments to a row-major tensor. Grid as write_segments. */
template <typename T>
__global__ void read_segments(T *w, const unsigned char *data, const unsigned char *tables,
                              struct tables t, unsigned n_out, unsigned n_in)
{
    __shared__ unsigned masks[WORDS][33];
    __shared__ unsigned short first[WORDS][32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned col = blockIdx.x * 32 + lane, block = blockIdx.y;
    const unsigned *groups =
        (const unsigned *)(tables + ((size_t)(col / PANEL) * gridDim.y + block) * t.nbytes);
    const unsigned short *delta = (const unsigned short *)(groups + t.n_groups);
    unsigned c = col % PANEL;
    const unsigned char *segment =
        data + (col < n_in ? (size_t)(groups[c / 32] + delta[c]) * 16 : 0);
    const T *values = (const T *)(segment + HEAD_NBYTES);

    if (warp == 0 && col < n_in) {
        unsigned n = 0;

        for_words([&](unsigned j, unsigned q) {
            masks[4 * q + j][lane] = ((const unsigned *)segment)[8 * j + q];
            first[4 * q + j][lane] = (unsigned short)n;
            n += __popc(masks[4 * q + j][lane]);
        });
    }
    __syncthreads();
    if (col >= n_in)
        return;
    for (unsigned i = warp; i < WORDS; i += WARPS) {
        const T *from = values + first[i][lane];

        for (unsigned r = 0; r < 32 && block * BLOCK_ROWS + 32 * i + r < n_out; r++)
            w[(size_t)(block * BLOCK_ROWS + 32 * i + r) * n_in + col] =
                masks[i][lane] >> r & 1 ? *from++ : T(0.0f);
    }
}

/* ---- PACKED_COLUMNS: a transposition within each block of rows, through tiles of 32 x 32.
 * to_rows: the way back; zeros become +0 both ways. */
template <typename T>
__global__ void transpose(T *columns, T *rows, unsigned n_out, unsigned n_in, bool to_rows)
{
    __shared__ T tile[32][33];
    unsigned x = threadIdx.x % 32, y = threadIdx.x / 32, col = blockIdx.x * 32;
    unsigned row = blockIdx.y * 32, block = row / BLOCK_ROWS;
    unsigned per = segment_rows(n_out, block, sizeof(T));
    T *segments = columns + (size_t)block * BLOCK_ROWS * n_in;

    for (unsigned i = y; i < 32; i += WARPS) {
        unsigned in = row % BLOCK_ROWS + x; /* row within the block */

        if (!to_rows)
            tile[i][x] = element(rows, n_out, n_in, row + i, col + x);
        else if (col + i < n_in && in < per)
            tile[x][i] = segments[(size_t)(col + i) * per + in];
    }
    __syncthreads();
    for (unsigned i = y; i < 32; i += WARPS) {
        unsigned in = row % BLOCK_ROWS + x;
        T v = to_rows ? tile[i][x] : tile[x][i];

        v = is_zero(v) ? T(0.0f) : v;
        if (to_rows && row + i < n_out && col + x < n_in)
            rows[(size_t)(row + i) * n_in + col + x] = v;
        if (!to_rows && col + i < n_in && in < per)
            segments[(size_t)(col + i) * per + in] = v;
    }
}

template <typename T> __global__ void copy_without_sign_of_zero(T *to, const T *from, size_t n)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x)
        to[i] = is_zero(from[i]) ? T(0.0f) : from[i];
}

/* ---- the host's side */

static void pack_columns(struct device *dev, struct packed *p, struct tensor w)
{
    unsigned n_out = (unsigned)p->n_out, n_in = (unsigned)p->n_in;
    unsigned last = n_row_blocks(n_out) - 1;
    size_t rows =
        (size_t)last * BLOCK_ROWS + segment_rows(n_out, last, (unsigned)dtype_size(w.dtype));

    p->nbytes = rows * n_in * dtype_size(w.dtype);
    p->data = cuda_alloc(dev, p->nbytes);
    p->layout = BLOCK_ROWS * dtype_size(w.dtype);
    with_type(w.dtype, [&](auto t) {
        using T = decltype(t);
        transpose<T>
            <<<dim3(n_blocks(n_in, 32), n_blocks(rows, 32)), 32 * WARPS, 0, stream_of(dev)>>>(
                (T *)p->data, (T *)w.data, n_out, n_in, false);
    });
}

static void pack_nonzeros(struct device *dev, struct packed *p, struct tensor w)
{
    unsigned n_out = (unsigned)p->n_out, n_in = (unsigned)p->n_in, blocks = n_row_blocks(n_out);
    size_t n = (size_t)blocks * n_in;
    unsigned *offset = (unsigned *)cuda_alloc(dev, (n + 3) * sizeof(unsigned));
    unsigned *on_device = offset + n + 1, totals[2];
    struct tables t = tables_of(n_in);
    dim3 grid(n_blocks(n_in, 32), blocks);

    with_type(w.dtype, [&](auto e) {
        using T = decltype(e);

        segment_sizes<T>
            <<<grid, 32 * WARPS, 0, stream_of(dev)>>>(offset, (const T *)w.data, n_out, n_in);
        sizes_to_offsets<<<1, 1024, 0, stream_of(dev)>>>(offset, n, on_device);
        cuda_download(dev, totals, on_device, sizeof(totals));
        p->layout = 16 * (size_t)totals[1];
        p->nbytes = 16 * (size_t)totals[0];
        p->data = cuda_alloc(dev, p->nbytes);
        write_segments<T><<<grid, 32 * WARPS, 0, stream_of(dev)>>>((unsigned char *)p->data, offset,
                                                                   (const T *)w.data, n_out, n_in);
    });
    write_tables<<<dim3(blocks, t.n_panels), 256, 0, stream_of(dev)>>>((unsigned char *)p->index, t,
                                                                       offset, n_in);
    p->nbytes += tables_nbytes(p);
    cuda_free(dev, offset);
}

/* Waits until all is done: gemv reads weights before it waits for the operations before it. */
void cuda_pack(struct device *dev, struct packed *out, struct tensor w, enum packed_kind kind)
{
    struct packed p = {};
    size_t words, tables;

    if (w.rows > 1u << 30 || w.cols > 1u << 30)
        die("CUDA: pack of %zu x %zu", w.rows, w.cols);
    p.kind = kind;
    p.dtype = w.dtype;
    p.n_out = w.rows;
    p.n_in = w.cols;
    p.nbytes = tensor_nbytes(w);
    p.n_nonzero = tensor_numel(w) ? tensor_numel(w) - cuda_count_zeros(dev, w) : 0;
    if (kind == PACKED_ROWS)
        p.data = w.data;
    if (kind != PACKED_ROWS && tensor_numel(w)) {
        tables = tables_nbytes(&p);
        words = n_row_blocks(p.n_out) + 1;
        p.index = cuda_alloc(dev, tables + 4 * words);
        cuda_zero(dev, (char *)p.index + tables, 4 * words);
        if (kind == PACKED_COLUMNS)
            pack_columns(dev, &p, w);
        else
            pack_nonzeros(dev, &p, w);
        LAUNCHED("pack");
    }
    CU(cudaStreamSynchronize(stream_of(dev)));
    *out = p;
}

void cuda_unpack(struct device *dev, struct tensor w, const struct packed *p)
{
    unsigned n_out = (unsigned)p->n_out, n_in = (unsigned)p->n_in;
    size_t n = tensor_numel(w);

    assert(w.rows == p->n_out && w.cols == p->n_in && w.dtype == p->dtype);
    if (n == 0)
        return;
    with_type(w.dtype, [&](auto t) {
        using T = decltype(t);
        unsigned threads = 32 * WARPS, groups = n_blocks(n_in, 32);

        if (p->kind == PACKED_ROWS)
            copy_without_sign_of_zero<T><<<grid_for(dev, n, threads), threads, 0, stream_of(dev)>>>(
                (T *)w.data, (const T *)p->data, n);
        else if (p->kind == PACKED_COLUMNS)
            transpose<T><<<dim3(groups, n_blocks(n_out, 32)), threads, 0, stream_of(dev)>>>(
                (T *)p->data, (T *)w.data, n_out, n_in, true);
        else
            read_segments<T><<<dim3(groups, n_row_blocks(n_out)), threads, 0, stream_of(dev)>>>(
                (T *)w.data, (const unsigned char *)p->data, (const unsigned char *)p->index,
                tables_of(n_in), n_out, n_in);
    });
    LAUNCHED("unpack");
}

void cuda_packed_free(struct device *dev, struct packed *p)
{
    if (p->kind != PACKED_ROWS)
        cuda_free(dev, p->data);
    cuda_free(dev, p->index);
    memset(p, 0, sizeof(*p));
}
