/* Layers in host memory, in files, and on their way.
 *
 * A layer that host memory does not hold passes through one of three blocks: while layer i
 * computes, i + 1 is copied to the device and i + 2 is read. */
#include "harness/model/layer_store.h"

#include <stdio.h>
#include <stdlib.h>

#include "harness/backend/backend.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/progress.h"

#define NOBODY ((size_t)-1)
#define N_PASSING 3

/* A block through which layers pass. */
struct passing {
    void *host;
    size_t owner; /* the layer that it holds or will hold after `job` */
    uint64_t job;
};

struct layer_store {
    struct device *dev;
    size_t n_layers, nbytes, n_held, n_dropped;
    struct layer_origin origin;
    void **host;            /* of held layers */
    uint64_t *written;      /* by layer: the job that writes its file from there */
    unsigned char *in_file; /* changed, and in the folder under the key */
    char *dir, key[65];
    void *place[2];
    size_t owner[2]; /* the layer in each place, or on its way there */
    struct passing passing[N_PASSING];
    size_t next_passing;
    struct layer_io *io;
    double waited;
};

struct layer_store *layer_store_open(struct device *dev, size_t n_layers, size_t nbytes,
                                     size_t n_held, const struct layer_origin *origin)
{
    struct layer_store *s = xcalloc(1, sizeof(*s));

    *s = (struct layer_store){.dev = dev,
                              .n_layers = n_layers,
                              .nbytes = nbytes,
                              .n_held = n_held < n_layers ? n_held : n_layers,
                              .origin = *origin};
    s->host = xcalloc(n_layers, sizeof(*s->host));
    s->written = xcalloc(n_layers, sizeof(*s->written));
    s->in_file = xcalloc(n_layers, 1);
    for (size_t i = 0; i < s->n_held; i++)
        s->host[i] = dev->ops->host_alloc(dev, nbytes);
    for (int i = 0; i < N_PASSING && s->n_held < n_layers; i++)
        s->passing[i] = (struct passing){dev->ops->host_alloc(dev, nbytes), NOBODY, 0};
    for (int i = 0; i < 2; i++) {
        s->place[i] = dev->ops->alloc(dev, nbytes);
        s->owner[i] = NOBODY;
    }
    s->io = layer_io_open(origin->read, origin->arg, nbytes);
    return s;
}

void layer_store_close(struct layer_store *s)
{
    if (!s)
        return;
    layer_io_close(s->io);
    s->dev->ops->stream_sync(s->dev); /* no copy is on its way into what is freed */
    for (int i = 0; i < 2; i++)
        s->dev->ops->free(s->dev, s->place[i]);
    for (size_t i = 0; i < s->n_held; i++)
        s->dev->ops->host_free(s->dev, s->host[i]);
    for (int i = 0; i < N_PASSING; i++)
        if (s->passing[i].host)
            s->dev->ops->host_free(s->dev, s->passing[i].host);
    free(s->dir);
    free(s->in_file);
    free(s->written);
    free(s->host);
    free(s);
}

void *layer_store_place(const struct layer_store *s, size_t i)
{
    return s->place[i % 2];
}

int layer_store_holds(const struct layer_store *s, size_t i)
{
    return i < s->n_held;
}

static char *file_of(const struct layer_store *s, size_t i)
{
    char name[32];

    snprintf(name, sizeof(name), "layer-%05zu.bin", i);
    return path_join(s->dir, name);
}

static void wait_job(struct layer_store *s, uint64_t job)
{
    double begin = now_seconds();

    layer_io_wait(s->io, job);
    s->waited += now_seconds() - begin;
}

/* ---- the blocks through which layers pass */

/* The next block in turn, free to be filled for layer i: what was read into it is on the device. */
static struct passing *take_passing(struct layer_store *s, size_t i)
{
    struct passing *p = &s->passing[s->next_passing];

    s->next_passing = (s->next_passing + 1) % N_PASSING;
    wait_job(s, p->job);
    s->dev->ops->stream_sync(s->dev);
    *p = (struct passing){p->host, i, 0};
    return p;
}

/* Neither held nor made on the device. */
static int is_read(const struct layer_store *s, size_t i)
{
    return !layer_store_holds(s, i) && (s->in_file[i] || s->origin.read);
}

/* Layer i in a block, or on its way there. */
static struct passing *begin_reading(struct layer_store *s, size_t i)
{
    struct passing *p = NULL;

