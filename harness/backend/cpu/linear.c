/* Products of activations and weights, out = x W^T: the forward path's.
 *
 * Not OpenBLAS: a row of its result gets other bits when the number of rows changes, or (AVX2
 * kernels) when the row moves by six places, since its kernels add in several orders. Here every
 * element is sum over blocks of BLOCK_K of a chain of fused multiply-adds in the order of k,
 * wherever the row stands, so a score does not depend on its batch; and the short chains round
 * better than one long one. Measured on one core of an AMD EPYC (Zen 3) on the demo model's shapes:
 * 82 - 88 GFLOP/s, cblas_sgemm 78 - 87 in the same run.
 *
 * Six rows of x (packed k-major) times sixteen rows of W (packed k-major, a panel): twelve
 * accumulators of eight lanes, two loads and six broadcasts per k. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"
#include "harness/backend/cpu/vec.h"

#define ROWS 6
#define PANEL 16
#define BLOCK_K 128
#define TASK_COLS 512
#define MAX_PACKED (1 << 20) /* floats of x that one task packs */

/* sum (ROWS x PANEL) += x p over one block of k. Apart from its caller, so that the accumulators
 * stay in registers. */
static UNSHARED __attribute__((noinline)) void chain(float *restrict sum, const float *restrict x,
                                                     const float *restrict p, size_t k)
{
    v8f acc[ROWS][2] = {{{0}}};

    for (size_t j = 0; j < k; j++, x += ROWS, p += PANEL) {
        v8f p0 = v8_load(p), p1 = v8_load(p + 8);

#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            acc[i][0] += p0 * x[i];
            acc[i][1] += p1 * x[i];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
        v8_store(sum + PANEL * i, v8_load(sum + PANEL * i) + acc[i][0]);
        v8_store(sum + PANEL * i + 8, v8_load(sum + PANEL * i + 8) + acc[i][1]);
    }
}

/* Six rows against a panel, n_rows x n_cols of the result to out. */
static void tile(float *out, size_t ldo, size_t n_rows, size_t n_cols, const float *x,
                 const float *panel, size_t k, int accumulate)
{
    float sum[ROWS * PANEL] __attribute__((aligned(64))) = {0};

    for (size_t j = 0; j < k; j += BLOCK_K)
        chain(sum, x + j * ROWS, panel + j * PANEL, k - j < BLOCK_K ? k - j : BLOCK_K);
    for (size_t r = 0; r < n_rows; r++) {
        float *o = out + r * ldo;

        if (n_cols == PANEL && accumulate) {
            v8_store(o, v8_load(o) + v8_load(sum + r * PANEL));
            v8_store(o + 8, v8_load(o + 8) + v8_load(sum + r * PANEL + 8));
        } else if (n_cols == PANEL) {
            v8_store(o, v8_load(sum + r * PANEL));
            v8_store(o + 8, v8_load(sum + r * PANEL + 8));
        } else if (accumulate)
            for (size_t c = 0; c < n_cols; c++)
                o[c] += sum[r * PANEL + c];
        else
            memcpy(o, sum + r * PANEL, n_cols * sizeof(*o));
    }
}

/* to[(t * k + j) * width + i] = from[t * width + i][j]; rows past the last repeat it. */
static void pack(float *to, const float *from, size_t n_rows, size_t k, size_t width)
{
    for (size_t r = 0; r < n_rows; r += width, to += width * k)
        for (size_t i = 0; i < width; i++) {
            const float *row = from + (r + i < n_rows ? r + i : n_rows - 1) * k;

            for (size_t j = 0; j < k; j++)
                to[j * width + i] = row[j];
        }
}

static float *room(float **buffer, size_t *n, size_t need)
{
    if (need > *n) {
        xfree_aligned(*buffer);
        *buffer = xalloc_aligned(need * sizeof(**buffer));
        *n = need;
    }
    return *buffer;
}

void cpu_pack_rows(struct cpu_scratch *s, const float *x, size_t n_rows, size_t k)
{
    pack(room(&s->x, &s->n_x, (n_rows + ROWS - 1) / ROWS * ROWS * k), x, n_rows, k, ROWS);
}

void cpu_packed_times(struct cpu_scratch *s, size_t n_rows, size_t k, const float *w, size_t n,
                      float *out, size_t ldo, int accumulate)
{
    float *pw = room(&s->w, &s->n_w, PANEL * k);

    for (size_t c = 0; c < n; c += PANEL) {
        size_t n_cols = n - c < PANEL ? n - c : PANEL;

        pack(pw, w + c * k, n_cols, k, PANEL);
        for (size_t r = 0; r < n_rows; r += ROWS)
            tile(out + r * ldo + c, ldo, n_rows - r < ROWS ? n_rows - r : ROWS, n_cols,
                 s->x + r * k, pw, k, accumulate);
    }
}

float *cpu_scratch_logits(struct cpu_scratch *s, size_t n)
{
    return room(&s->logits, &s->n_logits, n);
}

struct cpu_scratch *cpu_scratch(struct device *dev, int which)
{
    return &((struct cpu_device *)dev)->scratch[CPU_SCRATCHES * omp_get_thread_num() + which];
}

void cpu_scratch_open(struct cpu_device *dev)
{
    dev->scratch = xcalloc(CPU_SCRATCHES * (size_t)dev->n_threads, sizeof(*dev->scratch));
}

void cpu_scratch_close(struct cpu_device *dev)
{
    for (int i = 0; i < CPU_SCRATCHES * dev->n_threads; i++) {
        xfree_aligned(dev->scratch[i].x);
        xfree_aligned(dev->scratch[i].w);
        xfree_aligned(dev->scratch[i].logits);
    }
    free(dev->scratch);
}

size_t cpu_rows_per_task(size_t n_rows, size_t k, int n_threads)
{
    size_t share = n_rows / (2 * (size_t)n_threads) + 1, most = MAX_PACKED / k;

    share = share < 96 ? 96 : share > 960 ? 960 : share;
    if (share > most)
        share = most < 96 ? 96 : most;
    return (share + ROWS - 1) / ROWS * ROWS;
}

void cpu_linear(struct device *dev, struct tensor out, struct tensor x, struct tensor w,
                int accumulate)
{
    const float *xd = x.data, *wd = w.data;
    float *od = out.data;
    size_t k = x.cols, n = w.rows, rows = cpu_rows_per_task(x.rows, k, cpu_threads(dev));
    size_t row_tasks = (x.rows + rows - 1) / rows;
    /* Columns are split only where the rows alone do not keep the threads busy. */
    size_t cols = row_tasks < (size_t)cpu_threads(dev) ? TASK_COLS : n;
    size_t col_tasks = (n + cols - 1) / cols;

#pragma omp parallel for schedule(dynamic) num_threads(cpu_threads(dev))
    for (size_t i = 0; i < row_tasks * col_tasks; i++) {
        struct cpu_scratch *scratch = cpu_scratch(dev, 0);
        size_t r = i / col_tasks * rows, c = i % col_tasks * cols;
        size_t n_rows = x.rows - r < rows ? x.rows - r : rows;

        cpu_pack_rows(scratch, xd + r * k, n_rows, k);
        cpu_packed_times(scratch, n_rows, k, wd + c * k, n - c < cols ? n - c : cols,
                         od + r * n + c, n, accumulate);
    }
}
