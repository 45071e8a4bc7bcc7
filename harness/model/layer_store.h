/* Layers that live in host memory and pass through two places on the device, so that a model larger
 * than the card can be run and pruned. While one layer computes, the next one is copied. */
#ifndef DUO_MODEL_LAYER_STORE_H
#define DUO_MODEL_LAYER_STORE_H

#include <stddef.h>

struct device;
struct layer_store;

/* n_layers blocks of nbytes in the host's memory, and two places on dev. Dies without memory. */
struct layer_store *layer_store_open(struct device *dev, size_t n_layers, size_t nbytes);
void layer_store_close(struct layer_store *s);

/* Where layer i lies on the device whenever it is there; layers of one parity share a place. */
void *layer_store_place(const struct layer_store *s, size_t i);

/* Operations called from now on find layer i in its place, until the next call with another i; the
 * copy of layer i + 1 (after the last: 0) begins beside them. */
void layer_store_get(struct layer_store *s, size_t i);

/* Layer i's place now holds what the caller puts there; then stores it in the host's memory. */
void layer_store_claim(struct layer_store *s, size_t i);
void layer_store_put(struct layer_store *s, size_t i);

#endif
