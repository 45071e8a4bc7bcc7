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
extern const struct pruner pruner_2ssp;
extern const struct pruner pruner_flap;
extern const struct pruner pruner_slicegpt;

/* METHOD sections 3 and 4: solves the layer problem for every matrix of the job, which share
 * ordering, damping and factor. alpha 0 or no residual statistics: SparseGPT. 0 or error(). */
int obs_solve(struct prune_job *job, double alpha);

/* Whole layers for the job's sparsity, to the nearest; not the last one. */
size_t layers_to_remove(const struct restructure_job *job);

/* Block influence of every layer: 1 - mean over the calibration tokens of the cosine between the
 * residual stream before and after it. */
void shortgpt_influence(struct restructure_job *job, double *influence);

/* 2SSP: attentions to remove, from the parameters of a layer's MLP and attention; and the scores of
 * all neurons, n_layers x m: the mean over the windows of the L2 norm over a window's tokens. */
size_t two_ssp_attentions(size_t n_layers, double mlp, double attention, double sparsity);
void two_ssp_norms(struct restructure_job *job, double *score);

/* FLAP: the n input channels of o (element 2 i for layer i) and of down (2 i + 1). */
struct flap_channels {
    size_t n;
    double *mean;  /* over the calibration tokens */
    double *score; /* Var(x_j) ||W_:,j||^2 */
};
struct flap_channels *flap_measure(struct restructure_job *job);
void flap_release(struct flap_channels *c, size_t n_layers);

/* SliceGPT: the hidden size whose decoder has (1 - sparsity) of the linears' parameters, changes of
 * basis included, to a multiple of 8; and slicing the model to a hidden size. 0, or error(). */
size_t slicegpt_width(const struct llama_config *k, double sparsity);
int slicegpt_slice(struct restructure_job *job, size_t width);

#endif
