/* A plot: drawn by gnuplot, handed out as SVG for a page whose style sheet has the colours
 * (doc_html.h). gnuplot sees numbers alone; texts, whose names come from outside, are put in
 * afterwards, escaped. */
#ifndef DUO_REPORT_PLOT_H
#define DUO_REPORT_PLOT_H

#include <stddef.h>

#include "harness/base/buf.h"

/* Colours beside 0 to 17, the series' of the style sheet. */
enum plot_colour { PLOT_INK = 100, PLOT_DIM, PLOT_LINE, PLOT_CARD };
enum plot_marker { PLOT_NONE, PLOT_CIRCLE, PLOT_RING, PLOT_SQUARE, PLOT_DIAMOND, PLOT_TRIANGLE };
enum plot_anchor { PLOT_LEFT, PLOT_MIDDLE, PLOT_RIGHT }; /* which end of the text is at its place */

struct plot_axis {
    double low, high; /* of what is shown */
    int log;
    const char *label; /* with the unit */
    int hidden;        /* no ticks */
};

struct plot_mark { /* in pixels */
    double x, y;
};
struct plot_box { /* taken by something, in pixels */
    double x, y, w, h;
};

struct plot {
    double w, h;                     /* pixels */
    double left, right, top, bottom; /* margins in them */
    struct plot_axis x, y;
    struct buf data, commands, labels; /* of the script */
    size_t n_series;
    char **texts; /* by token */
    size_t n_texts;
    struct plot_box *boxes;
    size_t n_boxes;
};

/* Widens an axis to hold v; NaN is left out. Begin with plot_axis_none(). */
struct plot_axis plot_axis_none(const char *label, int log);
void plot_axis_take(struct plot_axis *a, double v);
/* Room around what it holds, in shares of its length. */
void plot_axis_pad(struct plot_axis *a, double below, double above);

/* Axes first, for places in pixels depend on them. right: room for labels at the ends of lines. */
void plot_begin(struct plot *p, double w, double h, double right, struct plot_axis x,
                struct plot_axis y);

double plot_px(const struct plot *p, double x);
double plot_py(const struct plot *p, double y);

/* n points in their order; name: what a pointer resting there is told. width 0: no line. dashed: 1
 * for a broken one. */
void plot_series(struct plot *p, const char *name, int colour, enum plot_marker marker,
                 double width, int dashed, const double *x, const double *y, size_t n);
/* Thin bars of one standard error, NaN for none; under everything drawn after. */
void plot_errors(struct plot *p, int colour, const double *x, const double *y, const double *dx,
                 const double *dy, size_t n);
/* A filled rectangle. */
void plot_bar(struct plot *p, const char *name, int colour, double x0, double x1, double y0,
              double y1);

/* Text at a place in pixels, its middle line at py; cut where it would leave the plot. */
void plot_text(struct plot *p, double px, double py, enum plot_anchor anchor, int colour,
               const char *text);
/* Beside the point (px, py), where it hides no point and no text that is there; nowhere, if there
 * is no such place. 1 if it was put. After all series. */
int plot_label(struct plot *p, double px, double py, int colour, const char *text);
/* At the right ends of n lines, in the margin: moved apart where they would touch. A line that ends
 * well before the margin is named beside its end, if there is room. After all series. */
void plot_end_labels(struct plot *p, size_t n, const struct plot_mark *ends, const int *colours,
                     char *const *texts);
/* Swatches with texts in rows above the plot. Before anything else is placed: takes its room from
 * the plot. */
void plot_legend(struct plot *p, size_t n, const int *colours, const enum plot_marker *markers,
                 const char *const *texts);

/* For plot.c and plot_text.c: a box that texts keep clear of; a text's token. */
void plot_take(struct plot *p, double x, double y, double w, double h);
size_t plot_token(struct plot *p, const char *text);

/* The width of a text in the page's font, about. */
double plot_text_width(const char *text);

/* Draws; frees the plot in any case. The SVG's ids begin with `id`, `about` is what a screen reader
 * says. The markup, to be free()d, or NULL after error(). */
char *plot_end(struct plot *p, const char *id, const char *about);

#endif
