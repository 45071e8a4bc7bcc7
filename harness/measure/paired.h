/* A pruned model against the dense one on the same documents or windows: the record's fields of the
 * comparison. What does not apply to the metric stays unknown. */
#ifndef DUO_MEASURE_PAIRED_H
#define DUO_MEASURE_PAIRED_H

#include <stddef.h>
#include <stdint.h>

#include "harness/measure/record.h"

/* Accuracies of n documents, 0 or 1 each. diff = mean pruned - mean dense with the standard error
 * of the mean of the documents' differences; diff_low and diff_high: 95 % interval of the paired
 * bootstrap, 10000 resamples drawn with this seed; gained (dense wrong, pruned right), lost and
 * p_value of McNemar's exact test. */
void paired_accuracy(struct record *r, const double *dense, const double *pruned, size_t n,
                     uint64_t seed);

/* Mean negative log-likelihoods of n windows. diff = perplexity of the pruned - that of the dense,
 * log_ratio = log of their quotient, each with its paired standard error (stats.h). */
void paired_perplexity(struct record *r, const double *dense, const double *pruned, size_t n);

/* An accuracy or perplexity that carries a comparison. */
int is_paired(const struct record *r);

#endif
