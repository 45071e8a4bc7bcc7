/* duo compare: two files of records, metric by metric. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/compare_report.h"
#include "harness/measure/record_fields.h"

#define MAX_RULES 32
#define MAX_ACROSS 32

struct options {
    const char *base, *now;
    struct rule rules[MAX_RULES];
    size_t n_rules;
    char *across_list;
    const char *across[MAX_ACROSS + 1];
    struct compare_options compare;
};

static void help(void)
{
    puts("usage: duo compare BASE NEW [OPTION...]\n\n"
         "BASE and NEW are files of records (-o jsonl). Each record of BASE is compared with the "
         "one\n"
         "of NEW that has the same model, recipe, protocol, data and device, and the verdict is\n"
         "SAME, BETTER, WORSE or NOT COMPARABLE; what differs is named.\n\n"
         "      --base-samples DIR   what --log-samples DIR wrote beside BASE, and\n"
         "      --new-samples DIR    beside NEW: documents and windows are then paired\n"
         "      --across FIELDS      comma list of fields that may differ, such as method,alpha\n"
         "      --exact              scores must be the same numbers\n"
         "      --fail-if RULE       NAME<NUMBER or NAME>NUMBER about the change, in points (acc,\n"
         "                           mean, a task) or per cent (ppl, speed, speedup), such as\n"
         "                           'acc<-0.5', 'ppl>1%', 'speed<-3%'; may be repeated\n\n"
         "Status: 0; 1 if a rule is broken or, without rules, something is WORSE; 3 if something\n"
         "could not be compared.\n\n"
         "example:\n"
         "  duo compare before.jsonl after.jsonl --fail-if 'acc<-0.5' --fail-if 'ppl>1%'");
}

/* ---- options */

static int add_across(struct options *o, const char *list)
{
    size_t n = 0;

    o->across_list = xstrdup(list);
    for (char *p, *rest = o->across_list; (p = strsep(&rest, ","));) {
        if (!record_field_find(p))
            return error("--across: a record has no field '%s'", p);
        if (n == MAX_ACROSS)
            return error("--across: more than %d fields", MAX_ACROSS);
        o->across[n++] = p;
    }
    o->compare.across = o->across;
    return 0;
}

static int add_rule(struct options *o, const char *text)
{
    if (o->n_rules == MAX_RULES)
        return error("--fail-if: more than %d rules", MAX_RULES);
    return rule_parse(&o->rules[o->n_rules++], text);
}

/* Takes option argv[*i] with its value. 0 or error(). */
static int parse_option(struct options *o, int argc, char **argv, int *i)
{
    static const char *const known[] = {"--base-samples", "--new-samples", "--across", "--fail-if"};
    const char *name = argv[*i], *value;
    size_t k = 0;

    if (strcmp(name, "--exact") == 0) {
        o->compare.exact = 1;
        return 0;
    }
    while (k < 4 && strcmp(name, known[k]) != 0)
        k++;
    if (k == 4)
        return error("unknown option '%s' (see duo compare --help)", name);
    if (*i + 1 == argc)
        return error("%s needs a value", name);
    value = argv[++*i];
    if (k == 2 && o->across_list)
        return error("--across is given twice");
    if (k < 2)
        *(k ? &o->compare.new_samples : &o->compare.base_samples) = value;
    return k == 2 ? add_across(o, value) : k == 3 ? add_rule(o, value) : 0;
}

static int parse(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1]) {
            if (parse_option(o, argc, argv, &i) != 0)
                return -1;
        } else if (o->now) {
            return error("compare takes two files of records, not also '%s'", argv[i]);
        } else {
            *(o->base ? &o->now : &o->base) = argv[i];
        }
    }
    if (!o->now)
        return error("compare takes two files of records: duo compare BASE NEW");
    if (!o->compare.base_samples != !o->compare.new_samples)
        return error("--base-samples and --new-samples go together: a pair has two sides");
    return 0;
}

int cmd_compare(int argc, char **argv)
{
    struct options o = {0};
    struct record_list base = {0}, now = {0};
    int status = 2;

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help();
        return 0;
    }
    if (parse(&o, argc, argv) == 0) {
        status = record_list_read(&base, o.base) != 0 || record_list_read(&now, o.now) != 0;
        if (status == 0)
            status = compare_report(&base, &now, o.base, o.now, &o.compare, o.rules, o.n_rules);
    }
    record_list_release(&base);
    record_list_release(&now);
    free(o.across_list);
    return status;
}
