/* The records of what was timed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/cmd/bench.h"
#include "harness/measure/cells.h"

#define DRIFT_PCT 3   /* from here on it is said, */
#define DRIFT_FROM 20 /* of so many samples */

/* ---- what the weights score */

struct bench_scores bench_scores_of(const struct run *r, size_t first)
{
    size_t n = r->records.n - first, n_acc = 0;
    const struct record **records = xcalloc(n, sizeof(*records));
    struct bench_scores s = {NAN, 0};
    struct cells cells;
    struct columns columns;

    for (size_t i = 0; i < n; i++)
        records[i] = &r->records.items[first + i];
    cells_init(&cells, records, n);
    columns_init(&columns, &cells, records, n);
    for (size_t k = 0; k < columns.n; k++) {
        const struct column *c = &columns.items[k];

        if (metric_is_perplexity(c->like))
            s.perplexity = c->of_cell[0]->value;
        if (column_in_mean(&columns, c)) {
            s.acc += c->of_cell[0]->value;
            n_acc++;
        }
    }
    s.acc = n_acc ? s.acc / (double)n_acc : NAN;
    columns_release(&columns);
    cells_release(&cells);
    free(records);
    return s;
}

/* ---- one path */

static int is_dense(enum bench_path p)
{
    return p <= PATH_LIBRARY;
}

static const char *path_name(const struct run *r, enum bench_path p)
{
    return p == PATH_LIBRARY ? r->dev->ops->linear_by : bench_path_names[p];
}

static void set_clocks(struct record *rec, const struct device_clocks *k)
{
    static const char *const names[] = {"power", "heat", "hardware"};
    struct buf b = {0};

    rec->compute_mhz = k->compute_mhz;
    rec->memory_mhz = k->memory_mhz;
    rec->watts = k->watts;
    rec->celsius = k->celsius;
    if (!k->throttle_known)
        return;
    for (int i = 0; i < 3; i++)
        if (k->throttled & 1u << i)
            buf_addf(&b, "%s%s", b.n ? "+" : "", names[i]);
    record_set(&rec->throttle, b.n ? b.data : "none");
    buf_release(&b);
}

static void set_stats(struct record *rec, const struct bench_models *m,
                      const struct bench_outcome *o, size_t i)
{
    struct bench_stats s;

    bench_stats(o->samples.ns[i], o->samples.n, &s);
    record_set_samples(rec, o->samples.ns[i], o->samples.n);
    rec->median_ns = s.median;
    rec->mad_ns = s.mad;
    rec->noise_pct = s.noise_pct;
    rec->outliers = (double)s.n_outliers;
    rec->drift_pct = s.drift_pct;
    record_set(&rec->stopped, o->samples.why == BENCH_STABLE ? "stable" : "time");
    if (o->tokens > 0)
        rec->tokens_per_s = 1e9 * o->tokens / s.median;
    rec->bytes_moved = o->bytes[i];
    rec->read_gbps = m->read_rate / 1e9;
    rec->peak_gbps_pct = 100 * o->bytes[i] / s.median / rec->read_gbps;
    record_set(&rec->metric, o->tokens > 0 ? "tokens_per_s" : "median_ns");
    rec->value = o->tokens > 0 ? rec->tokens_per_s : rec->median_ns;
    if (s.n >= DRIFT_FROM && fabs(s.drift_pct) > DRIFT_PCT && fabs(s.drift_pct) > 3 * s.error_pct)
        record_warn(rec, "%s %s: times drifted by %.1f %% while measuring", o->task, rec->path,
                    s.drift_pct);
}

/* Over the faster of the dense paths, from pairs of samples. */
static void set_speedup(struct record *rec, const struct run *r, const struct bench_outcome *o,
                        size_t i)
{
    struct estimate best = {NAN, NAN};

    for (size_t d = 0; d < o->n_paths; d++) {
        struct estimate e;

        if (!is_dense(o->path[d]))
            continue;
        e = bench_ratio(o->samples.ns[d], o->samples.ns[i], o->samples.n);
        if (isnan(best.value) || e.value < best.value) {
            rec->speedup_other = best.value;
            best = e;
            record_set(&rec->speedup_over, path_name(r, o->path[d]));
        } else {
            rec->speedup_other = e.value;
        }
    }
    rec->speedup = best.value;
    rec->speedup_err = best.se;
}

static void set_scores(struct record *rec, struct bench_scores s)
{
    rec->scored_perplexity = s.perplexity;
    rec->scored_acc = s.acc;
    if (isnan(s.perplexity) && isnan(s.acc))
        record_warn(rec, "speed of weights whose accuracy was not measured");
}

int bench_add_records(struct run *r, const struct cell *c, const struct bench_models *m,
                      const struct bench_outcome *o, struct bench_scores scored,
                      struct bench_scores dense)
{
    const struct cell dense_cell = {pruners[0], 0, 0};

    if (o->samples.why == BENCH_NO_TIME)
        return error("%s: the device's clock gave a time that is not above 0", o->task);
    for (size_t i = 0; i < o->n_paths; i++) {
        struct record rec;

        run_identity(r, is_dense(o->path[i]) ? &dense_cell : c, &rec);
        record_set(&rec.task, o->task);
        record_set(&rec.path, path_name(r, o->path[i]));
        record_set(&rec.cache, o->cache);
        rec.context = o->context;
        rec.weight_zeros = is_dense(o->path[i]) ? 0 : r->weight_zeros;
        rec.seconds = o->samples.seconds;
        if (!is_dense(o->path[i])) {
            rec.prune_seconds = r->prune_seconds;
            rec.prune_nbytes = r->prune_nbytes;
        }
        set_stats(&rec, m, o, i);
        set_clocks(&rec, &o->samples.clocks);
        if (!is_dense(o->path[i]))
            set_speedup(&rec, r, o, i);
        else if (m->dense_is_pruned)
            record_warn(&rec, "the dense paths read the pruned weights, zeros and all: there was "
                              "no memory for both");
        set_scores(&rec, is_dense(o->path[i]) ? dense : scored);
        if (o->note[0])
            record_warn(&rec, "%s", o->note);
        if (records_add(&r->records, &rec) != 0) {
            record_release(&rec);
            return -1;
        }
    }
    return 0;
}
