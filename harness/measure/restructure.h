/* What structured methods share: calibration windows through the whole model, the loss with parts
 * of it left out, and removing parts by that loss. */
#ifndef DUO_MEASURE_RESTRUCTURE_H
#define DUO_MEASURE_RESTRUCTURE_H

#include "harness/measure/pruner.h"
#include "harness/model/reshape.h"
#include "harness/model/session.h"

/* Calibration windows per forward pass: what fits the caches, or fills a card. */
size_t windows_per_pass(const struct device *dev, size_t window);

/* Lays windows [first, first + n) out as the session's batch. */
void windows_lay(struct session *s, const struct restructure_job *job, size_t first, size_t n);

/* ---- looking at activations */

/* What is seen of each layer while windows run through it; NULL: nothing. Rows are those of whole
 * windows, job->window each; tensors are valid during the call. */
struct windows_view {
    void *arg;
    void (*attention)(void *arg, size_t layer, struct tensor x); /* T x nh d: the input of o */
    void (*mlp)(void *arg, size_t layer, struct tensor x);       /* T x m: the input of down */
    /* T x h, f32: the residual stream before and after the layer */
    void (*layer)(void *arg, size_t layer, struct tensor before, struct tensor after);
};

/* Runs all windows through the model. */
void windows_look(struct restructure_job *job, const struct windows_view *view);

/* ---- what the model loses without a part */

/* Windows over which searches take the loss: they run the model once for every candidate. */
#define SEARCH_WINDOWS 8

enum part { PART_ATTENTION = 1, PART_MLP = 2, PART_LAYER = 3 };

struct candidate {
    size_t layer;
    enum part part;
};

/* loss[i] = mean negative log-likelihood, in nats, of the ids of the first n windows (all if there
 * are fewer), each given those before it in its window, by the model without candidate i.
 * Candidates in the order of their layers. */
void windows_losses(struct restructure_job *job, size_t n, const struct candidate *c,
                    size_t n_candidates, double *loss);

/* Parameters of the candidate's linears. */
size_t candidate_params(const struct restructure_job *job, struct candidate c);

/* Of all parts of the given kinds that are there, the one without which the loss over n windows is
 * lowest, the first among equals. 0: there is none. */
int windows_cheapest(struct restructure_job *job, size_t n, const enum part *kinds, size_t n_kinds,
                     struct candidate *out);

/* Removes the part and adds to the progress. A layer without parts stays until
 * model_remove_empty_layers(). */
void candidate_remove(struct restructure_job *job, struct candidate c);

/* ---- choosing */

/* Widths chosen freely are multiples of what matrix units read at a time: w to the nearest, at most
 * `most`. */
#define WIDTH_MULTIPLE 8
size_t width_near(double w, size_t most);

/* The n_keep largest of n scores, ascending indices to keep[]; the first among equals. */
void largest_scores(const double *score, size_t n, size_t n_keep, int32_t *keep);

#endif
