/* The host's memory, as /proc and the cgroup tell it. */
#include "harness/base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The number after `name` in a file of lines "Name: 123 kB"; 0: not there. */
static size_t named_kb(const char *path, const char *name)
{
    FILE *f = fopen(path, "r");
    char line[128];
    size_t kb = 0;

    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, name, strlen(name)) == 0)
            sscanf(line + strlen(name), ": %zu", &kb);
    if (f)
        fclose(f);
    return kb;
}

/* The limit of the cgroup that a container sees as its own; SIZE_MAX: none. */
static size_t cgroup_limit(void)
{
    static const char *const paths[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    size_t limit = SIZE_MAX;

    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(paths[i], "r");
        size_t n;

        if (f && fscanf(f, "%zu", &n) == 1 && n < limit)
            limit = n;
        if (f)
            fclose(f);
    }
    return limit;
}

size_t host_memory_free(void)
{
    size_t n = 1024 * named_kb("/proc/meminfo", "MemAvailable"), limit = cgroup_limit();

    if (!n)
        n = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    return n < limit / 4 * 3 ? n : limit / 4 * 3;
}

size_t host_memory_peak(void)
{
    size_t kb = named_kb("/proc/self/status", "VmHWM");
    struct rusage u;

    if (kb)
        return 1024 * kb;
    return getrusage(RUSAGE_SELF, &u) == 0 ? 1024 * (size_t)u.ru_maxrss : 0;
}
