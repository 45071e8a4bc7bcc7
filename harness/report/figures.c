/* Plots of quality: against speed, against zeros, by layer. */
#include "harness/report/figures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

int figure_put(const struct figures *g, struct plot *p, const char *name, const char *caption)
{
    struct buf id = {0};
    char *svg;

    buf_addf(&id, "b%zu-%s", g->block, name);
    svg = plot_end(p, id.data, caption);
    if (svg)
        doc_figure(g->doc, name, caption, svg);
    buf_release(&id);
    return svg ? 0 : -1;
}

static int colour_of(const struct cell_facts *c)
{
    return facts_colour(c->dense ? "dense" : c->r->method);
}

static enum plot_marker marker_of(const struct cell_facts *c)
{
    return c->dense ? PLOT_DIAMOND : c->structured ? PLOT_SQUARE : PLOT_CIRCLE;
}

/* The cells of one line, by what is on the x axis. */
struct line {
    const struct cell_facts **cells;
    double *x, *y, *dx, *dy;
    size_t n;
};

static void line_init(struct line *l, size_t n)
{
    *l = (struct line){
        xcalloc(n, sizeof(*l->cells)), xcalloc(4 * n, sizeof(double)), NULL, NULL, NULL, 0};
    l->y = l->x + n;
    l->dx = l->y + n;
    l->dy = l->dx + n;
}

static void line_release(struct line *l)
{
    free(l->cells);
    free(l->x);
    *l = (struct line){0};
}

static void line_add(struct line *l, const struct cell_facts *c, struct estimate x,
                     struct estimate y)
{
    size_t k = l->n++;

    for (; k > 0 && l->x[k - 1] > x.value; k--) {
        l->cells[k] = l->cells[k - 1];
        l->x[k] = l->x[k - 1];
        l->y[k] = l->y[k - 1];
        l->dx[k] = l->dx[k - 1];
        l->dy[k] = l->dy[k - 1];
    }
    l->cells[k] = c;
    l->x[k] = x.value;
    l->y[k] = y.value;
    l->dx[k] = x.se;
    l->dy[k] = y.se;
}

/* Is it the first of its series that `has` a place in the plot? */
static int begins_series(const struct facts *f, const struct cell_facts *c,
                         int (*has)(const struct facts *f, const struct cell_facts *c))
{
    for (const struct cell_facts *o = f->cells; o < c; o++)
        if (has(f, o) && strcmp(o->series, c->series) == 0)
            return 0;
    return has(f, c);
}

/* ---- quality against speed */

static int has_both(const struct facts *f, const struct cell_facts *c)
{
    return !isnan(c->speedup.value) && facts_has_quality(f, c);
}

static struct estimate quality(const struct facts *f, const struct cell_facts *c)
{
    return f->n_acc ? (struct estimate){100 * c->acc.value, 100 * c->acc.se} : c->perplexity;
}

/* Is no other cell at least as fast and better? */
static int on_front(const struct facts *f, const struct cell_facts *c)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct cell_facts *o = &f->cells[i];

        if (o == c || !has_both(f, o))
            continue;
        if (o->speedup.value >= c->speedup.value && !facts_better(f, c, o) &&
            (o->speedup.value > c->speedup.value || facts_better(f, o, c)))
            return 0;
    }
    return 1;
}

static void draw_front(struct plot *p, const struct facts *f)
{
    struct line l;

    line_init(&l, f->n);
    for (size_t i = 0; i < f->n; i++)
        if (has_both(f, &f->cells[i]) && on_front(f, &f->cells[i]))
            line_add(&l, &f->cells[i], f->cells[i].speedup, quality(f, &f->cells[i]));
    plot_series(p, "nothing measured is both faster and better", PLOT_DIM, PLOT_NONE, 1, 1, l.x,
                l.y, l.n);
    line_release(&l);
}

