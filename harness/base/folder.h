/* A folder that is seen whole or not at all: it is filled under a temporary name beside its place
 * and renamed at the end. */
#ifndef DUO_BASE_FOLDER_H
#define DUO_BASE_FOLDER_H

#include <stddef.h>

struct atomic_folder {
    char *tmp; /* write here: DIR.partial-XXXXXX */
    char *path;
    int lock; /* held while it is being filled, so that a dead one is told from one at work */
};

/* Whether DIR can be made: it is not there or is an empty folder, and its parent can be written to.
 * Folders that an interrupted run left beside it are named in a warning each. 0 or error(). */
int atomic_folder_check(const char *path);

/* Whether nbytes more fit the disk that DIR will lie on. 0 or error(). */
int atomic_folder_room(const char *path, size_t nbytes);

/* atomic_folder_check(), and the temporary folder. 0 or error(). */
int atomic_folder_open(struct atomic_folder *a, const char *path);

/* Renames; every file in it must be closed and synced (atomic_file_commit() does). 0, or error():
 * then nothing is under DIR and the temporary folder is gone. */
int atomic_folder_commit(struct atomic_folder *a);

/* Removes the temporary folder and the files in it. */
void atomic_folder_abort(struct atomic_folder *a);

/* Removes the folder at path (a string, as stop_add() passes it) and the files in it, as far as
 * that can be; takes no memory. */
void folder_remove(void *path);

#endif
