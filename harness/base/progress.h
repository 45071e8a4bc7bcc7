/* A progress line on stderr: what, how much, rate, time left. */
#ifndef DUO_BASE_PROGRESS_H
#define DUO_BASE_PROGRESS_H

#include <stdint.h>

struct progress {
    char what[96];
    const char *unit; /* "tokens", "documents", "bytes" */
    double total;     /* 0: not known */
    double done;
    double started, printed; /* seconds, monotonic */
};

/* Turns all progress lines off (--quiet). */
void progress_quiet(int quiet);

/* On a terminal the line is redrawn at most five times a second; elsewhere a line is printed every
 * ten seconds, so that logs stay short. */
void progress_begin(struct progress *p, const char *what, const char *unit, double total);
void progress_add(struct progress *p, double n);
void progress_end(struct progress *p); /* a last line with the mean rate */

/* Calls hook(arg) at each progress_add(), of any line: what else is to be done meanwhile. NULL ends
 * it. */
void progress_hook(void (*hook)(void *arg), void *arg);

/* Monotonic clock, seconds. */
double now_seconds(void);

#endif
