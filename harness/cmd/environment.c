/* What a result may depend on that no option says. */
#include "harness/cmd/environment.h"

#include <gnu/libc-version.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/cpuinfo.h"
#include "harness/cmd/cmd.h"

static void add_host(struct buf *b)
{
    const char *threads = getenv("OMP_NUM_THREADS");
    char model[256], mhz[64];
    struct utsname u;

    cpuinfo("model name", model, sizeof(model));
    cpuinfo("cpu MHz", mhz, sizeof(mhz));
    buf_addf(b, "%s, %ld processors", model[0] ? model : "unknown processor",
             sysconf(_SC_NPROCESSORS_ONLN));
    if (mhz[0])
        buf_addf(b, " at %.0f MHz", atof(mhz));
    buf_addf(b, ", %.0f GB", (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1e9);
    if (uname(&u) == 0)
        buf_addf(b, ", %s %s", u.sysname, u.machine);
    if (threads)
        buf_addf(b, ", OMP_NUM_THREADS=%.16s", threads);
}

/* The file behind a loaded library's name carries its version. */
static int add_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    static const char *const wanted[] = {
        "libopenblas", "libcudart",         "libcuda.", "libcublas", "libcusolver",
        "libgomp",     "libsentencepiece.", "libpcre2", "libstdc++", NULL};
    const char *name = strrchr(info->dlpi_name, '/');
    struct buf *b = arg;
    char *real;

    (void)size;
    for (size_t i = 0; name && wanted[i]; i++) {
        if (strncmp(name + 1, wanted[i], strlen(wanted[i])) != 0)
            continue;
        real = realpath(info->dlpi_name, NULL);
        buf_addf(b, " %s", real ? strrchr(real, '/') + 1 : name + 1);
        free(real);
        break;
    }
    return 0;
}

/* Texts from outside: a record's texts have no control characters. */
static void set(char **member, struct buf *b)
{
    for (size_t i = 0; i < b->n; i++)
        if ((unsigned char)b->data[i] < 0x20 || (unsigned char)b->data[i] > 0x7e)
            b->data[i] = '?';
    record_set(member, buf_str(b));
    b->n = 0;
}

void environment_fields(struct record *r)
{
    struct buf b = {0};

    add_host(&b);
    set(&r->host, &b);
    buf_adds(&b, duo_build);
    set(&r->build, &b);
    buf_addf(&b, "glibc-%s", gnu_get_libc_version());
    dl_iterate_phdr(add_library, &b);
    set(&r->libraries, &b);
    buf_release(&b);
}
