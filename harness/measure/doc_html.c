/* Documents as one HTML page. What it looks like is in doc_html_style.c. */
#include <stdlib.h>
#include <string.h>

#include "harness/base/text.h"
#include "harness/measure/doc.h"
#include "harness/measure/doc_html.h"

void doc_html_text(struct buf *out, const char *s)
{
    char *clean = text_clean(s, 1);

    for (const char *p = clean; *p; p++) {
        switch (*p) {
        case '&':
            buf_adds(out, "&amp;");
            break;
        case '<':
            buf_adds(out, "&lt;");
            break;
        case '>':
            buf_adds(out, "&gt;");
            break;
        case '"':
            buf_adds(out, "&quot;");
            break;
        case '\'':
            buf_adds(out, "&#39;");
            break;
        default:
            buf_addc(out, *p);
        }
    }
    free(clean);
}

static void add_element(struct buf *out, const char *tag, const char *text)
{
    buf_addf(out, "<%s>", tag);
    doc_html_text(out, text);
    buf_addf(out, "</%.*s>\n", (int)strcspn(tag, " "), tag);
}

/* A minus sign as wide as the plus, where a number begins with one. */
static void add_number(struct buf *out, const char *s)
{
    if (s[0] == '-' && s[1] >= '0' && s[1] <= '9') {
        buf_adds(out, "\xe2\x88\x92");
        s++;
    }
    doc_html_text(out, s);
}

static void add_row(const struct doc_part *p, size_t row, struct buf *out)
{
    const struct table *t = &p->table;

    buf_adds(out, "<tr>");
    for (size_t col = 0; col < t->n_cols; col++) {
        const char *tag = row == 0 ? "th" : "td", *left = col < p->n_left ? " class=\"l\"" : "";

        buf_addf(out, "<%s%s%s>", tag, row == 0 ? " scope=\"col\"" : "", left);
        buf_adds(out, table_starred(t, row, col) ? "<strong>" : "");
        add_number(out, table_shown(t, row, col));
        buf_adds(out, table_starred(t, row, col) ? "</strong>" : "");
        buf_addf(out, "</%s>", tag);
    }
    buf_adds(out, "</tr>\n");
}

static void add_table(const struct doc_part *p, struct buf *out)
{
    buf_addf(out, "<div class=\"table %s\" tabindex=\"0\"><table>\n", p->name);
    if (p->text)
        add_element(out, "caption", p->text);
    for (size_t row = 0; row < p->table.n_rows; row++) {
        buf_adds(out, row == 0 ? "<thead>" : row == 1 ? "</thead>\n<tbody>\n" : "");
        add_row(p, row, out);
    }
    buf_adds(out, p->table.n_rows > 1 ? "</tbody></table></div>\n" : "</thead></table></div>\n");
}

static void add_figure(const struct doc_part *p, struct buf *out)
{
    buf_addf(out, "<figure class=\"%s\">\n%s", p->name, p->svg);
    if (p->text)
        add_element(out, "figcaption", p->text);
    buf_adds(out, "</figure>\n");
}

static void add_part(const struct doc_part *p, struct buf *out)
{
    static const char *const tags[] = {[DOC_LEAD] = "p class=\"lead\"",
                                       [DOC_SAY] = "p class=\"say\"",
                                       [DOC_TEXT] = "p",
                                       [DOC_STRONG] = "p class=\"strong\"",
                                       [DOC_ITEM] = "li"};

    if (p->kind == DOC_SECTION) {
        buf_addf(out, "<section class=\"%s\">\n", p->name);
        add_element(out, "h2", p->text);
    } else if (p->kind == DOC_TABLE) {
        add_table(p, out);
    } else if (p->kind == DOC_FIGURE) {
        add_figure(p, out);
    } else {
        add_element(out, tags[p->kind], p->text);
    }
}

static void render(const struct doc *d, const char *title, struct buf *out)
{
    int in_section = 0, in_list = 0;

    buf_adds(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                  "<meta name=\"color-scheme\" content=\"light dark\">\n"
                  "<link rel=\"icon\" href=\"data:,\">\n");
    add_element(out, "title", title);
    buf_addf(out, "<style>\n%s</style>\n</head>\n<body>\n", doc_html_style);
    add_element(out, "h1", title);
    for (size_t i = 0; i < d->n; i++) {
        const struct doc_part *p = &d->parts[i];

        if (in_list && p->kind != DOC_ITEM)
            buf_adds(out, "</ul>\n");
        if (!in_list && p->kind == DOC_ITEM)
            buf_adds(out, "<ul>\n");
        in_list = p->kind == DOC_ITEM;
        if (in_section && p->kind == DOC_SECTION)
            buf_adds(out, "</section>\n");
        in_section |= p->kind == DOC_SECTION;
        add_part(p, out);
    }
    buf_adds(out, in_list ? "</ul>\n" : "");
    buf_adds(out, in_section ? "</section>\n" : "");
    buf_adds(out, "</body>\n</html>\n");
}

const struct doc_form doc_html = {"html", render};
