/* Between the files that read the options of a run. */
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
#define MAX_OPTIONS 96
extern const struct run_option run_option_table[];
extern const size_t n_run_options; /* at most MAX_OPTIONS */

/* The option that an argument names ("-m", "--model", "--model=DIR"), among those of o->command,
 * and in *value what follows "=", or NULL. NULL: none. */
const struct run_option *run_option_match(const struct run_options *o, const char *arg,
                                          const char **value);

/* Setters in run_options_set.c: 0 or error(). */
int options_shape(struct run_options *o, const char *s);
int options_tasks(struct run_options *o, const char *s);
int options_methods(struct run_options *o, const char *s);
int options_sparsities(struct run_options *o, const char *s);
int options_act_sparsities(struct run_options *o, const char *s);
int options_order(struct run_options *o, const char *s);
int options_lazy(struct run_options *o, const char *s);
int options_rng(struct run_options *o, const char *s);
int options_backend(struct run_options *o, const char *s);
int options_dtype(struct run_options *o, const char *s);
int options_batch_tokens(struct run_options *o, const char *s);
int options_limit(struct run_options *o, const char *s);
int options_protocol(struct run_options *o, const char *s);
int options_format(struct run_options *o, const char *s);
int options_save_dtype(struct run_options *o, const char *s);
int options_save_format(struct run_options *o, const char *s);
int options_what(struct run_options *o, const char *s);
int options_contexts(struct run_options *o, const char *s);
int options_packed(struct run_options *o, const char *s);

/* Setters in run_options_act.c. */
int options_nm(struct run_options *o, const char *s);
int options_act_rule(struct run_options *o, const char *s);
int options_act_allocation(struct run_options *o, const char *s);
int options_act_part(struct run_options *o, const char *s);
int options_act_ratios(struct run_options *o, const char *s);
int options_save_act_ratios(struct run_options *o, const char *s);

/* Do these options fit each other? 0 or error(). After the defaults. */
int options_check_act(const struct run_options *o);

/* In run_options_files.c. Is every file named by one option alone, where one of them is written? 0
 * or error(). */
int options_check_files(const struct run_options *o);

/* Does the option name a file or folder to be written; is any such option given? */
int run_option_writes(const struct run_option *p);
int options_write(const struct run_options *o);

#endif
