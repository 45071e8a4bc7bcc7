/* What the system says of its processor. */
#ifndef DUO_BASE_CPUINFO_H
#define DUO_BASE_CPUINFO_H

#include <stddef.h>

/* The value of the first line "NAME : value" of /proc/cpuinfo, "" where there is none. Want of
 * memory ends the process: the answer is part of a result's identity, and "" would be another. */
void cpuinfo(const char *name, char *out, size_t nbytes);

#endif
