/* duo report --table. */
#include "harness/cmd/report_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/words.h"
#include "harness/cmd/table_file.h"
#include "harness/measure/output.h"
#include "harness/measure/stats.h"

/* A table and the records that may be in it: those of one model. */
struct job {
    struct table_file t;
    const struct record_list *l;
    struct record_list paper;
    const struct record *model; /* the first record of any cell; NULL: none */
};

/* ---- which records */

static int same_model(const struct record *a, const struct record *b)
{
    return a->model_sha256 && b->model_sha256 ? strcmp(a->model_sha256, b->model_sha256) == 0
                                              : strcmp(a->model, b->model) == 0;
}

static const char *task_name(const struct task *t)
{
    return t ? t->name : "wikitext2";
}

/* The last record of the cell's score; NULL: missing. */
static const struct record *find(const struct job *j, const struct table_cell *c,
                                 const struct task *task, const char *metric)
{
    for (size_t i = j->l->n; i-- > 0 && j->model;) {
        const struct record *r = &j->l->items[i].rec;

        if (strcmp(r->task, task_name(task)) == 0 && strcmp(r->metric, metric) == 0 &&
            same_model(r, j->model) && table_cell_has(c, r) &&
            (task || (r->window == j->t.window && r->bos == j->t.bos)))
            return r;
    }
    return NULL;
}

static const struct record *find_score(const struct job *j, const struct table_cell *c,
                                       const struct task *task)
{
    return find(j, c, task,
                !task                           ? "perplexity"
                : task->metrics & TASK_ACC_NORM ? "acc_norm"
                                                : "acc");
}

/* Of the cell's ways to decode the fastest; the dense model is its own measure. */
static struct estimate find_speed(const struct job *j, const struct table_cell *c)
{
    struct estimate best = {NAN, NAN};

    for (size_t i = 0; i < j->l->n && j->model; i++) {
        const struct record *r = &j->l->items[i].rec;

        if (strcmp(r->task, "decode") == 0 && same_model(r, j->model) && table_cell_has(c, r) &&
            !isnan(r->speedup) && !(r->speedup <= best.value))
            best = (struct estimate){r->speedup, r->speedup_err};
    }
    return best;
}

static int is_dense(const struct table_cell *c)
{
    return strcmp(c->want.method, "dense") == 0 && c->want.act_sparsity == 0;
}

/* Appends the tasks that are missing, comma between; returns whether something is. */
static int add_missing(const struct job *j, const struct table_cell *c, struct buf *lacks)
{
    int missing = j->t.is_bench && !is_dense(c) && isnan(find_speed(j, c).value);
    int all = missing;

    for (size_t i = 0; i < j->t.n_tasks; i++) {
        if (!all && find_score(j, c, j->t.tasks[i]))
            continue;
        buf_addf(lacks, "%s%s", lacks->n ? "," : "", task_name(j->t.tasks[i]));
        missing = 1;
    }
    return missing;
}

static int job_open(struct job *j, const char *name, double limit, const struct record_list *l)
{
    *j = (struct job){.l = l};
    if (table_file_open(&j->t, name) != 0)
        return -1;
    for (size_t c = 0; c < j->t.n_cells && !isnan(limit); c++) {
        if (!isnan(j->t.cells[c].want.limit))
            return error("table '%s' has a --limit of its own", name);
        j->t.cells[c].want.limit = limit;
    }
    for (size_t i = 0; i < l->n && !j->model; i++)
        for (size_t c = 0; c < j->t.n_cells && !j->model; c++)
            if (table_cell_has(&j->t.cells[c], &l->items[i].rec))
                j->model = &l->items[i].rec;
    return 0;
}

static void job_close(struct job *j)
{
    table_file_release(&j->t);
    record_list_release(&j->paper);
}

/* Appends the options as a shell takes them: the table may be a stranger's, and what is printed is
 * there to be run. */
static int add_quoted(struct buf *out, const char *options)
{
    char **words = NULL;
    int n = words_split(options, "a table's options", &words);

    if (n > 0) {
        buf_addc(out, ' ');
        words_quote(out, (const char *const *)words, (size_t)n);
    }
    free(words);
    return n < 0 ? -1 : 0;
}

