/* The pruning methods, one file each, and what some of them share. */
#ifndef DUO_PRUNE_PRUNERS_H
#define DUO_PRUNE_PRUNERS_H

#include "harness/measure/pruner.h"
#include "harness/measure/restructure.h"

extern const struct pruner pruner_dense;
extern const struct pruner pruner_magnitude;
extern const struct pruner pruner_wanda;
extern const struct pruner pruner_sparsegpt;
extern const struct pruner pruner_duogpt;
extern const struct pruner pruner_duogpt_plus;
extern const struct pruner pruner_shortgpt;
extern const struct pruner pruner_sleb;
extern const struct pruner pruner_blockpruner;

/* METHOD sections 3 and 4: solves the layer problem for every matrix of the job, which share
 * ordering, damping and factor. alpha 0 or no residual statistics: SparseGPT. 0 or error(). */
int obs_solve(struct prune_job *job, double alpha);

/* Whole layers for the job's sparsity, to the nearest; not the last one. */
size_t layers_to_remove(const struct restructure_job *job);

/* Block influence of every layer: 1 - mean over the calibration tokens of the cosine between the
 * residual stream before and after it. */
void shortgpt_influence(struct restructure_job *job, double *influence);

#endif