static void draw_speed_series(struct plot *p, const struct facts *f, const struct cell_facts *c)
{
    struct line l;

    line_init(&l, f->n);
    for (const struct cell_facts *o = c; o < f->cells + f->n; o++)
        if (has_both(f, o) && strcmp(o->series, c->series) == 0)
            line_add(&l, o, o->speedup, quality(f, o));
    plot_errors(p, colour_of(c), l.x, l.y, l.dx, l.dy, l.n);
    plot_series(p, c->series, colour_of(c), marker_of(c), c->structured ? 0 : 1.5, 0, l.x, l.y,
                l.n);
    line_release(&l);
}

static int is_named(const struct facts *f, const struct finding *d, const struct cell_facts *c)
{
    return has_both(f, c) && (c == d->chosen || c->dense || on_front(f, c));
}

/* Puts a text beside the cell's point. */
static int label_cell(struct plot *p, const struct facts *f, const struct cell_facts *c,
                      const char *text)
{
    return plot_label(p, plot_px(p, c->speedup.value), plot_py(p, quality(f, c).value),
                      colour_of(c), text);
}

/* The named cells of a series: one by its whole name, the others by their numbers. Of a series
 * without such, its name beside the first of its points that has room. */
static void label_series(struct plot *p, const struct facts *f, const struct finding *d,
                         const struct cell_facts *first)
{
    const struct cell_facts *end = f->cells + f->n, *whole = NULL;

    for (const struct cell_facts *c = first; c < end; c++)
        if (strcmp(c->series, first->series) == 0 && is_named(f, d, c) &&
            (!whole || c == d->chosen))
            whole = c;
    if (whole)
        label_cell(p, f, whole, whole->label);
    for (const struct cell_facts *c = first; c < end; c++) {
        if (strcmp(c->series, first->series) != 0 || !has_both(f, c) || c == whole)
            continue;
        if (whole && is_named(f, d, c))
            label_cell(p, f, c, c->numbers);
        else if (!whole && label_cell(p, f, c, c->series))
            return;
    }
}

/* The chosen cell's series first, while there is room. */
static void label_speed(struct plot *p, const struct facts *f, const struct finding *d)
{
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < f->n; i++) {
            const struct cell_facts *c = &f->cells[i];
            int chosen = d->chosen && strcmp(c->series, d->chosen->series) == 0;

            if (begins_series(f, c, has_both) && (pass == 0) == (chosen || c->dense))
                label_series(p, f, d, c);
        }
}

static void speed_axes(const struct facts *f, struct plot_axis *x, struct plot_axis *y,
                       struct buf *labels)
{
    buf_addf(&labels[0], "times as fast as dense, %s",
             strcmp(f->work, "decode") == 0  ? "decoding"
             : strcmp(f->work, "layer") == 0 ? "linears of a layer"
                                             : "a prompt");
    if (!isnan(f->context))
        buf_addf(&labels[0],
                 strcmp(f->work, "decode") == 0 ? " after %.0f tokens" : " of %.0f tokens",
                 f->context);
    if (f->n_acc)
        buf_addf(&labels[1], f->n_acc > 1 ? "mean accuracy of %zu tasks, %%" : "accuracy, %%",
                 f->n_acc);
    else
        buf_adds(&labels[1], "perplexity (less is better)");
    *x = plot_axis_none(labels[0].data, 0);
    *y = plot_axis_none(labels[1].data, !f->n_acc);
    for (size_t i = 0; i < f->n; i++)
        if (has_both(f, &f->cells[i])) {
            plot_axis_take(x, f->cells[i].speedup.value);
            plot_axis_take(y, quality(f, &f->cells[i]).value);
        }
    plot_axis_pad(x, 0.06, 0.14);
    plot_axis_pad(y, 0.1, 0.1);
}

int figure_pareto(const struct figures *g)
{
    const struct facts *f = g->f;
    struct buf labels[2] = {{0}};
    struct plot_axis x, y;
    struct plot p;
    size_t n = 0;
    int rc;

    for (size_t i = 0; i < f->n; i++)
        n += has_both(f, &f->cells[i]);
    if (n < 2 || !f->work)
        return 0;
    speed_axes(f, &x, &y, labels);
    plot_begin(&p, FIGURE_W + 40, FIGURE_H - 40, TICK_ROOM, x, y);
    draw_front(&p, f);
    for (size_t i = 0; i < f->n; i++)
        if (begins_series(f, &f->cells[i], has_both))
            draw_speed_series(&p, f, &f->cells[i]);
    label_speed(&p, f, g->d);
    rc = figure_put(g, &p, "pareto",
                    "What each model scores against how fast it was measured, with standard "
                    "errors. Dashed: nothing measured is both faster and better. Squares: "
                    "structured methods.");
    buf_release(&labels[0]);
    buf_release(&labels[1]);
    return rc;
}

