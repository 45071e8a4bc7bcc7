/* Timing products of one row. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/bench_work.h"
#include "harness/model/parallel.h"

const char *const bench_path_names[N_PATHS] = {
    [PATH_OWN] = "own",   [PATH_LIBRARY] = "library",   [PATH_COLUMNS] = "columns",
    [PATH_ROWS] = "rows", [PATH_NONZEROS] = "nonzeros", [PATH_SPARSE] = "sparse",
};

static const char *const product_names[N_PRODUCTS] = {
    [PRODUCTS_QKV] = "linear_qkv",         [PRODUCTS_O] = "linear_o",
    [PRODUCTS_GATE_UP] = "linear_gate_up", [PRODUCTS_DOWN] = "linear_down",
    [PRODUCTS_HEAD] = "linear_head",       [PRODUCTS_LAYER] = "layer",
};

#define MAX_GROUPS 4
#define COLD_FROM 16 /* caches full of weights leave nothing of the first for the next run */

/* The products of one path in the order in which they run. */
struct products {
    struct device *dev;
    enum bench_path path;
    size_t n_groups, n_layers, n_turns; /* a run: the layers in turn, n_turns of them */
    struct tensor x[MAX_GROUPS], out[MAX_GROUPS];
    struct tensor *w;      /* n_layers x n_groups: PATH_LIBRARY */
    struct packed *packed; /* else */
    struct recording *recording;
    struct bench_flush *flush; /* NULL: not needed */
};

static struct tensor weight_of(const struct model *m, enum bench_products what, size_t layer,
                               size_t group)
{
    const struct layer *l = &m->layers[layer];
    const struct tensor all[] = {l->qkv, l->o, l->gate_up, l->down};

    return what == PRODUCTS_HEAD ? m->head : what == PRODUCTS_LAYER ? all[group] : all[what];
}

/* ---- running */

static void run_products(void *arg)
{
    struct products *p = arg;
    const struct backend *ops = p->dev->ops;

    for (size_t i = 0; i < p->n_turns * p->n_groups; i++) {
        size_t g = i % p->n_groups, at = i % (p->n_layers * p->n_groups);

        if (p->path == PATH_LIBRARY)
            ops->linear(p->dev, p->out[g], p->x[g], p->w[at], 0);
        else
            ops->decode->gemv(p->dev, p->out[g], p->x[g], &p->packed[at], 0);
    }
}

static void run_recorded(void *arg)
{
    struct products *p = arg;

    p->dev->ops->decode->record_run(p->dev, p->recording);
}

static void flush(void *arg)
{
    bench_flush(((struct products *)arg)->flush);
}

/* As decoding does where the backend can: launching then costs the same for all. The first run
 * outside may choose kernels, which cannot be recorded. */
static void record(struct products *p)
{
    const struct decode_ops *d = p->dev->ops->decode;

    if (!d->record_begin)
        return;
    run_products(p);
    d->record_begin(p->dev);
    run_products(p);
    p->recording = d->record_end(p->dev);
}

/* ---- making and taking apart */

static enum packed_kind kind_of(enum bench_path path)
{
    return path == PATH_OWN ? PACKED_ROWS : path == PATH_COLUMNS ? PACKED_COLUMNS : PACKED_NONZEROS;
}

static void products_open(struct products *p, const struct bench_models *m,
                          enum bench_products what, enum bench_path path, size_t n_layers,
                          size_t n_turns)
{
    const struct model *model = path <= PATH_LIBRARY ? m->dense : m->pruned;
    struct act_rule rule = {.kind = path <= PATH_LIBRARY ? ACT_DENSE : ACT_TOPK,
                            .sparsity = m->act_sparsity};
    size_t n;

    *p = (struct products){.dev = model->dev, .path = path, .n_layers = n_layers};
    p->n_groups = what == PRODUCTS_LAYER ? MAX_GROUPS : 1;
    p->n_turns = n_turns;
    n = n_layers * p->n_groups;
    p->w = xcalloc(n, sizeof(*p->w));
    p->packed = xcalloc(n, sizeof(*p->packed));
    for (size_t i = 0; i < n; i++) {
        p->w[i] = weight_of(model, what, i / p->n_groups, i % p->n_groups);
        if (path != PATH_LIBRARY)
            p->dev->ops->decode->pack(p->dev, &p->packed[i], p->w[i], kind_of(path));
    }
    for (size_t g = 0; g < p->n_groups; g++) {
        p->x[g] = device_tensor(p->dev, model->dtype, 1, p->w[g].cols);
        p->out[g] =
            device_tensor(p->dev, path == PATH_LIBRARY ? model->dtype : DTYPE_F32, 1, p->w[g].rows);
        p->dev->ops->fill_normal(p->dev, p->x[g], 1, m->seed, g);
        p->dev->ops->sparsify(p->dev, p->x[g], p->x[g], &rule);
    }
    record(p);
}

static void products_close(struct products *p)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Branch): all that are closed were opened */
    if (p->recording)
        p->dev->ops->decode->record_free(p->dev, p->recording);
    for (size_t i = 0; i < p->n_layers * p->n_groups; i++)
        if (p->path != PATH_LIBRARY)
            p->dev->ops->decode->packed_free(p->dev, &p->packed[i]);
    for (size_t g = 0; g < p->n_groups; g++) {
        device_tensor_free(p->dev, &p->x[g]);
        device_tensor_free(p->dev, &p->out[g]);
    }
    free(p->w);
    free(p->packed);
    *p = (struct products){0};
}

