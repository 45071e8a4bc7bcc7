/* The output for people: what stands above and below the table (output_md_table.c). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/cells.h"
#include "harness/measure/output.h"
#include "harness/measure/output_md.h"
#include "harness/measure/pyjson.h"

/* ---- above the table ---------------------------------------------------------------------- */

static void add_sha(struct buf *b, const char *sha256)
{
    if (sha256)
        buf_addf(b, " (sha256 %.8s)", sha256);
}

static void add_identity(struct buf *b, const struct record *r)
{
    buf_addf(b, "Model %s", r->model);
    add_sha(b, r->model_sha256);
    if (!isnan(r->n_params))
        buf_addf(b, ", %.4g %s parameters", r->n_params / (r->n_params < 1e9 ? 1e6 : 1e9),
                 r->n_params < 1e9 ? "M" : "B");
    buf_addf(b, "; protocol %s", r->protocol);
    if (r->backend)
        buf_addf(b, "; %s", r->backend);
    if (r->device)
        buf_addf(b, " on %s", r->device);
    if (r->dtype)
        buf_addf(b, "; %s", r->dtype);
    buf_addc(b, '\n');
    if (!isnan(r->limit)) {
        buf_adds(b, "\n**LIMITED RUN, --limit ");
        pyjson_add_number(b, r->limit);
        buf_adds(b, ": a part of each set, not to be compared with whole sets.**\n");
    }
}

/* Appends "LINE\n" to notes unless it is there. */
static void add_once(struct buf *notes, const char *line)
{
    size_t n = strlen(line);

    for (const char *p = buf_str(notes); (p = strstr(p, line)); p++)
        if ((p == notes->data || p[-1] == '\n') && p[n] == '\n')
            return;
    buf_addf(notes, "%s\n", line);
}

static void add_calibrations(struct buf *out, const struct md_block *k)
{
    struct buf lines = {0}, line = {0};

    for (size_t i = 0; i < k->cells.n; i++) {
        const struct record *r = k->cells.first[i];

        if (!r->calib && !r->calib_sha256)
            continue;
        line.n = 0;
        buf_addf(&line, "Calibration %s", r->calib ? r->calib : "unnamed");
        add_sha(&line, r->calib_sha256);
        if (!isnan(r->seed))
            buf_addf(&line, ", seed %.0f", r->seed);
        if (r->rng)
            buf_addf(&line, ", rng %s", r->rng);
        add_once(&lines, line.data);
    }
    if (lines.n)
        buf_addf(out, "\n%s", lines.data);
    buf_release(&lines);
    buf_release(&line);
}

/* ---- below the table ---------------------------------------------------------------------- */

static void add_mean_note(struct buf *out, const struct md_block *k)
{
    static const char *const metrics[] = {"acc_norm", "acc"};
    const char *sep = "";

    buf_adds(out, "mean: ");
    for (size_t m = 0; m < 2; m++) {
        const char *comma = "";

        for (size_t i = 0; i < k->columns.n; i++) {
            const struct column *c = &k->columns.items[i];

            if (!column_in_mean(&k->columns, c) || strcmp(c->like->metric, metrics[m]) != 0)
                continue;
            if (!*comma)
                buf_addf(out, "%s%s of ", sep, metrics[m]);
            buf_addf(out, "%s%s", comma, c->like->task);
            comma = ", ";
            sep = "; ";
        }
    }
    buf_adds(out, ".\n");
}

/* "Scored: wikitext2 166 windows of 2048, piqa 1838 documents", with "of N" where N is more. */
static void add_counts(struct buf *out, const struct md_block *k)
{
    struct buf lines = {0}, line = {0};

    for (size_t i = 0; i < k->columns.n; i++) {
        const struct record *r = k->columns.items[i].like;

        if (isnan(r->n))
            continue;
        line.n = 0;
        buf_addf(&line, "%s %.0f", r->task, r->n);
        if (!isnan(r->n_total) && r->n_total != r->n)
            buf_addf(&line, " of %.0f", r->n_total);
        if (!isnan(r->window) && (metric_is_perplexity(r) || metric_is_divergence(r)))
            buf_addf(&line, " windows of %.0f tokens", r->window);
        add_once(&lines, line.data);
    }
    if (lines.n) {
        buf_adds(out, "Scored: ");
        for (size_t i = 0; i + 1 < lines.n; i++) {
            if (lines.data[i] == '\n')
                buf_adds(out, ", ");
            else
                buf_addc(out, lines.data[i]);
        }
        buf_adds(out, ".\n");
    }
    buf_release(&lines);
    buf_release(&line);
}

