/* A growing byte string, always NUL-terminated once touched. */
#ifndef DUO_BASE_BUF_H
#define DUO_BASE_BUF_H

#include <stddef.h>

struct buf {
    char *data; /* NULL while empty and untouched; else data[n] == 0 */
    size_t n;
    size_t cap;
};

void buf_add(struct buf *b, const void *bytes, size_t nbytes);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Makes room for n more bytes (and the NUL) and returns where they go; the caller adds to b->n. */
char *buf_reserve(struct buf *b, size_t n);

/* The content as a C string ("" when empty), owned by b. */
const char *buf_str(const struct buf *b);

/* Hands the content to the caller (free() it) and leaves b empty. */
char *buf_detach(struct buf *b);
void buf_release(struct buf *b);

#endif
