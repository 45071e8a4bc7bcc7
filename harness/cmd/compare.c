/* duo compare: two files of records, metric by metric. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/compare_rules.h"
#include "harness/measure/record_fields.h"
#include "harness/measure/table.h"

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
         "could not be compared.");
}

/* ---- options */

static int add_across(struct options *o, const char *list)
{
    size_t n = 0;

    o->across_list = xstrdup(list);
    for (char *p = strtok(o->across_list, ","); p; p = strtok(NULL, ",")) {
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

/* ---- what is printed */

static void add_what(struct table *t, size_t row, const struct comparison *c)
{
    const struct record *r = &c->base->rec;
    struct buf task = {0};

    buf_adds(&task, strcmp(c->metric, "mean") == 0 ? "mean" : r->task);
    if (r->path)
        buf_addf(&task, " %s", r->path);
    if (r->cache)
        buf_addf(&task, " %s", r->cache);
    if (!isnan(r->context))
        buf_addf(&task, " %g", r->context);
    table_set(t, row, 0, "%s", r->method ? r->method : "?");
    if (!isnan(r->weight_sparsity))
        table_set(t, row, 1, "%g", 100 * r->weight_sparsity);
    if (!isnan(r->act_sparsity))
        table_set(t, row, 2, "%g", 100 * r->act_sparsity);
    table_set(t, row, 3, "%s", task.data);
    table_set(t, row, 4, "%s", strcmp(c->metric, "mean") == 0 ? "acc" : c->metric);
    buf_release(&task);
}

/* Times in microseconds, shares in per cent. */
static void add_values(struct table *t, size_t row, const struct comparison *c)
{
    int is_speed = strcmp(c->metric, "speed") == 0;
    double scale = is_speed ? 1e-3 : 1;
    int digits = c->unit == UNIT_POINTS ? 2 : c->unit == UNIT_PLAIN ? 6 : is_speed ? 2 : 4;
    const char *unit = c->unit == UNIT_PERCENT ? " %" : "";

    if (isnan(c->from) || isnan(c->change))
        return;
    table_set(t, row, 5, "%.*f%s", digits, c->from * scale, is_speed ? " us" : "");
    table_set(t, row, 6, "%.*f%s", digits, c->to * scale, is_speed ? " us" : "");
    digits = c->unit == UNIT_PLAIN ? 6 : 2;
    if (c->change != 0 && fabs(c->change) < 0.005 && c->unit != UNIT_PLAIN)
        table_set(t, row, 7, "%+.1e%s", c->change, unit);
    else
        table_set(t, row, 7, "%+.*f%s", digits, c->change, unit);
    if (!isnan(c->low))
        table_set(t, row, 8, "%+.*f to %+.*f", digits, c->low, digits, c->high);
    if (!isnan(c->p))
        table_set(t, row, 9, "%.3g", c->p);
    table_set(t, row, 10, "%s", change_by_names[c->by]);
}

static void print_table(const struct comparisons *c)
{
    static const char *const heads[] = {"method",        "W %",  "A %", "task",
                                        "metric",        "base", "new", "change",
                                        "95 % interval", "p",    "by",  "verdict"};
    struct table t;
    struct buf text = {0};

    table_init(&t, 12);
    table_add_row(&t);
    for (size_t k = 0; k < 12; k++)
        table_set(&t, 0, k, "%s", heads[k]);
    for (size_t i = 0; i < c->n; i++) {
        size_t row = table_add_row(&t);

        add_what(&t, row, &c->items[i]);
        add_values(&t, row, &c->items[i]);
        table_set(&t, row, 11, "%s", verdict_names[c->items[i].verdict]);
    }
    table_drop_empty(&t);
    table_render(&t, 1, &text);
    fputs(buf_str(&text), stdout);
    buf_release(&text);
    table_release(&t);
}

/* Each reason once, with the first record that has it and how many there are. */
static void print_reasons(const struct comparisons *c)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct record_line *l = c->items[i].base;
        size_t n = 0, earlier = 0;

        if (!c->items[i].why)
            continue;
        for (size_t k = 0; k < c->n; k++)
            if (c->items[k].why && strcmp(c->items[k].why, c->items[i].why) == 0) {
                n++;
                earlier += k < i;
            }
        if (earlier)
            continue;
        printf("- NOT COMPARABLE: %s (%s line %zu, %s %s", c->items[i].why, l->path, l->line,
               l->rec.task, c->items[i].metric);
        printf(n > 1 ? "; %zu more)\n" : ")\n", n - 1);
    }
}

static const char *git_of(const struct record_list *l)
{
    return l->n && l->items[0].rec.git ? l->items[0].rec.git : "unknown";
}

static void print_sum(const struct comparisons *c, const size_t *n_verdicts)
{
    printf("%zu rows:", c->n);
    for (int v = 0; v < 4; v++)
        if (n_verdicts[v])
            printf(" %zu %s", n_verdicts[v], verdict_names[v]);
    if (c->n_new)
        printf("; %zu records are in NEW alone", c->n_new);
    puts(".\nEach verdict is right 95 times of 100 where nothing changed, but for \"bits\".");
}

/* Prints the rules that are broken; the status. */
static int judge_rules(const struct options *o, const struct comparisons *c)
{
    int status = 0;

    for (size_t r = 0; r < o->n_rules; r++) {
        size_t n_about = 0;

        for (size_t i = 0; i < c->n; i++) {
            const struct comparison *x = &c->items[i];

            if (x->verdict == VERDICT_NOT_COMPARABLE || !rule_is_about(&o->rules[r], x))
                continue;
            n_about++;
            if (!rule_is_broken(&o->rules[r], x))
                continue;
            printf("- FAILED %s: %s %s %s %s changed by %+.4g%s\n", o->rules[r].text,
                   x->base->rec.method ? x->base->rec.method : "?", x->base->rec.task,
                   x->base->rec.path ? x->base->rec.path : "", x->metric, x->change,
                   x->unit == UNIT_PERCENT ? " %" : "");
            status = 1;
        }
        if (n_about == 0) {
            printf("- NOT COMPARABLE: nothing for the rule %s\n", o->rules[r].text);
            status = status ? status : 3;
        }
    }
    return status;
}

static int report(const struct options *o, const struct record_list *base,
                  const struct record_list *now, const struct comparisons *c)
{
    size_t n[4] = {0};
    int status;

    for (size_t i = 0; i < c->n; i++)
        n[c->items[i].verdict]++;
    printf("base: %s (%s)\nnew:  %s (%s)\n\n", o->base, git_of(base), o->now, git_of(now));
    print_table(c);
    puts("");
    print_reasons(c);
    print_sum(c, n);
    status = o->n_rules ? judge_rules(o, c) : n[VERDICT_WORSE] > 0;
    if (status == 0 && (n[VERDICT_NOT_COMPARABLE] || c->n == 0))
        status = 3;
    return status;
}

int cmd_compare(int argc, char **argv)
{
    struct options o = {0};
    struct record_list base = {0}, now = {0};
    struct comparisons c = {0};
    int status = 2;

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help();
        return 0;
    }
    if (parse(&o, argc, argv) == 0) {
        status = record_list_read(&base, o.base) != 0 || record_list_read(&now, o.now) != 0 ||
                 compare_records(&base, &now, &o.compare, &c) != 0;
        if (status == 0) {
            compare_means(&c);
            status = report(&o, &base, &now, &c);
        }
    }
    comparisons_release(&c);
    record_list_release(&base);
    record_list_release(&now);
    free(o.across_list);
    return status;
}