static void add_warnings(struct buf *out, const struct md_block *k)
{
    struct buf lines = {0}, line = {0};

    for (size_t i = 0; i < k->n; i++)
        for (size_t w = 0; w < k->records[i]->n_warnings; w++) {
            line.n = 0;
            buf_addf(&line, "- warning: %s", k->records[i]->warnings[w]);
            add_once(&lines, line.data);
        }
    if (lines.n)
        buf_addf(out, "\n%s", lines.data);
    buf_release(&lines);
    buf_release(&line);
}

static int any_stderr(const struct md_block *k)
{
    for (size_t i = 0; i < k->n; i++)
        if (!isnan(k->records[i]->stderr_))
            return 1;
    return 0;
}

/* What was scored: its tables and their notes. */
static void render_scores(struct md_block *k, struct buf *out)
{
    double mean, se;
    int paired;

    cells_init(&k->cells, k->records, k->n);
    columns_init(&k->columns, &k->cells, k->records, k->n);
    for (size_t i = 0; i < k->cells.n; i++) {
        cell_mean(&k->columns, i, &mean, &se);
        k->has_mean |= !isnan(mean);
    }
    add_calibrations(out, k);
    buf_addc(out, '\n');
    md_table(k, 0, out);
    if (any_stderr(k)) {
        buf_adds(out, "\nStandard errors of the same:\n\n");
        md_table(k, 1, out);
    }
    paired = md_paired_table(k, out);
    buf_adds(out, "\nW, A: zeros among weights and activations, asked and measured. Accuracies in "
                  "per cent, _n: acc_norm; wiki2: perplexity. *: best pruned row.\n");
    if (paired)
        buf_adds(
            out,
            "Against dense: difference in points with its 95 % interval (paired "
            "bootstrap) or \xc2\xb1 standard error, documents gained and lost, McNemar's exact "
            "p, *: below 0.05; KL in nats per token.\n");
    if (k->has_mean)
        add_mean_note(out, k);
    add_counts(out, k);
    if (k->columns.n_repeated)
        buf_addf(out, "%zu repeated results were left out; the last of each counts.\n",
                 k->columns.n_repeated);
    columns_release(&k->columns);
    cells_release(&k->cells);
}

/* What was timed comes after what was scored. */
static void render_block(struct md_block *k, struct buf *out)
{
    const struct record **speeds = xcalloc(k->n, sizeof(*speeds));
    struct md_block scores = {.records = xcalloc(k->n, sizeof(*scores.records))};
    size_t n_speeds = 0;

    for (size_t i = 0; i < k->n; i++) {
        if (record_is_speed(k->records[i]))
            speeds[n_speeds++] = k->records[i];
        else
            scores.records[scores.n++] = k->records[i];
    }
    add_identity(out, k->records[0]);
    if (scores.n)
        render_scores(&scores, out);
    if (n_speeds)
        md_speed_table(speeds, n_speeds, out);
    add_warnings(out, k);
    if (n_speeds)
        md_speed_sentences(speeds, n_speeds, out);
    free(speeds);
    free(scores.records);
}

void output_md(const struct records *rs, struct buf *out)
{
    char **lines = xcalloc(rs->n, sizeof(*lines));
    unsigned char *taken = xcalloc(rs->n, 1);
    const struct record **records = xcalloc(rs->n, sizeof(*records));

    for (size_t i = 0; i < rs->n; i++) {
        struct buf b = {0};

        add_identity(&b, &rs->items[i]);
        lines[i] = buf_detach(&b);
    }
    for (size_t i = 0; i < rs->n; i++) {
        struct md_block k = {.records = records};

        for (size_t o = i; o < rs->n; o++) {
            if (taken[o] || strcmp(lines[o], lines[i]) != 0)
                continue;
            taken[o] = 1;
            records[k.n++] = &rs->items[o];
        }
        if (k.n == 0)
            continue;
        buf_adds(out, out->n ? "\n" : "");
        render_block(&k, out);
    }
    for (size_t i = 0; i < rs->n; i++)
        free(lines[i]);
    free(lines);
    free(taken);
    free(records);
}
