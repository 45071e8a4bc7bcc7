/* The program's revision; the Makefile passes it to this file alone. */
#include "harness/cmd/cmd.h"

#ifndef DUO_GIT
#define DUO_GIT "unknown"
#endif

const char duo_git[] = DUO_GIT;
