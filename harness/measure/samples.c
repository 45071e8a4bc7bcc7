/* Writing and reading lm-eval's sample files. */
#include "harness/measure/samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/sha256.h"
#include "harness/measure/pyjson.h"

int samples_open(struct samples *s, const char *dir, const char *task, const char *stamp)
{
    struct buf name = {0};
    char *path;
    int rc = dir_make(dir);

    *s = (struct samples){0};
    buf_addf(&name, "samples_%s_%s.jsonl", task, stamp);
    path = path_join(dir, name.data);
    if (rc == 0)
        rc = atomic_file_open(&s->file, path);
    if (rc == 0)
        s->task = xstrdup(task);
    free(path);
    buf_release(&name);
    return rc;
}

int samples_close(struct samples *s)
{
    int rc = atomic_file_commit(&s->file);

    samples_abort(s);
    return rc;
}

void samples_abort(struct samples *s)
{
    atomic_file_abort(&s->file);
    buf_release(&s->line);
    free(s->task);
    *s = (struct samples){0};
}

void document_hash(const cJSON *doc, char out[65])
{
    struct buf b = {0};

    pyjson_dump(&b, doc, 2);
    sha256_hex(buf_str(&b), b.n, out);
    buf_release(&b);
}

static void add_arguments(struct buf *b, const struct document *d)
{
    buf_adds(b, ", \"arguments\": {");
    for (size_t i = 0; i < d->n_choices; i++) {
        buf_addf(b, "%s\"gen_args_%zu\": {\"arg_0\": ", i ? ", " : "", i);
        json_add_quoted(b, d->requests[i].context);
        buf_adds(b, ", \"arg_1\": ");
        json_add_quoted(b, d->requests[i].continuation);
        buf_addc(b, '}');
    }
    buf_addc(b, '}');
}

/* lm-eval turns the numbers of responses into strings before it writes them. */
static void add_responses(struct buf *b, const char *name, const struct sample *x, int nested)
{
    buf_addf(b, ", \"%s\": [", name);
    for (size_t i = 0; i < x->doc->n_choices; i++) {
        buf_addf(b, "%s%s[\"", i ? ", " : "", nested ? "[" : "");
        pyjson_add_float(b, x->ll[i]);
        buf_addf(b, "\", \"%s\"]%s", x->greedy[i] ? "True" : "False", nested ? "]" : "");
    }
    buf_addc(b, ']');
}

static void add_hash(struct buf *b, const char *name, const char *text)
{
    char hex[65];

    sha256_hex(text, strlen(text), hex);
    buf_addf(b, ", \"%s\": \"%s\"", name, hex);
}

static void add_ids(struct buf *b, const struct ids *ids)
{
    buf_addc(b, '[');
    for (size_t i = 0; i < ids->n; i++)
        buf_addf(b, "%s%d", i ? ", " : "", ids->v[i]);
    buf_addc(b, ']');
}

static void add_tokens(struct buf *b, const struct sample *x)
{
    buf_adds(b, ", \"tokens\": [");
    for (size_t i = 0; i < x->doc->n_choices; i++) {
        buf_adds(b, i ? ", [" : "[");
        add_ids(b, &x->context[i]);
        buf_adds(b, ", ");
        add_ids(b, &x->continuation[i]);
        buf_addc(b, ']');
    }
    buf_addc(b, ']');
}

static void add_metrics(struct buf *b, const struct sample *x)
{
    if (!isnan(x->acc))
        buf_addf(b, ", \"acc\": %.1f", x->acc);
    if (!isnan(x->acc_norm))
        buf_addf(b, ", \"acc_norm\": %.1f", x->acc_norm);
}

static int write_line(struct samples *s)
{
    buf_adds(&s->line, "}\n");
    if (fwrite(s->line.data, 1, s->line.n, s->file.f) != s->line.n)
        return error("cannot write '%s'", s->file.path);
    return 0;
}

int samples_add(struct samples *s, const struct sample *x)
{
    struct buf *b = &s->line;
    char hex[65];

    for (size_t i = 0; i < x->doc->n_choices; i++)
        if (!isfinite(x->ll[i]))
            return error("%s document %zu: log-likelihood of choice %zu is %g", s->task, x->doc_id,
                         i, x->ll[i]);
    b->n = 0;
    buf_addf(b, "{\"doc_id\": %zu, \"doc\": ", x->doc_id);
    pyjson_dump(b, x->doc->doc, -1);
    buf_adds(b, ", \"target\": ");
    json_add_quoted(b, x->doc->target);
    add_arguments(b, x->doc);
    add_responses(b, "resps", x, 1);
    add_responses(b, "filtered_resps", x, 0);
    buf_addf(b, ", \"filter\": \"none\", \"metrics\": [%s%s%s]", isnan(x->acc) ? "" : "\"acc\"",
             isnan(x->acc) || isnan(x->acc_norm) ? "" : ", ",
             isnan(x->acc_norm) ? "" : "\"acc_norm\"");
    document_hash(x->doc->doc, hex);
    buf_addf(b, ", \"doc_hash\": \"%s\"", hex);
    add_hash(b, "prompt_hash", x->doc->requests[0].context);
    add_hash(b, "target_hash", x->doc->target);
    add_metrics(b, x);
    if (x->context && x->continuation)
        add_tokens(b, x);
    return write_line(s);
}

