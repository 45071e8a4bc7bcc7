/* How far a pruned model's next-token distributions are from the dense model's, over the windows of
 * a perplexity text. Unlike perplexity it cannot be hidden by errors that cancel: 0 means the same
 * model. */
#ifndef DUO_MEASURE_DIVERGENCE_H
#define DUO_MEASURE_DIVERGENCE_H

#include "harness/measure/evaluate.h"

struct divergence {
    /* One per window, means over its scored positions (those of perplexity: ids 1 .. S-1): */
    double *kl; /* KL(dense || pruned) = sum p_dense log(p_dense / p_pruned), nats per token */
    double *same_top; /* share of positions where both give the same id the largest probability */
    size_t n_tokens;  /* run through each model, this time */
    double seconds;
};

/* Runs the windows of p (a prepared perplexity) that the journal (may be NULL) does not have under
 * cell_key through both sessions, which are on one device, and gives it the rest. Entries are
 * called "divergence/" and the window's key. 0, or error() naming the window whose value is not
 * finite, or the backend if it has no such operation. */
int divergence_run(struct divergence *out, const struct prepared *p, struct session *dense,
                   struct session *pruned, struct journal *j, const char *cell_key);

/* Fills *out from the journal alone: 1 if everything was there, else 0. */
int divergence_resume(struct divergence *out, const struct prepared *p, struct journal *j,
                      const char *cell_key);
void divergence_release(struct divergence *d);

/* 0, or error() if the device's backend has no such operation. */
int divergence_check(const struct device *dev);

#endif
