/* Plots of speed: where a token's time goes, and how near it comes to the memory's rate. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/report/figures.h"

/* ---- a decoded token's time */

enum { PART_QKV, PART_O, PART_GATE_UP, PART_DOWN, PART_HEAD, PART_REST, N_PARTS };

static const char *const part_names[N_PARTS] = {"q, k, v", "o", "gate, up", "down", "head", "rest"};
static const char *const part_tasks[] = {"linear_qkv", "linear_o", "linear_gate_up", "linear_down"};

/* Layers of the dense model: its linears' bytes over those of one layer. 0: not known. */
static double n_layers(const struct facts *f)
{
    const struct record *layer =
        f->dense ? facts_speed(f, f->dense->r, "layer", "own", NULL) : NULL;
    double size = !layer || !layer->dtype ? 0 : strcmp(layer->dtype, "f32") == 0 ? 4 : 2;

    return layer && layer->bytes_moved > 0 && layer->n_linear_params > 0
               ? round(size * layer->n_linear_params / layer->bytes_moved)
               : 0;
}

/* Times of the parts in ns; the whole as "rest" where they were not timed one by one. 0 if there is
 * no time of the whole. */
static int split(const struct facts *f, const struct cell_facts *c, double part[N_PARTS])
{
    const struct record *whole = c->timed, *head;
    double layers = n_layers(f), sum = 0;

    for (int i = 0; i < N_PARTS; i++)
        part[i] = 0;
    if (!whole || isnan(whole->median_ns))
        return 0;
    part[PART_REST] = whole->median_ns;
    if (layers == 0)
        return 1;
    for (int i = 0; i < 4; i++) {
        const struct record *r = facts_speed(f, c->r, part_tasks[i], whole->path, whole->cache);

        if (!r)
            return 1;
        part[i] = layers * r->median_ns;
        sum += part[i];
    }
    head = facts_speed(f, f->dense->r, "linear_head", "own", whole->cache);
    if (head)
        sum += part[PART_HEAD] = head->median_ns;
    if (sum < whole->median_ns) {
        part[PART_REST] = whole->median_ns - sum;
        return 1;
    }
    /* The parts, timed alone, took longer than the whole: they cannot be its parts. */
    for (int i = 0; i < N_PARTS; i++)
        part[i] = 0;
    part[PART_REST] = whole->median_ns;
    return 1;
}

static void draw_parts(struct plot *p, const struct cell_facts *c, const double part[N_PARTS],
                       double unit, double row)
{
    struct buf b = {0};
    double at = 0;

    for (int i = 0; i < N_PARTS; i++) {
        int whole = i == PART_REST && at == 0;

        if (part[i] <= 0)
            continue;
        b.n = 0;
        buf_addf(&b, "%s, %s: %.4g", c->label, whole ? "not split" : part_names[i], part[i] / unit);
        plot_bar(p, b.data, whole ? 18 : 12 + i, at, at + part[i] / unit, row - 0.34, row + 0.34);
        at += part[i] / unit;
    }
    b.n = 0;
    buf_addf(&b, "%.4g", at);
    plot_text(p, plot_px(p, at) + 6, plot_py(p, row), PLOT_LEFT, PLOT_DIM, b.data);
    plot_text(p, p->left - 8, plot_py(p, row), PLOT_RIGHT, PLOT_INK, c->label);
    buf_release(&b);
}

static void parts_legend(struct plot *p, int any_whole)
{
    static const char *const texts[] = {"q, k, v", "o",    "gate, up", "down",
                                        "head",    "rest", "not split"};
    static const int colours[] = {12, 13, 14, 15, 16, 17, 18};
    static const enum plot_marker markers[7] = {PLOT_SQUARE, PLOT_SQUARE, PLOT_SQUARE, PLOT_SQUARE,
                                                PLOT_SQUARE, PLOT_SQUARE, PLOT_SQUARE};

    plot_legend(p, any_whole ? 7 : 6, colours, markers, texts);
}

