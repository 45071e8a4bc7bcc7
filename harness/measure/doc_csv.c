/* Documents as comma-separated values: their tables. */
#include <stdlib.h>
#include <string.h>

#include "harness/base/text.h"
#include "harness/measure/doc.h"

/* Would a spreadsheet compute it? A number with its sign, and an interval, may pass. */
static int is_formula(const char *s)
{
    return strchr("=@", *s) ? *s != 0 : strchr("+-", *s) && s[strspn(s, "+-.0123456789eE to")];
}

void doc_csv_text(struct buf *out, const char *s)
{
    const char *mark = is_formula(s) ? "'" : "";

    if (!strpbrk(s, ",\"\r\n")) {
        buf_addf(out, "%s%s", mark, s);
        return;
    }
    buf_addf(out, "\"%s", mark);
    for (; *s; s++) {
        if (*s == '"')
            buf_addc(out, '"');
        buf_addc(out, *s);
    }
    buf_addc(out, '"');
}

static void clean_text(struct buf *out, const char *s)
{
    char *clean = text_clean(s, 0);

    doc_csv_text(out, clean);
    free(clean);
}

static void add_table(const struct doc_part *p, const char *lead, struct buf *out)
{
    const struct table *t = &p->table;

    for (size_t row = 0; row < t->n_rows; row++) {
        clean_text(out, row ? lead : "about");
        buf_addc(out, ',');
        clean_text(out, row ? p->name : "table");
        for (size_t col = 0; col < t->n_cols; col++) {
            const char *text = t->cells[row * t->n_cols + col];

            buf_addc(out, ',');
            clean_text(out, text ? text : "");
        }
        buf_adds(out, "\r\n");
    }
}

static void render(const struct doc *d, const char *title, struct buf *out)
{
    const char *lead = "";
    size_t n = 0;

    (void)title;
    for (size_t i = 0; i < d->n; i++) {
        if (d->parts[i].kind == DOC_LEAD)
            lead = d->parts[i].text;
        if (d->parts[i].kind != DOC_TABLE)
            continue;
        buf_adds(out, n++ ? "\r\n" : "");
        add_table(&d->parts[i], lead, out);
    }
}

const struct doc_form doc_csv = {"csv", render};
