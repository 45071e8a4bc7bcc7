/* Between the two files that read the options of eval. */
#ifndef DUO_CMD_RUN_OPTIONS_TABLE_H
#define DUO_CMD_RUN_OPTIONS_TABLE_H

#include "harness/cmd/run_options.h"

#define HELP_INDENT "                           " /* of a second line of help */

/* An option, or (name NULL) the heading of those that follow. */
struct run_option {
    char letter;                   /* "-m", or 0 */
    const char *name, *arg, *help; /* arg: what its value is called, NULL for none */
    int (*set)(struct run_options *o, const char *value); /* 0 or error() */
    unsigned takes;    /* given: some method must take it (enum pruner_takes) */
    unsigned commands; /* that have it: enum run_command */
};

/* In the order of the help text. */
#define MAX_OPTIONS 64
extern const struct run_option run_option_table[];
extern const size_t n_run_options; /* at most MAX_OPTIONS */

#endif
