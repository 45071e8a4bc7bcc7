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

/* What a cell gave on one task. */
struct scores {
    struct score_result *results; /* n_requests: choice tasks */
    double *acc, *acc_norm;       /* n each, 0 or 1 */
    double *nll;                  /* n windows: perplexity */
    size_t n_tokens;              /* run through the model, this time */
    double seconds;
};

/* Scores what the journal (may be NULL) does not have under cell_key, and gives it the rest. 0, or
 * error() naming the document. */
int evaluate(struct scores *out, const struct prepared *p, struct session *s, struct journal *j,
             const char *cell_key);

/* Fills *out from the journal alone: 1 if everything was there, else 0. */
int evaluate_resume(struct scores *out, const struct prepared *p, struct journal *j,
                    const char *cell_key);
void scores_release(struct scores *s);

#endif
