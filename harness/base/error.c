/* Error lines and allocation that cannot fail. */
#include "harness/base/error.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/base/text.h"

enum { LINE = 1024 };

static _Thread_local char last[LINE];
static int silent_lines;  /* read and written by any thread */
static const char *label; /* of one process among several: only die() speaks, under this name */

/* Names come from files and servers of strangers: a message stays one line, and a terminal shows it
 * and does not obey it. */
static void disarm(char *text)
{
    char *to = text;

    while (*text) {
        size_t n = text_unshown(text);

        *to++ = n ? '?' : *text;
        text += n ? n : 1;
    }
    *to = 0;
}

/* Of the UTF-8 character at s[i] or around it. */
static size_t begin_of_character(const char *s, size_t i)
{
    for (int n = 0; n < 3 && i > 0 && ((unsigned char)s[i] & 0xc0) == 0x80; n++)
        i--;
    return i;
}

/* One line of at most LINE bytes. Of a longer one, in which a stranger's name must be long, the
 * middle is left out: what is wrong is said at the end. */
static void compose(char out[LINE], const char *fmt, va_list ap)
{
    static const char gap[] = " ... ";
    const size_t n_tail = LINE / 2, n_head = LINE - n_tail - sizeof(gap) - 3;
    va_list again;
    char *all;
    int n;

    va_copy(again, ap);
    n = vsnprintf(out, LINE, fmt, ap);
    all = n >= LINE ? malloc((size_t)n + 1) : NULL;
    if (all) { /* else the line is whole, or there is no memory and it is cut */
        vsnprintf(all, (size_t)n + 1, fmt, again);
        snprintf(out + begin_of_character(all, n_head), LINE - n_head, "%s%s", gap,
                 all + begin_of_character(all, (size_t)n - n_tail));
        free(all);
    }
    va_end(again);
    disarm(out);
}

/* One call per line, so that lines of several threads do not mix; a progress line is wiped. */
static void print_line(const char *prefix, const char *text)
{
    if (!__atomic_load_n(&silent_lines, __ATOMIC_RELAXED))
        fprintf(stderr, "%sduo: %s%s%s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "",
                label ? label : "", prefix, text);
}

int error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    compose(last, fmt, ap);
    va_end(ap);
    if (!label)
        print_line("", last);
    return -1;
}

void warning(const char *fmt, ...)
{
    char text[LINE];
    va_list ap;

    va_start(ap, fmt);
    compose(text, fmt, ap);
    va_end(ap);
    if (!label)
        print_line("warning: ", text);
}

/* exit() by two threads at a time would end the process while the first still removes what must not
 * stay (stop.h): the others stand still. A second die() of the same thread is one in such work. */
static _Noreturn void exit_once(void)
{
    static char is_ending;
    static _Thread_local int is_mine;

    if (!is_mine && __atomic_test_and_set(&is_ending, __ATOMIC_SEQ_CST))
        for (;;)
            pause();
    is_mine = 1;
    exit(1);
}

void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    compose(last, fmt, ap);
    va_end(ap);
    __atomic_store_n(&silent_lines, 0,
                     __ATOMIC_RELAXED); /* only errors and warnings can be silenced */
    print_line("", last);
    exit_once();
}

const char *error_last(void)
{
    return last;
}

void error_silence(int silent)
{
    __atomic_store_n(&silent_lines, silent, __ATOMIC_RELAXED);
}

void error_label(const char *text)
{
    label = text;
}

static void *checked(void *p, size_t nbytes)
{
    if (!p)
        die("out of memory: %zu bytes asked for", nbytes);
    return p;
}

void *xmalloc(size_t nbytes)
{
    return checked(malloc(nbytes ? nbytes : 1), nbytes);
}

void *xcalloc(size_t n, size_t size)
{
    size_t nbytes;

    if (__builtin_mul_overflow(n, size, &nbytes))
        die("out of memory: %zu times %zu bytes asked for", n, size);
    return checked(calloc(1, nbytes ? nbytes : 1), nbytes);
}

void *xrealloc(void *p, size_t nbytes)
{
    return checked(realloc(p, nbytes ? nbytes : 1), nbytes);
}

char *xstrdup(const char *s)
{
    size_t nbytes = strlen(s) + 1;

    return memcpy(xmalloc(nbytes), s, nbytes);
}

/* Before an aligned block. Not aligned_alloc(): glibc's asks for a larger block and gives the ends
 * back (before 2.38), small blocks move into these, and then the freed block is too small for the
 * next of its own size: a sweep grew by 3 MB per cell. */
struct aligned_head {
    void *block;
    size_t nbytes;
};

void *xalloc_aligned(size_t nbytes)
{
    size_t need;
    struct aligned_head *head;
    char *block, *p;

    if (__builtin_add_overflow(nbytes, sizeof(*head) + 63, &need))
        die("out of memory: %zu bytes asked for", nbytes);
    block = checked(malloc(need), nbytes);
    p = block + sizeof(*head);
    p += -(uintptr_t)p % 64;
    head = (struct aligned_head *)p - 1;
    *head = (struct aligned_head){block, nbytes};
    return p;
}

void xfree_aligned(void *p)
{
    if (p)
        free(((struct aligned_head *)p)[-1].block);
}

size_t xaligned_size(const void *p)
{
    return ((const struct aligned_head *)p)[-1].nbytes;
}
