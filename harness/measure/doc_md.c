/* Documents as markdown. */
#include <ctype.h>
#include <string.h>

#include "harness/base/text.h"
#include "harness/measure/doc.h"
#include "harness/measure/doc_text.h"

/* An underscore between letters or digits is itself; elsewhere it may begin emphasis. */
static int needs_backslash(const char *s, const char *at, int cell)
{
    if (*at == '_' && cell)
        return at == s || !isalnum((unsigned char)at[-1]) || !isalnum((unsigned char)at[1]);
    return strchr(cell ? "|<`[\\*" : "<`[\\", *at) != NULL;
}

void doc_md_text(struct buf *out, const char *s, int cell)
{
    char *clean = text_clean(s, !cell);

    for (const char *p = clean; *p; p++) {
        if (needs_backslash(clean, p, cell))
            buf_addc(out, '\\');
        buf_addc(out, *p);
    }
    free(clean);
}

static void repeat(struct buf *b, char c, size_t n)
{
    while (n-- > 0)
        buf_addc(b, c);
}

static void add_cell(const char *text, int star, size_t width, int left, struct buf *out)
{
    size_t pad = width - doc_width(text);

    repeat(out, ' ', left ? 1 : 1 + pad);
    buf_adds(out, text);
    buf_addc(out, star ? '*' : ' ');
    repeat(out, ' ', left ? pad : 0);
    buf_addc(out, '|');
}

static void add_rule(const size_t *width, size_t n, size_t n_left, struct buf *out)
{
    buf_addc(out, '|');
    for (size_t col = 0; col < n; col++) {
        repeat(out, '-', width[col] + 1);
        buf_adds(out, col < n_left ? "-|" : ":|");
    }
    buf_addc(out, '\n');
}

static void cell_text(struct buf *b, const char *text)
{
    doc_md_text(b, text, 1);
}

void table_render(const struct table *t, size_t n_left, struct buf *out)
{
    struct doc_cells c;

    /* GitHub wants three dashes */
    doc_cells_init(&c, t, cell_text, 3);
    for (size_t row = 0; row < t->n_rows; row++) {
        buf_addc(out, '|');
        for (size_t col = 0; col < t->n_cols; col++)
            add_cell(c.text[row * t->n_cols + col], table_starred(t, row, col), c.width[col],
                     col < n_left, out);
        buf_addc(out, '\n');
        if (row == 0)
            add_rule(c.width, t->n_cols, n_left, out);
    }
    doc_cells_release(&c);
}

static void add_part(const struct doc_part *p, struct buf *out)
{
    switch (p->kind) {
    case DOC_SECTION:
        buf_adds(out, "## ");
        break;
    case DOC_STRONG:
        buf_adds(out, "**");
        break;
    case DOC_ITEM:
        buf_adds(out, "- ");
        break;
    default:
        break;
    }
    if (p->text)
        doc_md_text(out, p->text, 0);
    buf_adds(out, p->kind == DOC_STRONG ? "**" : "");
    if (p->text && out->data[out->n - 1] != '\n')
        buf_addc(out, '\n');
    if (p->kind != DOC_TABLE)
        return;
    buf_adds(out, p->text ? "\n" : "");
    table_render(&p->table, p->n_left, out);
}

static void render(const struct doc *d, const char *title, struct buf *out)
{
    const struct doc_part *last = NULL;

    (void)title;
    for (size_t i = 0; i < d->n; i++) {
        const struct doc_part *p = &d->parts[i];

        if (p->kind == DOC_FIGURE)
            continue;
        if (last && !(last->kind == DOC_ITEM && p->kind == DOC_ITEM))
            buf_addc(out, '\n');
        add_part(p, out);
        last = p;
    }
}

const struct doc_form doc_md = {"md", render};
