/* JSON as Python's json.dumps(value, ensure_ascii=False) writes it, byte for byte: lm-eval hashes
 * such text, and numbers written so read back as the same bits. */
#ifndef DUO_MEASURE_PYJSON_H
#define DUO_MEASURE_PYJSON_H

#include <cjson/cJSON.h>

#include "harness/base/buf.h"

/* Appends Python's repr(v): the shortest decimal that reads back as v, "1.0" for 1, "1e+16",
 * "1e-05", "inf", "nan". (Where two decimals of that length fit, which needs a power of two and 16
 * digits, CPython may take the other one.) */
void pyjson_add_float(struct buf *b, double v);

/* Appends a whole number up to 2^53 without a point, anything else as pyjson_add_float(). */
void pyjson_add_number(struct buf *b, double v);

/* Appends the tree. indent < 0: one line with ", " and ": "; else json.dumps(indent=indent).
 * A number is written by pyjson_add_number(), for cJSON does not tell 1 from 1.0; a float that
 * happens to be whole must come as cJSON_Raw, which is copied. */
void pyjson_dump(struct buf *b, const cJSON *value, int indent);

#endif
