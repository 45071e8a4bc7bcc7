/* gemv of PACKED_COLUMNS and PACKED_NONZEROS: gemv_columns.cuh's kernel for each type. */
#include "harness/backend/cuda/gemv_columns.cuh"

template <typename F, int WARPS, int STAGES, int RESIDENT>
static void run(struct device *dev, const struct gemv_args &a)
{
    shared_layout<F, WARPS, STAGES> shared(a.slot, a.shape, a.n_split);
    auto kernel = gemv_columns<F, WARPS, STAGES, RESIDENT>;
    static bool prepared = false;

    if (!prepared) {
        CU(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)cuda_dev(dev)->max_shared));
        CU(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                cudaSharedmemCarveoutMaxShared));
        prepared = true;
    }
    launch_after(dev, kernel, n_row_blocks(a.n_out) * a.n_split, WARPS * 32, shared.nbytes, a);
}

/* Blocks of threads for each block of rows: one for every SM in all, and lists that fit. */
static unsigned splits(struct device *dev, unsigned blocks, unsigned cols)
{
    unsigned want = (unsigned)cuda_dev(dev)->n_sm / blocks, least = n_blocks(cols, 4096);

    return want > least ? want : least;
}

void gemv_by_columns(struct device *dev, struct tensor out, struct tensor x, const struct packed *w,
                     int accumulate)
{
    struct gemv_args a = {};

    a.data = (const unsigned char *)w->data;
    a.tables = (const unsigned char *)w->index;
    a.ready = (unsigned *)((char *)w->index + tables_nbytes(w));
    a.x = x.data;
    a.out = (float *)out.data;
    a.n_out = (unsigned)w->n_out;
    a.n_in = (unsigned)w->n_in;
    a.shape = tables_of(w->n_in);
    a.n_split = splits(dev, n_row_blocks(w->n_out), a.shape.cols);
    a.slot = (unsigned)w->layout;
    a.accumulate = accumulate != 0;
    with_type(w->dtype, [&](auto t) {
        using T = decltype(t);

        if constexpr (sizeof(T) == 4) {
            if (w->kind == PACKED_COLUMNS)
                run<columns<T, 1>, 8, 2, 1>(dev, a);
            else
                run<nonzeros<T, SEGMENT_TEAM>, 8, 2, 1>(dev, a);
        } else {
            if (w->kind == PACKED_COLUMNS)
                run<columns<T, 1>, 8, 2, 2>(dev, a);
            else
                run<nonzeros<T, SEGMENT_TEAM>, 16, 2, 2>(dev, a);
        }
    });
}
