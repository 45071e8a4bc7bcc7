/* A model that several devices hold together, each a part (tensor parallelism): every linear is
 * split by its output rows, so that each output is one device's sum over the whole input, and is
 * gathered. With that, rules of sparse activations see whole inputs, and every number has the bits
 * that one device gives. Heads, neurons and the rows of o and down are split; norms, the residual
 * stream and the embeddings are everybody's. All processes make the same calls in the same order.
 */
#ifndef DUO_MODEL_PARALLEL_H
#define DUO_MODEL_PARALLEL_H

#include "harness/model/model.h"

/* Devices that hold parts of m; 1: it is whole. */
static inline size_t parallel_size(const struct model *m)
{
    return m->comm ? (size_t)m->comm->size : 1;
}

static inline size_t parallel_rank(const struct model *m)
{
    return m->comm ? (size_t)m->comm->rank : 0;
}

/* Can so many devices share the model? 0, or error() naming what cannot be divided. */
int parallel_check(const struct llama_config *c, size_t n);

/* The least of everybody's v; and the sum. */
size_t parallel_least(const struct model *m, size_t v);
size_t parallel_sum(const struct model *m, size_t v);

/* The whole of a linear of which w is this device's part, in the order of rows: a new tensor of the
 * device, or w itself where the model is whole. And gives it back. */
struct tensor parallel_whole(const struct model *m, struct tensor w);
void parallel_whole_free(const struct model *m, struct tensor *whole, struct tensor w);

/* This device's rows of a whole linear. */
struct tensor parallel_part(const struct model *m, struct tensor whole);

#endif
