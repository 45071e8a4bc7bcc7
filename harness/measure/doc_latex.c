/* Documents as LaTeX, tables by booktabs. */
#include <ctype.h>
#include <string.h>

#include "harness/base/text.h"
#include "harness/measure/doc.h"
#include "harness/measure/doc_text.h"

/* What LaTeX obeys, and what its usual fonts show as something else. */
static const char *command_of(char c)
{
    switch (c) {
    case '\\':
        return "\\textbackslash{}";
    case '~':
        return "\\textasciitilde{}";
    case '^':
        return "\\textasciicircum{}";
    case '<':
        return "\\textless{}";
    case '>':
        return "\\textgreater{}";
    case '|':
        return "\\textbar{}";
    case '"': /* \textquotedbl is not in the default encoding, OT1 */
        return "\\texttt{\\symbol{34}}";
    case '`':
        return "\\textasciigrave{}";
    case '\'':
        return "\\textquotesingle{}";
    case '[': /* \\ and \item would take them for their own */
        return "{[}";
    case ']':
        return "{]}";
    case '*':
        return "{*}";
    default:
        return NULL;
    }
}

void doc_latex_text(struct buf *out, const char *s)
{
    static const char plus_minus[] = "\xc2\xb1";
    char *clean = text_clean(s, 0);

    for (const char *p = clean; *p; p++) {
        int sign = *p == '-' && isdigit((unsigned char)p[1]) && (p == clean || p[-1] == ' ');

        if (strncmp(p, plus_minus, 2) == 0) {
            buf_adds(out, "$\\pm$");
            p++;
        } else if (sign) {
            buf_adds(out, "$-$");
        } else if (*p == '-' && p[1] == '-') { /* else they become a dash */
            buf_adds(out, "-{}");
        } else if (command_of(*p)) {
            buf_adds(out, command_of(*p));
        } else {
            if (strchr("{}$&#%_", *p))
                buf_addc(out, '\\');
            buf_addc(out, *p);
        }
    }
    free(clean);
}

static void add_row(const struct doc_cells *c, const struct table *t, size_t row, size_t n_left,
                    struct buf *out)
{
    for (size_t col = 0; col < t->n_cols; col++) {
        const char *text = c->text[row * t->n_cols + col];
        int bold = table_starred(t, row, col);
        size_t pad = c->width[col] + (bold ? 0 : sizeof("\\textbf{}") - 1) - doc_width(text);

        buf_adds(out, col ? " & " : "  ");
        buf_addf(out, "%*s", col < n_left ? 0 : (int)pad, "");
        buf_addf(out, bold ? "\\textbf{%s}" : "%s", text);
        buf_addf(out, "%*s", col < n_left ? (int)pad : 0, "");
    }
    buf_adds(out, " \\\\\n");
}

static void add_table(const struct doc_part *p, struct buf *out)
{
    const struct table *t = &p->table;
    struct doc_cells c;

    doc_cells_init(&c, t, doc_latex_text, 1);
    buf_adds(out, "\\begin{table}[htbp]\n\\centering\\footnotesize\n");
    if (p->text) {
        buf_adds(out, "\\caption{");
        doc_latex_text(out, p->text);
        buf_adds(out, "}\n");
    }
    buf_adds(out, "\\begin{tabular}{@{}");
    for (size_t col = 0; col < t->n_cols; col++)
        buf_addc(out, col < p->n_left ? 'l' : 'r');
    buf_adds(out, "@{}}\n\\toprule\n");
    for (size_t row = 0; row < t->n_rows; row++) {
        add_row(&c, t, row, p->n_left, out);
        buf_adds(out, row == 0 ? "\\midrule\n" : "");
    }
    buf_adds(out, "\\bottomrule\n\\end{tabular}\n\\end{table}\n");
    doc_cells_release(&c);
}

static void add_part(const struct doc_part *p, struct buf *out)
{
    static const char *const before[] = {
        [DOC_SECTION] = "\\subsection*{",     [DOC_LEAD] = "\\noindent ",
        [DOC_TEXT] = "\\noindent ",           [DOC_SAY] = "\\noindent ",
        [DOC_STRONG] = "\\noindent\\textbf{", [DOC_ITEM] = "\\item "};

    if (p->kind == DOC_TABLE) {
        add_table(p, out);
        return;
    }
    buf_adds(out, before[p->kind]);
    doc_latex_text(out, p->text);
    buf_adds(out, p->kind == DOC_SECTION || p->kind == DOC_STRONG ? "}\n" : "\n");
}

static void render(const struct doc *d, const char *title, struct buf *out)
{
    int in_list = 0;

    (void)title;
    buf_adds(out, "% needs \\usepackage{booktabs}, \\usepackage{textcomp}, UTF-8\n");
    for (size_t i = 0; i < d->n; i++) {
        const struct doc_part *p = &d->parts[i];

        if (p->kind == DOC_FIGURE)
            continue;
        if (in_list && p->kind != DOC_ITEM)
            buf_adds(out, "\\end{itemize}\n");
        if (!in_list || p->kind != DOC_ITEM)
            buf_addc(out, '\n');
        if (!in_list && p->kind == DOC_ITEM)
            buf_adds(out, "\\begin{itemize}\n");
        in_list = p->kind == DOC_ITEM;
        add_part(p, out);
    }
    buf_adds(out, in_list ? "\\end{itemize}\n" : "");
}

const struct doc_form doc_latex = {"latex", render};
