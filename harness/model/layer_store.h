/* Layers that pass through two places on the device, so that a model larger than the device can be
 * run and pruned. While one layer computes, the next one is copied. A layer waits for its turn in
 * pinned host memory; one for which there is no room there is read from its source again each time,
 * a layer ahead of its copy, or made on the device; if it was changed, it goes to a file and is
 * read from there. */
#ifndef DUO_MODEL_LAYER_STORE_H
#define DUO_MODEL_LAYER_STORE_H

#include "harness/model/layer_io.h"

struct device;
struct layer_store;

/* Where layers come from: one of the two. */
struct layer_origin {
    layer_read_fn *read;               /* into a host's block, on a thread beside the caller's */
    void (*make)(void *arg, size_t i); /* at its place, by operations of the device */
    void *arg;
};

/* n_layers blocks of nbytes, of which the host's memory holds the first n_held, and two places on
 * dev. Dies without memory. */
struct layer_store *layer_store_open(struct device *dev, size_t n_layers, size_t nbytes,
                                     size_t n_held, const struct layer_origin *origin);
void layer_store_close(struct layer_store *s);

/* Where layer i lies on the device whenever it is there; layers of one parity share a place. */
void *layer_store_place(const struct layer_store *s, size_t i);

/* Operations called from now on find layer i in its place, until the next call with another i; the
 * copy of layer i + 1 (after the last: 0) begins beside them. */
void layer_store_get(struct layer_store *s, size_t i);

/* Does the host's memory hold layer i? */
int layer_store_holds(const struct layer_store *s, size_t i);

/* Layer i's place now holds what the caller puts there; set then stores it in the host's memory, as
 * what its origin gives (held layers alone). */
void layer_store_claim(struct layer_store *s, size_t i);
void layer_store_set(struct layer_store *s, size_t i);

/* Layer i was changed in its place: stores it in the host's memory and, if there is one, the
 * folder. A layer that neither holds is dropped: later it is what its origin gives. */
void layer_store_put(struct layer_store *s, size_t i);
size_t layer_store_n_dropped(const struct layer_store *s);

/* Layer i is what its origin gives again (a held one: what is set next). */
void layer_store_forget(struct layer_store *s, size_t i);

/* Changed layers are written to files of `dir`, which is there, under a key (64 hex digits) that
 * says what was done to them. dir NULL: no more. */
void layer_store_keep(struct layer_store *s, const char *dir, const char *key);

/* If the folder has layer i under the key, puts it in its place, as if it had been changed: 1. Else
 * 0, and layer i is what it was. */
int layer_store_resume(struct layer_store *s, size_t i);

/* Seconds that the caller has waited for files and origins. */
double layer_store_waited(const struct layer_store *s);

#endif
