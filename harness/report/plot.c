/* The script of a plot. Where texts go is in plot_text.c. */
#include "harness/report/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/text.h"
#include "harness/report/gnuplot.h"
#include "harness/report/svg.h"

#define MAX_TICKS 24

/* ---- axes */

struct plot_axis plot_axis_none(const char *label, int log)
{
    return (struct plot_axis){.low = NAN, .high = NAN, .log = log, .label = label};
}

void plot_axis_take(struct plot_axis *a, double v)
{
    if (isnan(v) || (a->log && v <= 0))
        return;
    a->low = isnan(a->low) ? v : fmin(a->low, v);
    a->high = isnan(a->high) ? v : fmax(a->high, v);
}

void plot_axis_pad(struct plot_axis *a, double below, double above)
{
    double low = a->log ? log10(a->low) : a->low, high = a->log ? log10(a->high) : a->high;
    double length = high - low;

    if (isnan(length))
        return;
    if (length <= 1e-9 * fmax(1, fabs(high)))
        length = a->log ? 0.3 : fmax(0.1 * fabs(high), 1e-3);
    low -= below * length;
    high += above * length;
    a->low = a->log ? pow(10, low) : low;
    a->high = a->log ? pow(10, high) : high;
}

static size_t ticks_linear(const struct plot_axis *a, double *at)
{
    double raw = (a->high - a->low) / 5, ten = pow(10, floor(log10(raw))), step;
    size_t n = 0;

    step = raw <= 1.5 * ten ? ten : raw <= 3 * ten ? 2 * ten : raw <= 7 * ten ? 5 * ten : 10 * ten;
    for (double i = ceil(a->low / step - 1e-9); i * step <= a->high + 1e-9 * step && n < MAX_TICKS;
         i++)
        at[n++] = i * step;
    return n;
}

static size_t ticks_log(const struct plot_axis *a, double *at)
{
    static const double few[] = {1, 2, 5};
    size_t n = 0;

    if (a->high / a->low < 6)
        return ticks_linear(a, at);
    for (double e = floor(log10(a->low)); e <= log10(a->high) && n < MAX_TICKS - 3; e++)
        for (int i = 0; i < 3; i++) {
            double v = few[i] * pow(10, e);

            /* over many decades the powers of ten alone */
            if (v >= a->low && v <= a->high && (i == 0 || a->high / a->low < 2000))
                at[n++] = v;
        }
    return n;
}

static void add_axis(struct buf *b, char name, const struct plot_axis *a)
{
    double at[MAX_TICKS];
    size_t n = a->log ? ticks_log(a, at) : ticks_linear(a, at);

    buf_addf(b, "set %crange [%.17g:%.17g]\n", name, a->low, a->high);
    if (a->log)
        buf_addf(b, "set logscale %c\n", name);
    if (a->hidden) {
        buf_addf(b, "unset %ctics\n", name);
        return;
    }
    buf_addf(b, "set %ctics nomirror scale 0.4 textcolor rgb \"" SVG_DIM "\" (", name);
    for (size_t i = 0; i < n; i++) /* -0 and rounding near it */
        buf_addf(b, "%s\"%.6g\" %.17g", i ? ", " : "",
                 fabs(at[i]) < 1e-9 * (a->high - a->low) ? 0 : at[i], at[i]);
    buf_adds(b, ")\n");
}

/* ---- places */

static double share(const struct plot_axis *a, double v)
{
    return a->log ? log(v / a->low) / log(a->high / a->low) : (v - a->low) / (a->high - a->low);
}

double plot_px(const struct plot *p, double x)
{
    return p->left + (p->w - p->left - p->right) * share(&p->x, x);
}

double plot_py(const struct plot *p, double y)
{
    return p->h - p->bottom - (p->h - p->top - p->bottom) * share(&p->y, y);
}

/* ---- what is drawn */

