/* Python's way of writing JSON. */
#include "harness/measure/pyjson.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/json.h"

/* v as "-d.ddde-XX" with the fewest digits that read back as v. */
static void shortest(double v, char out[40])
{
    for (int n_digits = 1; n_digits <= 17; n_digits++) {
        snprintf(out, 40, "%.*e", n_digits - 1, v);
        if (strtod(out, NULL) == v)
            return;
    }
}

/* Digits and exponent put as repr does: plain from 1e-4 up to 1e16, else with an exponent. */
void pyjson_add_float(struct buf *b, double v)
{
    char text[40], digits[24];
    int n = 0, exponent;
    char *e;

    if (!isfinite(v)) {
        buf_adds(b, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    shortest(fabs(v), text);
    e = strchr(text, 'e');
    exponent = atoi(e + 1);
    for (const char *p = text; p < e; p++)
        if (*p != '.')
            digits[n++] = *p;
    digits[n] = 0;
    if (signbit(v))
        buf_addc(b, '-');
    if (exponent < -4 || exponent >= 16)
        buf_addf(b, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        buf_addf(b, "0.%.*s%s", -exponent - 1, "0000", digits);
    else if (n <= exponent + 1)
        buf_addf(b, "%s%.*s.0", digits, exponent + 1 - n, "0000000000000000");
    else
        buf_addf(b, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
}

void pyjson_add_number(struct buf *b, double v)
{
    if (v == floor(v) && fabs(v) <= 0x1p53 && !(v == 0 && signbit(v)))
        buf_addf(b, "%.0f", v);
    else
        pyjson_add_float(b, v);
}

static void newline(struct buf *b, int indent, int depth)
{
    buf_addc(b, '\n');
    for (int i = 0; i < indent * depth; i++)
        buf_addc(b, ' ');
}

static void dump(struct buf *b, const cJSON *value, int indent, int depth);

static void dump_children(struct buf *b, const cJSON *value, int indent, int depth)
{
    int is_object = cJSON_IsObject(value);

    buf_addc(b, is_object ? '{' : '[');
    for (const cJSON *v = value->child; v; v = v->next) {
        if (v != value->child)
            buf_adds(b, indent < 0 ? ", " : ",");
        if (indent >= 0)
            newline(b, indent, depth + 1);
        if (is_object) {
            json_add_quoted(b, v->string);
            buf_adds(b, ": ");
        }
        dump(b, v, indent, depth + 1);
    }
    if (value->child && indent >= 0)
        newline(b, indent, depth);
    buf_addc(b, is_object ? '}' : ']');
}

static void dump(struct buf *b, const cJSON *value, int indent, int depth)
{
    if (cJSON_IsObject(value) || cJSON_IsArray(value))
        dump_children(b, value, indent, depth);
    else if (cJSON_IsString(value))
        json_add_quoted(b, value->valuestring);
    else if (cJSON_IsRaw(value))
        buf_adds(b, value->valuestring);
    else if (cJSON_IsNumber(value))
        pyjson_add_number(b, value->valuedouble);
    else if (cJSON_IsBool(value))
        buf_adds(b, cJSON_IsTrue(value) ? "true" : "false");
    else
        buf_adds(b, "null");
}

void pyjson_dump(struct buf *b, const cJSON *value, int indent)
{
    dump(b, value, indent, 0);
}
