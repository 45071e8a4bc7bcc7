/* /proc/cpuinfo. */
#include "harness/base/cpuinfo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "harness/base/error.h"

void cpuinfo(const char *name, char *out, size_t nbytes)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[512];

    out[0] = 0;
    if (!f && errno == ENOMEM)
        die("out of memory: /proc/cpuinfo cannot be opened");
    while (f && fgets(line, sizeof(line), f)) {
        char *colon = strchr(line, ':');

        if (!colon || strncmp(line, name, strlen(name)) != 0)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, nbytes, "%s", colon[1] ? colon + 2 : "");
        break;
    }
    if (f)
        fclose(f);
}
