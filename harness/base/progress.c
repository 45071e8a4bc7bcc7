/* Progress lines. */
#include "harness/base/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int quiet_lines;
static void (*hook_call)(void *arg);
static void *hook_arg;

double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_quiet(int quiet)
{
    quiet_lines = quiet;
}

/* 12345678 -> "12.3 M" */
static void human(double v, char out[32])
{
    static const char *const unit[] = {"", " k", " M", " G", " T"};
    int i = 0;

    for (; v >= 9999.5 && i < 4; i++)
        v /= 1000;
    snprintf(out, 32, v == (double)(long long)v || v >= 100 ? "%.0f%s" : "%.3g%s", v, unit[i]);
}

static void draw(struct progress *p, double now, int last)
{
    double spent = now - p->started, rate = spent > 0 ? p->done / spent : 0;
    char done[32], total[32], speed[32];
    int tty = isatty(STDERR_FILENO);

    human(p->done, done);
    human(p->total, total);
    human(rate, speed);
    fprintf(stderr, "%s%s: %s", tty ? "\r\033[K" : "", p->what, done);
    if (p->total > 0 && !last)
        fprintf(stderr, "/%s", total);
    fprintf(stderr, " %s, %s/s", p->unit, speed);
    if (last)
        fprintf(stderr, ", %.1f s\n", spent);
    else if (p->total > 0 && rate > 0)
        fprintf(stderr, ", %.0f s left%s", (p->total - p->done) / rate, tty ? "" : "\n");
    else
        fprintf(stderr, "%s", tty ? "" : "\n");
    fflush(stderr);
}

void progress_begin(struct progress *p, const char *what, const char *unit, double total)
{
    snprintf(p->what, sizeof(p->what), "%s", what);
    p->unit = unit;
    p->total = total;
    p->done = 0;
    p->started = p->printed = now_seconds();
}

void progress_hook(void (*hook)(void *arg), void *arg)
{
    hook_call = hook;
    hook_arg = arg;
}

void progress_add(struct progress *p, double n)
{
    double now = now_seconds();

    if (hook_call)
        hook_call(hook_arg);
    p->done += n;
    if (!quiet_lines && now - p->printed >= (isatty(STDERR_FILENO) ? 0.2 : 10.0)) {
        p->printed = now;
        draw(p, now, 0);
    }
}

void progress_end(struct progress *p)
{
    if (!quiet_lines)
        draw(p, now_seconds(), 1);
}
