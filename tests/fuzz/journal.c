/* A journal file (the first byte 0: followed by a WAL of the same number of bytes). Whatever it is,
 * a journal opens, what it serves it has a checksum for, and what is put comes back. Damaged files
 * are set aside for a fresh one, which takes most of the time: where the last byte does not end in
 * 0 their names cannot be changed, and the journal does not open. */
#include "harness/measure/journal.h"
#include "tests/fuzz/disk.h"
#include "tests/fuzz/fuzz.h"

#define PATH FUZZ_DISK "/j"

void fuzz_journal(const uint8_t *data, size_t n)
{
    static int is_served;
    struct journal *j;
    double v[2] = {0}, w = 3;
    int has_wal = n > 2 && data[0] == 0;
    size_t n_db = has_wal ? (n - 1) / 2 : n;

    if (!is_served)
        disk_serve_sqlite();
    is_served = 1;
    disk_keep_names(n > 0 && data[n - 1] % 16 != 0);
    disk_put(PATH, data + has_wal, n_db);
    if (has_wal)
        disk_put(PATH "-wal", data + 1 + n_db, n - 1 - n_db);
    if (journal_open(&j, PATH) == 0) {
        if (journal_get(j, "cell", "item", v, sizeof(v)) == 1)
            FUZZ_ACCEPTED(1);
        journal_get(j, "cell", "other", v, sizeof(v));
        journal_put(j, "cell", "item", &w, sizeof(w));
        if (journal_flush(j) == 0)
            FUZZ_ASSERT(journal_get(j, "cell", "item", v, sizeof(w)) == 1 && v[0] == 3);
        journal_close(j);
    }
    disk_clear();
}
