/* Errors and memory. The world being wrong is one printed line and -1; nothing to be done is die().
 */
#ifndef DUO_BASE_ERROR_H
#define DUO_BASE_ERROR_H

#include <stddef.h>

/* Prints "duo: MESSAGE" and a newline on stderr and returns -1, so that a caller can write
 * `return error("cannot open '%s'", path)`. Called once, where the cause is known. What
 * text_unshown() tells of is shown, here and below, as '?', and the middle of a line of more than
 * 1023 bytes as " ... ". */
int error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Prints "duo: warning: MESSAGE"; the run goes on. */
void warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Prints "duo: MESSAGE" and ends the process with status 1: for what no caller can mend. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The text of this thread's last error() without prefix and newline; "" before the first. */
const char *error_last(void);

/* Keeps error() and warning() from printing (error_last() still works): for tests of errors, and
 * where the caller says it in other words. */
void error_silence(int silent);

/* For one process among several (harness/base/procs.h): from here on error() and warning() print
 * nothing (error_last() still works) and die() begins with the text, which stays the caller's. */
void error_label(const char *text);

/* Memory or die() with the size asked for. n == 0 gives a valid pointer. All are free()d. */
void *xmalloc(size_t nbytes);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t nbytes);
char *xstrdup(const char *s);

/* 64-byte aligned, for vector loads; xfree_aligned() (NULL is fine) and not free(). */
void *xalloc_aligned(size_t nbytes);
void xfree_aligned(void *p);
size_t xaligned_size(const void *p); /* as asked for */

#endif