int report_table_missing(const char *name, double limit, const struct record_list *l,
                         struct buf *out)
{
    struct job j;
    int rc = job_open(&j, name, limit, l);

    for (size_t i = 0; i < j.t.n_cells && rc == 0; i++) {
        const struct table_cell *c = &j.t.cells[i];
        /* Of a cell that is timed and dense the scores suffice. */
        const char *command = is_dense(c) ? "eval" : j.t.command;
        struct buf lacks = {0};

        if (add_missing(&j, c, &lacks)) {
            buf_adds(out, command);
            rc = is_dense(c) && j.t.is_bench ? 0 : add_quoted(out, j.t.options);
            rc = rc == 0 ? add_quoted(out, c->options) : rc;
            buf_addf(out, " -t %s\n", lacks.data);
        }
        buf_release(&lacks);
    }
    job_close(&j);
    return rc;
}

/* ---- the numbers */

static struct estimate mean_of(const struct job *j, const struct table_cell *c)
{
    double sum = 0, var = 0, k = (double)j->t.n_mean;

    for (size_t i = 0; i < j->t.n_mean; i++) {
        const struct record *r = find_score(j, c, j->t.mean[i]);

        if (!r)
            return (struct estimate){NAN, NAN};
        sum += r->value;
        var += r->stderr_ * r->stderr_;
    }
    return k ? (struct estimate){100 * sum / k, 100 * sqrt(var) / k} : (struct estimate){NAN, NAN};
}

static struct estimate params_of(const struct job *j, const struct table_cell *c)
{
    const struct record *r = j->t.n_tasks ? find_score(j, c, j->t.tasks[0]) : NULL;

    return (struct estimate){r ? r->effective_params / 1e6 : NAN, NAN};
}

static struct estimate perplexity_of(const struct job *j, const struct table_cell *c)
{
    const struct record *r = find(j, c, NULL, "perplexity");

    return r ? (struct estimate){r->value, r->stderr_} : (struct estimate){NAN, NAN};
}

/* What a table may say of a cell, and where the published number is: task and metric. */
static const struct quantity {
    const char *head, *task, *metric;
    int digits;
    double scale; /* of the published value */
    struct estimate (*of)(const struct job *j, const struct table_cell *c);
} quantities[] = {
    {"params, 1e6", "model", "effective_params", 1, 1e-6, params_of},
    {"wiki2", "wikitext2", "perplexity", 3, 1, perplexity_of},
    {"mean acc", "mean", "acc", 2, 100, mean_of},
    {"speed-up", "decode", "speedup", 3, 1, find_speed},
};
#define N_QUANTITIES (sizeof(quantities) / sizeof(quantities[0]))

static double published(const struct job *j, const struct table_cell *c, const struct quantity *q)
{
    for (size_t i = 0; i < j->paper.n && j->t.paper_model; i++) {
        const struct record *r = &j->paper.items[i].rec;

        if (strcmp(r->model, j->t.paper_model) == 0 && strcmp(r->task, q->task) == 0 &&
            strcmp(r->metric, q->metric) == 0 && r->method &&
            strcmp(r->method, c->want.method) == 0 && r->act_sparsity == c->want.act_sparsity &&
            fabs(r->weight_sparsity - c->want.weight_sparsity) < 1e-9)
            return r->value * q->scale;
    }
    return NAN;
}

/* Four columns: measured, published, difference, and what that is worth. */
static void add_quantity(struct table *t, size_t row, size_t col, const struct quantity *q,
                         struct estimate e, double paper)
{
    double diff = e.value - paper;

    if (!isnan(e.value) && !isnan(e.se))
        table_set(t, row, col, "%.*f \xc2\xb1 %.*f", q->digits, e.value, q->digits, e.se);
    else if (!isnan(e.value))
        table_set(t, row, col, "%.*f", q->digits, e.value);
    if (!isnan(paper))
        table_set(t, row, col + 1, "%.*f", q->digits < 2 ? q->digits : 2, paper);
    if (isnan(diff))
        return;
    table_set(t, row, col + 2, "%+.*f", q->digits, diff);
    if (!isnan(e.se))
        table_set(t, row, col + 3, "%s (%.1f se)", fabs(diff) <= e.se ? "yes" : "no",
                  fabs(diff) / e.se);
}

