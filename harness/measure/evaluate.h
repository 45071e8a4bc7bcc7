/* Scoring the tasks: from parsed documents to accuracies, from a text to its perplexity. */
#ifndef DUO_MEASURE_EVALUATE_H
#define DUO_MEASURE_EVALUATE_H

#include "harness/measure/dataset.h"
#include "harness/measure/journal.h"
#include "harness/measure/score.h"

/* One task made ready for any number of cells: read, limited and tokenised once. */
struct prepared {
    const struct task *task; /* NULL: WikiText-2 perplexity */
    const char *name, *version;
    char data_sha256[65];
    size_t n_total; /* documents or windows in the set; n below: those used */
    size_t n;
    /* choice tasks */
    struct dataset data;
    struct score_request *requests; /* of document i: first[i] .. first[i + 1] */
    size_t *first, n_requests;
    /* perplexity */
    struct ids ids;
    size_t window;
    int bos;
};

/* limit: the first k documents, or ceil(n f) for f < 1; 0: all. */
size_t limit_count(double limit, size_t n);

/* Takes over *data. 0 or error(); *p is to be released in either case. */
int prepare_task(struct prepared *p, const struct task *task, struct dataset *data,
                 const char *data_sha256, double limit, const struct tokenizer *t,
                 const struct protocol *protocol, size_t max_positions);

/* raw: wiki.test.raw. window: S, at most max_positions. */
int prepare_perplexity(struct prepared *p, const struct buf *raw, const char *data_sha256,
                       double limit, const struct tokenizer *t, size_t window, int bos,
                       size_t max_positions);
void prepared_release(struct prepared *p);

/* Tokens of the longest request or window: what a batch must have room for. */
size_t prepared_longest(const struct prepared *p);

/* What a cell gave on one task. */
struct scores {
    struct score_result *results; /* n_requests: choice tasks */
    double *acc, *acc_norm;       /* n each, 0 or 1 */
    double *nll;                  /* n windows: perplexity */
    size_t n_tokens;              /* run through the model, this time */
    double seconds;               /* in this process */
};
void scores_release(struct scores *s);

/* One task on its way to its scores, in one process or, in rank 0, of several that share. */
struct evaluation {
    const struct prepared *p;
    struct scores *out;
    struct journal *j; /* or NULL */
    const char *cell;  /* key in the journal */
    struct share *share;
    int counted; /* zeros of activations are counted */
    /* Called after each batch that was run here, once its results are in, and, in a process that
     * has the task for itself, with those counted that were there; NULL: nothing. */
    void (*told)(const struct scored *b, void *arg);
    void *arg;
    size_t *missing;      /* per document or window: requests not yet scored */
    unsigned char *known; /* per document or window: there at the beginning */
    struct act_count counts;
};

/* Sets *out to what the journal (may be NULL) has under cell_key, which both stay the caller's.
 * share, counted, told and arg are the caller's to set, after this. */
void evaluation_begin(struct evaluation *e, struct scores *out, const struct prepared *p,
                      struct journal *j, const char *cell_key);

/* How many documents or windows are not there yet. */
size_t evaluation_missing(const struct evaluation *e);

/* Appends which documents or windows are there, a byte for each, and takes that over in another
 * process, which then does not run them. Returns the number of bytes. */
void evaluation_add_known(const struct evaluation *e, struct buf *out);
size_t evaluation_set_known(struct evaluation *e, const char *known);

/* Runs what is missing and this process's. 0 or error(). */
int evaluation_run(struct evaluation *e, struct session *s);

/* Takes a batch, run here or elsewhere: its results, unless they are there already, its counts (the
 * journal's, where b has no results), and the journal's entries. */
void evaluation_take(struct evaluation *e, const struct scored *b);

/* All is there: the accuracies, the journal's end. 0, or error() naming the document. */
int evaluation_end(struct evaluation *e);
void evaluation_release(struct evaluation *e); /* not the scores */

/* All of that in one process. Scores what the journal does not have under cell_key, and gives it
 * the rest. 0, or error() naming the document. */
int evaluate(struct scores *out, const struct prepared *p, struct session *s, struct journal *j,
             const char *cell_key);

#endif
