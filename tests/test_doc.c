/* Documents: what each form makes of names that try to be markup, and how it lays tables out. */
#include "harness/measure/doc.h"

#include "harness/base/error.h"
#include "tests/test.h"

/* One text through one form's escape. */
static const char *escaped(void (*f)(struct buf *, const char *), const char *s)
{
    static struct buf b;

    b.n = 0;
    f(&b, s);
    buf_adds(&b, "");
    return b.data;
}

static void md_cell(struct buf *b, const char *s)
{
    doc_md_text(b, s, 1);
}

static void md_line(struct buf *b, const char *s)
{
    doc_md_text(b, s, 0);
}

static void test_md_escapes(void)
{
    CHECK_STR(escaped(md_cell, "a|b"), "a\\|b");
    CHECK_STR(escaped(md_cell, "acc_norm _x_"), "acc_norm \\_x\\_");
    CHECK_STR(escaped(md_cell, "*`[x](y)\\"), "\\*\\`\\[x](y)\\\\");
    CHECK_STR(escaped(md_cell, "<script>"), "\\<script>");
    CHECK_STR(escaped(md_cell, "one\ntwo\r\x1b[31m"), "one two  \\[31m");
    CHECK_STR(escaped(md_line, "one\ntwo <b> a|b *"), "one\ntwo \\<b> a|b *");
    CHECK_STR(escaped(md_line, "\\<img>\\[l](u)"), "\\\\\\<img>\\\\\\[l](u)");
    CHECK_STR(escaped(md_cell, "50 % +0.12 -4.5 \xc2\xb1 2:4"), "50 % +0.12 -4.5 \xc2\xb1 2:4");
}

static void test_csv_escapes(void)
{
    CHECK_STR(escaped(doc_csv_text, "plain; text"), "plain; text");
    CHECK_STR(escaped(doc_csv_text, "a,b"), "\"a,b\"");
    CHECK_STR(escaped(doc_csv_text, "say \"x\""), "\"say \"\"x\"\"\"");
    CHECK_STR(escaped(doc_csv_text, "two\nlines"), "\"two\nlines\"");
    /* What a spreadsheet would compute is a text to it; numbers and intervals stay. */
    CHECK_STR(escaped(doc_csv_text, "=1+1"), "'=1+1");
    CHECK_STR(escaped(doc_csv_text, "@SUM(A1,A2)"), "\"'@SUM(A1,A2)\"");
    CHECK_STR(escaped(doc_csv_text, "-2+cmd|'/C x'!A0"), "'-2+cmd|'/C x'!A0");
    CHECK_STR(escaped(doc_csv_text, "+A1"), "'+A1");
    CHECK_STR(escaped(doc_csv_text, "-1.5e-05"), "-1.5e-05");
    CHECK_STR(escaped(doc_csv_text, "-4.23 to +0.01"), "-4.23 to +0.01");
    CHECK_STR(escaped(doc_csv_text, "-"), "-");
    CHECK_STR(escaped(doc_csv_text, ""), "");
    CHECK_STR(escaped(doc_csv_text, "a=b"), "a=b");
}

static void test_latex_escapes(void)
{
    CHECK_STR(escaped(doc_latex_text, "acc_norm 50% #1 {x} & $"),
              "acc\\_norm 50\\% \\#1 \\{x\\} \\& \\$");
    CHECK_STR(escaped(doc_latex_text, "\\input{/etc/passwd}"),
              "\\textbackslash{}input\\{/etc/passwd\\}");
    CHECK_STR(escaped(doc_latex_text, "~^<>|"),
              "\\textasciitilde{}\\textasciicircum{}\\textless{}\\textgreater{}\\textbar{}");
    CHECK_STR(escaped(doc_latex_text, "\"`'"),
              "\\texttt{\\symbol{34}}\\textasciigrave{}\\textquotesingle{}");
    CHECK_STR(escaped(doc_latex_text, "[2pt] *x"), "{[}2pt{]} {*}x");
    CHECK_STR(escaped(doc_latex_text, "-4.55 to -1"), "$-$4.55 to $-$1");
    CHECK_STR(escaped(doc_latex_text, "arc-e-2 --limit"), "arc-e-2 -{}-limit");
    CHECK_STR(escaped(doc_latex_text, "1 \xc2\xb1 0.1"), "1 $\\pm$ 0.1");
}

