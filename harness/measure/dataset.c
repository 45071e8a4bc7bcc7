/* From the bytes of a task's files to its documents. */
#include "harness/measure/dataset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/text.h"

void document_release(struct document *d)
{
    size_t i;

    for (i = 0; i < TASK_MAX_CHOICES; i++) {
        free(d->requests[i].context);
        free(d->requests[i].continuation);
    }
    cJSON_Delete(d->doc);
    free(d->target);
    *d = (struct document){0};
}

void dataset_release(struct dataset *d)
{
    size_t i;

    for (i = 0; i < d->n; i++)
        document_release(&d->docs[i]);
    free(d->docs);
    *d = (struct dataset){0};
}

/* A walk over lines. Only "\n" ends one: U+2028 and the like occur inside texts. */
struct lines {
    const char *p, *end;
};

static int lines_next(struct lines *l, const char **line, size_t *nbytes)
{
    const char *stop;

    if (l->p == l->end)
        return 0;
    stop = memchr(l->p, '\n', (size_t)(l->end - l->p));
    *line = l->p;
    *nbytes = (size_t)((stop ? stop : l->end) - l->p);
    l->p = stop ? stop + 1 : l->end;
    return 1;
}

static size_t lines_count(const struct buf *text)
{
    struct lines l = {buf_str(text), buf_str(text) + text->n};
    const char *line;
    size_t nbytes, n = 0;

    while (lines_next(&l, &line, &nbytes))
        n++;
    return n;
}

static int is_blank(const char *s, size_t nbytes)
{
    return utf8_valid(s, nbytes) < 0 && text_strip(&s, nbytes) == 0;
}

static int parse_line(const struct task *t, const char *line, size_t nbytes, const char *label,
                      const char *where, struct document *out)
{
    cJSON *json;
    int rc;

    if (is_blank(line, nbytes))
        return error("%s: blank line", where);
    json = json_parse(line, nbytes, where);
    if (!json)
        return -1;
    if (cJSON_IsObject(json))
        rc = t->parse(json, label, where, out);
    else
        rc = error("%s: not a JSON object", where);
    cJSON_Delete(json);
    assert(rc != 0 || (out->n_choices >= 2 && out->gold >= 0 && out->doc && out->target &&
                       (size_t)out->gold < out->n_choices));
    return rc;
}

/* The next label without white space around it; NULL after error(). */
static const char *next_label(struct lines *labels, const char *where, struct buf *label)
{
    const char *s;
    size_t n;

    label->n = 0;
    if (!lines_next(labels, &s, &n) || (n = text_strip(&s, n)) == 0 || utf8_valid(s, n) >= 0 ||
        memchr(s, 0, n)) {
        error("%s: no valid label", where);
        return NULL;
    }
    buf_add(label, s, n);
    return label->data;
}

/* Counts before anything is parsed, so that a cut file is told as such. */
static int check_counts(const struct task *t, size_t n, const struct buf *labels, const char *path,
                        size_t n_expected)
{
    if (n == 0)
        return error("%s: no documents", path);
    if (n_expected && n != n_expected)
        return error("%s: %zu documents where %zu are expected", path, n, n_expected);
    if (t->labels && !labels)
        return error("%s: the labels file '%s' is missing", path, t->labels);
    if (t->labels && lines_count(labels) != n)
        return error("%s: %zu documents but %zu labels in '%s'", path, n, lines_count(labels),
                     t->labels);
    return 0;
}

int dataset_parse(const struct task *t, const struct buf *lines, const struct buf *labels,
                  const char *path, size_t n_expected, struct dataset *out)
{
    size_t n = lines_count(lines), nbytes, i;
    struct lines docs = {buf_str(lines), buf_str(lines) + lines->n}, gold = {0};
    struct buf where = {0}, label = {0};
    const char *line, *text;
    int rc;

    *out = (struct dataset){0};
    rc = check_counts(t, n, labels, path, n_expected);
    if (rc != 0)
        return rc;
    if (t->labels)
        gold = (struct lines){buf_str(labels), buf_str(labels) + labels->n};
    out->docs = xcalloc(n, sizeof(*out->docs));
    for (i = 0; rc == 0 && i < n && lines_next(&docs, &line, &nbytes); i++) {
        text = NULL;
        out->n = i + 1; /* so many are touched, and released where one is bad */
        where.n = 0;
        buf_addf(&where, "%s line %zu", t->labels ? t->labels : path, i + 1);
        if (t->labels && !(text = next_label(&gold, where.data, &label)))
            rc = -1;
        where.n = 0;
        buf_addf(&where, "%s line %zu", path, i + 1);
        if (rc == 0)
            rc = parse_line(t, line, nbytes, text, where.data, &out->docs[i]);
    }
    if (rc != 0)
        dataset_release(out);
    buf_release(&where);
    buf_release(&label);
    return rc;
}
