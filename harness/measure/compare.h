/* Two lists of records against each other: which belong together, whether they may be compared, and
 * what the difference is worth. */
#ifndef DUO_MEASURE_COMPARE_H
#define DUO_MEASURE_COMPARE_H

#include <stddef.h>

#include "harness/base/buf.h"
#include "harness/measure/record_read.h"

enum verdict { VERDICT_SAME, VERDICT_BETTER, VERDICT_WORSE, VERDICT_NOT_COMPARABLE };
extern const char *const verdict_names[]; /* "SAME", ... */

/* What a change is counted in, and how it was judged. */
enum change_unit { UNIT_POINTS, UNIT_PERCENT, UNIT_PLAIN };
enum change_by {
    BY_BITS,     /* both values are the same number */
    BY_PAIRS,    /* document by document, window by window */
    BY_ERRORS,   /* the two standard errors, as of independent samples: wider than it need be */
    BY_SAMPLES,  /* raw times */
    BY_SPEEDUPS, /* the speed-ups over dense of either run */
    BY_NOTHING   /* no standard error: any difference counts */
};
extern const char *const change_by_names[]; /* "bits", "pairs", ... */

/* One row of a comparison: a metric of a record of the base with its partner. */
struct comparison {
    const struct record_line *base, *now; /* now NULL: there is none */
    const char *metric;                   /* the record's, or "speed", "speedup", "mean" */
    double from, to;                      /* values in the metric's own unit, acc in per cent */
    enum change_unit unit;
    double change;    /* acc, same_top1: points; perplexity, speed, speedup: per cent of the base;
                       * else to - from. Positive: `to` is larger (speed: faster) */
    double se;        /* of change, where BY_PAIRS or BY_ERRORS in points; else NaN */
    double low, high; /* 95 % interval of change; NaN unknown */
    double p;         /* McNemar's exact test; NaN elsewhere */
    enum change_by by;
    enum verdict verdict;
    char *why; /* of VERDICT_NOT_COMPARABLE: "alpha 0.125 against 0.25"; else NULL */
};
struct comparisons {
    struct comparison *items;
    size_t n;
    size_t n_new; /* records of NEW without a partner in BASE */
};

struct compare_options {
    const char *base_samples, *new_samples; /* folders of --log-samples, or NULL */
    const char *const *across;              /* NULL-terminated names of fields that may differ */
    int exact; /* values of quality must be the same numbers: else WORSE, whichever way */
};

/* Appends the fields of the identity that differ, "alpha 0.125 against 0.25, seed 0 against 1", and
 * returns their number. Not counted: a model's folder where both contents are known, a
 * calibration's name where both are known, threads of records that are no times, and what `across`
 * names. */
size_t compare_identity(const struct record *a, const struct record *b, const char *const *across,
                        struct buf *out);

/* Each record of the base with the record of `now` on the same question whose identity differs in
 * the fewest fields, the later one of equals. A record of the base that a later one of the same
 * run_id replaces is left out. Judged at 95 %: an accuracy by McNemar's exact test and the paired
 * bootstrap, a perplexity by Student's t of the windows' differences, both from the samples where
 * they are given and the two runs' standard errors where not; times by a robust interval for the
 * ratio of medians (bench_change()), and by the ratio of speed-ups where both have one. 0, or
 * error() where samples cannot be read or are not those of the record, or where the two lists make
 * more than 2^26 pairs. */
int compare_records(const struct record_list *base, const struct record_list *now,
                    const struct compare_options *o, struct comparisons *out);
void comparisons_release(struct comparisons *c);

/* Appends for each cell of the base, after its last row, the change of the mean accuracy: over its
 * tasks, acc_norm where there is one, else acc, all of which must have been compared and be two at
 * least. Tasks are independent samples: se is sqrt(sum se^2) / k. metric "mean". */
void compare_means(struct comparisons *c);

/* Fills what a comparison of two records that may be compared says. 0 or error(). */
int compare_judge(struct comparison *c, const struct compare_options *o);

/* DIR/CELL/samples_TASK_ID.jsonl, where --log-samples DIR put this record's samples. The caller
 * frees it. */
char *record_samples_path(const char *dir, const struct record *r);

/* METHOD-wSPARSITY-aSPARSITY-ID, such as duogpt-w0.5-a0.5-0123abcd: the cell's folder, ID being the
 * first 8 digits of record_cell_id(). */
void record_cell_name(const struct record *r, struct buf *out);

#endif