    for (int k = 0; k < N_PASSING; k++)
        if (s->passing[k].owner == i)
            return &s->passing[k];
    p = take_passing(s, i);
    if (s->in_file[i]) {
        char *path = file_of(s, i);

        p->job = layer_io_read_file(s->io, i, path, s->key, p->host);
        free(path);
    } else {
        p->job = layer_io_read(s->io, i, p->host);
    }
    return p;
}

/* What a block holds of layer i is no longer so. */
static void drop_passing(struct layer_store *s, size_t i)
{
    for (int k = 0; k < N_PASSING; k++)
        if (s->passing[k].owner == i) {
            wait_job(s, s->passing[k].job);
            s->passing[k].owner = NOBODY;
        }
}

/* ---- to the device */

/* Begins to bring layer i to its place; made ones only now that it is their turn. */
static void fetch(struct layer_store *s, size_t i, int is_turn)
{
    const void *host = NULL;

    if (s->owner[i % 2] == i)
        return;
    if (layer_store_holds(s, i)) {
        host = s->host[i];
    } else if (is_read(s, i)) {
        struct passing *p = begin_reading(s, i);

        wait_job(s, p->job);
        host = p->host;
    } else if (!is_turn) {
        return;
    }
    if (host)
        s->dev->ops->stream_in(s->dev, s->place[i % 2], host, s->nbytes);
    else
        s->origin.make(s->origin.arg, i);
    s->owner[i % 2] = i;
}

void layer_store_get(struct layer_store *s, size_t i)
{
    size_t next = (i + 1) % s->n_layers, second = (i + 2) % s->n_layers;

    fetch(s, i, 1);
    s->dev->ops->stream_wait(s->dev);
    if (next % 2 == i % 2) /* it would overwrite layer i: the wrap of an odd number of layers */
        return;
    if (is_read(s, next) && s->owner[next % 2] != next)
        begin_reading(s, next);
    if (is_read(s, second) && second != i)
        begin_reading(s, second);
    fetch(s, next, 0);
}

/* ---- changes */

void layer_store_claim(struct layer_store *s, size_t i)
{
    s->dev->ops->stream_wait(s->dev);
    s->owner[i % 2] = i;
}

void layer_store_set(struct layer_store *s, size_t i)
{
    if (layer_store_holds(s, i)) {
        wait_job(s, s->written[i]);
        s->dev->ops->download(s->dev, s->host[i], s->place[i % 2], s->nbytes);
    }
}

void layer_store_put(struct layer_store *s, size_t i)
{
    void *host = s->host[i];
    struct passing *p = NULL;
    char *path;

    layer_store_set(s, i);
    if (!s->dir) {
        s->n_dropped += !host;
        s->owner[i % 2] = host ? i : NOBODY; /* what is dropped is not seen again */
        return;
    }
    if (!host) {
        drop_passing(s, i);
        p = take_passing(s, i);
        host = p->host;
        s->dev->ops->download(s->dev, host, s->place[i % 2], s->nbytes);
    }
    path = file_of(s, i);
    s->written[i] = layer_io_write(s->io, i, path, s->key, host);
    if (p)
        p->job = s->written[i];
    s->in_file[i] = 1;
    free(path);
}

size_t layer_store_n_dropped(const struct layer_store *s)
{
    return s->n_dropped;
}

void layer_store_forget(struct layer_store *s, size_t i)
{
    drop_passing(s, i);
    if (s->owner[i % 2] == i)
        s->owner[i % 2] = NOBODY;
    s->in_file[i] = 0;
    s->n_dropped = 0;
}

void layer_store_keep(struct layer_store *s, const char *dir, const char *key)
{
    free(s->dir);
    s->dir = dir ? xstrdup(dir) : NULL;
    snprintf(s->key, sizeof(s->key), "%s", key ? key : "");
}

int layer_store_resume(struct layer_store *s, size_t i)
{
    void *host = s->host[i];
    char *path;
    int is_there;

    if (!s->dir)
        return 0;
    path = file_of(s, i);
    is_there = layer_file_is(path, s->key, s->nbytes);
    if (is_there) {
        drop_passing(s, i);
        s->in_file[i] = 1;
        if (host)
            wait_job(s, layer_io_read_file(s->io, i, path, s->key, host));
        s->dev->ops->stream_wait(s->dev);
        s->owner[i % 2] = NOBODY;
        fetch(s, i, 1);
        s->dev->ops->stream_wait(s->dev);
    }
    free(path);
    return is_there;
}

double layer_store_waited(const struct layer_store *s)
{
    return s->waited;
}
