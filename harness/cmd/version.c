/* The program's revision and how it was built; the Makefile passes it to this file alone. */
#include "harness/cmd/cmd.h"

#ifndef DUO_GIT
#define DUO_GIT "unknown"
#endif

#ifndef DUO_OPT
#define DUO_OPT "unknown options"
#endif
#ifdef __clang__
#define COMPILER ""
#else
#define COMPILER "gcc "
#endif

const char duo_git[] = DUO_GIT;
const char duo_build[] = COMPILER __VERSION__ " " DUO_OPT;
