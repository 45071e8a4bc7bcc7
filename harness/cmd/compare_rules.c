/* --fail-if of duo compare. */
#include "harness/cmd/compare_rules.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/cmd/parse.h"
#include "harness/measure/cells.h"
#include "harness/measure/task.h"

static int is_percent(const char *name)
{
    return strcmp(name, "ppl") == 0 || strcmp(name, "wikitext2") == 0 ||
           strcmp(name, "speed") == 0 || strcmp(name, "speedup") == 0;
}

static int is_known(const char *name)
{
    static const char *const known[] = {"acc",     "mean",          "ppl",       "speed",
                                        "speedup", "kl_divergence", "same_top1", "wikitext2"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(name, known[i]) == 0)
            return 1;
    return task_find(name) != NULL;
}

int rule_parse(struct rule *r, const char *text)
{
    size_t n = strcspn(text, "<>"), n_digits;
    char number[32];

    *r = (struct rule){.text = text, .above = text[n] == '>'};
    if (!text[n] || n == 0 || n >= sizeof(r->name))
        return error("--fail-if: '%s' is not NAME<NUMBER or NAME>NUMBER, such as 'acc<-0.5'", text);
    memcpy(r->name, text, n);
    if (!is_known(r->name))
        return error("--fail-if '%s': no '%s'; known: acc, mean, ppl, speed, speedup, "
                     "kl_divergence, same_top1 and the tasks",
                     text, r->name);
    text += n + 1;
    n_digits = strcspn(text, "%");
    if (text[n_digits] && text[n_digits + 1])
        return error("--fail-if '%s': '%s' follows the %%; each rule has a --fail-if of its own",
                     r->text, text + n_digits + 1);
    if (text[n_digits] && !is_percent(r->name))
        return error("--fail-if '%s': %s is counted in points, not in %%", r->text, r->name);
    if (n_digits >= sizeof(number))
        return error("--fail-if '%s': '%s' is not a number", r->text, text);
    memcpy(number, text, n_digits);
    number[n_digits] = 0;
    return parse_number("--fail-if", number, -1e6, 1e6, &r->limit);
}

int rule_is_about(const struct rule *r, const struct comparison *c)
{
    int is_mean = strcmp(c->metric, "mean") == 0;
    const struct record *rec = &c->base->rec;

    if (strcmp(r->name, "acc") == 0)
        return !is_mean && metric_is_accuracy(rec);
    if (strcmp(r->name, "ppl") == 0)
        return !is_mean && metric_is_perplexity(rec);
    if (strcmp(r->name, c->metric) == 0)
        return 1;
    return !is_mean && (metric_is_accuracy(rec) || metric_is_perplexity(rec)) &&
           strcmp(r->name, rec->task) == 0;
}

int rule_is_broken(const struct rule *r, const struct comparison *c)
{
    int beyond = r->above ? c->change > r->limit : c->change < r->limit;
    int is_time = strcmp(c->metric, "speed") == 0 || strcmp(c->metric, "speedup") == 0;

    return beyond && !(is_time && c->verdict == VERDICT_SAME);
}
