/* Splicing JSON text. */
#include "harness/base/json_edit.h"

#include <string.h>

/* After the string that begins at p. */
static const char *after_string(const char *p)
{
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1])
            p++;
    return *p ? p + 1 : p;
}

static const char *after_space(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* After the value that begins at p. */
static const char *after_value(const char *p)
{
    int depth = 0;

    do {
        if (*p == '"') {
            p = after_string(p);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        p++;
    } while (*p && (depth > 0 || !strchr(",}] \t\r\n", *p)));
    return p;
}

static void splice(struct buf *text, const char *begin, const char *end, const char *with)
{
    struct buf out = {0};

    buf_add(&out, text->data, (size_t)(begin - text->data));
    buf_adds(&out, with);
    buf_adds(&out, end);
    buf_release(text);
    *text = out;
}

/* Puts a member before the object's closing brace, after the last value (last, NULL: none). */
static void append(struct buf *text, const char *last, const char *key, const char *value)
{
    const char *at = last ? last : strchr(text->data, '{') + 1;
    struct buf member = {0};

    buf_addf(&member, "%s\n  \"%s\": %s%s", last ? "," : "", key, value, last ? "" : "\n");
    splice(text, at, last ? at : after_space(at), buf_str(&member));
    buf_release(&member);
}

void json_set_member(struct buf *text, const char *key, const char *value)
{
    const char *p = after_space(text->data), *last = NULL;
    size_t n = strlen(key);

    for (p = after_space(p + 1); *p == '"'; p = after_space(p + (*p == ','))) {
        const char *name = p + 1, *begin;
        int found;

        p = after_string(p);
        found = (size_t)(p - name) == n + 1 && memcmp(name, key, n) == 0;
        begin = after_space(after_space(p) + 1); /* past the colon */
        last = after_value(begin);
        if (found) {
            splice(text, begin, last, value);
            return;
        }
        p = after_space(last);
    }
    append(text, last, key, value);
}
