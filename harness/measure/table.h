/* A table of text, for a document (doc.h) or on its own. */
#ifndef DUO_MEASURE_TABLE_H
#define DUO_MEASURE_TABLE_H

#include <stddef.h>

#include "harness/base/buf.h"

struct table {
    size_t n_cols;
    char **cells; /* rows of n_cols, the first is the head; NULL is an empty cell */
    size_t n_rows;
    size_t n_once;          /* of the first columns: a row that repeats the texts of the one above
                               shows none of them (but csv does) */
    unsigned char *starred; /* one per cell: to be marked */
};

void table_init(struct table *t, size_t n_cols);
void table_release(struct table *t);

/* Appends an empty row and returns its number. */
size_t table_add_row(struct table *t);
/* Fills a cell with any text: whoever writes the table escapes it. */
void table_set(struct table *t, size_t row, size_t col, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void table_star(struct table *t, size_t row, size_t col);
/* What readers are shown of a cell, never NULL. */
const char *table_shown(const struct table *t, size_t row, size_t col);
int table_starred(const struct table *t, size_t row, size_t col);

/* Takes out the columns that have nothing below their head. */
void table_drop_empty(struct table *t);

/* Appends the table as GitHub markdown that also lines up in a terminal, its texts escaped; a
 * starred cell has a star in the place of the space after its text. The first n_left columns are
 * left-aligned, the others right-aligned. Widths count code points. */
void table_render(const struct table *t, size_t n_left, struct buf *out);

#endif
