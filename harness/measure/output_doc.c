/* A document of records: which belong together, and what stands above and below their tables
 * (output_doc_scores.c, output_doc_paired.c, output_doc_speed.c, output_doc_layers.c). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/cells.h"
#include "harness/measure/output.h"
#include "harness/measure/output_doc.h"
#include "harness/measure/pyjson.h"

/* ---- above the table ---------------------------------------------------------------------- */

static void add_sha(struct buf *b, const char *sha256)
{
    if (sha256)
        buf_addf(b, " (sha256 %.8s)", sha256);
}

void block_add_identity(struct buf *b, const struct record *r)
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
}

void block_add_limit(struct doc *out, const struct record *r)
{
    struct buf limit = {0};

    if (isnan(r->limit))
        return;
    pyjson_add_number(&limit, r->limit);
    doc_put(out, DOC_STRONG,
            "LIMITED RUN, --limit %s: a part of each set, not to be compared with whole sets.",
            limit.data);
    buf_release(&limit);
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

static void add_calibrations(struct doc *out, const struct block *k)
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
    doc_put(out, DOC_TEXT, "%s", buf_str(&lines));
    buf_release(&lines);
    buf_release(&line);
}

/* ---- below the table ---------------------------------------------------------------------- */

static void add_mean_note(struct buf *out, const struct block *k)
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
static void add_counts(struct buf *out, const struct block *k)
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

static void add_warnings(struct doc *out, const struct block *k)
{
    struct buf lines = {0};

    for (size_t i = 0; i < k->n; i++)
        for (size_t w = 0; w < k->records[i]->n_warnings; w++) {
            size_t n = lines.n;

            add_once(&lines, k->records[i]->warnings[w]);
            if (lines.n > n)
                doc_put(out, DOC_ITEM, "warning: %s", k->records[i]->warnings[w]);
        }
    buf_release(&lines);
}

static int any_stderr(const struct block *k)
{
    for (size_t i = 0; i < k->n; i++)
        if (!isnan(k->records[i]->stderr_))
            return 1;
    return 0;
}

static void add_notes(struct doc *out, const struct block *k, int paired)
{
    struct buf b = {0};

    buf_adds(&b, "W, A: zeros among weights and activations, asked and measured. Accuracies in "
                 "per cent, _n: acc_norm; wiki2: perplexity. *: best pruned row.\n");
    if (paired)
        buf_adds(&b, "Against dense: difference in points with its 95 % interval (paired "
                     "bootstrap) or \xc2\xb1 standard error, documents gained and lost, McNemar's "
                     "exact p, *: below 0.05; KL in nats per token.\n");
    if (k->has_mean)
        add_mean_note(&b, k);
    add_counts(&b, k);
    if (k->columns.n_repeated)
        buf_addf(&b, "%zu repeated results were left out; the last of each counts.\n",
                 k->columns.n_repeated);
    doc_put(out, DOC_TEXT, "%s", b.data);
    buf_release(&b);
}

/* What was scored: its tables and their notes. */
static void add_scores(struct block *k, struct doc *out)
{
    double mean, se;

    cells_init(&k->cells, k->records, k->n);
    cells_label(&k->cells);
    columns_init(&k->columns, &k->cells, k->records, k->n);
    for (size_t i = 0; i < k->cells.n; i++) {
        cell_mean(&k->columns, i, &mean, &se);
        k->has_mean |= !isnan(mean);
    }
    add_calibrations(out, k);
    block_scores(k, 0, out);
    if (any_stderr(k))
        block_scores(k, 1, out);
    add_notes(out, k, block_paired(k, out));
    columns_release(&k->columns);
    cells_release(&k->cells);
}

void block_render(const struct block *k, struct doc *out)
{
    const struct record **speeds = xcalloc(k->n, sizeof(*speeds));
    const struct record **layers = xcalloc(k->n, sizeof(*layers));
    struct block scores = {.records = xcalloc(k->n, sizeof(*scores.records))};
    struct buf lead = {0};
    size_t n_speeds = 0, n_layers = 0;

    for (size_t i = 0; i < k->n; i++) {
        if (record_is_speed(k->records[i]))
            speeds[n_speeds++] = k->records[i];
        else if (record_is_layers(k->records[i]))
            layers[n_layers++] = k->records[i];
        else
            scores.records[scores.n++] = k->records[i];
    }
    block_add_identity(&lead, k->records[0]);
    doc_put(out, DOC_LEAD, "%s", lead.data);
    block_add_limit(out, k->records[0]);
    if (scores.n)
        add_scores(&scores, out);
    if (n_layers)
        block_layers(layers, n_layers, out);
    if (n_speeds)
        block_speeds(speeds, n_speeds, out);
    add_warnings(out, k);
    if (n_speeds)
        block_sentences(speeds, n_speeds, out);
    buf_release(&lead);
    free(speeds);
    free(layers);
    free(scores.records);
}

/* ---- records that belong together */

static char *block_key(const struct record *r)
{
    struct buf b = {0};

    block_add_identity(&b, r);
    buf_addc(&b, '\n');
    pyjson_add_number(&b, r->limit);
    return buf_detach(&b);
}

void blocks_init(struct blocks *bs, const struct record *const *records, size_t n)
{
    char **keys = xcalloc(n, sizeof(*keys));
    size_t *group = xcalloc(n, sizeof(*group));

    for (size_t i = 0; i < n; i++)
        keys[i] = block_key(records[i]);
    bs->n = group_texts((const char *const *)keys, n, group);
    bs->items = xcalloc(bs->n, sizeof(*bs->items));
    for (size_t i = 0; i < n; i++)
        bs->items[group[i]].n++;
    for (size_t i = 0; i < bs->n; i++) {
        bs->items[i].records = xcalloc(bs->items[i].n, sizeof(*bs->items[i].records));
        bs->items[i].n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        struct block *k = &bs->items[group[i]];

        k->records[k->n++] = records[i];
        free(keys[i]);
    }
    free(keys);
    free(group);
}

void blocks_release(struct blocks *bs)
{
    for (size_t i = 0; i < bs->n; i++)
        free(bs->items[i].records);
    free(bs->items);
    *bs = (struct blocks){0};
}

void output_doc(const struct record *const *records, size_t n, struct doc *out)
{
    struct blocks bs;

    blocks_init(&bs, records, n);
    for (size_t i = 0; i < bs.n; i++)
        block_render(&bs.items[i], out);
    blocks_release(&bs);
}
