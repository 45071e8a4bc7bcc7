/* lm-eval's results file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "harness/base/error.h"
#include "harness/measure/cells.h"
#include "harness/measure/output.h"
#include "harness/measure/pyjson.h"
#include "harness/measure/record_fields.h"

/* A number that Python would hold as a float: 1 is written 1.0. */
static cJSON *new_float(double v)
{
    struct buf b = {0};
    cJSON *raw;

    if (!isfinite(v))
        return cJSON_CreateNull();
    pyjson_add_float(&b, v);
    raw = cJSON_CreateRaw(b.data);
    buf_release(&b);
    return raw;
}

static cJSON *new_string(const char *s)
{
    return s ? cJSON_CreateString(s) : cJSON_CreateNull();
}

static cJSON *new_count(double v)
{
    return isnan(v) ? cJSON_CreateNull() : cJSON_CreateNumber(v);
}

/* lm-eval's versions are floats, "1.0" in its YAML files. */
static cJSON *new_version(const char *version)
{
    char *end = NULL;
    double v = version ? strtod(version, &end) : NAN;

    return version && *version && !*end ? new_float(v) : new_string(version);
}

static cJSON *new_field(const struct record *r, const struct record_field *f)
{
    if (f->kind == FIELD_STRING)
        return new_string(field_string(r, f));
    if (f->kind == FIELD_COUNT)
        return new_count(field_number(r, f));
    if (f->kind == FIELD_BOOL && !isnan(field_number(r, f)))
        return cJSON_CreateBool(field_number(r, f) != 0);
    return isnan(field_number(r, f)) ? cJSON_CreateNull() : cJSON_CreateNumber(field_number(r, f));
}

static void add_group(cJSON *obj, const struct record *r, enum field_group group)
{
    for (const struct record_field *f = record_fields; f->name; f++)
        if (f->group == group && f->kind != FIELD_STRINGS && f->kind != FIELD_NUMBERS)
            cJSON_AddItemToObject(obj, f->name, new_field(r, f));
}

/* The member that is an object, made where it is not there yet. */
static cJSON *child(cJSON *obj, const char *name)
{
    cJSON *c = cJSON_GetObjectItemCaseSensitive(obj, name);

    return c ? c : cJSON_AddObjectToObject(obj, name);
}

static void set(cJSON *obj, const char *name, cJSON *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(obj, name);
    cJSON_AddItemToObject(obj, name, value);
}

static cJSON *new_config(const struct record *r)
{
    cJSON *config = cJSON_CreateObject(), *recipe;
    struct buf args = {0};

    cJSON_AddItemToObject(config, "model", new_string(r->model));
    buf_addf(&args, "pretrained=%s", r->model);
    if (r->dtype)
        buf_addf(&args, ",dtype=%s", r->dtype);
    cJSON_AddStringToObject(config, "model_args", args.data);
    cJSON_AddItemToObject(config, "model_num_parameters", new_count(r->n_params));
    for (const struct record_field *f = record_fields; f->name; f++)
        if ((f->group == GROUP_MODEL || f->group == GROUP_PLACE) && strcmp(f->name, "model") != 0)
            cJSON_AddItemToObject(config, f->name, new_field(r, f));
    recipe = cJSON_AddObjectToObject(config, "recipe");
    add_group(recipe, r, GROUP_RECIPE);
    cJSON_AddItemToObject(recipe, "weight_zeros", new_float(r->weight_zeros));
    cJSON_AddItemToObject(recipe, "act_zeros", new_float(r->act_zeros));
    cJSON_AddItemToObject(recipe, "effective_params", new_count(r->effective_params));
    buf_release(&args);
    return config;
}

static void add_result(cJSON *top, const struct record *r)
{
    cJSON *task = child(child(top, "results"), r->task), *samples;
    struct buf name = {0};

    set(task, "alias", new_string(r->task));
    buf_addf(&name, "%s,none", r->metric);
    set(task, name.data, new_float(r->value));
    name.n = 0;
    buf_addf(&name, "%s_stderr,none", r->metric);
    set(task, name.data, new_float(r->stderr_));
    set(child(top, "versions"), r->task, new_version(r->version));
    set(child(top, "n-shot"), r->task, cJSON_CreateNumber(0));
    if (metric_is_accuracy(r) || metric_is_perplexity(r) || metric_is_divergence(r))
        set(child(child(top, "higher_is_better"), r->task), r->metric,
            cJSON_CreateBool(metric_is_share(r)));
    samples = child(child(top, "n-samples"), r->task);
    set(samples, "original", new_count(r->n_total));
    set(samples, "effective", new_count(r->n));
    set(child(top, "data_sha256"), r->task, new_string(r->data_sha256));
    buf_release(&name);
}

