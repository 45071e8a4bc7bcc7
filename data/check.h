/* Whether fetched bytes are what their name says, before they get that name. */
#ifndef DUO_DATA_CHECK_H
#define DUO_DATA_CHECK_H

#include "data/http.h"

/* For http_file.check. By the ending of file->path: a zip opens and contains file->members, a gzip
 * stream starts, JSON parses, a safetensors file is as long as its header says; and nothing is a
 * web page (the answer of many a captive network). 0 or error(). */
int content_check(const char *path, const struct http_file *file);

#endif
