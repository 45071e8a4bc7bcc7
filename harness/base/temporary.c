/* Folders in TMPDIR. */
#include "harness/base/temporary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/folder.h"
#include "harness/base/stop.h"

char *temporary_open(const char *name)
{
    const char *tmp = getenv("TMPDIR");
    struct buf b = {0};
    char *dir;

    buf_addf(&b, "%s/duo-%s-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp", name);
    dir = buf_detach(&b);
    stop_add(STOP_EXIT, folder_remove, dir); /* there is none of that name before mkdtemp() */
    if (mkdtemp(dir))
        return dir;
    error("cannot make a folder for what does not stay, '%s': %s", dir, strerror(errno));
    stop_remove(dir);
    free(dir);
    return NULL;
}

void temporary_close(char *dir)
{
    if (!dir)
        return;
    folder_remove(dir);
    stop_remove(dir);
    free(dir);
}
