/* Tables as any form writes them. */
#include "harness/measure/doc_text.h"

#include <string.h>

#include "harness/base/error.h"
#include "harness/base/text.h"

size_t doc_width(const char *s)
{
    return utf8_length(s, strlen(s));
}

void doc_cells_init(struct doc_cells *c, const struct table *t,
                    void (*escape)(struct buf *out, const char *s), size_t min_width)
{
    c->n = t->n_rows * t->n_cols;
    c->text = xcalloc(c->n, sizeof(*c->text));
    c->width = xcalloc(t->n_cols, sizeof(*c->width));
    for (size_t col = 0; col < t->n_cols; col++)
        c->width[col] = min_width;
    for (size_t i = 0; i < c->n; i++) {
        struct buf b = {0};
        size_t width;

        escape(&b, table_shown(t, i / t->n_cols, i % t->n_cols));
        buf_adds(&b, "");
        c->text[i] = buf_detach(&b);
        width = doc_width(c->text[i]);
        if (width > c->width[i % t->n_cols])
            c->width[i % t->n_cols] = width;
    }
}

void doc_cells_release(struct doc_cells *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->text[i]);
    free(c->text);
    free(c->width);
    *c = (struct doc_cells){0};
}
