/* The end of a process before its time. What must not stay behind is registered here, and is done
 * on every way out: exit() (and so die(), for want of memory, say), SIGINT, SIGTERM, SIGHUP and
 * SIGXCPU, and a mapped file that another process made shorter, which would else be a bare SIGBUS.
 * Not on kill -9: what that may leave is harmless (see file.h, folder.h, journal.h). */
#ifndef DUO_BASE_STOP_H
#define DUO_BASE_STOP_H

#include <stddef.h>

enum stop_kind {
    STOP_EXIT,   /* on every way out */
    STOP_SIGNAL, /* not on exit(), where its owner has closed it or memory is at an end */
};

/* fn(arg) runs at the end, the last added first, perhaps in another thread while the others go on.
 * arg is also the key for stop_remove(), which returns only when fn is not running. */
void stop_add(enum stop_kind kind, void (*fn)(void *arg), void *arg);
void stop_remove(const void *arg);

/* Installs the handlers and the thread that does the work outside of them; for main(). A signal
 * that is ignored (nohup) stays so. Writes to a pipe or connection that nobody reads, and beyond
 * the limit of a file's size, are errors like others: SIGPIPE and SIGXFSZ are ignored. After the
 * work the process ends by the signal, with one line that says so (SIGBUS: exit status 1 and a line
 * that names the file). A second signal, a second or more after the first, ends it at once. */
void stop_install(void);

/* Flushes stdout. 0, or error(): "cannot write WHAT to stdout: why". Where its reader has gone
 * (head), the process ends by SIGPIPE after the work of a signal, without a line, as filters do. */
int stop_flush_stdout(const char *what);

/* The same after writing a text, whose error is then the reason told. */
int stop_write_stdout(const void *data, size_t nbytes, const char *what);

/* What that line adds: how the run can go on. Copied, at most 500 bytes. */
void stop_advice(const char *text);

#endif
