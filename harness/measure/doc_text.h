/* Between the forms of documents: text made harmless, and tables as escaped text with widths. */
#ifndef DUO_MEASURE_DOC_TEXT_H
#define DUO_MEASURE_DOC_TEXT_H

#include <stdlib.h>

#include "harness/base/buf.h"
#include "harness/measure/table.h"

/* A copy, to be free()d, of valid UTF-8 without what text_unshown() tells of: each becomes a space (a newline
 * stays where keep_lines), bytes that are no UTF-8 become U+FFFD. */
char *doc_clean(const char *s, int keep_lines);

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
