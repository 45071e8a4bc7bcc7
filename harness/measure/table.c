/* Tables of text. How they are written is in the forms of documents (doc_md.c). */
#include "harness/measure/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

void table_init(struct table *t, size_t n_cols)
{
    *t = (struct table){.n_cols = n_cols};
}

void table_release(struct table *t)
{
    for (size_t i = 0; i < t->n_rows * t->n_cols; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t->starred);
    *t = (struct table){0};
}

size_t table_add_row(struct table *t)
{
    size_t n = t->n_rows * t->n_cols, more = n + t->n_cols;

    t->cells = xrealloc(t->cells, more * sizeof(*t->cells));
    t->starred = xrealloc(t->starred, more);
    memset(t->cells + n, 0, t->n_cols * sizeof(*t->cells));
    memset(t->starred + n, 0, t->n_cols);
    return t->n_rows++;
}

void table_set(struct table *t, size_t row, size_t col, const char *fmt, ...)
{
    char **cell = &t->cells[row * t->n_cols + col];
    va_list ap;

    free(*cell);
    va_start(ap, fmt);
    if (vasprintf(cell, fmt, ap) < 0)
        die("out of memory");
    va_end(ap);
}

void table_star(struct table *t, size_t row, size_t col)
{
    t->starred[row * t->n_cols + col] = 1;
}

static const char *text_of(const struct table *t, size_t row, size_t col)
{
    const char *text = t->cells[row * t->n_cols + col];

    return text ? text : "";
}

const char *table_shown(const struct table *t, size_t row, size_t col)
{
    size_t same = 0;

    while (row > 0 && same < t->n_once &&
           strcmp(text_of(t, row, same), text_of(t, row - 1, same)) == 0)
        same++;
    return col < t->n_once && same == t->n_once ? "" : text_of(t, row, col);
}

int table_starred(const struct table *t, size_t row, size_t col)
{
    return t->starred[row * t->n_cols + col];
}

static int is_empty(const struct table *t, size_t col)
{
    for (size_t row = 1; row < t->n_rows; row++)
        if (t->cells[row * t->n_cols + col])
            return 0;
    return 1;
}

void table_drop_empty(struct table *t)
{
    unsigned char *keep = xmalloc(t->n_cols + 1);
    size_t n = 0, to = 0, n_once = 0;

    for (size_t col = 0; col < t->n_cols; col++) {
        n += keep[col] = !is_empty(t, col);
        n_once += col < t->n_once && keep[col];
    }
    for (size_t i = 0; i < t->n_rows * t->n_cols; i++) {
        if (!keep[i % t->n_cols]) {
            free(t->cells[i]);
            continue;
        }
        t->cells[to] = t->cells[i];
        t->starred[to++] = t->starred[i];
    }
    t->n_cols = n;
    t->n_once = n_once;
    free(keep);
}
