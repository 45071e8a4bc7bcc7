/* Masks by score without compensation: over the matrix, per row, and N:M. */
#include "harness/backend/cuda/device.cuh"

#define THREADS 256
#define MAX_NM 64

/* w: rows x ld; scale: ld or NULL */
static __global__ void mask_matrix(float *w, const float *scale, const float *threshold, size_t n,
                                   size_t ld)
{
    const float t = *threshold;

    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x)
        if (score_of(w[i], scale ? scale[i % ld] : 1.0f, 0) <= t)
            w[i] = 0;
}

/* The n smallest scores of the run of m columns that the block takes, lowest column first among
 * equals: the n-th smallest key by bisection over its bits (scores stay in L1), then a pass from
 * left to right that zeroes what is smaller and as many equals as are left. */
static __global__ void mask_run(float *w, const float *scale, size_t ld, size_t run, size_t n)
{
    __shared__ unsigned slots[2][32], taken[THREADS / 32];
    const size_t first = blockIdx.y * run, m = ld - first < run ? ld - first : run;
    float *row = w + blockIdx.x * ld + first;
    unsigned key = 0, less = 0, left;

    auto key_at = [&](size_t j) {
        return ordered_key(score_of(row[j], scale ? scale[first + j] : 1.0f, 0));
    };
    auto count_below = [&](unsigned t, unsigned *into) {
        unsigned below = 0;

        for (size_t j = threadIdx.x; j < m; j += blockDim.x)
            below += key_at(j) < t;
        return block_sum(below, into);
    };
    n = n < m ? n : m;
    if (n == 0)
        return;
    for (int bit = 31; bit >= 0; bit--)
        if (count_below(key | 1u << bit, slots[bit & 1]) < n)
            key |= 1u << bit;
    less = count_below(key, slots[1]);
    left = (unsigned)n - less;
    for (size_t from = 0; from < m; from += blockDim.x) {
        size_t j = from + threadIdx.x;
        unsigned k = j < m ? key_at(j) : ~0u, before = 0, all = 0;
        bool equal = j < m && k == key;
        unsigned votes = __ballot_sync(~0u, equal);

        if (threadIdx.x % 32 == 0)
            taken[threadIdx.x / 32] = __popc(votes);
        __syncthreads();
        for (unsigned i = 0; i < THREADS / 32; i++) {
            before += i < threadIdx.x / 32 ? taken[i] : 0;
            all += taken[i];
        }
        before += __popc(votes & ((1u << threadIdx.x % 32) - 1));
        if (j < m && (k < key || (equal && before < left)))
            row[j] = 0;
        left -= all < left ? all : left;
        __syncthreads();
    }
}

/* One thread per run of m <= 64 columns. */
static __global__ void mask_nm(float *w, const float *scale, size_t rows, size_t ld, unsigned run,
                               unsigned n)
{
    size_t runs = (ld + run - 1) / run, i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    size_t first = i % runs * run;
    float *row = w + i / runs * ld + first;
    unsigned m = (unsigned)(ld - first < run ? ld - first : run);
    unsigned long long zero = 0;

    if (i >= rows * runs)
        return;
    for (unsigned taken = 0; taken < n && taken < m; taken++) {
        unsigned best = m;
        float least = 0;

        for (unsigned j = 0; j < m; j++) {
            float s = score_of(row[j], scale ? scale[first + j] : 1.0f, 0);

            if (!(zero >> j & 1) && (best == m || s < least)) {
                best = j;
                least = s;
            }
        }
        zero |= 1ull << best;
    }
    for (unsigned j = 0; j < m; j++)
        if (zero >> j & 1)
            row[j] = 0;
}

/* *t (device) = the threshold over the whole matrix, of which w may be this process's rows. */
static void matrix_threshold(struct device *dev, float *t, struct tensor w, const float *scale,
                             const struct mask_options *opt)
{
    struct tensor all = w;

    if (opt->comm) {
        all = device_tensor(dev, w.dtype, w.rows * (size_t)opt->comm->size, w.cols);
        opt->comm->all_gather(opt->comm, all.data, w.data, tensor_nbytes(w));
    }
    struct scores s = {(const float *)all.data, scale, all.rows, all.cols, 0, all.cols, 0};

    select_score(dev, t, &s, sparsity_index(tensor_numel(all), opt->sparsity));
    if (opt->comm)
        device_tensor_free(dev, &all);
}

void cuda_mask_smallest(struct device *dev, struct tensor w, struct tensor scale,
                        const struct mask_options *opt)
{
    float *d = (float *)w.data;
    const float *sc = (const float *)scale.data;
    size_t k = w.cols, n = tensor_numel(w), nm_n = opt->nm_n, nm_m = opt->nm_m;

    if (n == 0)
        return;
    if (nm_m && nm_m <= MAX_NM) {
        mask_nm<<<n_blocks(w.rows * ((k + nm_m - 1) / nm_m), THREADS), THREADS, 0,
                  stream_of(dev)>>>(d, sc, w.rows, k, (unsigned)nm_m, (unsigned)nm_n);
    } else if (opt->per_row || nm_m) {
        size_t run = nm_m ? nm_m : k;

        mask_run<<<dim3((unsigned)w.rows, n_blocks(k, run)), THREADS, 0, stream_of(dev)>>>(
            d, sc, k, run, nm_m ? nm_n : sparsity_index(k, opt->sparsity));
    } else if (opt->sparsity > 0) {
        float *threshold = (float *)cuda_alloc(dev, sizeof(*threshold));

        matrix_threshold(dev, threshold, w, sc, opt);
        mask_matrix<<<grid_for(dev, n, THREADS), THREADS, 0, stream_of(dev)>>>(d, sc, threshold, n,
                                                                               k);
        cuda_free(dev, threshold);
    }
    LAUNCHED("mask_smallest");
}
