/* Making a model really smaller: removing layers, attention and MLP sub-blocks, heads and neurons.
 * What is left are smaller dense tensors; model_restore() brings everything back. The weights must
 * live on the device (no layer store). */
#ifndef DUO_MODEL_RESHAPE_H
#define DUO_MODEL_RESHAPE_H

#include "harness/model/model.h"

/* 0, or error(): the layers live in host memory. */
int reshape_check(const struct model *m);

/* Parameters of the linears of one layer's attention and of its MLP, as they are. */
size_t layer_attention_params(const struct layer *l);
size_t layer_mlp_params(const struct layer *l);

/* The sub-block with its norm: nothing if it is gone already. */
void layer_remove_attention(struct model *m, size_t layer);
void layer_remove_mlp(struct model *m, size_t layer);

/* Layers left without attention, MLP and biases leave the list; later ones move up. */
void model_remove_empty_layers(struct model *m);

/* Keeps n of the layer's kv heads, each with the query heads that read it; `heads` ascending. None:
 * the attention is removed. */
void layer_keep_heads(struct model *m, size_t layer, const int32_t *heads, size_t n);

/* Keeps n rows of gate and up and columns of down; `neurons` ascending. None: the MLP is removed.
 */
void layer_keep_neurons(struct model *m, size_t layer, const int32_t *neurons, size_t n);

#endif
