/* A document of text, tables and figures, made once and written in any of several forms. What is
 * put in is plain text, names from outside included: each form escapes all of it. */
#ifndef DUO_MEASURE_DOC_H
#define DUO_MEASURE_DOC_H

#include <stddef.h>

#include "harness/base/buf.h"
#include "harness/measure/table.h"

enum doc_kind {
    DOC_SECTION, /* a heading; what follows belongs to it up to the next one */
    DOC_LEAD,    /* what the following parts are about: model, protocol, device */
    DOC_TEXT,    /* a paragraph; a newline ends a line */
    DOC_SAY,     /* the same, for what a reader is to see first */
    DOC_STRONG,  /* a line that must not be missed */
    DOC_ITEM,    /* of a list */
    DOC_TABLE,
    DOC_FIGURE, /* html alone shows it */
};

struct doc_part {
    enum doc_kind kind;
    char *name; /* section, table, figure: a word of [a-z0-9-], unique in its section */
    char *text; /* table, figure: the caption, NULL for none */
    struct table table;
    size_t n_left; /* columns of the table that are left-aligned, the first ones */
    char *svg;     /* of the figure: markup, taken as it is */
};

struct doc {
    struct doc_part *parts;
    size_t n, cap;
};

void doc_release(struct doc *d);

void doc_section(struct doc *d, const char *name, const char *title);
/* Appends a part of text: DOC_LEAD, DOC_TEXT, DOC_STRONG, DOC_ITEM. Nothing for an empty text. */
void doc_put(struct doc *d, enum doc_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Moves the table into the document; *t is left empty. */
void doc_table(struct doc *d, const char *name, const char *caption, struct table *t,
               size_t n_left);
/* The svg is taken over, to be free()d with the document. */
void doc_figure(struct doc *d, const char *name, const char *caption, char *svg);

/* A form: appends the whole document. `title` is for forms that have one. */
struct doc_form {
    const char *name; /* "md" */
    void (*render)(const struct doc *d, const char *title, struct buf *out);
};

/* md: GitHub markdown that lines up in a terminal; parts are a blank line apart. A starred cell
 * carries a star.
 * csv: the tables alone, RFC 4180: a block of lines each, blocks an empty line apart; two columns
 * before the table's own say what it is about (the lead) and its name. No stars.
 * latex: to be \input into a document with booktabs and UTF-8; starred cells are bold.
 * html: one page that needs nothing else, light or dark as the reader's system is. */
extern const struct doc_form doc_md, doc_csv, doc_latex, doc_html;

/* The four, NULL-terminated; and by name: the form, or NULL after error() that lists them, the
 * message beginning with `where`. */
extern const struct doc_form *const doc_forms[];
const struct doc_form *doc_form_find(const char *where, const char *name);

/* The pieces of the forms that tests look at: one text escaped. In markdown `cell` is for tables,
 * where a "|" would end the cell. Control characters become spaces, bytes that are no UTF-8 become
 * U+FFFD. csv: RFC 4180 (quotes doubled); a text that a spreadsheet would take for a formula begins
 * with an apostrophe. */
void doc_md_text(struct buf *out, const char *s, int cell);
void doc_csv_text(struct buf *out, const char *s);
void doc_latex_text(struct buf *out, const char *s);
void doc_html_text(struct buf *out, const char *s);

#endif
