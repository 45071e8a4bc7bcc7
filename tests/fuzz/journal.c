/* A journal file (the first byte 0: followed by a WAL of the same number of bytes). Whatever it is,
 * a journal opens, what it serves it has a checksum for, and what is put comes back. */
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "harness/measure/journal.h"
#include "tests/fuzz/fuzz.h"

static void put_file(const char *name, const void *data, size_t n)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", fuzz_real_folder(), name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    close(fd);
}

static void remove_files(void)
{
    DIR *d = opendir(fuzz_real_folder());
    const struct dirent *e;

    while ((e = readdir(d)))
        unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

void fuzz_journal(const uint8_t *data, size_t n)
{
    struct journal *j;
    char path[128];
    double v[2] = {0}, w = 3;
    int has_wal = n > 2 && data[0] == 0;
    size_t n_db = has_wal ? (n - 1) / 2 : n;

    put_file("j", data + has_wal, n_db);
    if (has_wal)
        put_file("j-wal", data + 1 + n_db, n - 1 - n_db);
    snprintf(path, sizeof(path), "%s/j", fuzz_real_folder());
    if (journal_open(&j, path) == 0) {
        journal_get(j, "cell", "item", v, sizeof(v));
        journal_get(j, "cell", "other", v, sizeof(v));
        journal_put(j, "cell", "item", &w, sizeof(w));
        if (journal_flush(j) == 0)
            FUZZ_ASSERT(journal_get(j, "cell", "item", v, sizeof(w)) == 1 && v[0] == 3);
        journal_close(j);
    }
    remove_files();
}
