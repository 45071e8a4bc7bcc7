/* What compare and rerun print. */
#ifndef DUO_CMD_COMPARE_REPORT_H
#define DUO_CMD_COMPARE_REPORT_H

#include "harness/cmd/compare_rules.h"

/* Compares, prints the table, the reasons of what is not comparable, the sum and the broken rules.
 * The exit code: 0; 1 if a rule is broken or, without rules, something is WORSE, or after error();
 * 3 if something (or nothing) could be compared. */
int compare_report(const struct record_list *base, const struct record_list *now,
                   const char *base_name, const char *new_name, const struct compare_options *o,
                   const struct rule *rules, size_t n_rules);

#endif
