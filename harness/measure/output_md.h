/* Between the files that write `-o md`. */
#ifndef DUO_MEASURE_OUTPUT_MD_H
#define DUO_MEASURE_OUTPUT_MD_H

#include "harness/base/buf.h"
#include "harness/measure/cells.h"

/* One table's records: those with the same identity line. */
struct md_block {
    const struct record **records;
    size_t n;
    struct cells cells;
    struct columns columns;
    int has_mean;
};

/* Appends the table of values, or (se) of their standard errors. */
void md_table(const struct md_block *k, int se, struct buf *out);

/* Appends the table against the dense run, a row per cell and accuracy or perplexity that carries a
 * comparison; returns 0 and appends nothing where there is none. */
int md_paired_table(const struct md_block *k, struct buf *out);

/* Speed records: the table of what was timed; and, below everything, for each cell and context a
 * sentence on how many times faster the faster of its sparse paths decodes than the dense model (the
 * linears of a layer, or a prompt, where that was not timed). */
void md_speed_table(const struct record *const *records, size_t n, struct buf *out);
void md_speed_sentences(const struct record *const *records, size_t n, struct buf *out);

/* Heads of a column ("wiki2", "piqa_n") and labels of a cell ("duogpt alpha=0.5": the method and
 * what else tells its cells apart). */
void md_add_head(struct buf *b, const struct record *r);
void md_add_label(struct buf *b, const struct md_block *k, const struct record *r);

#endif
