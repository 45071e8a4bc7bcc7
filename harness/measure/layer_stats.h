/* Collecting the statistics of struct layer_stats (pruner.h) on the device. */
#ifndef DUO_MEASURE_LAYER_STATS_H
#define DUO_MEASURE_LAYER_STATS_H

#include "harness/measure/pruner.h"

/* Allocates what `needs` (enum pruner_needs) calls for, for inputs of width k, all zero. */
void layer_stats_init(struct layer_stats *st, struct device *dev, unsigned needs, size_t k);
void layer_stats_release(struct layer_stats *st, struct device *dev);

/* Adds a chunk of tokens. x (T x k): the input in the pruned model's stream; dense (T x k): in the
 * dense model's, read only where the residual is collected; room: memory for at least T x k. */
void layer_stats_add(struct layer_stats *st, struct device *dev, struct tensor x,
                     struct tensor dense, struct tensor room);

#endif
