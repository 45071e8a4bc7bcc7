/* Log-likelihoods of continuations (PROTOCOL sections 3 and 4): requests are tokenised, packed
 * into variable-length batches by a token budget, and share the forward pass of equal prefixes. */
#ifndef DUO_MEASURE_SCORE_H
#define DUO_MEASURE_SCORE_H

#include "harness/measure/protocol.h"
#include "harness/measure/share.h"
#include "harness/measure/task.h"
#include "harness/model/session.h"
#include "harness/model/tokenizer.h"

/* One request in ids. */
struct score_request {
    int32_t *ids; /* context ++ continuation */
    size_t n_ids;
    size_t n_cont;    /* the last n_cont ids are scored */
    size_t n_dropped; /* ids before these, for which the model has no positions */
};

/* ids of one (context, continuation) pair: trailing white space of the context moves to the
 * continuation, the whole and the context are tokenised apart, the continuation is what follows
 * the context's length. An empty context becomes BOS. Longer than max_positions + 1: the oldest
 * ids are dropped. `where` begins messages. The caller frees out->ids. 0 or error(). */
int score_tokenize(const struct tokenizer *t, const struct protocol *p, size_t max_positions,
                   const struct request *r, const char *where, struct score_request *out);

struct score_options {
    int no_sharing;           /* every request runs through the model whole (for tests) */
    const char *what;         /* progress line */
    struct batch_hooks hooks; /* their items: places in the list of requests */
};

/* Scores those of n requests whose result is NaN on entry and whose batch is this process's; s's
 * batch budget is s->max_rows. A result's bits depend on its own ids alone. Batches are made of the
 * requests that are missing; where zeros are counted of all, those with nothing missing are left
 * out and the others run whole, so that a resumed run counts what one in one go would. Returns the
 * number of tokens run through the model. 0 is returned in *rc, or error() for a request longer
 * than the budget. */
size_t score_requests(struct session *s, const struct score_request *r, size_t n,
                      const struct score_options *o, struct score_result *out, int *rc);

#endif
