/* SQLite's files on the disk in memory. One connection at a time: locks are free, the shared
 * memory of a WAL is one array. */
#include <sqlite3.h>

#include "tests/fuzz/disk.h"
#include "tests/fuzz/fuzz.h"

#define SHM_REGION 32768
#define N_SHM 8

struct vfs_file {
    sqlite3_file base;
    struct disk_file *f;
    int keeps_wal, goes_at_close;
};
static uint8_t shm[N_SHM][SHM_REGION];
static int n_shm;

static struct disk_file *file_of(sqlite3_file *base)
{
    return ((struct vfs_file *)base)->f;
}

static int vfs_close(sqlite3_file *base)
{
    struct vfs_file *v = (struct vfs_file *)base;

    v->f->n_open--;
    if (v->goes_at_close)
        v->f->is_named = 0;
    return SQLITE_OK;
}

static int vfs_read(sqlite3_file *base, void *out, int n, sqlite3_int64 at)
{
    size_t got = disk_read(file_of(base), out, (size_t)n, (size_t)at);

    if (got == (size_t)n)
        return SQLITE_OK;
    memset((char *)out + got, 0, (size_t)n - got);
    return SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *base, const void *data, int n, sqlite3_int64 at)
{
    return disk_write(file_of(base), data, (size_t)n, (size_t)at) == 0 ? SQLITE_OK : SQLITE_FULL;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 n)
{
    return disk_resize(file_of(base), (size_t)n) == 0 ? SQLITE_OK : SQLITE_FULL;
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *out)
{
    *out = (sqlite3_int64)file_of(base)->n;
    return SQLITE_OK;
}

static int vfs_nothing(sqlite3_file *base, int x)
{
    (void)base;
    (void)x;
    return SQLITE_OK;
}

static int vfs_is_reserved(sqlite3_file *base, int *out)
{
    (void)base;
    *out = 0;
    return SQLITE_OK;
}

static int vfs_control(sqlite3_file *base, int what, void *arg)
{
    struct vfs_file *v = (struct vfs_file *)base;
    int *on = arg;

    if (what != SQLITE_FCNTL_PERSIST_WAL)
        return SQLITE_NOTFOUND;
    if (*on < 0)
        *on = v->keeps_wal;
    else
        v->keeps_wal = *on;
    return SQLITE_OK;
}

static int vfs_sector(sqlite3_file *base)
{
    (void)base;
    return 4096;
}

static int vfs_traits(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int vfs_shm_map(sqlite3_file *base, int i, int n, int extend, void volatile **out)
{
    (void)base;
    *out = NULL;
    if (i >= N_SHM || n != SHM_REGION)
        return SQLITE_IOERR_NOMEM;
    if (i >= n_shm && !extend)
        return SQLITE_OK;
    for (; n_shm <= i; n_shm++)
        memset(shm[n_shm], 0, SHM_REGION);
    *out = shm[i];
    return SQLITE_OK;
}

static int vfs_shm_lock(sqlite3_file *base, int at, int n, int flags)
{
    (void)base;
    (void)at;
    (void)n;
    (void)flags;
    return SQLITE_OK;
}

static void vfs_shm_barrier(sqlite3_file *base)
{
    (void)base;
}

static int vfs_shm_unmap(sqlite3_file *base, int delete)
{
    (void)base;
    (void)delete;
    n_shm = 0;
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    2,          vfs_close,   vfs_read,     vfs_write,       vfs_truncate,  vfs_nothing,
    vfs_size,   vfs_nothing, vfs_nothing,  vfs_is_reserved, vfs_control,   vfs_sector,
    vfs_traits, vfs_shm_map, vfs_shm_lock, vfs_shm_barrier, vfs_shm_unmap, NULL,
    NULL,
};

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *out)
{
    struct vfs_file *v = (struct vfs_file *)base;
    const char *name = path ? path : FUZZ_DISK "/temporary";
    struct disk_file *f = disk_find(name);

    (void)vfs;
    *v = (struct vfs_file){0};
    if (!disk_is_on(name) || (!f && !(flags & SQLITE_OPEN_CREATE)))
        return SQLITE_CANTOPEN;
    v->base.pMethods = &methods;
    v->f = f ? f : disk_make(name);
    v->f->n_open++;
    if (flags & SQLITE_OPEN_MAIN_DB)
        n_shm = 0;
    v->goes_at_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    if (out)
        *out = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync)
{
    (void)vfs;
    (void)sync;
    return disk_remove(path) == 0 ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    (void)vfs;
    (void)flags;
    *out = disk_find(path) != NULL;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)size, "%s", path);
    return SQLITE_OK;
}

static int vfs_random(sqlite3_vfs *vfs, int n, char *out)
{
    (void)vfs;
    memset(out, 7, (size_t)n);
    return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
    (void)vfs;
    *out = 2460000.5;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
    (void)vfs;
    (void)n;
    (void)out;
    return 0;
}

void disk_serve_sqlite(void)
{
    static sqlite3_vfs vfs = {
        .iVersion = 1,
        .szOsFile = sizeof(struct vfs_file),
        .mxPathname = 128,
        .zName = "in-memory-disk",
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_random,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
    };

    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD); /* and no count of memory: both take time */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    FUZZ_ASSERT(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
}
