/* --fail-if of duo compare. */
#ifndef DUO_CMD_COMPARE_RULES_H
#define DUO_CMD_COMPARE_RULES_H

#include "harness/measure/compare.h"

/* "NAME<NUMBER" or "NAME>NUMBER", NUMBER in points or, with or without %, in per cent. NAME: acc
 * (acc and acc_norm of every task), mean (the mean accuracy), ppl, speed, speedup, kl_divergence,
 * same_top1, or a task (its accuracies or perplexity). */
struct rule {
    const char *text;
    char name[32];
    int above; /* '>' */
    double limit;
};

/* 0 or error(). */
int rule_parse(struct rule *r, const char *text);

/* Is the row one of those that the rule is about? */
int rule_is_about(const struct rule *r, const struct comparison *c);

/* Does a row that can be compared break it? The change is taken as it is; of times, which are never
 * the same twice, only where the interval leaves out 0. */
int rule_is_broken(const struct rule *r, const struct comparison *c);

#endif
