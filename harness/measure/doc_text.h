/* Between the forms of documents: tables as escaped text with widths. */
#ifndef DUO_MEASURE_DOC_TEXT_H
#define DUO_MEASURE_DOC_TEXT_H

#include <stdlib.h>

#include "harness/base/buf.h"
#include "harness/measure/table.h"

/* Code points: what a terminal shows as so many columns, but for wide and combining ones. */
size_t doc_width(const char *s);

/* The cells of a table as one form writes them. */
struct doc_cells {
    char **text; /* n_rows x n_cols, never NULL */
    size_t n;
    size_t *width; /* of each column: the widest cell, at least min_width */
};
void doc_cells_init(struct doc_cells *c, const struct table *t,
                    void (*escape)(struct buf *out, const char *s), size_t min_width);
void doc_cells_release(struct doc_cells *c);

#endif
