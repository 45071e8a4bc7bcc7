/* The table of sources: where each data set comes from and how its files lie under --data.
 * A new set is one row in sources.c. */
#ifndef DUO_DATA_SOURCES_H
#define DUO_DATA_SOURCES_H

#include <stddef.h>

#define SOURCE_MAX_FILES 2
#define SOURCE_MAX_MEMBERS 2

/* One file at its publisher. */
struct source_file {
    const char *path;   /* under DIR/SET/, e.g. "valid.jsonl"; NULL ends the list */
    const char *url;    /* the publisher's address */
    const char *sha256; /* of the publisher's bytes, 64 lower-case hex digits; NULL: not known */
    size_t nbytes;      /* of the publisher's file; 0: not known */
};

struct source {
    const char *set;     /* folder under --data, and the name for `duo fetch` */
    const char *archive; /* the zip that holds the set, e.g. "BoolQ.zip"; NULL: files lie plain */
    struct source_file files[SOURCE_MAX_FILES + 1];
    const char
        *members[SOURCE_MAX_MEMBERS + 1]; /* what the archive must contain; NULL-terminated */
    size_t n_documents; /* of the splits that are used; WikiText-2: lines of the test split */
    const char *licence;
    const char *about; /* one line */
};

/* NULL-terminated, in the order of the reports. */
extern const struct source *const sources[];

/* The source of that set or NULL, without a message. */
const struct source *source_find(const char *set);

#endif