/* Beside lm-eval's members: against_dense.TASK.METRIC holds the fields of the comparison. */
static void add_paired(cJSON *top, const struct record *r)
{
    if (r->baseline)
        add_group(child(child(child(top, "against_dense"), r->task), r->metric), r, GROUP_PAIRED);
}

/* Lists of numbers have no place in lm-eval's file: the whole record is kept. */
static void add_whole(cJSON *top, const char *key, const struct record *r)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(top, key);
    struct buf b = {0};

    if (record_to_json(r, &b) == 0)
        cJSON_AddItemToArray(list ? list : cJSON_AddArrayToObject(top, key),
                             cJSON_CreateRaw(b.data));
    buf_release(&b);
}

static void add_warnings(cJSON *top, const struct record *r)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(top, "warnings"), *w;

    for (size_t i = 0; i < r->n_warnings; i++) {
        int known = 0;

        cJSON_ArrayForEach(w, list)
        {
            known |= strcmp(w->valuestring, r->warnings[i]) == 0;
        }
        if (!known)
            cJSON_AddItemToArray(list, new_string(r->warnings[i]));
    }
}

/* Seconds since 1970 of "2025-01-31T12:00:00Z", as lm-eval's date. */
static cJSON *new_date(const char *iso)
{
    struct tm tm = {0};

    if (!iso || !strptime(iso, "%Y-%m-%dT%H:%M:%SZ", &tm))
        return cJSON_CreateNull();
    return new_float((double)timegm(&tm));
}

static cJSON *new_cell(const struct records *rs, const struct cells *cells, size_t cell)
{
    const struct record *first = cells->first[cell];
    cJSON *top = cJSON_CreateObject();

    cJSON_AddObjectToObject(top, "results");
    cJSON_AddObjectToObject(top, "versions");
    cJSON_AddObjectToObject(top, "n-shot");
    cJSON_AddObjectToObject(top, "higher_is_better");
    cJSON_AddObjectToObject(top, "n-samples");
    cJSON_AddItemToObject(top, "config", new_config(first));
    cJSON_AddItemToObject(top, "git_hash", new_string(first->git));
    cJSON_AddItemToObject(top, "date", new_date(first->time));
    cJSON_AddStringToObject(top, "model_source", "duo");
    cJSON_AddItemToObject(top, "model_name", new_string(first->model));
    cJSON_AddArrayToObject(top, "warnings");
    for (size_t i = 0; i < rs->n; i++) {
        if (cells->of_record[i] != cell)
            continue;
        if (record_is_speed(&rs->items[i])) {
            add_whole(top, "speed", &rs->items[i]);
        } else if (record_is_layers(&rs->items[i])) {
            add_whole(top, "layers", &rs->items[i]);
        } else {
            add_result(top, &rs->items[i]);
            add_paired(top, &rs->items[i]);
        }
        add_warnings(top, &rs->items[i]);
    }
    return top;
}

void output_json(const struct records *rs, struct buf *out)
{
    const struct record **all = xcalloc(rs->n, sizeof(*all));
    struct cells cells;
    cJSON *top, *list;

    for (size_t i = 0; i < rs->n; i++)
        all[i] = &rs->items[i];
    cells_init(&cells, all, rs->n);
    if (cells.n == 1) {
        top = new_cell(rs, &cells, 0);
    } else {
        top = cJSON_CreateObject();
        list = cJSON_AddArrayToObject(top, "cells");
        for (size_t i = 0; i < cells.n; i++)
            cJSON_AddItemToArray(list, new_cell(rs, &cells, i));
        cJSON_AddItemToObject(top, "git_hash", new_string(cells.n ? cells.first[0]->git : NULL));
        cJSON_AddItemToObject(top, "date", new_date(cells.n ? cells.first[0]->time : NULL));
    }
    pyjson_dump(out, top, 2);
    buf_addc(out, '\n');
    cJSON_Delete(top);
    cells_release(&cells);
    free(all);
}