/* Bytes of weights that all layers read: of what is packed, the share of the columns whose input is
 * not zero. */
static double weight_bytes(const struct products *p)
{
    double sum = 0;

    for (size_t i = 0; i < p->n_layers * p->n_groups; i++) {
        struct tensor x = p->x[i % p->n_groups];
        double active = 1 - (double)p->dev->ops->count_zeros(p->dev, x) / (double)x.cols;

        if (p->path == PATH_LIBRARY)
            sum += (double)tensor_nbytes(p->w[i]);
        else
            sum += (double)p->packed[i].nbytes * (p->path == PATH_OWN ? 1 : active);
    }
    return sum;
}

/* Bytes that all layers read and write: the weights, the input and the output. */
static double bytes_moved(const struct products *p)
{
    double sum = weight_bytes(p);

    for (size_t g = 0; g < p->n_groups; g++)
        sum += (double)p->n_layers * (double)(tensor_nbytes(p->x[g]) + tensor_nbytes(p->out[g]));
    return sum;
}

/* ---- the work */

/* Bytes of the weights in question, dense. */
static size_t dense_bytes(const struct model *m, enum bench_products what, size_t n_layers)
{
    size_t n = 0;

    for (size_t i = 0; i < n_layers; i++)
        for (size_t g = 0; g < (what == PRODUCTS_LAYER ? MAX_GROUPS : 1); g++)
            n += tensor_nbytes(weight_of(m, what, i, g));
    return n;
}

/* Packed non-zeros: their bytes, a bit for each element, and some counts. */
static size_t packed_bytes(const struct bench_models *m, enum bench_path path, size_t n)
{
    double e = (double)dtype_size(m->dense->dtype);

    if (path == PATH_ROWS)
        return 0;
    return (size_t)((double)n * (path == PATH_COLUMNS ? e : (1 - m->weight_zeros) * e + 0.25));
}

void bench_add_sparse_paths(struct bench_outcome *out, const struct bench_models *m, size_t n)
{
    /* Where parts were removed, what is left has no zeros. */
    const enum bench_path sparse[] = {m->pruned->reshaped ? PATH_ROWS : PATH_NONZEROS,
                                      PATH_COLUMNS};
    const int wanted[] = {bench_is_pruned(m), m->act_sparsity > 0};
    size_t unused = parallel_least(m->dense, m->dense->dev->ops->memory_free(m->dense->dev));

    for (int i = 0; i < 2; i++) {
        size_t copy = packed_bytes(m, sparse[i], n / parallel_size(m->dense));

        if (!wanted[i])
            continue;
        if (unused > copy + copy / 16) {
            out->path[out->n_paths++] = sparse[i];
            unused -= copy;
        } else {
            snprintf(out->note, sizeof(out->note), "%s: no memory for the weights packed as %s",
                     out->task, bench_path_names[sparse[i]]);
        }
    }
}

static void add_paths(struct bench_outcome *out, const struct bench_models *m,
                      enum bench_products what, size_t n_bytes)
{
    const struct decode_ops *d = m->dense->dev->ops->decode;
    int gemv = d && d->gemv;

    if (gemv)
        out->path[out->n_paths++] = PATH_OWN;
    out->path[out->n_paths++] = PATH_LIBRARY;
    if (gemv && what != PRODUCTS_HEAD)
        bench_add_sparse_paths(out, m, n_bytes / dtype_size(m->dense->dtype));
}

int bench_products(struct bench_outcome *out, const struct bench_models *m,
                   enum bench_products what, int warm)
{
    struct device *dev = m->dense->dev;
    size_t n_turns = what == PRODUCTS_HEAD ? 1 : m->dense->config.n_layers;
    size_t n_layers = warm ? 1 : n_turns, n_bytes = dense_bytes(m->dense, what, n_layers);
    struct products p[BENCH_MAX_PROGRAMS];
    struct bench_program programs[BENCH_MAX_PROGRAMS];
    struct bench_flush f = {0};
    int small;

    *out = (struct bench_outcome){
        .task = product_names[what], .cache = warm ? "warm" : "cold", .context = NAN};
    if (m->dense->store || m->pruned->store || m->pruned->reshaped || m->dense->comm ||
        (warm && n_bytes > dev->ops->cache_nbytes(dev)))
        return -1;
    small = !warm && n_bytes < COLD_FROM * dev->ops->cache_nbytes(dev);
    if (small)
        bench_flush_open(&f, dev);
    add_paths(out, m, what, n_bytes);
    for (size_t i = 0; i < out->n_paths; i++) {
        products_open(&p[i], m, what, out->path[i], n_layers, n_turns);
        p[i].flush = small ? &f : NULL;
        programs[i] = (struct bench_program){
            .name = bench_path_names[out->path[i]],
            .prepare = small ? flush : NULL,
            .run = p[i].recording ? run_recorded : run_products,
            .arg = &p[i],
            .units = (double)n_turns,
            .repeatable = !small,
        };
        out->bytes[i] = bytes_moved(&p[i]) / (double)n_layers;
    }
    bench_run(&out->samples, dev, programs, out->n_paths, &m->limits);
    for (size_t i = 0; i < out->n_paths; i++)
        products_close(&p[i]);
    bench_flush_close(&f);
    return 0;
}

void bench_outcome_release(struct bench_outcome *o)
{
    bench_samples_release(&o->samples);
}
