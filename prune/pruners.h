/* The pruning methods, one file each, and what those by optimal brain surgery share. */
#ifndef DUO_PRUNE_PRUNERS_H
#define DUO_PRUNE_PRUNERS_H

#include "harness/measure/pruner.h"

extern const struct pruner pruner_dense;
extern const struct pruner pruner_magnitude;
extern const struct pruner pruner_wanda;
extern const struct pruner pruner_sparsegpt;
extern const struct pruner pruner_duogpt;
extern const struct pruner pruner_duogpt_plus;

/* METHOD sections 3 and 4: solves the layer problem for every matrix of the job, which share
 * ordering, damping and factor. alpha 0 or no residual statistics: SparseGPT. 0 or error(). */
int obs_solve(struct prune_job *job, double alpha);

#endif
