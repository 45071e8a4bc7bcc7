/* Calibration sets. */
#include "data/calib.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/c4.h"
#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"
#include "harness/base/sha256.h"

#define MAX_SIZE (1 << 24) /* windows, or ids of one */

static int parse_size(const char **s, size_t *out)
{
    char *end;
    unsigned long v;

    if (**s < '0' || **s > '9')
        return -1;
    errno = 0;
    v = strtoul(*s, &end, 10);
    if (errno || v == 0 || v > MAX_SIZE)
        return -1;
    *s = end;
    *out = v;
    return 0;
}

int calib_parse_shape(const char *s, size_t *n_windows, size_t *window)
{
    if (parse_size(&s, n_windows) != 0 || *s++ != 'x' || parse_size(&s, window) != 0)
        return -1;
    return *s ? -1 : 0;
}

/* "….128x2048.i32" -> 128, 2048 */
static int shape_in_name(const char *path, size_t *n_windows, size_t *window)
{
    size_t n = strlen(path) - strlen(".i32");
    char *stem = xstrdup(path), *dot;
    int rc;

    stem[n] = 0;
    dot = strrchr(stem, '.');
    rc = dot ? calib_parse_shape(dot + 1, n_windows, window) : -1;
    free(stem);
    return rc;
}

/* What calib_save wrote beside the ids. */
struct side {
    size_t n_windows, window;
    char sha256[65], tokenizer[65]; /* tokenizer: "" where there was none */
};

/* 1, 0 if it is not there, -1 after error(). */
static int read_side_file(struct side *out, const char *path)
{
    struct buf side = {0};
    const char *hex, *tokenizer = "";
    int64_t n, s;
    cJSON *j;
    int rc = 0;

    buf_addf(&side, "%s.json", path);
    if (!file_exists(side.data))
        goto out;
    rc = -1;
    j = json_read(side.data);
    if (j && json_int(j, "n_windows", side.data, 1, MAX_SIZE, &n) == 0 &&
        json_int(j, "window", side.data, 1, MAX_SIZE, &s) == 0 &&
        json_string(j, "sha256", side.data, &hex) == 0 &&
        (!json_has(j, "tokenizer_sha256") ||
         json_string(j, "tokenizer_sha256", side.data, &tokenizer) == 0)) {
        *out = (struct side){.n_windows = (size_t)n, .window = (size_t)s};
        snprintf(out->sha256, 65, "%s", hex);
        snprintf(out->tokenizer, 65, "%s", tokenizer);
        rc = 1;
    }
    cJSON_Delete(j);
out:
    buf_release(&side);
    return rc;
}

/* colon: the ":NxS" part, which may be less than the file, or NULL. */
static int read_file(struct calib *c, const char *path, const char *colon,
                     const struct tokenizer *t)
{
    struct buf text = {0};
    struct side side = {0};
    char got[65];
    size_t n;
    int has_side = 0, rc = -1;

    if (colon && calib_parse_shape(colon + 1, &c->n_windows, &c->window) != 0)
        return error("calibration '%s': '%s' is not NxS", c->spec, colon + 1);
    if ((has_side = read_side_file(&side, path)) < 0 || file_read(path, &text) != 0)
        goto out;
    if (has_side && !colon) {
        c->n_windows = side.n_windows;
        c->window = side.window;
    }
    n = text.n / sizeof(*c->ids);
    if (!colon && !has_side && shape_in_name(path, &c->n_windows, &c->window) != 0) {
        c->window = 2048;
        c->n_windows = (n + c->window - 1) / c->window;
    }
    if (text.n % sizeof(*c->ids) || n == 0 || n < c->n_windows * c->window ||
        (!colon && n > c->n_windows * c->window)) {
        error("calibration '%s': %zu bytes are not %zu windows of %zu ids", path, text.n,
              c->n_windows, c->window);
        goto out;
    }
    sha256_hex(buf_str(&text), text.n, got);
    if (has_side && strcmp(got, side.sha256) != 0) {
        error("calibration '%s': its SHA-256 is not the one in '%s.json'", path, path);
        goto out;
    }
    /* A warning: a tokenizer has several forms of file, which give the same ids. */
    if (has_side && t && *side.tokenizer && strcmp(side.tokenizer, tokenizer_sha256(t)) != 0)
        warning("calibration '%s': '%s.json' names another tokenizer's file than the model's: are "
                "these its ids?",
                path, path);
    c->ids = (int32_t *)buf_detach(&text);
    rc = 0;
out:
    buf_release(&text);
    return rc;
}

