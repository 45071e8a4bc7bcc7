/* What a run that ended too early may leave behind. */
#ifndef DUO_TESTS_TEMPORARY_H
#define DUO_TESTS_TEMPORARY_H

#include <dirent.h>
#include <string.h>

/* Temporary files of atomic_file_open() in a folder. */
static inline int n_temporary(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;

    for (struct dirent *e; d && (e = readdir(d));)
        n += strstr(e->d_name, ".tmp") != NULL;
    if (d)
        closedir(d);
    return n;
}

#endif