/* ---- perplexity against zeros */

static int has_perplexity(const struct facts *f, const struct cell_facts *c)
{
    (void)f;
    return !c->dense && !isnan(c->perplexity.value) && !isnan(c->r->weight_sparsity);
}

static void draw_sweep(struct plot *p, const struct facts *f, const struct cell_facts *c,
                       struct plot_mark *end)
{
    struct line l;

    line_init(&l, f->n);
    if (f->dense && !isnan(f->dense->perplexity.value) && !c->structured)
        line_add(&l, f->dense, (struct estimate){0, NAN}, f->dense->perplexity);
    for (const struct cell_facts *o = c; o < f->cells + f->n; o++)
        if (has_perplexity(f, o) && strcmp(o->series, c->series) == 0)
            line_add(&l, o, (struct estimate){100 * o->r->weight_sparsity, NAN}, o->perplexity);
    plot_series(p, c->series, colour_of(c), marker_of(c), 1.5, c->structured, l.x, l.y, l.n);
    *end = (struct plot_mark){plot_px(p, l.x[l.n - 1]), plot_py(p, l.y[l.n - 1])};
    line_release(&l);
}

/* Names of lines, put at their ends once all are drawn. */
struct names {
    struct plot_mark *ends;
    int *colours;
    char **texts; /* borrowed */
    size_t n;
};

static void names_init(struct names *m, size_t most)
{
    *m = (struct names){.ends = xcalloc(most, sizeof(*m->ends)),
                        .colours = xcalloc(most, sizeof(*m->colours)),
                        .texts = xcalloc(most, sizeof(*m->texts))};
}

static void names_add(struct names *m, int colour, char *text)
{
    m->colours[m->n] = colour;
    m->texts[m->n++] = text;
}

/* The margin that they need. */
static double names_room(const struct names *m)
{
    double widest = 0;

    for (size_t i = 0; i < m->n; i++)
        widest = fmax(widest, plot_text_width(m->texts[i]));
    return fmin(20 + widest, 190);
}

static void names_release(struct names *m)
{
    free(m->ends);
    free(m->colours);
    free(m->texts);
}

int figure_perplexity(const struct figures *g)
{
    const struct facts *f = g->f;
    struct plot_axis x = plot_axis_none("zeros or parts removed, % of the weights", 0);
    struct plot_axis y = plot_axis_none("perplexity (less is better)", 1);
    struct names names;
    struct plot p;
    size_t line = 0;
    int rc = 0;

    names_init(&names, f->n);
    for (size_t i = 0; i < f->n; i++) {
        const struct cell_facts *c = &f->cells[i];

        if (has_perplexity(f, c) || (c->dense && !isnan(c->perplexity.value))) {
            plot_axis_take(&x, c->dense ? 0 : 100 * c->r->weight_sparsity);
            plot_axis_take(&y, c->perplexity.value);
        }
        if (begins_series(f, c, has_perplexity))
            names_add(&names, colour_of(c), c->series);
    }
    if (names.n) {
        plot_axis_pad(&x, 0.02, 0.04);
        plot_axis_pad(&y, 0.05, 0.08);
        plot_begin(&p, FIGURE_W, FIGURE_H, names_room(&names), x, y);
        for (size_t i = 0; i < f->n; i++)
            if (begins_series(f, &f->cells[i], has_perplexity))
                draw_sweep(&p, f, &f->cells[i], &names.ends[line++]);
        plot_end_labels(&p, names.n, names.ends, names.colours, names.texts);
        rc = figure_put(g, &p, "perplexity",
                        "Perplexity against the share of the weights that is zero or gone; from "
                        "the dense model where the line begins at 0.");
    }
    names_release(&names);
    return rc;
}

