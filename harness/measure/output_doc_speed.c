/* The table of speeds, and the sentence that sums it up. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness/measure/bench.h"
#include "harness/measure/output_doc.h"
#include "harness/measure/table.h"

enum {
    COL_WORK,
    COL_WEIGHTS,
    COL_PATH,
    COL_TIME,
    COL_NOISE,
    COL_N,
    COL_TOKENS,
    COL_GBPS,
    COL_PEAK,
    COL_SPEEDUP,
    COL_WIKI2,
    COL_ACC,
    N_COLS,
};

static int is_dense(const struct record *r)
{
    return r->method && strcmp(r->method, "dense") == 0 && !(r->act_sparsity > 0);
}

/* "50", "2:4", "-" for what is not known */
static void add_share(struct buf *b, double share, const char *nm)
{
    if (nm)
        buf_adds(b, nm);
    else if (isnan(share))
        buf_addc(b, '-');
    else
        buf_addf(b, "%.4g", 100 * share);
}

/* "qkv cold", "decode @512", "prefill 512" */
static void set_work(struct table *t, size_t row, const struct record *r)
{
    static const char linear[] = "linear_";
    size_t n = sizeof(linear) - 1;

    if (!isnan(r->context))
        table_set(t, row, COL_WORK, "%s %s%.0f", r->task, strcmp(r->task, "decode") == 0 ? "@" : "",
                  r->context);
    else
        table_set(t, row, COL_WORK, "%s %s", strncmp(r->task, linear, n) ? r->task : r->task + n,
                  r->cache ? r->cache : "");
}

static void set_weights(struct table *t, size_t row, const struct record *r)
{
    struct buf b = {0};

    buf_adds(&b, r->method ? r->method : "-");
    if (!is_dense(r)) {
        buf_addc(&b, ' ');
        add_share(&b, r->weight_sparsity, r->nm);
        buf_addc(&b, '/');
        add_share(&b, r->act_sparsity, NULL);
    }
    table_set(t, row, COL_WEIGHTS, "%s", b.data);
    buf_release(&b);
}

static void set_number(struct table *t, size_t row, size_t col, const char *fmt, double v)
{
    if (!isnan(v))
        table_set(t, row, col, fmt, v);
}

static void set_row(struct table *t, size_t row, const struct record *r)
{
    set_work(t, row, r);
    set_weights(t, row, r);
    table_set(t, row, COL_PATH, "%s", r->path ? r->path : "-");
    set_number(t, row, COL_TIME, "%.2f", r->median_ns / 1e3);
    set_number(t, row, COL_NOISE, "%.1f", r->noise_pct);
    table_set(t, row, COL_N, "%zu", r->n_samples);
    set_number(t, row, COL_TOKENS, r->tokens_per_s < 1000 ? "%.1f" : "%.0f", r->tokens_per_s);
    set_number(t, row, COL_GBPS, "%.1f", r->bytes_moved / r->median_ns);
    set_number(t, row, COL_PEAK, "%.1f", r->peak_gbps_pct);
    if (!isnan(r->speedup))
        table_set(t, row, COL_SPEEDUP, "%.3f \xc2\xb1 %.3f", r->speedup, r->speedup_err);
    set_number(t, row, COL_WIKI2, r->scored_perplexity < 1e5 ? "%.3f" : "%.3e",
               r->scored_perplexity);
    set_number(t, row, COL_ACC, "%.2f", 100 * r->scored_acc);
}

/* " Clocks 1980 / 2619 MHz, 650 W, 55 C at first.", as far as they are known */
static void add_clocks(struct buf *out, const struct record *r)
{
    buf_addf(out, " Clocks %.0f", r->compute_mhz);
    if (!isnan(r->memory_mhz))
        buf_addf(out, " / %.0f", r->memory_mhz);
    buf_adds(out, " MHz");
    if (!isnan(r->watts))
        buf_addf(out, ", %.0f W", r->watts);
    if (!isnan(r->celsius))
        buf_addf(out, ", %.0f C", r->celsius);
    buf_adds(out, " at first.");
}

/* "Memory reads at 2950.1 GB/s, measured in the same process. Clocks ... Throttled ..." */
static void add_device_note(const struct record *const *records, size_t n, struct buf *out)
{
    const struct record *r = records[0];
    int any = 0;

    if (!isnan(r->read_gbps))
        buf_addf(out, "Memory reads at %.1f GB/s, measured in the same process.", r->read_gbps);
    for (size_t i = 0; i < n; i++)
        any |= records[i]->throttle && strcmp(records[i]->throttle, "none") != 0;
    if (!isnan(r->compute_mhz))
        add_clocks(out, r);
    else
        buf_adds(out, " Clocks are not known.");
    if (any)
        buf_adds(out, " Throttled at times: see the field throttle.");
    buf_addc(out, '\n');
}

