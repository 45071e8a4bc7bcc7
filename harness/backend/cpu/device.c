/* The CPU as a device: opening, conversion, and the table of operations. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/cpuinfo.h"
#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"

/* From OpenBLAS; its cblas.h is seen by gemm.c alone. */
extern void openblas_set_num_threads(int n);
extern char *openblas_get_corename(void);

/* "model name" of the first processor, or "CPU". */
static void processor_name(struct buf *out)
{
    char name[256];

    cpuinfo("model name", name, sizeof(name));
    buf_adds(out, name[0] ? name : "CPU");
}

static int cpu_open(struct device **out, int n_threads)
{
    struct cpu_device *dev = xcalloc(1, sizeof(*dev));
    struct buf text = {0};

    /* Threads are ours, over tiles; OpenBLAS runs each tile on the calling thread. */
    openblas_set_num_threads(1);
    dev->base.ops = &backend_cpu;
    dev->n_threads = n_threads > 0 ? n_threads : omp_get_num_procs();
    cpu_scratch_open(dev);
    processor_name(&text);
    /* Not the number of threads: no result depends on it, and the text is part of records. */
    buf_addf(&text, ", OpenBLAS %s", openblas_get_corename());
    dev->text = buf_detach(&text);
    *out = &dev->base;
    return 0;
}

static void cpu_close(struct device *dev)
{
    cpu_scratch_close((struct cpu_device *)dev);
    free(((struct cpu_device *)dev)->text);
    free(dev);
}

static const char *cpu_describe(const struct device *dev)
{
    return ((const struct cpu_device *)dev)->text;
}

/* Each thread takes rows in pieces, and for each piece packs the weights anew: 1024 for a thread
 * are two pieces that repay it. */
static size_t cpu_busy_rows(const struct device *dev)
{
    size_t n = (size_t)cpu_threads(dev);

    return 1024 * (n < 2 ? 2 : n > 64 ? 64 : n);
}

static void cpu_convert(struct device *dev, struct tensor dst, struct tensor src)
{
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t i = 0; i < tensor_numel(dst); i++)
        cpu_store(dst, i, cpu_element(src, i));
}

void cpu_copy_columns(struct device *dev, struct tensor dst, size_t to, struct tensor src,
                      size_t from, size_t n)
{
    size_t e = dtype_size(dst.dtype);

#pragma omp parallel for num_threads(cpu_team(dev, dst.rows))
    for (size_t t = 0; t < dst.rows; t++)
        memcpy((char *)dst.data + (t * dst.cols + to) * e,
               (const char *)src.data + (t * src.cols + from) * e, n * e);
}

const struct backend backend_cpu = {
    .name = "cpu",
    .summary = "plain C and OpenBLAS in float32",
    .dtypes = 1u << DTYPE_F32,
    .linear_by = "batched product",
    .is_host = 1,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .memory_free = cpu_memory_free,
    .memory_peak = cpu_memory_peak,
    .busy_rows = cpu_busy_rows,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .zero = cpu_zero,
    .convert = cpu_convert,
    .copy_columns = cpu_copy_columns,
    .fill = cpu_fill,
    .fill_normal = cpu_fill_normal,
    .host_alloc = cpu_host_alloc,
    .host_free = cpu_host_free,
    .stream_in = cpu_stream_copy,
    .stream_wait = cpu_stream_wait,
    .stream_out = cpu_stream_copy,
    .stream_sync = cpu_stream_wait,
    .stream_times = cpu_stream_times,
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .linear = cpu_linear,
    .add_row = cpu_add_row,
    .gather = cpu_gather,
    .kv_write = cpu_kv_write,
    .attention = cpu_attention,
    .silu_mul = cpu_silu_mul,
    .linear_silu_mul = cpu_linear_silu_mul,
    .sparsify = cpu_sparsify,
    .join = cpu_join,
    .rmsnorm_joined = cpu_rmsnorm_joined,
    .logprob = cpu_logprob,
    .divergence = cpu_divergence,
    .gram = cpu_gram,
    .mirror = cpu_mirror,
    .cross = cpu_cross,
    .sum_squares = cpu_sum_squares,
    .row_cosine = cpu_row_cosine,
    .subtract = cpu_subtract,
    .scale = cpu_scale,
    .get_diagonal = cpu_get_diagonal,
    .add_diagonal = cpu_add_diagonal,
    .permute = cpu_permute,
    .inverse_factor = cpu_inverse_factor,
    .eigen = cpu_eigen,
    .row_tile = CPU_ROW_TILE,
    .multiply = cpu_multiply,
    .strict_upper = cpu_strict_upper,
    .upper_row_squares = cpu_upper_row_squares,
    .obs_prune = cpu_obs_prune,
    .refit = cpu_refit,
    .mask_smallest = cpu_mask_smallest,
    .count_zeros = cpu_count_zeros,
    .all_finite = cpu_all_finite,
    .timer_start = cpu_timer_start,
    .timer_stop = cpu_timer_stop,
    .clocks = cpu_clocks,
    .cache_nbytes = cpu_cache_nbytes,
    .read = cpu_read,
    .comm_open = cpu_comm_open,
    .decode = &cpu_decode,
};
