/* Where a model's weights come from: the checkpoint, or made up from a seed. */
#ifndef DUO_MODEL_MODEL_LOAD_H
#define DUO_MODEL_MODEL_LOAD_H

#include "harness/model/model.h"

/* "model.layers.3.self_attn.q_proj.weight" */
void linear_tensor_name(char out[96], size_t layer, int linear);

/* Fills dst with the named tensor of the model's source, converting on the device. 0, or error().
 */
int load_tensor(const struct model *m, const char *name, struct tensor dst);

/* The device's part of a layer's linears: of streamed layers those that host memory holds. */
int load_linears(const struct model *m, size_t layer);
/* Its norms, biases and changes of basis, as far as it has them: allocated and filled. */
int load_rest(const struct model *m, size_t layer);

/* Of a tensor of the source: 0, or error() naming it. */
int check_finite(const struct model *m, const char *name, struct tensor t);

/* Where merged tensor i of a layer begins in its block of a store, and the block's bytes for i = 4.
 */
size_t store_offset(const struct model *m, int i);

/* Do the weights leave the device no room to work? A host is its own memory: never, unless it is
 * limited. */
int must_stream(const struct model *m);

/* host_limit: struct model_source. */
void open_store(struct model *m, size_t host_limit);

/* ---- of model.c: "self_attn.q_proj", ...; and the four merged tensors of layer i of the source,
 * the device's part, without memory. */
extern const char *const linear_names[N_LINEARS];
void layer_shape(struct layer *l, const struct model *m, size_t i);

#endif
