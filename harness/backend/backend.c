/* The table of backends and what is common to all. */
#include "harness/backend/backend.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"
#ifdef DUO_CUDA
#include "harness/backend/cuda/cuda.h"
#endif

const struct backend *const backends[] = {
    &backend_cpu,
#ifdef DUO_CUDA
    &backend_cuda,
#endif
    NULL,
};

int device_open(struct device **out, const char *name, int n_threads)
{
    struct buf known = {0};
    int n = 0, rc = -1;

    while (backends[n])
        n++;
    if (!name || strcmp(name, "auto") == 0) {
        error_silence(1); /* a machine without a GPU is no error here */
        for (int i = n - 1; i > 0 && rc != 0; i--)
            rc = backends[i]->open(out, n_threads);
        error_silence(0);
        return rc == 0 ? 0 : backends[0]->open(out, n_threads);
    }
    for (int i = 0; i < n; i++)
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i]->open(out, n_threads);
    for (int i = 0; i < n; i++)
        buf_addf(&known, "%s%s", i ? ", " : "", backends[i]->name);
    rc = error("no backend '%s' in this build; known: %s", name, buf_str(&known));
    buf_release(&known);
    return rc;
}

void device_close(struct device *dev)
{
    if (dev)
        dev->ops->close(dev);
}

struct tensor device_tensor(struct device *dev, enum dtype dtype, size_t rows, size_t cols)
{
    struct tensor t = {NULL, dtype, rows, cols};

    t.data = dev->ops->alloc(dev, tensor_nbytes(t));
    return t;
}

void device_tensor_free(struct device *dev, struct tensor *t)
{
    if (t->data)
        dev->ops->free(dev, t->data);
    *t = (struct tensor){0};
}
