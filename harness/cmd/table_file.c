/* Reading tables. The options of a cell go through the parser of the commands, so that defaults and
 * mistakes are what they are there. */
#include "harness/cmd/table_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/text.h"
#include "harness/base/words.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/run.h"
#include "harness/cmd/run_options_table.h"
#include "harness/measure/record_fields.h"

char *project_file(const char *folder, const char *name)
{
    char *demo = demo_dir(), *dir = demo ? path_join(demo, "../..") : xstrdup(".");
    struct buf path = {0};
    char *found;

    buf_addf(&path, "%s/%s/%s", dir, folder, name);
    free(demo);
    free(dir);
    found = realpath(path.data, NULL);
    buf_release(&path);
    return found;
}

static char *table_path(const char *name)
{
    size_t n = strlen(name);
    struct buf file = {0};
    char *path;

    if (n > 5 && strcmp(name + n - 5, ".json") == 0)
        return xstrdup(name);
    if (strchr(name, '/'))
        return NULL;
    buf_addf(&file, "%s.json", name);
    path = project_file("scripts/tables", file.data);
    buf_release(&file);
    return path;
}

/* Copies a text member; `may_lack`: *out stays NULL without it. On one line: the commands that are
 * left are told in a line each. */
static int text(const cJSON *obj, const char *key, const char *where, int may_lack, char **out)
{
    const char *s;

    if (may_lack && !json_has(obj, key))
        return 0;
    if (json_string(obj, key, where, &s) != 0)
        return -1;
    if (text_find_unshown(s))
        return error("%s: field '%s' holds a control character", where, key);
    *out = xstrdup(s);
    return 0;
}

static int read_mean(struct table_file *t, const char *where)
{
    const cJSON *list, *item;

    if (!json_has(t->json, "mean"))
        return 0;
    if (json_array(t->json, "mean", where, &list) != 0)
        return -1;
    cJSON_ArrayForEach(item, list)
    {
        const struct task *task = cJSON_IsString(item) ? task_find(item->valuestring) : NULL;

        if (!task || t->n_mean == MAX_LIST)
            return error("%s: field 'mean' is not a list of tasks", where);
        t->mean[t->n_mean++] = task;
    }
    return 0;
}

/* Parses the words of a cell; what is wrong with them is told with the file and the cell. */
static int parse_words(struct run_options *o, int n, char **words, const char *label,
                       const char *where)
{
    char *why;
    int rc;

    for (int i = 1; i < n; i++)
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0)
            return error("%s: cell '%s': a table does not ask for %s", where, label, words[i]);
    error_silence(1);
    rc = run_options_parse(o, n, words);
    error_silence(0);
    if (rc != 0) {
        why = xstrdup(error_last());
        error("%s: cell '%s': %s", where, label, why);
        free(why);
    } else if (options_write(o)) {
        rc = error("%s: cell '%s': a table does not say where files are written", where, label);
    }
    return rc;
}

/* The options of all cells and of one, parsed. 0 or error(). */
static int parse_cell(struct table_file *t, struct table_cell *c, const char *task_list,
                      const char *where)
{
    static struct run r; /* large; its options alone are used */
    struct buf line = {0};
    struct cell cell;
    char **words = NULL;
    int n, rc = -1;

    buf_addf(&line, "%s %s %s -t %s", t->command, t->options, c->options, task_list);
    n = words_split(line.data, where, &words);
    memset(&r, 0, sizeof(r));
    if (n >= 0 && parse_words(&r.o, n, words, c->label, where) == 0)
        rc = 0;
    if (rc == 0 && (r.o.n_methods != 1 || r.o.n_sparsities > 1 || r.o.n_act_sparsities > 1))
        rc = error("%s: cell '%s' is more than one cell", where, c->label);
    if (rc == 0) {
        double share = r.o.n_sparsities ? r.o.sparsities[0] : 0;

        if (r.o.nm_m)
            share = (double)r.o.nm_n / (double)r.o.nm_m;
        cell = (struct cell){r.o.methods[0], share, r.o.act_sparsities[0]};
        run_recipe(&r, &cell, &c->want);
        record_set(&c->want.protocol, r.o.protocol->name);
        c->want.limit = r.o.limit > 0 ? r.o.limit : NAN;
        t->window = (double)r.o.window;
        t->bos = !r.o.no_bos;
        memcpy(t->tasks, r.o.tasks, sizeof(t->tasks));
        t->n_tasks = r.o.n_tasks;
    }
    free(r.o.command_line);
    free(words);
    buf_release(&line);
    return rc;
}

static int read_cells(struct table_file *t, const char *where)
{
    const cJSON *list, *item;
    const char *task_list;

    if (json_array(t->json, "cells", where, &list) != 0 ||
        json_string(t->json, "tasks", where, &task_list) != 0)
        return -1;
    t->cells = xcalloc((size_t)cJSON_GetArraySize(list), sizeof(*t->cells));
    cJSON_ArrayForEach(item, list)
    {
        struct table_cell *c = &t->cells[t->n_cells++];

        record_init(&c->want);
        if (text(item, "label", where, 0, &c->label) != 0 ||
            text(item, "options", where, 0, &c->options) != 0 ||
            parse_cell(t, c, task_list, where) != 0)
            return -1;
    }
    return t->n_cells ? 0 : error("%s: no cells", where);
}

int table_file_open(struct table_file *t, const char *name)
{
    char *path = table_path(name);
    int rc = -1;

    *t = (struct table_file){0};
    if (!path)
        return error("no table '%s' in scripts/tables", name);
    t->json = json_read(path);
    if (t->json && text(t->json, "title", path, 0, &t->title) == 0 &&
        text(t->json, "about", path, 0, &t->about) == 0 &&
        text(t->json, "command", path, 0, &t->command) == 0 &&
        text(t->json, "options", path, 0, &t->options) == 0 &&
        text(t->json, "paper_model", path, 1, &t->paper_model) == 0 && read_mean(t, path) == 0) {
        t->is_bench = strcmp(t->command, "bench") == 0;
        rc = t->is_bench || strcmp(t->command, "eval") == 0
                 ? read_cells(t, path)
                 : error("%s: field 'command' is neither eval nor bench", path);
    }
    free(path);
    return rc;
}

void table_file_release(struct table_file *t)
{
    for (size_t i = 0; i < t->n_cells; i++) {
        free(t->cells[i].label);
        free(t->cells[i].options);
        record_release(&t->cells[i].want);
    }
    free(t->cells);
    free(t->title);
    free(t->about);
    free(t->command);
    free(t->options);
    free(t->paper_model);
    cJSON_Delete(t->json);
    *t = (struct table_file){0};
}

static int same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

int table_cell_has(const struct table_cell *c, const struct record *r)
{
    const struct record *w = &c->want;

    if (!same_text(w->protocol, r->protocol) || !same_number(w->limit, r->limit))
        return 0;
    for (const struct record_field *f = record_fields; f->name; f++) {
        if (f->group != GROUP_RECIPE || strstr(f->name, "sha256"))
            continue;
        if (f->kind == FIELD_STRING ? !same_text(field_string(w, f), field_string(r, f))
                                    : !same_number(field_number(w, f), field_number(r, f)))
            return 0;
    }
    return 1;
}
