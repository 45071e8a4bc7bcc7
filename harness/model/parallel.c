/* What devices that hold parts of a model exchange. */
#include "harness/model/parallel.h"

#include <stdlib.h>

#include "harness/base/error.h"

int parallel_check(const struct llama_config *c, size_t n)
{
    const struct {
        const char *what;
        size_t n;
    } all[] = {{"query heads", c->n_heads},
               {"key and value heads", c->n_kv_heads},
               {"neurons", c->intermediate},
               {"hidden channels", c->hidden}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].n % n)
            return error("%zu devices cannot share the model: %zu %s are not divisible by %zu", n,
                         all[i].n, all[i].what, n);
    return 0;
}

/* Everybody's v, in host memory that the caller frees. */
static uint64_t *everybodys(const struct model *m, size_t v)
{
    size_t n = parallel_size(m);
    uint64_t mine = v, *all = xcalloc(n, sizeof(*all)), *d;
    struct device *dev = m->dev;

    d = dev->ops->alloc(dev, n * sizeof(*d));
    dev->ops->upload(dev, d + parallel_rank(m), &mine, sizeof(mine));
    m->comm->all_gather(m->comm, d, d + parallel_rank(m), sizeof(*d));
    dev->ops->download(dev, all, d, n * sizeof(*d));
    dev->ops->free(dev, d);
    return all;
}

size_t parallel_least(const struct model *m, size_t v)
{
    uint64_t *all;

    if (!m->comm)
        return v;
    all = everybodys(m, v);
    for (size_t i = 0; i < parallel_size(m); i++)
        v = all[i] < v ? all[i] : v;
    free(all);
    return v;
}

size_t parallel_sum(const struct model *m, size_t v)
{
    uint64_t *all;

    if (!m->comm)
        return v;
    all = everybodys(m, v);
    v = 0;
    for (size_t i = 0; i < parallel_size(m); i++)
        v += all[i];
    free(all);
    return v;
}

struct tensor parallel_whole(const struct model *m, struct tensor w)
{
    struct tensor whole;

    if (!m->comm)
        return w;
    whole = device_tensor(m->dev, w.dtype, w.rows * parallel_size(m), w.cols);
    m->comm->all_gather(m->comm, whole.data, w.data, tensor_nbytes(w));
    return whole;
}

void parallel_whole_free(const struct model *m, struct tensor *whole, struct tensor w)
{
    if (whole->data != w.data)
        device_tensor_free(m->dev, whole);
}

struct tensor parallel_part(const struct model *m, struct tensor whole)
{
    size_t n = whole.rows / parallel_size(m);

    return tensor_rows(whole, parallel_rank(m) * n, n);
}