int figure_breakdown(const struct figures *g)
{
    const struct facts *f = g->f;
    const struct cell_facts **cells = xcalloc(f->n + 1, sizeof(*cells));
    double(*parts)[N_PARTS] = xcalloc(f->n + 1, sizeof(*parts)), longest = 0, widest = 0, unit;
    struct plot_axis x, y = plot_axis_none("", 0);
    struct plot p;
    size_t n = 0;
    int any_whole = 0, any_split = 0, rc = 0;

    for (size_t i = 0; i < f->n && f->work && strcmp(f->work, "decode") == 0; i++) {
        const struct cell_facts *c = &f->cells[i];
        int shown = c->dense;

        for (size_t k = 0; k < g->d->n_near; k++)
            shown |= g->d->near[k] == c;
        if (!shown || !split(f, c, parts[n]))
            continue;
        longest = fmax(longest, c->timed->median_ns);
        widest = fmax(widest, plot_text_width(c->label));
        any_whole |= parts[n][PART_QKV] <= 0;
        any_split |= parts[n][PART_QKV] > 0;
        cells[n++] = c;
    }
    if (any_split) {
        unit = longest > 2e6 ? 1e6 : 1e3;
        x = plot_axis_none(unit > 1e3 ? "ms a token" : "\xc2\xb5s a token", 0);
        plot_axis_take(&x, 0);
        plot_axis_take(&x, longest / unit);
        plot_axis_pad(&x, 0, 0.14);
        plot_axis_take(&y, -0.6);
        plot_axis_take(&y, (double)n - 0.4);
        y.hidden = 1;
        plot_begin(&p, FIGURE_W, 110 + 30 * (double)n, TICK_ROOM, x, y);
        p.left = fmin(widest + 20, 190);
        parts_legend(&p, any_whole);
        for (size_t i = 0; i < n; i++)
            draw_parts(&p, cells[i], parts[i], unit, (double)(n - 1 - i));
        rc = figure_put(g, &p, "breakdown",
                        "Where the time of a decoded token goes. Linears were timed alone, times "
                        "the layers; rest: the step's time less theirs, that is attention, norms, "
                        "dropping inputs and the draw.");
    }
    free(cells);
    free(parts);
    return rc;
}

/* ---- bytes a second */

struct kind {
    const char *path; /* "" : any that is not another kind's: the library's */
    const char *name;
    int colour;
};
static const struct kind kinds[] = {{"own", "dense, own", 0},
                                    {"nonzeros", "non-zeros", 1},
                                    {"columns", "columns", 3},
                                    {"rows", "smaller model", 9},
                                    {"", "dense, library", 5}};
#define N_KINDS 5

static int kind_of(const struct record *r)
{
    for (int i = 0; i < N_KINDS; i++)
        if (!*kinds[i].path || strcmp(r->path, kinds[i].path) == 0)
            return i;
    return 0;
}

static int is_dense_record(const struct record *r)
{
    return r->path && (strcmp(r->path, "own") == 0 || kind_of(r) == N_KINDS - 1);
}

/* The latest of every work and path of decoding: the dense model's, and the shown cells'. */
static int on_roofline(const struct figures *g, const struct record *r)
{
    const struct facts *f = g->f;
    int shown = 0;

    if (!r->path || !(r->bytes_moved > 0) || !(r->median_ns > 0) ||
        strcmp(r->path, "sparse") == 0 || strcmp(r->task, "prefill") == 0 ||
        strcmp(r->task, "windows") == 0 || facts_speed(f, r, r->task, r->path, r->cache) != r)
        return 0;
    if (is_dense_record(r))
        return 1;
    for (size_t i = 0; i < g->d->n_near; i++) {
        const struct cell_facts *c = g->d->near[i];

        shown |= record_same_cell(r, c->r) && (c == g->d->chosen || c->structured);
    }
    return shown;
}

static const char *work_name(const struct record *r)
{
    static const char linear[] = "linear_";
    const char *name = strncmp(r->task, linear, 7) == 0 ? r->task + 7 : r->task;

    return strcmp(name, "gate_up") == 0 ? "gate, up" : strcmp(name, "qkv") == 0 ? "q, k, v" : name;
}

