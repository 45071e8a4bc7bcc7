/* A folder for files that this process alone needs for a while. */
#ifndef DUO_BASE_TEMPORARY_H
#define DUO_BASE_TEMPORARY_H

/* Makes TMPDIR/duo-NAME-XXXXXX (in /tmp where TMPDIR is not an absolute path), which is gone with
 * the files in it on every way out but kill -9. Its path, or NULL after error(). */
char *temporary_open(const char *name);

/* Removes it and frees the path; NULL is nothing. */
void temporary_close(char *dir);

#endif
