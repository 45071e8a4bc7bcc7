/* Where the texts of a plot go, so that none hides a point or another text. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/measure/doc_text.h"
#include "harness/report/plot.h"

#define LINE_HEIGHT 16
#define CHAR_WIDTH 7.8 /* of 14 pixels in a wide sans-serif, on average */
#define SWATCH 22      /* of the legend, with the space after it */
#define GAP 16

double plot_text_width(const char *text)
{
    return CHAR_WIDTH * (double)doc_width(text);
}

void plot_take(struct plot *p, double x, double y, double w, double h)
{
    p->boxes = xrealloc(p->boxes, (p->n_boxes + 1) * sizeof(*p->boxes));
    p->boxes[p->n_boxes++] = (struct plot_box){x, y, w, h};
}

static int is_free(const struct plot *p, double x, double y, double w, double h)
{
    if (x < p->left + 2 || y < p->top - 8 || x + w > p->w - 2 || y + h > p->h - p->bottom - 2)
        return 0;
    for (size_t i = 0; i < p->n_boxes; i++) {
        const struct plot_box *b = &p->boxes[i];

        if (x < b->x + b->w && b->x < x + w && y < b->y + b->h && b->y < y + h)
            return 0;
    }
    return 1;
}

/* at_end: of a line, that comes from the left; the margin is for the names of others. */
static int label_beside(struct plot *p, double px, double py, int colour, const char *text,
                        int at_end)
{
    /* Directions by preference; away in three steps. */
    static const double dx[] = {1, -1, 0, 0, 1, 1, -1, -1}, dy[] = {0, 0, -1, 1, -1, 1, -1, 1};
    double w = plot_text_width(text), h = LINE_HEIGHT;

    for (int step = 1; step <= 3; step++)
        for (int i = 0; i < 8; i++) {
            double away = 9 * step;
            double x = px + dx[i] * away - (dx[i] < 0 ? w : dx[i] == 0 ? w / 2 : 0);
            double y = py + dy[i] * (dx[i] == 0 ? away + 4 : away) - h / 2;

            if ((at_end && (dx[i] < 0 || x + w > p->w - p->right)) || !is_free(p, x, y, w, h))
                continue;
            plot_text(p,
                      dx[i] < 0    ? x + w
                      : dx[i] == 0 ? x + w / 2
                                   : x,
                      y + h / 2,
                      dx[i] < 0    ? PLOT_RIGHT
                      : dx[i] == 0 ? PLOT_MIDDLE
                                   : PLOT_LEFT,
                      colour, text);
            plot_take(p, x, y, w, h);
            return 1;
        }
    return 0;
}

int plot_label(struct plot *p, double px, double py, int colour, const char *text)
{
    return label_beside(p, px, py, colour, text, 0);
}

/* Moves n heights in ascending order apart to a line's height, within the plot. */
static void spread(const struct plot *p, double *y, size_t n)
{
    /* Neighbours that touch share the way that parts them; the plot's ends push back. */
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i + 1 < n; i++) {
            double lack = LINE_HEIGHT - (y[i + 1] - y[i]);

            if (lack > 0) {
                y[i] -= lack / 2;
                y[i + 1] += lack / 2;
            }
        }
        for (size_t i = 0; i < n; i++) {
            double highest = p->top + LINE_HEIGHT * (double)i;
            double lowest = p->h - p->bottom - LINE_HEIGHT * (double)(n - 1 - i);

            y[i] = fmax(y[i], fmin(highest, lowest));
            y[i] = fmin(y[i], fmax(lowest, highest));
        }
    }
}

void plot_end_labels(struct plot *p, size_t n, const struct plot_mark *ends, const int *colours,
                     char *const *texts)
{
    size_t *order = xcalloc(n, sizeof(*order)), n_left = 0;
    double *y = xcalloc(n, sizeof(*y));

    for (size_t i = 0; i < n; i++) { /* from above */
        size_t k = n_left;

        if (ends[i].x < p->w - p->right - 40 &&
            label_beside(p, ends[i].x, ends[i].y, colours[i], texts[i], 1))
            continue;
        for (; k > 0 && ends[order[k - 1]].y > ends[i].y; k--)
            order[k] = order[k - 1];
        order[k] = i;
        n_left++;
    }
    for (size_t i = 0; i < n_left; i++)
        y[i] = ends[order[i]].y;
    spread(p, y, n_left);
    for (size_t i = 0; i < n_left; i++)
        plot_text(p, p->w - p->right + 8, y[i], PLOT_LEFT, colours[order[i]], texts[order[i]]);
    free(order);
    free(y);
}

/* Places n swatches in rows: x and row of each; the rows. */
static size_t lay_legend(double w, size_t n, const char *const *texts, double *x, size_t *row)
{
    double at = 10;
    size_t r = 0;

    for (size_t i = 0; i < n; i++) {
        double need = SWATCH + plot_text_width(texts[i]);

        if (i > 0 && at + need > w - 8) {
            at = 10;
            r++;
        }
        x[i] = at;
        row[i] = r;
        at += need + GAP;
    }
    return n ? r + 1 : 0;
}

/* A marker as text, which needs no second system of coordinates. */
static const char *swatch(enum plot_marker m)
{
    switch (m) {
    case PLOT_CIRCLE:
        return "\xe2\x97\x8f";
    case PLOT_RING:
        return "\xe2\x97\x8b";
    case PLOT_DIAMOND:
        return "\xe2\x97\x86";
    case PLOT_TRIANGLE:
        return "\xe2\x96\xb2";
    case PLOT_NONE:
        return "\xe2\x94\x81";
    default:
        return "\xe2\x96\xa0";
    }
}

void plot_legend(struct plot *p, size_t n, const int *colours, const enum plot_marker *markers,
                 const char *const *texts)
{
    double *x = xcalloc(n, sizeof(*x));
    size_t *row = xcalloc(n, sizeof(*row));

    double y0 = p->top + 2;

    p->top += 20 * (double)lay_legend(p->w, n, texts, x, row) + 2;
    for (size_t i = 0; i < n; i++) {
        double y = y0 + 20 * (double)row[i];

        plot_text(p, x[i], y, PLOT_LEFT, colours[i], swatch(markers[i]));
        plot_text(p, x[i] + SWATCH - 4, y, PLOT_LEFT, PLOT_INK, texts[i]);
    }
    free(x);
    free(row);
}