static int is_file_spec(const char *spec, const char **colon)
{
    const char *name = strrchr(spec, '/'), *at = strstr(name ? name : spec, ".i32");

    while (at && at[4] && at[4] != ':')
        at = strstr(at + 1, ".i32");
    *colon = at && at[4] ? at + 4 : NULL;
    return at != NULL;
}

char *calib_file(const char *spec)
{
    const char *colon;
    char *file;

    if (!spec || !is_file_spec(spec, &colon))
        return NULL;
    file = xstrdup(spec);
    if (colon)
        file[colon - spec] = 0;
    return file;
}

int calib_is_file_name(const char *path)
{
    const char *colon;

    return is_file_spec(path, &colon) && !colon;
}

static int check_window(const struct calib *c, const struct calib_source *src)
{
    size_t max = src->model->config.max_positions;

    if (c->window < 2 || c->window > max)
        return error("calibration '%s': windows of %zu ids; the model takes 2 to %zu", c->spec,
                     c->window, max);
    return 0;
}

static int make(struct calib *c, const struct calib_source *src)
{
    const char *colon = strchr(c->spec, ':');
    size_t n_kind = colon ? (size_t)(colon - c->spec) : 0;

    if (!colon || calib_parse_shape(colon + 1, &c->n_windows, &c->window) != 0)
        return error("calibration '%s' is not FILE.i32, c4:NxS, c4-joined:NxS or self:NxS",
                     c->spec);
    if (check_window(c, src) != 0)
        return -1;
    if (!src->tokenizer)
        return error("calibration '%s' needs a tokenizer: name one with --tokenizer DIR, or take "
                     "FILE.i32",
                     c->spec);
    c->ids = xmalloc(c->n_windows * c->window * sizeof(*c->ids));
    if (n_kind == 4 && strncmp(c->spec, "self", 4) == 0)
        return calib_sample_self(src->model, src->tokenizer, src->seed, c->n_windows, c->window,
                                 c->ids);
    if (n_kind == 2 && strncmp(c->spec, "c4", 2) == 0)
        return c4_sample(src->data_dir, src->tokenizer, src->seed, src->python_rng, c->n_windows,
                         c->window, c->ids);
    if (n_kind == 9 && strncmp(c->spec, "c4-joined", 9) == 0)
        return c4_joined(src->data_dir, src->tokenizer, c->n_windows, c->window, c->ids);
    return error("calibration '%s': unknown kind; known: FILE.i32, c4, c4-joined, self", c->spec);
}

int calib_open(struct calib *c, const char *spec, const struct calib_source *src)
{
    const char *colon;
    size_t n, n_vocab = src->model->config.n_vocab;
    int rc;

    *c = (struct calib){.spec = xstrdup(spec)};
    if (is_file_spec(spec, &colon)) {
        char *path = calib_file(spec);

        assert(path);
        rc = read_file(c, path, colon, src->tokenizer);
        free(path);
    } else {
        rc = make(c, src);
    }
    if (rc == 0)
        rc = check_window(c, src);
    n = c->n_windows * c->window;
    for (size_t i = 0; i < n && rc == 0; i++)
        if (c->ids[i] < 0 || (size_t)c->ids[i] >= n_vocab)
            rc = error("calibration '%s': id %d at %zu is not in the vocabulary of %zu", spec,
                       c->ids[i], i, n_vocab);
    if (rc != 0) {
        calib_release(c);
        return -1;
    }
    sha256_hex(c->ids, n * sizeof(*c->ids), c->sha256);
    return 0;
}

void calib_release(struct calib *c)
{
    free(c->ids);
    free(c->spec);
    *c = (struct calib){0};
}

int calib_save(const struct calib *c, const struct calib_source *src, const char *path)
{
    struct buf side = {0}, name = {0};
    int rc;

    buf_adds(&side, "{\"calib\": ");
    json_add_quoted(&side, c->spec);
    buf_addf(&side, ", \"n_windows\": %zu, \"window\": %zu, \"seed\": %llu, \"rng\": \"%s\", ",
             c->n_windows, c->window, (unsigned long long)src->seed,
             src->python_rng ? "python" : "pcg");
    buf_addf(&side, "\"tokenizer_sha256\": \"%s\", \"sha256\": \"%s\"}\n",
             src->tokenizer ? tokenizer_sha256(src->tokenizer) : "", c->sha256);
    buf_addf(&name, "%s.json", path);
    rc = file_write_atomic(path, c->ids, c->n_windows * c->window * sizeof(*c->ids));
    if (rc == 0)
        rc = file_write_atomic(buf_str(&name), buf_str(&side), side.n);
    buf_release(&side);
    buf_release(&name);
    return rc;
}
