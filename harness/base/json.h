/* Strict reading of JSON over cJSON: every miss is one line that says where. */
#ifndef DUO_BASE_JSON_H
#define DUO_BASE_JSON_H

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

/* `where` below is how the message begins, e.g. "piqa/valid.jsonl line 12" or a path. */

/* Parses exactly nbytes of text (one value, then only white space). A key that is twice in an
 * object is an error: readers differ in which of its values counts. So are invalid UTF-8, raw
 * control characters other than white space between values, NUL in a string, and values nested more
 * than 1000 deep. NULL after error(). */
cJSON *json_parse(const char *text, size_t nbytes, const char *where);

/* Reads and parses a file. NULL after error(). */
cJSON *json_read(const char *path);

/* Typed members of an object; absent or of another type is error(). Strings are borrowed. */
int json_string(const cJSON *obj, const char *key, const char *where, const char **out);
int json_bool(const cJSON *obj, const char *key, const char *where, int *out);
int json_int(const cJSON *obj, const char *key, const char *where, int64_t min, int64_t max,
             int64_t *out);
int json_number(const cJSON *obj, const char *key, const char *where, double *out);
int json_array(const cJSON *obj, const char *key, const char *where, const cJSON **out);

/* Present and not null. */
int json_has(const cJSON *obj, const char *key);

/* Appends s as a JSON string literal, quotes included; UTF-8 stays as it is, a byte that is none
 * becomes U+FFFD. */
struct buf;
void json_add_quoted(struct buf *b, const char *s);

#endif
