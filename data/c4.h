/* Calibration ids from C4's first training shard (c4/en/c4-train.00000-of-01024.json.gz). */
#ifndef DUO_DATA_C4_H
#define DUO_DATA_C4_H

#include <stdint.h>

#include "harness/model/tokenizer.h"

/* The form of SparseGPT, Wanda and GPTAQ: n times { draw a document (randint(0, D-1)) until its ids
 * with BOS are more than s; draw a start (randint(0, len-s-1)); take s ids }. ids: n x s. python: the
 * draws of CPython's generator, which give the published sets; else PCG32. 0 or error(). */
int c4_sample(const char *data_dir, const struct tokenizer *t, uint64_t seed, int python, size_t n,
              size_t s, int32_t *ids);

/* The form of 2SSP and ShortGPT: documents in order joined by "\n\n", no specials, as many as are
 * needed; consecutive windows. 0 or error(). */
int c4_joined(const char *data_dir, const struct tokenizer *t, size_t n, size_t s, int32_t *ids);

#endif