static void test_html_escapes(void)
{
    CHECK_STR(escaped(doc_html_text, "<script>alert('1')</script>"),
              "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
    CHECK_STR(escaped(doc_html_text, "a&b \" \x1b"), "a&amp;b &quot;  ");
}

static void test_bytes_that_are_no_text(void)
{
    /* a lone continuation byte, an overlong "/", a C1 control character */
    CHECK_STR(escaped(doc_html_text, "a\x80z"), "a\xef\xbf\xbdz");
    CHECK_STR(escaped(md_cell, "\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");
    CHECK_STR(escaped(doc_latex_text, "a\xc2\x9bz"), "a z");
    /* right-to-left override, paragraph separator, isolate, Arabic letter mark */
    CHECK_STR(escaped(md_cell, "a\xe2\x80\xae"
                               "b\xe2\x80\xa9"
                               "c\xe2\x81\xa6"
                               "d\xd8\x9c"
                               "e"),
              "a b c d e");
    CHECK_STR(escaped(doc_html_text, "\xce\xb1\xe2\x82\xac"), "\xce\xb1\xe2\x82\xac");
}

static void make(struct doc *d)
{
    struct table t;

    table_init(&t, 3);
    t.n_once = 1;
    for (size_t row = 0; row < 3; row++)
        table_add_row(&t);
    table_set(&t, 0, 0, "method");
    table_set(&t, 0, 1, "a|b");
    table_set(&t, 0, 2, "x");
    for (size_t row = 1; row < 3; row++)
        table_set(&t, row, 0, "duo_&");
    table_set(&t, 1, 1, "-1.5");
    table_star(&t, 1, 1);
    table_set(&t, 2, 2, "2");
    doc_section(d, "first", "One & two");
    doc_put(d, DOC_LEAD, "Model \"x\", y");
    doc_put(d, DOC_STRONG, "careful");
    doc_table(d, "scores", "Of <x>:", &t, 1);
    CHECK(t.cells == NULL);
    doc_put(d, DOC_ITEM, "one");
    doc_put(d, DOC_ITEM, "two");
    doc_put(d, DOC_TEXT, "%s", "");
    doc_figure(d, "plot", "seen & heard", xstrdup("<svg></svg>\n"));
    doc_put(d, DOC_TEXT, "line 1\nline 2\n");
}

static const char *rendered(const struct doc_form *form)
{
    static struct buf b;
    struct doc d = {0};

    make(&d);
    b.n = 0;
    form->render(&d, "A <title>", &b);
    doc_release(&d);
    if (getenv("SHOW"))
        fputs(b.data, stderr);
    return b.data;
}

static void test_md(void)
{
    CHECK_STR(rendered(&doc_md), "## One & two\n\nModel \"x\", y\n\n**careful**\n\nOf \\<x>:\n\n"
                                 "| method | a\\|b |   x |\n"
                                 "|--------|-----:|----:|\n"
                                 "| duo\\_& | -1.5*|     |\n"
                                 "|        |      |   2 |\n\n"
                                 "- one\n- two\n\nline 1\nline 2\n");
}

static void test_csv(void)
{
    CHECK_STR(rendered(&doc_csv), "about,table,method,a|b,x\r\n"
                                  "\"Model \"\"x\"\", y\",scores,duo_&,-1.5,\r\n"
                                  "\"Model \"\"x\"\", y\",scores,duo_&,,2\r\n");
}

static void test_latex(void)
{
    const char *s = rendered(&doc_latex);

    CHECK(strstr(s, "\\subsection*{One \\& two}\n"));
    CHECK(strstr(s, "\\caption{Of \\textless{}x\\textgreater{}:}\n\\begin{tabular}{@{}lrr@{}}\n"
                    "\\toprule\n"));
    CHECK(strstr(s, " \\\\\n\\midrule\n"));
    CHECK(strstr(s, "\\textbf{$-$1.5}"));
    CHECK(strstr(s, "\\bottomrule\n\\end{tabular}\n\\end{table}\n"));
    CHECK(strstr(s, "\\begin{itemize}\n\\item one\n\\item two\n\\end{itemize}\n"));
    CHECK(!strstr(s, "svg"));
}

static void test_html(void)
{
    const char *s = rendered(&doc_html);

    CHECK(strncmp(s, "<!DOCTYPE html>\n", 16) == 0);
    CHECK(strstr(s, "<title>A &lt;title&gt;</title>") && strstr(s, "<h1>A &lt;title&gt;</h1>"));
    CHECK(strstr(s, "<section class=\"first\">\n<h2>One &amp; two</h2>\n"));
    CHECK(strstr(s, "<caption>Of &lt;x&gt;:</caption>"));
    CHECK(strstr(s, "<th scope=\"col\" class=\"l\">method</th>"));
    CHECK(strstr(s, "<td class=\"l\">duo_&amp;</td><td><strong>\xe2\x88\x92"
                    "1.5</strong></td><td></td>"));
    CHECK(strstr(s, "<td class=\"l\"></td><td></td><td>2</td>")); /* said once */
    CHECK(strstr(s, "<svg></svg>\n<figcaption>seen &amp; heard</figcaption>"));
    CHECK(strstr(s, "<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n<figure"));
    CHECK(strstr(s, "</section>\n</body>\n</html>\n"));
    CHECK(!strstr(s, "http")); /* nothing from anywhere */
}

static void test_forms_by_name(void)
{
    error_silence(1);
    CHECK(doc_form_find("--format", "latex") == &doc_latex);
    CHECK(doc_form_find("--format", "pdf") == NULL);
    CHECK_STR(error_last(), "--format: 'pdf' is not known; known: md, csv, latex, html");
    error_silence(0);
}

int main(void)
{
    RUN(test_md_escapes);
    RUN(test_csv_escapes);
    RUN(test_latex_escapes);
    RUN(test_html_escapes);
    RUN(test_bytes_that_are_no_text);
    RUN(test_md);
    RUN(test_csv);
    RUN(test_latex);
    RUN(test_html);
    RUN(test_forms_by_name);
    return 0;
}
