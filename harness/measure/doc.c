/* Documents: their parts. The forms are in doc_md.c, doc_csv.c, doc_latex.c and doc_html.c. */
#include "harness/measure/doc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

const struct doc_form *const doc_forms[] = {&doc_md, &doc_csv, &doc_latex, &doc_html, NULL};

const struct doc_form *doc_form_find(const char *where, const char *name)
{
    struct buf known = {0};

    for (int i = 0; doc_forms[i]; i++) {
        if (strcmp(doc_forms[i]->name, name) == 0) {
            buf_release(&known);
            return doc_forms[i];
        }
        buf_addf(&known, "%s%s", i ? ", " : "", doc_forms[i]->name);
    }
    error("%s: '%s' is not known; known: %s", where, name, buf_str(&known));
    buf_release(&known);
    return NULL;
}

static struct doc_part *add_part(struct doc *d, enum doc_kind kind, const char *name,
                                 const char *text)
{
    struct doc_part *p;

    if (d->n == d->cap) {
        d->cap = d->cap ? 2 * d->cap : 16;
        d->parts = xrealloc(d->parts, d->cap * sizeof(*d->parts));
    }
    p = &d->parts[d->n++];
    *p = (struct doc_part){
        .kind = kind, .name = name ? xstrdup(name) : NULL, .text = text ? xstrdup(text) : NULL};
    return p;
}

void doc_section(struct doc *d, const char *name, const char *title)
{
    add_part(d, DOC_SECTION, name, title);
}

void doc_put(struct doc *d, enum doc_kind kind, const char *fmt, ...)
{
    va_list ap;
    char *text;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        die("out of memory");
    va_end(ap);
    if (*text)
        add_part(d, kind, NULL, text);
    free(text);
}

void doc_table(struct doc *d, const char *name, const char *caption, struct table *t, size_t n_left)
{
    struct doc_part *p = add_part(d, DOC_TABLE, name, caption);

    p->table = *t;
    p->n_left = n_left;
    *t = (struct table){0};
}

void doc_figure(struct doc *d, const char *name, const char *caption, char *svg)
{
    add_part(d, DOC_FIGURE, name, caption)->svg = svg;
}

void doc_release(struct doc *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->parts[i].name);
        free(d->parts[i].text);
        free(d->parts[i].svg);
        table_release(&d->parts[i].table);
    }
    free(d->parts);
    *d = (struct doc){0};
}
