/* A table of text that is GitHub markdown and also lines up in a terminal. */
#ifndef DUO_MEASURE_TABLE_H
#define DUO_MEASURE_TABLE_H

#include <stddef.h>

#include "harness/base/buf.h"

struct table {
    size_t n_cols;
    char **cells; /* rows of n_cols, the first is the head; NULL is an empty cell */
    size_t n_rows;
    unsigned char *starred; /* one per cell: a star in the place of the space after the text */
};

void table_init(struct table *t, size_t n_cols);
void table_release(struct table *t);

/* Appends an empty row and returns its number. */
size_t table_add_row(struct table *t);
/* Fills a cell; a "|" or a newline in the text is made harmless. */
void table_set(struct table *t, size_t row, size_t col, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void table_star(struct table *t, size_t row, size_t col);

/* Takes out the columns that have nothing below their head. */
void table_drop_empty(struct table *t);

/* Appends the table. The first n_left columns are left-aligned, the others right-aligned. Widths
 * count code points. */
void table_render(const struct table *t, size_t n_left, struct buf *out);

#endif
