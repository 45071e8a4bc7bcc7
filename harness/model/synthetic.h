/* Models without a checkpoint: the published shapes with random weights, for measuring speed. */
#ifndef DUO_MODEL_SYNTHETIC_H
#define DUO_MODEL_SYNTHETIC_H

#include "harness/model/config.h"

/* The configuration of a named shape (tiny, llama2-7b, llama2-13b, llama2-70b, llama3-8b, llama3-70b), or
 * error() that lists the known ones. Source: the models' published config.json. */
int synthetic_config(struct llama_config *c, const char *name);

/* Standard deviation of the weights, as LLaMA is initialised; norms are 1. */
#define SYNTHETIC_STDDEV 0.02f

/* Number of the random stream that a tensor's values come from: a hash of its name (FNV-1a), so
 * that every tensor is drawn on its own, in whatever order. */
uint64_t synthetic_stream(const char *tensor_name);

#endif
