/* Hooks for the end, and the thread that waits for signals. */
#include "harness/base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"

struct hook {
    enum stop_kind kind;
    void (*fn)(void *arg);
    void *arg;
    struct hook *next;
};

/* What a handler tells the thread. */
struct event {
    int signal;
    const void *address; /* SIGBUS: what could not be read */
};

/* Recursive: a hook may die(). */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct hook *hooks;
static char advice[512];
static int pipe_fd[2];
static volatile sig_atomic_t first_signal; /* when, in seconds; 0: not yet */

/* ---- hooks */

static void run_hooks(enum stop_kind least)
{
    pthread_mutex_lock(&lock);
    for (const struct hook *h = hooks; h; h = h->next)
        if (h->kind <= least)
            h->fn(h->arg);
    pthread_mutex_unlock(&lock);
}

static void at_exit(void)
{
    run_hooks(STOP_EXIT);
}

void stop_add(enum stop_kind kind, void (*fn)(void *arg), void *arg)
{
    static int is_registered; /* under the lock */
    struct hook *h = xmalloc(sizeof(*h));
    int rc = 0;

    pthread_mutex_lock(&lock);
    if (!is_registered)
        rc = atexit(at_exit);
    is_registered = 1;
    *h = (struct hook){kind, fn, arg, hooks};
    hooks = h;
    pthread_mutex_unlock(&lock);
    if (rc != 0)
        die("out of memory: no room for what is to be done at the end");
}

void stop_remove(const void *arg)
{
    struct hook **at = &hooks, *found;

    pthread_mutex_lock(&lock);
    while (*at && (*at)->arg != arg)
        at = &(*at)->next;
    found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&lock);
    free(found);
}

void stop_advice(const char *text)
{
    pthread_mutex_lock(&lock);
    snprintf(advice, sizeof(advice), "%s", text);
    pthread_mutex_unlock(&lock);
}

/* ---- signals */

static void end_by(int signal)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t all;

    sigaction(signal, &plain, NULL);
    sigfillset(&all);
    sigdelset(&all, signal);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    raise(signal);
    _exit(1);
}

/* A place in no mapped file is a fault of the program or the machine: the signal takes its course.
 */
static void end_by_fault(const void *address)
{
    char path[4096];

    if (!file_map_at(address, path, sizeof(path)))
        end_by(SIGBUS);
    error("'%s' cannot be read any more: it was made shorter, or its disk fails", path);
    run_hooks(STOP_SIGNAL);
    _exit(1);
}

static void *wait_for_event(void *unused)
{
    struct event e;

    (void)unused;
    while (read(pipe_fd[0], &e, sizeof(e)) != (ssize_t)sizeof(e))
        ;
    if (e.signal == SIGBUS)
        end_by_fault(e.address);
    run_hooks(STOP_SIGNAL);
    error("stopped by SIG%s%s%s", sigabbrev_np(e.signal), advice[0] ? "; " : "", advice);
    end_by(e.signal);
    return NULL;
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    struct event e = {signal, info->si_addr};
    struct timespec now;
    long seconds;

    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    seconds = (long)now.tv_sec % 1000000 + 1;
    if (signal != SIGBUS && first_signal && seconds != first_signal && seconds != first_signal + 1)
        _exit(128 + signal);
    if (!first_signal)
        first_signal = (sig_atomic_t)seconds;
    if (write(pipe_fd[1], &e, sizeof(e)) != (ssize_t)sizeof(e))
        _exit(128 + signal);
    if (signal == SIGBUS)
        for (;;) /* there is nothing to go on with; the thread ends the process */
            pause();
}

static void handle(int signal)
{
    struct sigaction old, new = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

    if (sigaction(signal, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
        return;
    sigaction(signal, &new, NULL);
}

/* Flushes; why: what a write before said. */
static int end_stdout(const char *what, int why)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    if (fflush(stdout) != 0 && !why)
        why = errno;
    if (!why && !ferror(stdout))
        return 0;
    if (poll(&out, 1, 0) == 1 && out.revents & POLLERR) { /* a pipe that nobody reads any more */
        run_hooks(STOP_SIGNAL);
        end_by(SIGPIPE);
    }
    return error("cannot write %s to stdout%s%s", what, why ? ": " : "", why ? strerror(why) : "");
}

int stop_write_stdout(const void *data, size_t nbytes, const char *what)
{
    int why = fwrite(data, 1, nbytes, stdout) == nbytes ? 0 : errno;

    return end_stdout(what, why);
}

int stop_flush_stdout(const char *what)
{
    return end_stdout(what, 0);
}

void stop_install(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGBUS};
    sigset_t all, before;
    pthread_t thread;
    int rc;

    /* Progress that nobody reads must not end a run of days, nor a server that hangs up (libcurl
     * leaves that to its user). */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    rc = pipe2(pipe_fd, O_CLOEXEC);

    /* The thread takes no signals itself. Without it (no thread can be made) signals end the
     * process as they always do. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (rc == 0)
        rc = pthread_create(&thread, NULL, wait_for_event, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return;
    pthread_detach(thread);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        handle(signals[i]);
}
