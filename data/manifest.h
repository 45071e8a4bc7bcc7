/* Document counts that a data folder states for itself (DIR/manifest.json). */
#ifndef DUO_DATA_MANIFEST_H
#define DUO_DATA_MANIFEST_H

#include <stddef.h>

/* The number of documents to expect of a task: "counts"."TASK" of DIR/manifest.json if the folder
 * has one, else `published`. 0, or error() (a bad manifest, or one without this task). */
int manifest_expected(const char *data_dir, const char *task, size_t published, size_t *out);

#endif
