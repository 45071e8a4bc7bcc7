/* Between the journal and its file. */
#ifndef DUO_MEASURE_JOURNAL_FILE_H
#define DUO_MEASURE_JOURNAL_FILE_H

#include <sqlite3.h>

struct journal_file {
    sqlite3 *db;
    sqlite3_stmt *get,
        *put; /* payload and checksum of (cell, item); (cell, item, payload, checksum) */
    char *path;
};

/* As journal_open() says: looks at the whole file, and sets one that is damaged aside. 0 or
 * error(), and then nothing is to be closed. */
int journal_file_open(struct journal_file *f, const char *path);
void journal_file_close(struct journal_file *f);

#endif
