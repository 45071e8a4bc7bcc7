/* Batches of requests or windows, shared out between the processes of a run.
 *
 * Every process walks the same list of batches and gives each to the process that has the least to
 * do so far, so that all agree without a word. What a batch gives does not depend on who runs it:
 * scores have the same bits in any batch, and the batches themselves, of which the counters of
 * zeros depend, are those that one process alone would make. */
#ifndef DUO_MEASURE_SHARE_H
#define DUO_MEASURE_SHARE_H

#include <stddef.h>

#include "harness/model/session.h"

struct score_result {
    double logprob; /* sum over the continuation, or a window's mean NLL; NaN: not yet scored */
    int greedy;     /* every scored id is the arg-max */
};

/* A batch of items, and what it gave. */
struct scored {
    const size_t *index;                /* n items */
    const struct score_result *results; /* of each; NULL where the batch was not run now */
    size_t n;
    struct act_count counts; /* of its rows, where they were asked for */
};

struct share {
    int rank, size;
    double *load; /* size: what each was given, in tokens; goes on from task to task */
};

/* Gives a batch of this cost to somebody: 1 if to this process (always where s is NULL), else 0. */
int share_takes(struct share *s, double cost);

/* What is done with each batch. All may be NULL. */
struct batch_hooks {
    struct share *share;                              /* NULL: all batches are run here */
    int counted;                                      /* fill in `counts` */
    void (*done)(const struct scored *b, void *arg);  /* after each batch run here */
    void (*known)(const struct scored *b, void *arg); /* counted: a batch that was all there */
    void *arg;
};

#endif
