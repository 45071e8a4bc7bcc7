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

/* One text on its way to its divergence, as struct evaluation is a task. A window is a batch; its
 * result is {kl, same_top}. */
struct divergence_result {
    double kl, same_top;
};
struct divergence_run {
    const struct prepared *p; /* a prepared perplexity */
    struct divergence *out;
    struct journal *j; /* or NULL */
    const char *cell;
    unsigned char *known; /* per window: there at the beginning */
    struct share *share;
    /* Called after each window that was run here; NULL: nothing. */
    void (*told)(size_t window, const struct divergence_result *d, void *arg);
    void *arg;
};

/* Sets *out to what the journal (may be NULL) has under cell_key. Entries are called "divergence/"
 * and the window's key. The rest of *r is the caller's to set, after this. */
void divergence_begin(struct divergence_run *r, struct divergence *out, const struct prepared *p,
                      struct journal *j, const char *cell_key);
void divergence_end(struct divergence_run *r);
size_t divergence_missing(const struct divergence_run *r);

/* As evaluation_add_known() and evaluation_set_known(). */
void divergence_add_known(const struct divergence_run *r, struct buf *out);
size_t divergence_set_known(struct divergence_run *r, const char *known);

/* Runs the windows that are missing and this process's through both sessions, which are on one
 * device. 0, or error() naming the window whose value is not finite, or the backend if it has no
 * such operation. */
int divergence_go(struct divergence_run *r, struct session *dense, struct session *pruned);

/* Takes a window, run here or elsewhere, and the journal's entry. */
void divergence_take(struct divergence_run *r, size_t window, const struct divergence_result *d);

void divergence_release(struct divergence *d);

/* 0, or error() if the device's backend has no such operation. */
int divergence_check(const struct device *dev);

#endif