static int is_warm(const struct record *r)
{
    return r->cache && strcmp(r->cache, "warm") == 0;
}

static void draw_kind(struct plot *p, const struct figures *g, int kind, int warm)
{
    double *xy = xcalloc(2 * g->f->n_speeds, sizeof(*xy));
    size_t n = 0;

    for (size_t i = 0; i < g->f->n_speeds; i++) {
        const struct record *r = g->f->speeds[i];

        if (!on_roofline(g, r) || kind_of(r) != kind || is_warm(r) != warm)
            continue;
        xy[n] = r->bytes_moved / 1e6;
        xy[g->f->n_speeds + n++] = r->bytes_moved / r->median_ns;
    }
    if (n)
        plot_series(p, kinds[kind].name, kinds[kind].colour, warm ? PLOT_RING : PLOT_CIRCLE, 0, 0,
                    xy, xy + g->f->n_speeds, n);
    free(xy);
}

static void roofline_legend(struct plot *p, const int used[N_KINDS], double roof)
{
    struct buf b = {0};
    const char *texts[N_KINDS + 2];
    enum plot_marker markers[N_KINDS + 2];
    int colours[N_KINDS + 2];
    size_t n = 0;

    for (int i = 0; i < N_KINDS; i++)
        if (used[i]) {
            texts[n] = kinds[i].name;
            colours[n] = kinds[i].colour;
            markers[n++] = PLOT_CIRCLE;
        }
    texts[n] = "weights from the cache";
    colours[n] = PLOT_INK;
    markers[n++] = PLOT_RING;
    buf_addf(&b, "memory reads at %.4g GB/s", roof);
    texts[n] = b.data;
    colours[n] = PLOT_INK;
    markers[n++] = PLOT_NONE;
    plot_legend(p, n, colours, markers, texts);
    buf_release(&b);
}

int figure_roofline(const struct figures *g)
{
    const struct facts *f = g->f;
    struct plot_axis x = plot_axis_none("MB that must be moved", 1);
    struct plot_axis y = plot_axis_none("GB/s of them", 1);
    double roof = NAN, ends[2];
    int used[N_KINDS] = {0};
    struct plot p;

    for (size_t i = 0; i < f->n_speeds; i++) {
        const struct record *r = f->speeds[i];

        if (!on_roofline(g, r))
            continue;
        used[kind_of(r)] = 1;
        plot_axis_take(&x, r->bytes_moved / 1e6);
        plot_axis_take(&y, r->bytes_moved / r->median_ns);
        roof = r->read_gbps > 0 && !(roof >= r->read_gbps) ? r->read_gbps : roof;
    }
    if (isnan(x.low) || isnan(roof))
        return 0;
    plot_axis_take(&y, roof);
    plot_axis_pad(&x, 0.05, 0.08);
    plot_axis_pad(&y, 0.05, 0.12);
    plot_begin(&p, FIGURE_W, FIGURE_H + 40, TICK_ROOM, x, y);
    roofline_legend(&p, used, roof);
    ends[0] = ends[1] = roof;
    plot_series(&p, "what reading memory gives", PLOT_INK, PLOT_NONE, 1.5, 0,
                (const double[]){x.low, x.high}, ends, 2);
    for (int k = 0; k < N_KINDS; k++)
        for (int warm = 0; warm < 2; warm++)
            draw_kind(&p, g, k, warm);
    for (size_t i = 0; i < f->n_speeds; i++) {
        const struct record *r = f->speeds[i];

        if (on_roofline(g, r) && strcmp(r->path, "own") == 0 &&
            (!is_warm(r) || strcmp(r->task, "decode") == 0))
            plot_label(&p, plot_px(&p, r->bytes_moved / 1e6),
                       plot_py(&p, r->bytes_moved / r->median_ns), PLOT_DIM, work_name(r));
    }
    return figure_put(g, &p, "roofline",
                      "How fast each product of a decoding step moves the bytes that it must "
                      "move, against what reading memory gives in the same process. Above the "
                      "line the weights come from the cache.");
}
