/* Reading a data set's files where they lie under --data: plain, inside the publisher's zip, or
 * packed by gzip. Archives come from the network, so nothing in them is trusted: checksums are
 * verified, and unpacking stops at 1 GiB, or past the first MiB at 200 times the packed size. */
#ifndef DUO_DATA_ARCHIVE_H
#define DUO_DATA_ARCHIVE_H

#include <stddef.h>

#include "harness/base/buf.h"

/* Appends the whole of one file to out. Tried in this order:
 *   DATA/SET/FILE,  member FILE of the zip DATA/SET/ARCHIVE,  DATA/SET/FILE.gz
 * archive: the zip's name, or NULL if the set has none. 0; or error() that names the archive and
 * the member, or, where nothing is found, every path looked for and `duo fetch SET`. On failure
 * out is as before. */
int data_read(const char *data_dir, const char *set, const char *archive, const char *file,
              struct buf *out);

/* The lines of a file that is too large to be read at once: DATA/SET/FILE or DATA/SET/FILE.gz. A
 * FILE that itself ends in ".gz" is unpacked. A line is at most 64 MiB, all
 * together at most 4 GiB. */
struct data_lines {
    char *path;      /* the file being read */
    size_t n;        /* number of the line returned last, from 1 */
    void *gz;        /* private: zlib's stream, which reads plain files as well */
    struct buf text; /* private: bytes read; the line returned last begins it */
    size_t used;     /* private: bytes of text that are done with */
    size_t total;    /* private: bytes of all lines */
};

/* 0, or error(); after either, data_lines_close is allowed. */
int data_lines_open(struct data_lines *l, const char *data_dir, const char *set, const char *file);

/* 1 and the next line, NUL-terminated, without its "\n", valid until the next call; 0 at the end;
 * -1 after error(). The last line needs no "\n". */
int data_lines_next(struct data_lines *l, const char **line, size_t *nbytes);

void data_lines_close(struct data_lines *l);

#endif
