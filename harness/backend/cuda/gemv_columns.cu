/* gemv of PACKED_COLUMNS and PACKED_NONZEROS: gemv_columns.cuh's kernel for each type. */
#include "harness/backend/cuda/gemv_columns.cuh"

static constexpr int WARPS = 16;

template <typename F> static void run(struct device *dev, const struct gemv_args &a)
{
    shared_layout<F, WARPS> shared(a.slot, a.shape, a.n_split);
    size_t most = cuda_dev(dev)->max_shared;
    static bool prepared = false;

    if (shared.nbytes > most)
        die("CUDA: gemv of %u x %u needs %u bytes of shared memory, this card has %zu", a.n_out,
            a.n_in, shared.nbytes, most);
    if (!prepared) {
        CU(cudaFuncSetAttribute(gemv_columns<F, WARPS>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)most));
        CU(cudaFuncSetAttribute(gemv_columns<F, WARPS>,
                                cudaFuncAttributePreferredSharedMemoryCarveout,
                                cudaSharedmemCarveoutMaxShared));
        prepared = true;
    }
    /* more than half of it, so that no two fit on an SM */
    launch_after(dev, gemv_columns<F, WARPS>, n_row_blocks(a.n_out) * a.n_split, WARPS * 32,
                 shared.nbytes > most / 2 + 1024 ? shared.nbytes : most / 2 + 1024, a);
}

/* Blocks of threads for each block of rows: one for every SM in all, and lists that fit. */
static unsigned splits(struct device *dev, unsigned blocks, unsigned cols)
{
    unsigned want = (unsigned)cuda_dev(dev)->n_sm / blocks, least = n_blocks(cols, 4096);

    return want > least ? want : least;
}

bool makes_input(const struct decode_input *in, const struct packed *w)
{
    const bool norm = in->kind == INPUT_NORM;

    return w->kind != PACKED_ROWS && w->n_in > 0 && !is_wina(in->rule) && in->kind != INPUT_GATE &&
           w->n_in <= (norm ? NORM_MOST * 256 * WARPS : PANEL);
}

void gemv_by_columns(struct device *dev, struct tensor out, const struct decode_input *in,
                     const struct packed *w, int accumulate)
{
    const struct tables shape = tables_of(w->n_in);
    const unsigned blocks = n_row_blocks(w->n_out);

    for (unsigned panel = 0; panel < shape.n_panels; panel++) {
        struct gemv_args a = {};
        size_t first = (size_t)panel * PANEL;

        a.data = (const unsigned char *)w->data;
        a.tables = (const unsigned char *)w->index + (size_t)panel * blocks * shape.nbytes;
        a.ready = (unsigned *)((char *)w->index + tables_nbytes(w));
        a.in.kind = in->kind;
        a.in.x = (const char *)in->x.data + first * dtype_size(in->x.dtype);
        a.in.weight = (const float *)in->weight.data;
        a.in.eps = in->eps;
        a.in.guess = a.ready + blocks;
        a.in.rule = row_rule_of(in->rule, w->n_in);
        a.out = (float *)out.data;
        a.n_out = (unsigned)w->n_out;
        a.n_in = (unsigned)w->n_in;
        a.first = (unsigned)first;
        a.cols = (unsigned)(w->n_in - first < PANEL ? w->n_in - first : PANEL);
        a.shape = shape;
        a.n_split = splits(dev, blocks, a.cols);
        a.slot = (unsigned)w->layout;
        a.accumulate = accumulate || panel > 0;
        with_type(w->dtype, [&](auto t) {
            using T = decltype(t);

            if (w->kind == PACKED_COLUMNS)
                run<columns<T>>(dev, a);
            else
                run<nonzeros<T, sizeof(T) == 2 ? 2 : 1>>(dev, a);
        });
    }
}
