/* Between the two files that write `-o md`. */
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

#endif
