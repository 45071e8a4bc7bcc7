/* Layers in host memory. */
#include "harness/model/layer_store.h"

#include <stdlib.h>

#include "harness/backend/backend.h"
#include "harness/base/error.h"

#define NOBODY ((size_t)-1)

struct layer_store {
    struct device *dev;
    size_t n_layers, nbytes;
    void **host;
    void *place[2];
    size_t owner[2]; /* the layer in each place, or on its way there */
};

struct layer_store *layer_store_open(struct device *dev, size_t n_layers, size_t nbytes)
{
    struct layer_store *s = xcalloc(1, sizeof(*s));

    *s = (struct layer_store){.dev = dev, .n_layers = n_layers, .nbytes = nbytes};
    s->host = xcalloc(n_layers, sizeof(*s->host));
    for (size_t i = 0; i < n_layers; i++)
        s->host[i] = dev->ops->host_alloc(dev, nbytes);
    for (int i = 0; i < 2; i++) {
        s->place[i] = dev->ops->alloc(dev, nbytes);
        s->owner[i] = NOBODY;
    }
    return s;
}

void layer_store_close(struct layer_store *s)
{
    if (!s)
        return;
    s->dev->ops->stream_wait(s->dev); /* no copy is on its way into what is freed */
    for (int i = 0; i < 2; i++)
        s->dev->ops->free(s->dev, s->place[i]);
    for (size_t i = 0; i < s->n_layers; i++)
        s->dev->ops->host_free(s->dev, s->host[i]);
    free(s->host);
    free(s);
}

void *layer_store_place(const struct layer_store *s, size_t i)
{
    return s->place[i % 2];
}

static void fetch(struct layer_store *s, size_t i)
{
    if (s->owner[i % 2] == i)
        return;
    s->dev->ops->stream_in(s->dev, s->place[i % 2], s->host[i], s->nbytes);
    s->owner[i % 2] = i;
}

void layer_store_get(struct layer_store *s, size_t i)
{
    size_t next = (i + 1) % s->n_layers;

    fetch(s, i);
    s->dev->ops->stream_wait(s->dev);
    if (next % 2 != i % 2) /* else it would overwrite layer i: the wrap of an odd number of layers */
        fetch(s, next);
}

void layer_store_claim(struct layer_store *s, size_t i)
{
    s->dev->ops->stream_wait(s->dev);
    s->owner[i % 2] = i;
}

void layer_store_put(struct layer_store *s, size_t i)
{
    s->dev->ops->download(s->dev, s->host[i], s->place[i % 2], s->nbytes);
}
