/* Growing byte strings. */
#include "harness/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

char *buf_reserve(struct buf *b, size_t n)
{
    size_t need = b->n + n + 1;

    if (need > b->cap) {
        b->cap = need > 2 * b->cap ? need : 2 * b->cap;
        b->data = xrealloc(b->data, b->cap);
    }
    return b->data + b->n;
}

void buf_add(struct buf *b, const void *bytes, size_t nbytes)
{
    char *to = buf_reserve(b, nbytes);

    if (nbytes)
        memcpy(to, bytes, nbytes);
    b->n += nbytes;
    b->data[b->n] = 0;
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        die("bad format '%s'", fmt);
    buf_reserve(b, (size_t)n);
    va_start(ap, fmt);
    vsnprintf(b->data + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

const char *buf_str(const struct buf *b)
{
    return b->data ? b->data : "";
}

char *buf_detach(struct buf *b)
{
    char *data = b->data ? b->data : xstrdup("");

    *b = (struct buf){0};
    return data;
}

void buf_release(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