void block_speeds(const struct record *const *records, size_t n, struct doc *out)
{
    static const char *const heads[N_COLS] = {
        [COL_WORK] = "work",        [COL_WEIGHTS] = "weights", [COL_PATH] = "path",
        [COL_TIME] = "us",          [COL_NOISE] = "noise %",   [COL_N] = "n",
        [COL_TOKENS] = "tok/s",     [COL_GBPS] = "GB/s",       [COL_PEAK] = "% read",
        [COL_SPEEDUP] = "speed-up", [COL_WIKI2] = "wiki2",     [COL_ACC] = "acc",
    };
    const char *decode = NULL;
    size_t n_unstable = 0;
    struct buf notes = {0};
    struct table t;

    table_init(&t, N_COLS);
    table_add_row(&t);
    for (size_t col = 0; col < N_COLS; col++)
        table_set(&t, 0, col, "%s", heads[col]);
    for (size_t i = 0; i < n; i++) {
        set_row(&t, table_add_row(&t), records[i]);
        n_unstable += records[i]->stopped && strcmp(records[i]->stopped, "stable") != 0;
    }
    table_drop_empty(&t);
    doc_table(out, "speeds", NULL, &t, 3);
    buf_adds(&notes,
             "us: median for a layer (single products, layer) or a token, of n samples taken "
             "in turn with the other paths; noise: 1.4826 MAD. speed-up: median ratio to the "
             "faster dense path and its standard error. wiki2, acc: of these very weights.\n");
    add_device_note(records, n, &notes);
    for (size_t i = 0; i < n && !decode; i++)
        decode = strcmp(records[i]->task, "decode") == 0 ? records[i]->cache : NULL;
    if (decode)
        buf_addf(&notes, "decode: the weights are %s than the device's cache.\n",
                 strcmp(decode, "cold") == 0 ? "larger" : "not much larger");
    if (n_unstable)
        buf_addf(&notes,
                 "%zu of %zu rows used up their time before all errors were below the limit.\n",
                 n_unstable, n);
    doc_put(out, DOC_TEXT, "%s", notes.data);
    buf_release(&notes);
}

/* ---- the sentence */

static int same_work(const struct record *a, const struct record *b)
{
    return strcmp(a->task, b->task) == 0 && (a->context == b->context || isnan(a->context)) &&
           (!a->cache || !b->cache || strcmp(a->cache, b->cache) == 0);
}

/* Of the sparse paths of one work, which compute the same, the fastest stands for the cell. */
static int is_headline(const struct record *r, const char *task,
                       const struct record *const *records, size_t n)
{
    if (strcmp(r->task, task) != 0 || !r->path || !r->speedup_over || isnan(r->speedup) ||
        (strcmp(task, "layer") == 0 && r->cache && strcmp(r->cache, "cold") != 0))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (same_work(records[i], r) && record_same_cell(records[i], r) &&
            records[i]->speedup > r->speedup)
            return 0;
    return 1;
}

static void add_what(struct buf *b, const struct record *r)
{
    int weights = strcmp(r->path, "nonzeros") == 0;
    int smaller = strcmp(r->path, "sparse") == 0 || strcmp(r->path, "rows") == 0;

    buf_adds(b, smaller                          ? "pruned "
                : weights && r->act_sparsity > 0 ? "dual "
                : weights                        ? "sparse weights "
                                                 : "sparse activations ");
    add_share(b, r->weight_sparsity, r->nm);
    buf_addc(b, '/');
    add_share(b, r->act_sparsity, NULL);
}

/* "own" is a path of the decoder's: to people, its GEMV. */
static const char *base_name(const char *path)
{
    return strcmp(path, "own") == 0 ? "own GEMV" : path;
}

static void add_sentence(struct buf *out, const struct record *r,
                         const struct record *const *records, size_t n)
{
    const char *other = NULL;
    struct buf what = {0};

    for (size_t i = 0; i < n && !other; i++)
        if (is_dense(records[i]) && same_work(records[i], r) && records[i]->path &&
            strcmp(records[i]->path, r->speedup_over) != 0)
            other = base_name(records[i]->path);
    add_what(&what, r);
    bench_sentence(out, what.data, (struct estimate){r->speedup, r->speedup_err},
                   base_name(r->speedup_over), other, r->speedup_other);
    buf_release(&what);
}

void block_sentences(const struct record *const *records, size_t n, struct doc *out)
{
    static const char *const tasks[] = {"decode", "layer", "prefill"};
    struct buf b = {0};

    for (size_t k = 0; k < 3 && !b.n; k++)
        for (size_t i = 0; i < n; i++) {
            const struct record *r = records[i];

            if (!is_headline(r, tasks[k], records, n))
                continue;
            if (k != 1 && isnan(r->context))
                buf_addf(&b, "%s, %s:\n", k == 0 ? "Decoding" : "A prompt",
                         r->method ? r->method : "-");
            else if (k == 0)
                buf_addf(&b, "Decoding after %.0f tokens, %s:\n", r->context,
                         r->method ? r->method : "-");
            else if (k == 1)
                buf_addf(&b, "The linears of a layer, %s:\n", r->method ? r->method : "-");
            else
                buf_addf(&b, "A prompt of %.0f tokens, %s:\n", r->context,
                         r->method ? r->method : "-");
            add_sentence(&b, r, records, n);
        }
    doc_put(out, DOC_TEXT, "%s", buf_str(&b));
    buf_release(&b);
}
