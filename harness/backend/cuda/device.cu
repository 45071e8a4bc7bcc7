/* A GPU as a device: opening it, its description, and the table of operations. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/backend/cuda/device.cuh"
extern "C" {
#include "harness/base/procs.h"
}

/* The kernel driver's version ("580.159.04") to out, or "". */
static void driver_version(char *out, size_t n)
{
    FILE *f = fopen("/sys/module/nvidia/version", "r");

    out[0] = 0;
    if (!f)
        return;
    if (fgets(out, (int)n, f))
        out[strcspn(out, "\n")] = 0;
    fclose(f);
}

static char *describe_card(const struct cudaDeviceProp *p, int card)
{
    char driver[64], text[512];
    int sm_khz = 0, memory_khz = 0, api = 0, runtime = 0;

    driver_version(driver, sizeof(driver));
    CU(cudaDeviceGetAttribute(&sm_khz, cudaDevAttrClockRate, card));
    CU(cudaDeviceGetAttribute(&memory_khz, cudaDevAttrMemoryClockRate, card));
    CU(cudaDriverGetVersion(&api));
    CU(cudaRuntimeGetVersion(&runtime));
    snprintf(text, sizeof(text),
             "%s, sm_%d%d, %d SMs at up to %d MHz, %zu MiB at %d MHz, L2 %d MiB, driver %s (CUDA "
             "%d.%d), toolkit %d.%d, %s",
             p->name, p->major, p->minor, p->multiProcessorCount, sm_khz / 1000,
             p->totalGlobalMem >> 20, memory_khz / 1000, p->l2CacheSize >> 20, driver, api / 1000,
             api % 1000 / 10, runtime / 1000, runtime % 1000 / 10, gemm_version());
    return xstrdup(text);
}

static int cuda_open(struct device **out, int n_threads)
{
    struct cuda_device *dev;
    struct cudaDeviceProp prop;
    int n = 0, card = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);

    (void)n_threads;
    if (rc != cudaSuccess || n == 0)
        return error("no CUDA device: %s",
                     rc != cudaSuccess ? cudaGetErrorString(rc) : "the driver lists none");
    card = procs_local_rank() % n; /* one process for each GPU */
    CU(cudaGetDeviceProperties(&prop, card));
    if (prop.major < 8)
        return error("%s is an sm_%d%d card; sm_80 or newer is needed", prop.name, prop.major,
                     prop.minor);
    CU(cudaSetDevice(card));
    dev = (struct cuda_device *)xcalloc(1, sizeof(*dev));
    dev->base.ops = &backend_cuda;
    dev->n_sm = prop.multiProcessorCount;
    dev->sm = 10 * prop.major + prop.minor;
    dev->max_shared = prop.sharedMemPerBlockOptin;
    CU(cudaStreamCreateWithFlags(&dev->stream, cudaStreamNonBlocking));
    copies_open(dev);
    dev->pool = pool_open();
    dev->gemm = gemm_open(dev->stream);
    dev->solver = solver_open(dev->stream);
    dev->timing = timing_open();
    dev->text = describe_card(&prop, card);
    *out = &dev->base;
    return 0;
}

static void cuda_close(struct device *device)
{
    struct cuda_device *dev = cuda_dev(device);

    CU(cudaStreamSynchronize(dev->stream));
    timing_close(dev->timing);
    solver_close(dev->solver);
    gemm_close(dev->gemm);
    copies_close(dev);
    pool_close(dev->pool);
    CU(cudaStreamDestroy(dev->stream));
    free(dev->text);
    free(dev);
}

static const char *cuda_describe(const struct device *dev)
{
    return ((const struct cuda_device *)dev)->text;
}

/* What fills an H100; its smaller relatives need no more. */
static size_t cuda_busy_rows(const struct device *dev)
{
    (void)dev;
    return 16384;
}

const struct backend backend_cuda = {
    .name = "cuda",
    .summary = "one NVIDIA GPU: cuBLAS, cuSOLVER and own kernels",
    .dtypes = 1u << DTYPE_F32 | 1u << DTYPE_F16 | 1u << DTYPE_BF16,
    .linear_by = "cuBLAS",
    .is_host = 0,
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .memory_free = cuda_memory_free,
    .memory_peak = cuda_memory_peak,
    .busy_rows = cuda_busy_rows,
    .n_allocations = cuda_n_allocations,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .convert = cuda_convert,
    .copy_columns = cuda_copy_columns,
    .fill = cuda_fill,
    .fill_normal = cuda_fill_normal,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_host_free,
    .stream_in = cuda_stream_in,
    .stream_wait = cuda_stream_wait,
    .stream_out = cuda_stream_out,
    .stream_sync = cuda_stream_sync,
    .stream_times = cuda_stream_times,
    .embed = cuda_embed,
    .rmsnorm = cuda_rmsnorm,
    .linear = cuda_linear,
    .add_row = cuda_add_row,
    .gather = cuda_gather,
    .kv_write = cuda_kv_write,
    .attention = cuda_attention,
    .silu_mul = cuda_silu_mul,
    .linear_silu_mul = cuda_linear_silu_mul,
    .sparsify = cuda_sparsify,
    .join = cuda_join,
    .rmsnorm_joined = cuda_rmsnorm_joined,
    .logprob = cuda_logprob,
    .divergence = cuda_divergence,
    .gram = cuda_gram,
    .mirror = cuda_mirror,
    .cross = cuda_cross,
    .sum_squares = cuda_sum_squares,
    .row_cosine = cuda_row_cosine,
    .subtract = cuda_subtract,
    .scale = cuda_scale,
    .get_diagonal = cuda_get_diagonal,
    .add_diagonal = cuda_add_diagonal,
    .permute = cuda_permute,
    .inverse_factor = cuda_inverse_factor,
    .eigen = cuda_eigen,
    .row_tile = 1,
    .multiply = cuda_multiply,
    .strict_upper = cuda_strict_upper,
    .upper_row_squares = cuda_upper_row_squares,
    .obs_prune = cuda_obs_prune,
    .refit = cuda_refit,
    .mask_smallest = cuda_mask_smallest,
    .count_zeros = cuda_count_zeros,
    .all_finite = cuda_all_finite,
    .timer_start = cuda_timer_start,
    .timer_stop = cuda_timer_stop,
    .clocks = cuda_clocks,
    .cache_nbytes = cuda_cache_nbytes,
    .read = cuda_read,
    .comm_open = cuda_comm_open,
    .decode = &decode_cuda,
};
