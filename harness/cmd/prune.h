/* Between the two files of duo prune. */
#ifndef DUO_CMD_PRUNE_H
#define DUO_CMD_PRUNE_H

#include "harness/cmd/run.h"

/* Writes DIR/duo.json: how the model in DIR came to be, what was measured of it, and its scores.
 * saved_sha256: of the model in DIR. 0 or error(). */
int prune_write_provenance(const struct run *r, const char *dir, const char *saved_sha256);

#endif
