/* Reading files of records. */
#include "harness/measure/record_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/text.h"
#include "harness/measure/record_fields.h"

/* A record's texts are printed in tables: none may move a terminal's cursor or start a new row. */
static int check_text(const char *s, const char *field, const char *where)
{
    const char *at = s ? text_find_unshown(s) : NULL;

    if (!at)
        return 0;
    if (text_unshown(at) == 1)
        return error("%s: field '%s' holds the control character 0x%02x", where, field,
                     (unsigned char)*at);
    return error("%s: field '%s' holds a control character of %zu bytes", where, field,
                 text_unshown(at));
}

static int check_texts(const struct record *r, const char *where)
{
    for (const struct record_field *f = record_fields; f->name; f++)
        if (f->kind == FIELD_STRING && check_text(field_string(r, f), f->name, where) != 0)
            return -1;
    for (size_t i = 0; i < r->n_warnings; i++)
        if (check_text(r->warnings[i], "warnings", where) != 0)
            return -1;
    return 0;
}

static cJSON *take_unknown(cJSON *obj)
{
    cJSON *unknown = cJSON_CreateObject(), *next;

    for (cJSON *v = obj->child; v; v = next) {
        next = v->next;
        if (!record_field_find(v->string))
            cJSON_AddItemToObject(unknown, v->string, cJSON_DetachItemViaPointer(obj, v));
    }
    return unknown;
}

static void line_release(struct record_line *l)
{
    record_release(&l->rec);
    cJSON_Delete(l->unknown);
    free(l->path);
}

static int read_line(struct record_line *l, const char *text, size_t nbytes, const char *where)
{
    ptrdiff_t bad = utf8_valid(text, nbytes);
    cJSON *obj = NULL;
    char id[17];
    int rc = -1;

    record_init(&l->rec);
    if (bad >= 0)
        return error("%s: byte %td is not UTF-8", where, bad);
    obj = json_parse(text, nbytes, where);
    if (!obj)
        return -1;
    if (!cJSON_IsObject(obj)) {
        error("%s: not an object", where);
    } else {
        l->unknown = take_unknown(obj);
        if (record_from_object(obj, where, l->unknown->child != NULL, &l->rec) == 0)
            rc = check_texts(&l->rec, where);
    }
    cJSON_Delete(obj);
    if (rc == 0 && !l->rec.run_id) {
        record_id(&l->rec, id);
        record_set(&l->rec.run_id, id);
    }
    return rc;
}

static int add_line(struct record_list *list, const char *text, size_t nbytes, const char *path,
                    size_t number)
{
    struct record_line l = {.line = number};
    struct buf where = {0};
    const char *inner = text;
    int rc = 0;

    if (text_strip(&inner, nbytes) == 0)
        return 0;
    buf_addf(&where, "%s line %zu", path, number);
    rc = read_line(&l, text, nbytes, where.data);
    buf_release(&where);
    if (rc != 0) {
        line_release(&l);
        return -1;
    }
    l.path = xstrdup(path);
    if (list->n == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 16;
        list->items = xrealloc(list->items, list->cap * sizeof(*list->items));
    }
    list->items[list->n++] = l;
    return 0;
}

int record_list_read(struct record_list *l, const char *path)
{
    struct buf text = {0};
    size_t number = 1;
    int rc = file_read(path, &text);

    for (const char *p = buf_str(&text), *end = p + text.n, *stop; rc == 0 && p < end; p = stop) {
        stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop + 1 : end;
        rc = add_line(l, p, (size_t)(stop - p), path, number++);
    }
    buf_release(&text);
    return rc;
}

void record_list_release(struct record_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        line_release(&l->items[i]);
    free(l->items);
    *l = (struct record_list){0};
}

const char *record_string(const struct record_line *l, const char *field)
{
    const struct record_field *f = record_field_find(field);

    if (f)
        return f->kind == FIELD_STRING ? field_string(&l->rec, f) : NULL;
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(l->unknown, field));
}

double record_number(const struct record_line *l, const char *field)
{
    const struct record_field *f = record_field_find(field);
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(l->unknown, field);

    if (f)
        return field_is_number(f) ? field_number(&l->rec, f) : NAN;
    return cJSON_IsBool(v)                                 ? cJSON_IsTrue(v)
           : cJSON_IsNumber(v) && isfinite(v->valuedouble) ? v->valuedouble
                                                           : NAN;
}

const double *record_samples(const struct record_line *l, const char *field, size_t *n)
{
    const struct record_field *f = record_field_find(field);

    *n = 0;
    return f && f->kind == FIELD_NUMBERS ? field_numbers(&l->rec, f, n) : NULL;
}
