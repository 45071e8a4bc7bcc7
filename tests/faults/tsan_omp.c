/* Builds with CONFIG=tsan: gcc's OpenMP library is not built for ThreadSanitizer, which therefore
 * does not see its barriers and calls all shared data races. These wrappers (--wrap, in the
 * Makefile) tell it: what was before the start of a team, the end of a loop or of a team is before
 * what comes after. Races within one parallel loop are still seen. */
#include <sanitizer/tsan_interface.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static char
    sync_team; /* one for all: an order too many hides little, loops are all between barriers */

struct work {
    void (*fn)(void *);
    void *data;
};

static void in_team(void *arg)
{
    struct work *w = arg;

    __tsan_acquire(&sync_team);
    w->fn(w->data);
    __tsan_release(&sync_team);
}

void __real_GOMP_parallel(void (*fn)(void *), void *data, unsigned n, unsigned flags);
void __wrap_GOMP_parallel(void (*fn)(void *), void *data, unsigned n, unsigned flags)
{
    struct work w = {fn, data};

    __tsan_release(&sync_team);
    __real_GOMP_parallel(in_team, &w, n, flags);
    __tsan_acquire(&sync_team);
}

void __real_GOMP_loop_end(void);
void __wrap_GOMP_loop_end(void)
{
    __tsan_release(&sync_team);
    __real_GOMP_loop_end();
    __tsan_acquire(&sync_team);
}
