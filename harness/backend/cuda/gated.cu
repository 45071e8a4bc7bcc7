/* The products by gate and up with the gate itself: out = silu(x Wg^T) * (x Wu^T), the products
 * rounded to T first, without them ever in memory. Hopper, f16 and bf16, many rows; else linear and
 * silu_mul, which give the same bits.
 *
 * product.cuh does the products; a tile takes 128 rows of Wg and the same 128 of Wu, so that a
 * thread holds a gate and what it multiplies.
 *
 * NVIDIA H100 80GB HBM3, f16, 8192 rows, m 11008, k 4096: 2.13 - 2.16 ms (684 - 693 TFLOP/s); apart
 * 2.12 - 2.15 ms for the product by cuBLAS and 0.24 ms for silu_mul. With normal operands and the
 * card hot 663, cuBLAS's product 654. The same template with other ends was slower than cuBLAS for
 * q,k,v (623 and 669), o (547 and 600) and down (621 and 650). */
#include "harness/backend/cuda/product.cuh"

#define FROM_ROWS 1024 /* fewer leave too many blocks without a tile */

bool product_map(CUtensorMap *map, enum dtype t, const void *data, size_t rows, size_t cols,
                 unsigned box_rows)
{
    typedef CUresult (*encoder)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    static void *encode;
    const cuuint64_t size[] = {cols, rows}, stride[] = {cols * 2};
    const cuuint32_t box[] = {STEP, box_rows}, each[] = {1, 1};

    if (!encode) {
        cudaDriverEntryPointQueryResult found;

#if CUDART_VERSION >= 12050
        CU(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000,
                                            cudaEnableDefault, &found));
#else
        CU(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &encode, cudaEnableDefault, &found));
#endif
        if (found != cudaDriverEntryPointSuccess)
            return false;
    }
    return ((encoder)encode)(
               map,
               t == DTYPE_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
               2, (void *)data, size, stride, box, each, CU_TENSOR_MAP_INTERLEAVE_NONE,
               CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* Where word w (16 bytes) of row r of a group's 64 x 128 results lies. */
__device__ __forceinline__ unsigned out_word(unsigned r, unsigned w)
{
    return r * 256 + (w ^ r % 8) * 16;
}

/* 64 rows of gates (the first half of the sums) and ups become results, through shared memory. */
template <typename T>
__device__ __forceinline__ void write_gated(const float (&sum)[128], const product_args &a,
                                            unsigned row, unsigned col, int group, char *staging)
{
    const unsigned lane = threadIdx.x % 32, first = threadIdx.x % 128 / 32 * 16 + lane / 4;

#pragma unroll
    for (unsigned h = 0; h < 2; h++)
#pragma unroll
        for (unsigned n = 0; n < 16; n++) {
            vec<T, 2> y;

#pragma unroll
            for (unsigned e = 0; e < 2; e++) {
                const unsigned i = 4 * n + 2 * h + e;

                /* one word: rounded apart, ptxas reads them while products run, and serialises */
                const unsigned both = pack(sum[i], sum[64 + i], T());

                y.v[e] = silu_times(((const T *)&both)[0], ((const T *)&both)[1]);
            }
            *(vec<T, 2> *)(staging + out_word(first + 8 * h, n) + lane % 4 * 4) = y;
        }
    group_barrier(group);
#pragma unroll
    for (unsigned i = threadIdx.x % 128; i < 64 * 16; i += 128) {
        const unsigned r = i / 16, w = i % 16;

        if (row + r < a.rows && col + 8 * w < a.n)
            *(uint4 *)((T *)a.out + (size_t)(row + r) * a.n + col + 8 * w) =
                *(const uint4 *)(staging + out_word(r, w));
    }
    group_barrier(group);
}

#endif

template <typename T>
__global__ void __launch_bounds__(384, 1)
    gated(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
          const product_args a)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    product_walk<T>(&x, &w, a,
                    [&](const float(&sum)[128], struct spot s, int group, char *staging) {
                        write_gated<T>(sum, a, s.row + 64 * group, 128 * s.col, group, staging);
                    });
#endif
}

static bool fits(struct device *dev, struct tensor x, struct tensor out)
{
    return cuda_dev(dev)->sm == 90 && x.dtype != DTYPE_F32 && x.dtype == out.dtype &&
           x.rows >= FROM_ROWS && out.cols % 8 == 0 && x.cols % 8 == 0;
}

/* Whether it could be done. */
static bool gated_products(struct device *dev, struct tensor out, struct tensor x, struct tensor w)
{
    struct product_args a = {
        out.data, (unsigned)x.rows,   (unsigned)x.cols,  n_blocks(out.cols, 128),
        128,      (unsigned)out.cols, (unsigned)out.cols};
    CUtensorMap x_map, w_map;

    if (!product_map(&x_map, x.dtype, x.data, x.rows, x.cols, TILE_ROWS) ||
        !product_map(&w_map, w.dtype, w.data, w.rows, w.cols, TILE_COLS / 2))
        return false;
    auto launch = [&](auto kernel) {
        cudaLaunchConfig_t config = {};
        cudaLaunchAttribute pairs = {};

        pairs.id = cudaLaunchAttributeClusterDimension;
        pairs.val.clusterDim.x = 2;
        pairs.val.clusterDim.y = pairs.val.clusterDim.z = 1;
        config.gridDim = dim3((unsigned)cuda_dev(dev)->n_sm / 2 * 2);
        config.blockDim = dim3(384);
        config.dynamicSmemBytes = product_layout::SIZE;
        config.stream = stream_of(dev);
        config.attrs = &pairs;
        config.numAttrs = 1;
        CU(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)product_layout::SIZE));
        CU(cudaLaunchKernelEx(&config, kernel, x_map, w_map, a));
    };
    if (x.dtype == DTYPE_F16)
        launch(gated<__half>);
    else
        launch(gated<__nv_bfloat16>);
    return true;
}

/* Whether the fused kernel gives the bits of linear and silu_mul for weights of this shape: tried
 * once, on random operands. */
static bool agrees(struct device *dev, enum dtype t, size_t m, size_t k)
{
    signed char *known = gemm_gated(dev, 2 * m, k, t);

    if (*known == 0) {
        const size_t rows = FROM_ROWS;
        struct tensor x = device_tensor(dev, t, rows, k), w = device_tensor(dev, t, 2 * m, k);
        struct tensor gate_up = device_tensor(dev, t, rows, 2 * m);
        struct tensor want = device_tensor(dev, t, rows, m), got = device_tensor(dev, t, rows, m);

        fill_trial(dev, x);
        fill_trial(dev, w);
        cuda_linear(dev, gate_up, x, w, 0);
        cuda_silu_mul(dev, want, gate_up, NULL);
        *known = gated_products(dev, got, x, w) && same_words(dev, got, want) ? 1 : -1;
        device_tensor_free(dev, &x);
        device_tensor_free(dev, &w);
        device_tensor_free(dev, &gate_up);
        device_tensor_free(dev, &want);
        device_tensor_free(dev, &got);
    }
    return *known > 0;
}

void cuda_linear_silu_mul(struct device *dev, struct tensor out, struct tensor gate_up,
                          struct tensor x, struct tensor w, const struct act_rule *rule)
{
    if (fits(dev, x, out) && agrees(dev, x.dtype, out.cols, x.cols) &&
        gated_products(dev, out, x, w)) {
        if (rule && rule->kind != ACT_DENSE)
            cuda_sparsify(dev, out, out, rule);
        return;
    }
    cuda_linear(dev, gate_up, x, w, 0);
    cuda_silu_mul(dev, out, gate_up, rule);
}