int samples_add_window(struct samples *s, size_t window, const int32_t *ids, size_t n_ids,
                       double nll)
{
    struct buf *b = &s->line;
    char hex[65];

    if (!isfinite(nll))
        return error("%s window %zu: negative log-likelihood is %g", s->task, window, nll);
    sha256_hex(ids, n_ids * sizeof(*ids), hex);
    b->n = 0;
    buf_addf(b,
             "{\"doc_id\": %zu, \"doc\": {\"window\": %zu, \"n_tokens\": %zu}, \"filter\": "
             "\"none\", \"metrics\": [\"nll\"], \"doc_hash\": \"%s\", \"nll\": ",
             window, window, n_ids, hex);
    pyjson_add_float(b, nll);
    return write_line(s);
}

/* ---- reading ------------------------------------------------------------------------------ */

void sample_scores_release(struct sample_scores *s)
{
    free(s->hash);
    free(s->acc);
    free(s->acc_norm);
    free(s->nll);
    *s = (struct sample_scores){0};
}

/* The member as a finite number, NaN where there is none. */
static int read_metric(const cJSON *obj, const char *name, const char *where, double *out)
{
    *out = NAN;
    return json_has(obj, name) ? json_number(obj, name, where, out) : 0;
}

static int read_line(struct sample_scores *s, size_t i, const cJSON *obj, const char *where)
{
    static const char *const names[] = {"doc_hash", "prompt_hash", "target_hash"};
    struct buf all = {0};
    const char *hash;
    int rc = 0;

    for (size_t k = 0; k < 3 && rc == 0; k++) {
        if (k > 0 && !json_has(obj, names[k])) /* a window has no prompt */
            continue;
        rc = json_string(obj, names[k], where, &hash);
        if (rc == 0)
            buf_adds(&all, hash);
    }
    sha256_hex(buf_str(&all), all.n, s->hash[i]);
    buf_release(&all);
    if (rc != 0 || read_metric(obj, "acc", where, &s->acc[i]) != 0 ||
        read_metric(obj, "acc_norm", where, &s->acc_norm[i]) != 0 ||
        read_metric(obj, "nll", where, &s->nll[i]) != 0)
        return -1;
    if (isnan(s->acc[i]) && isnan(s->nll[i]))
        return error("%s: neither acc nor nll", where);
    return 0;
}

static void grow(struct sample_scores *s, size_t cap)
{
    s->hash = xrealloc(s->hash, cap * sizeof(*s->hash));
    s->acc = xrealloc(s->acc, cap * sizeof(*s->acc));
    s->acc_norm = xrealloc(s->acc_norm, cap * sizeof(*s->acc_norm));
    s->nll = xrealloc(s->nll, cap * sizeof(*s->nll));
}

int samples_read(struct sample_scores *s, const char *path)
{
    struct buf text = {0}, where = {0};
    const char *p, *end, *stop;
    size_t cap = 0;
    int rc;

    *s = (struct sample_scores){0};
    rc = file_read(path, &text);
    p = buf_str(&text);
    for (end = p + text.n; rc == 0 && p < end; p = stop + 1) {
        cJSON *obj;

        stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : end;
        where.n = 0;
        buf_addf(&where, "%s line %zu", path, s->n + 1);
        if (s->n == cap)
            grow(s, cap = cap ? 2 * cap : 256);
        obj = json_parse(p, (size_t)(stop - p), where.data);
        rc = obj ? read_line(s, s->n, obj, where.data) : -1;
        cJSON_Delete(obj);
        s->n += rc == 0;
    }
    if (rc != 0)
        sample_scores_release(s);
    buf_release(&where);
    buf_release(&text);
    return rc;
}

int samples_check_paired(const struct sample_scores *a, const struct sample_scores *b, char **why)
{
    struct buf text = {0};

    *why = NULL;
    for (size_t i = 0; i < a->n && i < b->n && !text.n; i++)
        if (strcmp(a->hash[i], b->hash[i]) != 0)
            buf_addf(&text, "samples are not paired: line %zu is about another document", i + 1);
    if (!text.n && a->n != b->n)
        buf_addf(&text, "samples are not paired: %zu documents against %zu", a->n, b->n);
    if (!text.n)
        return 0;
    *why = buf_detach(&text);
    return -1;
}
