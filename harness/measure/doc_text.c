/* Text made harmless for any form. */
#include "harness/measure/doc_text.h"

#include <string.h>

#include "harness/base/error.h"
#include "harness/base/text.h"

#define REPLACEMENT "\xef\xbf\xbd"

char *doc_clean(const char *s, int keep_lines)
{
    size_t n = strlen(s);
    struct buf b = {0};

    buf_reserve(&b, n);
    for (const char *end = s + n; s < end;) {
        ptrdiff_t bad = utf8_valid(s, (size_t)(end - s));
        const char *stop = bad < 0 ? end : s + bad;

        for (; s < stop; s++) {
            size_t n_unshown = *s == '\n' && keep_lines ? 0 : text_unshown(s);

            buf_addc(&b, n_unshown ? ' ' : *s);
            s += n_unshown ? n_unshown - 1 : 0;
        }
        if (bad >= 0) {
            buf_adds(&b, REPLACEMENT);
            s++;
        }
    }
    buf_adds(&b, "");
    return buf_detach(&b);
}

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
