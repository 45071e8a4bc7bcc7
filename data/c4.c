/* Calibration ids from C4. */
#include "data/c4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/archive.h"
#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/mt19937.h"
#include "harness/base/rng.h"

#define C4_FILE "en/c4-train.00000-of-01024.json.gz"
#define PATIENCE 100 /* draws of short documents before all are looked at, once, for a long one */

/* The texts of the shard, one after another, each with its NUL. */
struct texts {
    struct buf all;
    size_t *at, n, cap;
};

static int add_line(struct texts *t, const char *line, size_t nbytes, const char *where)
{
    cJSON *j = json_parse(line, nbytes, where);
    const char *text;
    int rc = -1;

    if (j && json_string(j, "text", where, &text) == 0) {
        if (t->n == t->cap) {
            t->cap = t->cap ? 2 * t->cap : 1024;
            t->at = xrealloc(t->at, t->cap * sizeof(*t->at));
        }
        t->at[t->n++] = t->all.n;
        buf_add(&t->all, text, strlen(text) + 1);
        rc = 0;
    }
    cJSON_Delete(j);
    return rc;
}

static int texts_read(struct texts *t, const char *data_dir)
{
    struct data_lines lines;
    const char *line;
    size_t nbytes;
    int more = data_lines_open(&lines, data_dir, "c4", C4_FILE) == 0 ? 1 : -1;

    while (more > 0 && (more = data_lines_next(&lines, &line, &nbytes)) > 0) {
        char where[4200];

        snprintf(where, sizeof(where), "%s line %zu", lines.path, lines.n);
        if (add_line(t, line, nbytes, where) != 0)
            more = -1;
    }
    data_lines_close(&lines);
    if (more == 0 && t->n == 0)
        more = error("c4: %s has no documents", C4_FILE);
    return more;
}

static void texts_release(struct texts *t)
{
    buf_release(&t->all);
    free(t->at);
}

struct draws {
    int python;
    struct mt19937 mt;
    struct pcg32 pcg;
};

static size_t draw_below(struct draws *d, size_t n)
{
    return d->python ? mt19937_below(&d->mt, (uint32_t)n) : pcg32_below(&d->pcg, (uint32_t)n);
}

/* BOS and the ids of text. */
static int encode(const struct tokenizer *t, const char *text, struct ids *doc)
{
    doc->n = 0;
    return tokenizer_add_bos(t, doc) ? -1 : tokenizer_encode(t, text, strlen(text), doc);
}

/* That a document has more than s ids, or error() with the most that one has. */
static int find_long(const struct texts *texts, const struct tokenizer *t, size_t s,
                     struct ids *doc)
{
    size_t most = 0;

    for (size_t i = 0; i < texts->n; i++) {
        if (encode(t, texts->all.data + texts->at[i], doc) != 0)
            return -1;
        if (doc->n > s)
            return 0;
        most = doc->n > most ? doc->n : most;
    }
    return error("c4: no document of %s has more than %zu ids; the longest has %zu", C4_FILE, s,
                 most);
}

int c4_sample(const char *data_dir, const struct tokenizer *t, uint64_t seed, int python, size_t n,
              size_t s, int32_t *ids)
{
    struct texts texts = {0};
    struct draws d = {.python = python};
    struct ids doc = {0};
    size_t n_short = 0, n_found = 0;
    int rc = texts_read(&texts, data_dir);

    mt19937_init(&d.mt, seed);
    pcg32_init(&d.pcg, seed, 0);
    while (n_found < n && rc == 0) {
        rc = encode(t, texts.all.data + texts.at[draw_below(&d, texts.n)], &doc);
        if (rc == 0 && doc.n > s)
            memcpy(ids + n_found++ * s, doc.v + draw_below(&d, doc.n - s), s * sizeof(*ids));
        else if (rc == 0 && n_found == 0 && ++n_short == PATIENCE)
            rc = find_long(&texts, t, s, &doc);
    }
    ids_release(&doc);
    texts_release(&texts);
    return rc;
}

int c4_joined(const char *data_dir, const struct tokenizer *t, size_t n, size_t s, int32_t *ids)
{
    struct texts texts = {0};
    struct buf joined = {0};
    struct ids out = {0};
    int rc = texts_read(&texts, data_dir);

    /* One text, since joining changes the ids at the seams. */
    for (size_t i = 0; i < texts.n && rc == 0; i++) {
        if (i)
            buf_adds(&joined, "\n\n");
        buf_adds(&joined, texts.all.data + texts.at[i]);
    }
    if (rc == 0)
        rc = tokenizer_encode(t, buf_str(&joined), joined.n, &out);
    if (rc == 0 && out.n < n * s)
        rc = error("c4: %zu documents give %zu ids, %zu are needed", texts.n, out.n, n * s);
    if (rc == 0)
        memcpy(ids, out.v, n * s * sizeof(*ids));
    ids_release(&out);
    buf_release(&joined);
    texts_release(&texts);
    return rc;
}
