/* Linears of a checkpoint in the bitmask form (bitmask.h): in the place of NAME.weight are
 * NAME.compressed, NAME.bitmask, NAME.shape and NAME.row_offsets. */
#ifndef DUO_MODEL_CHECKPOINT_BITMASK_H
#define DUO_MODEL_CHECKPOINT_BITMASK_H

#include "harness/model/checkpoint.h"

/* Is `name` ("....weight") there in this form and not in the dense one? */
int checkpoint_has_bitmask(const struct checkpoint *c, const char *name);

/* The name of the weight that tensor `name` is a part of, by its suffix; 0 if it is none. */
int bitmask_weight_name(const char *name, char weight[128]);

/* Checks that the four parts fit a rows x cols matrix, without reading them. 0 or error(). */
int checkpoint_check_bitmask(const struct checkpoint *c, const char *name, size_t rows,
                             size_t cols);

/* The whole matrix, in memory of c's that stays as it is until the next call. The parts are checked
 * against each other. 0 or error(). */
int checkpoint_read_bitmask(const struct checkpoint *c, const char *name, size_t rows, size_t cols,
                            struct tensor *out);

/* The type of its values; -1 if that is none that duo computes with, or it is not there. */
int checkpoint_bitmask_dtype(const struct checkpoint *c, const char *name);

#endif