static const char *colour_name(int colour, char text[16])
{
    struct buf b = {0};

    switch (colour) {
    case PLOT_INK:
        return SVG_INK;
    case PLOT_DIM:
        return SVG_DIM;
    case PLOT_LINE:
        return SVG_LINE;
    case PLOT_CARD:
        return SVG_CARD;
    }
    buf_addf(&b, SVG_COLOUR, (unsigned)colour & 0xff);
    memcpy(text, b.data, b.n + 1 < 16 ? b.n + 1 : 16);
    buf_release(&b);
    return text;
}

size_t plot_token(struct plot *p, const char *text)
{
    p->texts = xrealloc(p->texts, (p->n_texts + 1) * sizeof(*p->texts));
    p->texts[p->n_texts] = xstrdup(text);
    return p->n_texts++;
}

/* Begins the data and the command of one more thing to draw. */
static size_t next_series(struct plot *p)
{
    buf_addf(&p->data, "$d%zu << EOD\n", p->n_series);
    buf_adds(&p->commands, p->n_series ? ", \\\n  " : "plot ");
    buf_addf(&p->commands, "$d%zu ", p->n_series);
    return p->n_series++;
}

static void end_series(struct plot *p, const char *name)
{
    buf_adds(&p->data, "EOD\n");
    if (name)
        buf_addf(&p->commands, " title \"" SVG_TOKEN "\"", plot_token(p, name));
    else
        buf_adds(&p->commands, " notitle");
}

void plot_begin(struct plot *p, double w, double h, double right, struct plot_axis x,
                struct plot_axis y)
{
    *p = (struct plot){.w = w,
                       .h = h,
                       .left = 56,
                       .right = right,
                       .top = *y.label ? 34 : 14,
                       .bottom = 58,
                       .x = x,
                       .y = y};
}

void plot_series(struct plot *p, const char *name, int colour, enum plot_marker marker,
                 double width, int dashed, const double *x, const double *y, size_t n)
{
    static const int types[] = {[PLOT_CIRCLE] = 7,
                                [PLOT_RING] = 6,
                                [PLOT_SQUARE] = 5,
                                [PLOT_DIAMOND] = 13,
                                [PLOT_TRIANGLE] = 9};
    char text[16];

    next_series(p);
    for (size_t i = 0; i < n; i++)
        buf_addf(&p->data, "%.17g %.17g\n", x[i], y[i]);
    buf_addf(&p->commands, "with %s lc rgb \"%s\"",
             !marker     ? "lines"
             : width > 0 ? "linespoints"
                         : "points",
             colour_name(colour, text));
    if (width > 0)
        buf_addf(&p->commands, " lw %g%s", width, dashed ? " dt (6,4)" : "");
    if (marker)
        buf_addf(&p->commands, " pt %d ps %g", types[marker], marker == PLOT_SQUARE ? 0.8 : 0.9);
    end_series(p, name);
    for (size_t i = 0; i < n && marker; i++)
        plot_take(p, plot_px(p, x[i]) - 5, plot_py(p, y[i]) - 5, 10, 10);
}

void plot_errors(struct plot *p, int colour, const double *x, const double *y, const double *dx,
                 const double *dy, size_t n)
{
    next_series(p);
    for (size_t i = 0; i < n; i++) {
        double half[2] = {isnan(dx[i]) ? 0 : dx[i], isnan(dy[i]) ? 0 : dy[i]};

        buf_addf(&p->data, "%.17g %.17g\n%.17g %.17g\n\n", x[i] - half[0], y[i], x[i] + half[0],
                 y[i]);
        buf_addf(&p->data, "%.17g %.17g\n%.17g %.17g\n\n", x[i], y[i] - half[1], x[i],
                 y[i] + half[1]);
    }
    buf_addf(&p->commands, "with lines lw 1 lc rgb \"" SVG_FAINT "\"", (unsigned)colour & 0xff);
    end_series(p, NULL);
}

