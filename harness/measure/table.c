/* Aligned markdown tables. */
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
    char text[512], **cell = &t->cells[row * t->n_cols + col];
    struct buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (const char *p = text; *p; p++) {
        if (*p == '|')
            buf_adds(&b, "\\|");
        else
            buf_addc(&b, *p == '\n' || *p == '\r' ? ' ' : *p);
    }
    free(*cell);
    *cell = buf_detach(&b);
}

void table_star(struct table *t, size_t row, size_t col)
{
    t->starred[row * t->n_cols + col] = 1;
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
    size_t n = 0, to = 0;

    for (size_t col = 0; col < t->n_cols; col++)
        n += keep[col] = !is_empty(t, col);
    for (size_t i = 0; i < t->n_rows * t->n_cols; i++) {
        if (!keep[i % t->n_cols]) {
            free(t->cells[i]);
            continue;
        }
        t->cells[to] = t->cells[i];
        t->starred[to++] = t->starred[i];
    }
    t->n_cols = n;
    free(keep);
}

static size_t n_code_points(const char *s)
{
    size_t n = 0;

    for (; s && *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

static size_t column_width(const struct table *t, size_t col)
{
    size_t width = 3; /* GitHub wants three dashes */

    for (size_t row = 0; row < t->n_rows; row++) {
        size_t n = n_code_points(t->cells[row * t->n_cols + col]);

        width = n > width ? n : width;
    }
    return width;
}

static void repeat(struct buf *b, char c, size_t n)
{
    while (n-- > 0)
        buf_addc(b, c);
}

static void render_cell(const struct table *t, size_t row, size_t col, size_t width, int left,
                        struct buf *out)
{
    const char *text = t->cells[row * t->n_cols + col];
    size_t pad = width - n_code_points(text);

    repeat(out, ' ', left ? 1 : 1 + pad);
    buf_adds(out, text ? text : "");
    if (t->starred[row * t->n_cols + col])
        buf_addc(out, '*');
    else
        buf_addc(out, ' ');
    repeat(out, ' ', left ? pad : 0);
    buf_addc(out, '|');
}

void table_render(const struct table *t, size_t n_left, struct buf *out)
{
    size_t *width = xcalloc(t->n_cols, sizeof(*width));

    for (size_t col = 0; col < t->n_cols; col++)
        width[col] = column_width(t, col);
    for (size_t row = 0; row < t->n_rows; row++) {
        buf_addc(out, '|');
        for (size_t col = 0; col < t->n_cols; col++)
            render_cell(t, row, col, width[col], col < n_left, out);
        buf_addc(out, '\n');
        if (row > 0)
            continue;
        buf_addc(out, '|');
        for (size_t col = 0; col < t->n_cols; col++) {
            repeat(out, '-', width[col] + 1);
            buf_adds(out, col < n_left ? "-|" : ":|");
        }
        buf_addc(out, '\n');
    }
    free(width);
}
