/* --log-samples: one JSON line per document in the form of lm-eval 0.4.9.1
 * (loggers/evaluation_tracker.py, save_results_samples), and its reading back for paired
 * comparisons. Wikitext2's windows are written alike, with nll in the place of acc. */
#ifndef DUO_MEASURE_SAMPLES_H
#define DUO_MEASURE_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "harness/base/buf.h"
#include "harness/base/file.h"
#include "harness/measure/task.h"
#include "harness/model/tokenizer.h"

struct samples {
    struct atomic_file file; /* DIR/samples_TASK_STAMP.jsonl */
    struct buf line;
    char *task;
};

/* Makes DIR where needed. The file appears, whole, with samples_close(). stamp tells runs apart:
 * lm-eval puts the time there, "2025-01-31T12-00-00.000000". 0 or error(). */
int samples_open(struct samples *s, const char *dir, const char *task, const char *stamp);
int samples_close(struct samples *s);  /* 0, or error() when it could not be written */
void samples_abort(struct samples *s); /* leaves no file; a no-op on a zeroed or closed one */

struct sample {
    size_t doc_id;                  /* place in the set */
    const struct document *doc;     /* n_choices, requests, doc and target are used */
    const double *ll;               /* log-likelihood of each choice */
    const unsigned char *greedy;    /* was each the greedy continuation */
    double acc, acc_norm;           /* 1 or 0; NaN: not a metric of the task */
    const struct ids *context;      /* per choice, or NULL: adds "tokens", a list of */
    const struct ids *continuation; /* [context ids, continuation ids] */
};

/* Appends a document's line: doc_id, doc, target, arguments, resps, filtered_resps, filter,
 * metrics, doc_hash, prompt_hash, target_hash, then the metrics. doc_hash is
 * document_hash(); prompt_hash and target_hash are SHA-256 of the first context and of the
 * target. Numbers are Python's repr of the double. A log-likelihood that is not finite is error()
 * naming the document. */
int samples_add(struct samples *s, const struct sample *x);

/* Appends a perplexity window's line: doc_id (its number), doc {"window", "n_tokens"}, nll (the
 * mean over its predicted tokens), doc_hash SHA-256 of its ids as little-endian int32. 0 or
 * error(). */
int samples_add_window(struct samples *s, size_t window, const int32_t *ids, size_t n_ids,
                       double nll);

/* SHA-256 of Python's json.dumps(doc, indent=2, ensure_ascii=False). */
void document_hash(const cJSON *doc, char out[65]);

/* What a comparison needs of a file, one entry per line, in its order. */
struct sample_scores {
    size_t n;
    char (*hash)[65];             /* doc_hash + prompt_hash + target_hash, hashed again */
    double *acc, *acc_norm, *nll; /* NaN where the line has none */
};
int samples_read(struct sample_scores *s, const char *path); /* 0 or error() naming the line */
void sample_scores_release(struct sample_scores *s);

/* 0 when both hold the same documents with the same prompts in the same order, so that entry i of
 * one is paired with entry i of the other; else -1, and *why, to be free()d, says where they part.
 * No message. */
int samples_check_paired(const struct sample_scores *a, const struct sample_scores *b, char **why);

#endif
