/* Strict reading of JSON over cJSON. */
#include "harness/base/json.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/text.h"

static int by_key(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A key that obj has twice, or NULL. By sorting: a vocabulary has 10^5 keys. */
static const char *key_twice(const cJSON *obj)
{
    size_t n = 0;
    const char **keys = xmalloc((size_t)cJSON_GetArraySize(obj) * sizeof(*keys)), *twice = NULL;

    for (const cJSON *v = obj->child; v; v = v->next)
        keys[n++] = v->string;
    qsort(keys, n, sizeof(*keys), by_key);
    for (size_t i = 1; i < n && !twice; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            twice = keys[i];
    free(keys);
    return twice;
}

/* As deep as cJSON lets values nest. */
static int check_keys(const cJSON *v, const char *where)
{
    const char *twice = cJSON_IsObject(v) ? key_twice(v) : NULL;

    if (twice)
        return error("%s: field '%s' is there twice", where, twice);
    for (v = v->child; v; v = v->next)
        if (v->child && check_keys(v, where) != 0)
            return -1;
    return 0;
}

/* Of a text; cJSON takes 64 bytes for one of two. A tokenizer.json has a million. */
enum { MOST_VALUES = 1 << 23 };

/* cJSON takes any control character for white space or text, any bytes for UTF-8, and ends a string
 * at a NUL. */
static int check_text(const char *text, size_t nbytes, const char *where)
{
    ptrdiff_t bad = utf8_valid(text, nbytes);
    size_t n_values = 1;
    int in_string = 0;

    if (bad >= 0)
        return error("%s: invalid UTF-8 at byte %td", where, bad);
    for (size_t i = 0; i < nbytes; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"')
            in_string = !in_string;
        else if (in_string && nbytes - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0)
            return error("%s: a string holds a NUL (\\u0000) at byte %zu", where, i);
        else if (c == '\\' && in_string)
            i++;
        else if (c < 0x20 && (in_string || !c || !strchr("\t\r\n", c)))
            return error("%s: control character 0x%02x at byte %zu", where, c, i);
        else if (!in_string)
            n_values += c == ',' || c == '[' || c == '{';
    }
    if (n_values > MOST_VALUES)
        return error("%s: JSON of more than %d values", where, MOST_VALUES);
    return 0;
}

/* Else want of memory would be told as bad JSON. */
static void set_hooks(void)
{
    cJSON_Hooks hooks = {xmalloc, free};

    cJSON_InitHooks(&hooks);
}

cJSON *json_parse(const char *text, size_t nbytes, const char *where)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *end = NULL, *stop = text + nbytes;
    cJSON *v;

    pthread_once(&once, set_hooks);
    if (check_text(text, nbytes, where) != 0)
        return NULL;
    v = cJSON_ParseWithLengthOpts(text, nbytes, &end, 0);
    if (!v) {
        size_t at = end && end >= text && end <= stop ? (size_t)(end - text) : 0;

        error("%s: bad JSON at byte %zu", where, at);
        return NULL;
    }
    while (end < stop && strchr(" \t\r\n", *end) && *end)
        end++;
    if (end < stop) {
        error("%s: bad JSON: something follows the value at byte %zu", where, (size_t)(end - text));
        cJSON_Delete(v);
        return NULL;
    }
    if (check_keys(v, where) != 0) {
        cJSON_Delete(v);
        return NULL;
    }
    return v;
}

cJSON *json_read(const char *path)
{
    struct buf text = {0};
    cJSON *v = NULL;

    if (file_read(path, &text) == 0)
        v = json_parse(buf_str(&text), text.n, path);
    buf_release(&text);
    return v;
}

/* The member, or NULL after error(). */
static const cJSON *member(const cJSON *obj, const char *key, const char *where)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);

    if (!v)
        error("%s: no field '%s'", where, key);
    return v;
}

int json_has(const cJSON *obj, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);

    return v && !cJSON_IsNull(v);
}

int json_string(const cJSON *obj, const char *key, const char *where, const char **out)
{
    const cJSON *v = member(obj, key, where);

    if (!v)
        return -1;
    if (!cJSON_IsString(v))
        return error("%s: field '%s' is not a string", where, key);
    *out = v->valuestring;
    return 0;
}

int json_bool(const cJSON *obj, const char *key, const char *where, int *out)
{
    const cJSON *v = member(obj, key, where);

    if (!v)
        return -1;
    if (!cJSON_IsBool(v))
        return error("%s: field '%s' is not true or false", where, key);
    *out = cJSON_IsTrue(v);
    return 0;
}

int json_number(const cJSON *obj, const char *key, const char *where, double *out)
{
    const cJSON *v = member(obj, key, where);

    if (!v)
        return -1;
    if (!cJSON_IsNumber(v) || !isfinite(v->valuedouble))
        return error("%s: field '%s' is not a finite number", where, key);
    *out = v->valuedouble;
    return 0;
}

int json_int(const cJSON *obj, const char *key, const char *where, int64_t min, int64_t max,
             int64_t *out)
{
    double v = 0;

    if (json_number(obj, key, where, &v) != 0)
        return -1;
    if (v != floor(v) || v < (double)min || v > (double)max)
        return error("%s: field '%s' is %.17g, not a whole number from %lld to %lld", where, key, v,
                     (long long)min, (long long)max);
    *out = (int64_t)v;
    return 0;
}

int json_array(const cJSON *obj, const char *key, const char *where, const cJSON **out)
{
    const cJSON *v = member(obj, key, where);

    if (!v)
        return -1;
    if (!cJSON_IsArray(v))
        return error("%s: field '%s' is not a list", where, key);
    *out = v;
    return 0;
}

static void add_escaped(struct buf *b, unsigned char c)
{
    static const char named[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    const char *at = strchr(named, c);

    if (at)
        buf_addf(b, "\\%c", letters[at - named]);
    else if (c < 0x20)
        buf_addf(b, "\\u%04x", c);
    else
        buf_addc(b, (char)c);
}

void json_add_quoted(struct buf *b, const char *s)
{
    struct buf mended = {0};

    text_add_mended(&mended, s, strlen(s));
    buf_addc(b, '"');
    for (size_t i = 0; i < mended.n; i++)
        add_escaped(b, (unsigned char)mended.data[i]);
    buf_addc(b, '"');
    buf_release(&mended);
}