/* ---- by layer */

static const struct record *by_layer(const struct cell_facts *c, enum layer_metric m)
{
    return m == LAYER_ZEROS          ? c->zeros
           : m == LAYER_OUTPUT_ERROR ? c->output_error
                                     : c->stream_error;
}

/* Of each method one cell: the nearest in speed to the chosen one, or else its last. */
static int stands_for_method(const struct figures *g, const struct cell_facts *c)
{
    for (size_t i = 0; i < g->d->n_near; i++)
        if (g->d->near[i] == c)
            return 1;
    for (const struct cell_facts *o = g->f->cells; o < g->f->cells + g->f->n; o++) {
        int same = strcmp(o->r->method ? o->r->method : "", c->r->method ? c->r->method : "") == 0;
        int near = 0;

        for (size_t i = 0; i < g->d->n_near; i++)
            near |= g->d->near[i] == o;
        if (same && (near || (o > c && o->zeros)))
            return 0;
    }
    return 1;
}

static void draw_layers(struct plot *p, const struct cell_facts *c, const struct record *r,
                        struct plot_mark *end)
{
    size_t n = r->n_by_layer;
    double *x = xcalloc(2 * n, sizeof(*x)), *y = x + n;

    for (size_t k = 0; k < n; k++) {
        x[k] = (double)k;
        y[k] = 100 * r->by_layer[k];
    }
    plot_series(p, c->label, colour_of(c), n > 16 ? PLOT_NONE : marker_of(c), 1.5, c->structured, x,
                y, n);
    *end = (struct plot_mark){plot_px(p, x[n - 1]), plot_py(p, y[n - 1])};
    free(x);
}

static int figure_layer(const struct figures *g, enum layer_metric m, const char *name,
                        const char *axis, const char *caption)
{
    const struct facts *f = g->f;
    const struct cell_facts **cells = xcalloc(f->n, sizeof(*cells));
    struct plot_axis x = plot_axis_none("layer", 0), y = plot_axis_none(axis, 0);
    struct names names;
    struct plot p;
    int rc = 0;

    names_init(&names, f->n);
    plot_axis_take(&x, 0);
    plot_axis_take(&y, 0);
    for (size_t i = 0; i < f->n; i++) {
        const struct cell_facts *c = &f->cells[i];
        const struct record *r = by_layer(c, m);

        if (c->dense || !r || !stands_for_method(g, c))
            continue;
        cells[names.n] = c;
        names_add(&names, colour_of(c), c->label);
        plot_axis_take(&x, (double)r->n_by_layer - 1);
        for (size_t k = 0; k < r->n_by_layer; k++)
            plot_axis_take(&y, 100 * r->by_layer[k]);
    }
    if (names.n) {
        plot_axis_pad(&x, 0.03, 0.03);
        plot_axis_pad(&y, 0, 0.06);
        plot_begin(&p, FIGURE_W, FIGURE_H, names_room(&names), x, y);
        for (size_t i = 0; i < names.n; i++)
            draw_layers(&p, cells[i], by_layer(cells[i], m), &names.ends[i]);
        plot_end_labels(&p, names.n, names.ends, names.colours, names.texts);
        rc = figure_put(g, &p, name, caption);
    }
    names_release(&names);
    free(cells);
    return rc;
}

int figure_layers(const struct figures *g)
{
    if (figure_layer(g, LAYER_ZEROS, "zeros", "zeros, % of the layer's weights",
                     "Zeros of each layer's linears, measured; removed parts count as zeros.") !=
            0 ||
        figure_layer(g, LAYER_OUTPUT_ERROR, "layer-error", "error, % of what the layer adds",
                     "Each layer's own error, given the dense model's input: mean over tokens of "
                     "the relative L2 norm. 100 % is as if the layer were not there.") != 0)
        return -1;
    return figure_layer(g, LAYER_STREAM_ERROR, "stream-error", "error, % of the residual stream",
                        "What all layers up to here add up to: the pruned model's residual stream "
                        "against the dense one's.");
}
