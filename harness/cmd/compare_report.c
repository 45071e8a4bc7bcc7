/* What compare and rerun print. */
#include "harness/cmd/compare_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness/measure/table.h"

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

/* A ruined model's perplexity has hundreds of digits. */
static const char *number(char *out, size_t size, double v, int digits, int with_sign)
{
    const char *fmt =
        fabs(v) < 1e9 ? (with_sign ? "%+.*f" : "%.*f") : (with_sign ? "%+.*e" : "%.*e");

    snprintf(out, size, fmt, digits, v);
    return out;
}

/* Times in microseconds, shares in per cent. */
static void add_values(struct table *t, size_t row, const struct comparison *c)
{
    int is_speed = strcmp(c->metric, "speed") == 0;
    double scale = is_speed ? 1e-3 : 1;
    int digits = c->unit == UNIT_POINTS ? 2 : c->unit == UNIT_PLAIN ? 6 : is_speed ? 2 : 4;
    const char *unit = c->unit == UNIT_PERCENT ? " %" : "", *us = is_speed ? " us" : "";
    char a[40], b[40];

    if (isnan(c->from) || isnan(c->change))
        return;
    table_set(t, row, 5, "%s%s", number(a, sizeof(a), c->from * scale, digits, 0), us);
    table_set(t, row, 6, "%s%s", number(a, sizeof(a), c->to * scale, digits, 0), us);
    digits = c->unit == UNIT_PLAIN ? 6 : 2;
    if (c->change != 0 && fabs(c->change) < 0.005 && c->unit != UNIT_PLAIN)
        table_set(t, row, 7, "%+.1e%s", c->change, unit);
    else
        table_set(t, row, 7, "%s%s", number(a, sizeof(a), c->change, digits, 1), unit);
    if (!isnan(c->low))
        table_set(t, row, 8, "%s to %s", number(a, sizeof(a), c->low, digits, 1),
                  number(b, sizeof(b), c->high, digits, 1));
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
    int by_chance = 0;

    printf("%zu compared%s", c->n, c->n ? ":" : "");
    for (int v = 0; v < 4; v++)
        if (n_verdicts[v])
            printf(" %zu %s", n_verdicts[v], verdict_names[v]);
    if (c->n_new)
        printf("; %zu more in NEW alone", c->n_new);
    puts(".");
    for (size_t i = 0; i < c->n; i++)
        by_chance |= c->items[i].verdict != VERDICT_NOT_COMPARABLE && c->items[i].by != BY_BITS;
    if (by_chance)
        puts("Where nothing changed, a verdict not by bits is SAME 95 times of 100.");
}

/* Prints the rules that are broken; the status. */
static int judge_rules(const struct rule *rules, size_t n_rules, const struct comparisons *c)
{
    int status = 0;

    for (size_t r = 0; r < n_rules; r++) {
        size_t n_about = 0;

        for (size_t i = 0; i < c->n; i++) {
            const struct comparison *x = &c->items[i];

            if (x->verdict == VERDICT_NOT_COMPARABLE || !rule_is_about(&rules[r], x))
                continue;
            n_about++;
            if (!rule_is_broken(&rules[r], x))
                continue;
            printf("- FAILED %s: %s %s%s%s %s changed by %+.4g%s\n", rules[r].text,
                   x->base->rec.method ? x->base->rec.method : "?", x->base->rec.task,
                   x->base->rec.path ? " " : "", x->base->rec.path ? x->base->rec.path : "",
                   x->metric, x->change, x->unit == UNIT_PERCENT ? " %" : "");
            status = 1;
        }
        if (n_about == 0) {
            printf("- NOT COMPARABLE: nothing for the rule %s\n", rules[r].text);
            status = status ? status : 3;
        }
    }
    return status;
}

int compare_report(const struct record_list *base, const struct record_list *now,
                   const char *base_name, const char *new_name, const struct compare_options *o,
                   const struct rule *rules, size_t n_rules)
{
    struct comparisons c;
    size_t n[4] = {0};
    int status = 1;

    if (compare_records(base, now, o, &c) == 0) {
        compare_means(&c);
        for (size_t i = 0; i < c.n; i++)
            n[c.items[i].verdict]++;
        printf("base: %s (%s)\nnew:  %s (%s)\n\n", base_name, git_of(base), new_name, git_of(now));
        if (c.n) {
            print_table(&c);
            puts("");
        }
        print_reasons(&c);
        print_sum(&c, n);
        status = n_rules ? judge_rules(rules, n_rules, &c) : n[VERDICT_WORSE] > 0;
        if (status == 0 && (n[VERDICT_NOT_COMPARABLE] || c.n == 0))
            status = 3;
    }
    comparisons_release(&c);
    return status;
}