static void add_table(const struct job *j, struct doc *out)
{
    struct table t;

    table_init(&t, 3 + 4 * N_QUANTITIES);
    table_add_row(&t);
    table_set(&t, 0, 0, "method");
    table_set(&t, 0, 1, "W %%");
    table_set(&t, 0, 2, "A %%");
    for (size_t q = 0; q < N_QUANTITIES; q++) {
        table_set(&t, 0, 3 + 4 * q, "%s", quantities[q].head);
        table_set(&t, 0, 4 + 4 * q, "published %s", quantities[q].head);
        table_set(&t, 0, 5 + 4 * q, "difference");
        table_set(&t, 0, 6 + 4 * q, "within se");
    }
    for (size_t i = 0; i < j->t.n_cells; i++) {
        const struct table_cell *c = &j->t.cells[i];
        size_t row = table_add_row(&t);

        table_set(&t, row, 0, "%s", c->label);
        table_set(&t, row, 1, "%g", 100 * c->want.weight_sparsity);
        table_set(&t, row, 2, "%g", 100 * c->want.act_sparsity);
        for (size_t q = 0; q < N_QUANTITIES; q++)
            add_quantity(&t, row, 3 + 4 * q, &quantities[q], quantities[q].of(j, c),
                         published(j, c, &quantities[q]));
    }
    table_drop_empty(&t);
    doc_table(out, "table", NULL, &t, 1);
    table_release(&t);
}

static void say_missing(const struct job *j, struct doc *out)
{
    struct buf names = {0}, all = {0};
    size_t n = 0;

    for (size_t i = 0; i < j->t.n_tasks; i++)
        buf_addf(&all, "%s%s", i ? "," : "", task_name(j->t.tasks[i]));

    for (size_t i = 0; i < j->t.n_cells; i++) {
        struct buf lacks = {0};

        if (add_missing(j, &j->t.cells[i], &lacks))
            buf_addf(&names, "%s%s (%s)", n++ ? "; " : "", j->t.cells[i].label,
                     lacks.n == all.n ? "all" : lacks.data);
        buf_release(&lacks);
    }
    if (n)
        doc_put(out, DOC_STRONG, "MISSING from %zu of %zu rows: %s", n, j->t.n_cells, names.data);
    buf_release(&all);
    buf_release(&names);
}

/* The table's records in full: every task, both metrics. */
static void add_records(const struct job *j, struct doc *out)
{
    const struct record **own = xcalloc(j->l->n, sizeof(*own));
    size_t n = 0;

    for (size_t i = 0; i < j->l->n && j->model; i++)
        for (size_t c = 0; c < j->t.n_cells; c++)
            if (same_model(&j->l->items[i].rec, j->model) &&
                table_cell_has(&j->t.cells[c], &j->l->items[i].rec)) {
                own[n++] = &j->l->items[i].rec;
                break;
            }
    if (n)
        output_doc(own, n, out);
    if (n < j->l->n)
        doc_put(out, DOC_TEXT, "%zu records of other models or recipes are left out.", j->l->n - n);
    free(own);
}

int report_table(const char *name, double limit, const struct record_list *l, const char *paper,
                 struct doc *out)
{
    char *found = paper ? NULL : project_file("results", "paper.jsonl");
    struct job j;
    int rc = job_open(&j, name, limit, l);

    if (rc == 0 && (paper || found))
        rc = record_list_read(&j.paper, paper ? paper : found);
    if (rc == 0) {
        doc_section(out, "paper-table", j.t.title);
        doc_put(out, DOC_TEXT, "%s", j.t.about);
        add_table(&j, out);
        say_missing(&j, out);
        add_records(&j, out);
    }
    job_close(&j);
    free(found);
    return rc;
}
