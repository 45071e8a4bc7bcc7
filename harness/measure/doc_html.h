/* Between the files of the HTML form. */
#ifndef DUO_MEASURE_DOC_HTML_H
#define DUO_MEASURE_DOC_HTML_H

/* The style sheet. It names colours as variables, one set for light and one for dark: --ink, --dim,
 * --line, --page, --card and --c0 to --c15 for what a figure shows; figures use those alone. */
extern const char doc_html_style[];

#endif