void plot_bar(struct plot *p, const char *name, int colour, double x0, double x1, double y0,
              double y1)
{
    char text[16];

    next_series(p);
    buf_addf(&p->data, "%.17g %.17g %.17g %.17g %.17g %.17g\n", x0, y0, x0, x1, y0, y1);
    buf_addf(&p->commands, "with boxxyerror fs solid noborder lc rgb \"%s\"",
             colour_name(colour, text));
    end_series(p, name);
}

/* As much of a text as has room, with an ellipsis where that is not all. */
static char *fitting(const char *text, double room)
{
    char *all = text_clean(text, 0);
    struct buf b = {0};

    if (plot_text_width(all) <= room)
        return all;
    for (const char *s = all; *s;) {
        size_t n = 1;

        while ((s[n] & 0xc0) == 0x80)
            n++;
        if (plot_text_width(buf_str(&b)) + 2 * plot_text_width("x") > room)
            break;
        buf_add(&b, s, n);
        s += n;
    }
    buf_adds(&b, "\xe2\x80\xa6");
    free(all);
    return buf_detach(&b);
}

void plot_text(struct plot *p, double px, double py, enum plot_anchor anchor, int colour,
               const char *text)
{
    static const char *const anchors[] = {"left", "center", "right"};
    double before = px - 4, after = p->w - px - 4;
    char name[16], *shown;

    shown = fitting(text, anchor == PLOT_LEFT    ? after
                          : anchor == PLOT_RIGHT ? before
                                                 : 2 * fmin(before, after));
    buf_addf(
        &p->labels,
        "set label \"" SVG_TOKEN "\" at screen %.6f, screen %.6f %s front textcolor rgb \"%s\"\n",
        plot_token(p, shown), px / p->w, 1 - py / p->h, anchors[anchor], colour_name(colour, name));
    free(shown);
}

/* ---- */

static void plot_release(struct plot *p)
{
    for (size_t i = 0; i < p->n_texts; i++)
        free(p->texts[i]);
    free(p->texts);
    free(p->boxes);
    buf_release(&p->data);
    buf_release(&p->commands);
    buf_release(&p->labels);
    *p = (struct plot){0};
}

char *plot_end(struct plot *p, const char *id, const char *about)
{
    struct buf script = {0}, svg = {0}, out = {0};

    plot_text(p, 10, 14, PLOT_LEFT, PLOT_DIM, p->y.label);
    plot_text(p, (p->left + p->w - p->right) / 2, p->h - 14, PLOT_MIDDLE, PLOT_DIM, p->x.label);
    buf_addf(&script,
             "set encoding utf8\nset terminal svg size %.0f,%.0f dynamic noenhanced font "
             "\"sans-serif,14\"\nset border %d lc rgb \"" SVG_LINE "\"\nunset key\n",
             p->w, p->h, p->y.hidden ? 1 : 3);
    buf_addf(&script,
             "set lmargin at screen %.6f\nset rmargin at screen %.6f\nset tmargin at screen %.6f\n"
             "set bmargin at screen %.6f\n",
             p->left / p->w, 1 - p->right / p->w, 1 - p->top / p->h, p->bottom / p->h);
    add_axis(&script, 'x', &p->x);
    add_axis(&script, 'y', &p->y);
    buf_addf(&script, "set grid %s lt 1 lw 0.5 lc rgb \"" SVG_LINE "\"\n",
             p->y.hidden ? "xtics" : "ytics");
    buf_add(&script, buf_str(&p->labels), p->labels.n);
    buf_add(&script, buf_str(&p->data), p->data.n);
    buf_addf(&script, "%s\n", buf_str(&p->commands));
    if (gnuplot_run(script.data, &svg) == 0)
        svg_embed(&out, svg.data, id, about, p->texts, p->n_texts);
    plot_release(p);
    buf_release(&script);
    buf_release(&svg);
    return out.n ? buf_detach(&out) : NULL;
}
