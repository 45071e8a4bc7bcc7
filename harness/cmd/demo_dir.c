/* Where the embedded demo lies. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/cmd/cmd.h"

static char *if_demo(const char *dir)
{
    char *config = path_join(dir, "model/config.json");
    char *found = file_exists(config) ? xstrdup(dir) : NULL;

    free(config);
    return found;
}

char *demo_dir(void)
{
    const char *env = getenv("DUO_DEMO");
    char exe[4096], *found = NULL;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

    if (env)
        return if_demo(env);
    /* The binary is build/CONFIG/duo: each folder above it is tried. */
    exe[n > 0 ? n : 0] = 0;
    for (char *slash; !found && (slash = strrchr(exe, '/'));) {
        struct buf dir = {0};

        *slash = 0;
        buf_addf(&dir, "%s/data/demo", exe);
        found = if_demo(buf_str(&dir));
        buf_release(&dir);
    }
    return found ? found : if_demo("data/demo");
}
