/* Records as lines of JSON and back. */
#include "harness/measure/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/measure/pyjson.h"
#include "harness/measure/record_fields.h"

void field_add_json(struct buf *b, const struct record *r, const struct record_field *f)
{
    if (f->kind == FIELD_STRING && field_string(r, f)) {
        json_add_quoted(b, field_string(r, f));
    } else if (f->kind == FIELD_STRINGS) {
        buf_addc(b, '[');
        for (size_t i = 0; i < r->n_warnings; i++) {
            buf_adds(b, i ? ", " : "");
            json_add_quoted(b, r->warnings[i]);
        }
        buf_addc(b, ']');
    } else if (f->kind == FIELD_NUMBERS) {
        buf_addc(b, '[');
        size_t n;
        const double *v = field_numbers(r, f, &n);

        for (size_t i = 0; i < n; i++) {
            buf_adds(b, i ? ", " : "");
            pyjson_add_number(b, v[i]);
        }
        buf_addc(b, ']');
    } else if (f->kind == FIELD_STRING || isnan(field_number(r, f))) {
        buf_adds(b, "null");
    } else if (f->kind == FIELD_BOOL) {
        buf_adds(b, field_number(r, f) != 0 ? "true" : "false");
    } else {
        pyjson_add_number(b, field_number(r, f));
    }
}

int record_to_json(const struct record *r, struct buf *out)
{
    int with_speed = record_is_speed(r), with_layers = record_is_layers(r);
    char sep = '{';

    if (record_check(r, "") != 0)
        return -1;
    for (const struct record_field *f = record_fields; f->name; f++) {
        if (((f->group == GROUP_SPEED || f->group == GROUP_WORK) && !with_speed) ||
            (f->group == GROUP_LAYERS && !with_layers))
            continue;
        buf_addf(out, "%c%s\"%s\": ", sep, sep == ',' ? " " : "", f->name);
        field_add_json(out, r, f);
        sep = ',';
    }
    buf_addc(out, '}');
    return 0;
}

static int read_list(struct record *r, const struct record_field *f, const cJSON *v,
                     const char *where)
{
    double *numbers = NULL;
    const cJSON *item;
    size_t n = 0;

    if (!cJSON_IsArray(v))
        return error("%s: field '%s' is not a list", where, f->name);
    if (f->kind == FIELD_NUMBERS) {
        n = (size_t)cJSON_GetArraySize(v);
        numbers = n ? xcalloc(n, sizeof(*numbers)) : NULL;
        *(double **)((char *)r + f->offset) = numbers;
        *(size_t *)((char *)r + f->n_offset) = n;
    }
    cJSON_ArrayForEach(item, v)
    {
        if (f->kind == FIELD_STRINGS ? !cJSON_IsString(item) : !cJSON_IsNumber(item))
            return error("%s: field '%s' holds a value of another type", where, f->name);
        if (f->kind == FIELD_STRINGS)
            field_add_warning(r, xstrdup(item->valuestring));
        else if (numbers)
            *numbers++ = item->valuedouble;
    }
    return 0;
}

static int read_field(struct record *r, const struct record_field *f, const cJSON *v,
                      const char *where)
{
    void *member = (char *)r + f->offset;

    if (cJSON_IsNull(v))
        return 0;
    if (f->kind == FIELD_STRINGS || f->kind == FIELD_NUMBERS)
        return read_list(r, f, v, where);
    if (f->kind == FIELD_STRING) {
        if (!cJSON_IsString(v))
            return error("%s: field '%s' is not a string", where, f->name);
        *(char **)member = xstrdup(v->valuestring); /* as it is: record_read.c judges it */
    } else if (f->kind == FIELD_BOOL) {
        if (!cJSON_IsBool(v))
            return error("%s: field '%s' is not true or false", where, f->name);
        *(double *)member = cJSON_IsTrue(v);
    } else {
        if (!cJSON_IsNumber(v))
            return error("%s: field '%s' is not a number", where, f->name);
        *(double *)member = v->valuedouble;
    }
    return 0;
}

const struct record_field *record_field_find(const char *name)
{
    for (const struct record_field *f = record_fields; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

int record_from_object(const cJSON *obj, const char *where, int id_unsure, struct record *r)
{
    char id[17];

    record_init(r);
    if (!cJSON_IsObject(obj))
        return error("%s: not an object", where);
    for (const cJSON *v = obj->child; v; v = v->next) {
        const struct record_field *f = record_field_find(v->string);

        if (!f)
            return error("%s: unknown field '%s'", where, v->string);
        if (cJSON_GetObjectItemCaseSensitive(obj, v->string) != v)
            return error("%s: field '%s' twice", where, v->string);
        if (read_field(r, f, v, where) != 0)
            return -1;
    }
    if (record_check(r, where) != 0)
        return -1;
    record_id(r, id);
    if (r->run_id && !id_unsure && strcmp(r->run_id, id) != 0)
        return error("%s: run_id is %s but the fields give %s: the record was changed", where,
                     r->run_id, id);
    return 0;
}

int record_from_json(const char *text, size_t nbytes, const char *where, struct record *out)
{
    cJSON *obj = json_parse(text, nbytes, where);
    int rc = -1;

    record_init(out);
    if (obj)
        rc = record_from_object(obj, where, 0, out);
    cJSON_Delete(obj);
    return rc;
}
