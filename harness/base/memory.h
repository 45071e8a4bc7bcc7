/* The host's memory. */
#ifndef DUO_BASE_MEMORY_H
#define DUO_BASE_MEMORY_H

#include <stddef.h>

/* Bytes that can be had without pushing others out, about: what the kernel calls available, and no
 * more than three quarters of the process's cgroup. */
size_t host_memory_free(void);

/* The most memory that this process has had at a time: its largest resident set, pinned memory
 * included. */
size_t host_memory_peak(void);

#endif
