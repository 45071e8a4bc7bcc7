/* Cells of records and what they are called, against their definitions by brute force. */
#include "tests/test.h"

#include <math.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/rng.h"
#include "harness/measure/cells.h"
#include "harness/measure/record_fields.h"

static void test_group_texts(void)
{
    enum { N = 200 };
    char texts[N][4];
    const char *p[N];
    struct pcg32 g;

    pcg32_init(&g, 1, 2);
    for (int trial = 0; trial < 50; trial++) {
        size_t group[N], n_seen = 0, n = group_texts(NULL, 0, group);

        CHECK(n == 0);
        for (int i = 0; i < N; i++) {
            snprintf(texts[i], sizeof(texts[i]), "%d",
                     (int)(pcg32_next(&g) % (uint32_t)(trial + 1)));
            p[i] = texts[i];
        }
        n = group_texts(p, N, group);
        for (size_t i = 0; i < N; i++) {
            size_t k = 0;

            while (strcmp(texts[k], texts[i]) != 0)
                k++;
            CHECK(group[i] == (k == i ? n_seen : group[k]));
            n_seen += k == i;
        }
        CHECK(n == n_seen);
    }
}

/* ---- labels */

static void fill(struct record *r, struct pcg32 *g)
{
    static const char *const methods[] = {"wanda", "duogpt", NULL}, *const rules[] = {"topk",
                                                                                      "wina"};

    record_init(r);
    record_set(&r->method, methods[pcg32_next(g) % 3]);
    if (pcg32_next(g) % 2)
        record_set(&r->act_rule, rules[pcg32_next(g) % 2]);
    if (pcg32_next(g) % 3)
        record_set(&r->act_allocation, "greedy");
    if (pcg32_next(g) % 3)
        record_set(&r->order, pcg32_next(g) % 8 ? "act" : "natural");
    if (pcg32_next(g) % 2)
        r->alpha = pcg32_next(g) % 4 ? 0.125 : 1;
    if (pcg32_next(g) % 4)
        r->seed = pcg32_next(g) % 16 == 0;
    r->weight_sparsity = 0.5; /* shown: never in a label */
}

/* As it is defined: some cell of the same method is otherwise; where one of two has a rule of
 * sparse activations and the other none, only what both know counts. */
static int varies(const struct cells *c, const struct record *r, const struct record_field *f)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct record *o = c->first[i];

        if (!o->act_rule != !r->act_rule && (!field_is_known(f, o) || !field_is_known(f, r)))
            continue;
        if (o->method && r->method && strcmp(o->method, r->method) == 0 && !field_same(f, o, r))
            return 1;
    }
    return 0;
}

static void add_label(struct buf *b, const struct cells *c, const struct record *r)
{
    static const char *const names[] = {"act_rule", "act_allocation", "alpha", "order", "seed"};

    buf_adds(b, r->method ? r->method : "-");
    for (size_t i = 0; i < 5; i++) { /* in the table's order */
        const struct record_field *f = record_field_find(names[i]);

        if (!varies(c, r, f))
            continue;
        buf_addf(b, " %s=", f->name);
        field_add_shown(b, r, f);
    }
}

static void test_labels(void)
{
    enum { MOST = 12 };
    struct pcg32 g;
    int n_told = 0;

    pcg32_init(&g, 3, 4);
    for (int trial = 0; trial < 2000; trial++) {
        struct record r[MOST];
        const struct record *p[MOST];
        size_t n = 1 + pcg32_next(&g) % MOST;
        struct cells c;

        for (size_t i = 0; i < n; i++) {
            fill(&r[i], &g);
            p[i] = &r[i];
        }
        cells_init(&c, p, n);
        cells_label(&c);
        for (size_t i = 0; i < n; i++) {
            CHECK(record_same_cell(c.first[c.of_record[i]], &r[i]));
            for (size_t k = 0; k < n; k++)
                CHECK((c.of_record[i] == c.of_record[k]) == record_same_cell(&r[i], &r[k]));
        }
        for (size_t i = 0; i < c.n; i++) {
            struct buf want = {0};

            add_label(&want, &c, c.first[i]);
            CHECK_STR(c.label[i], buf_str(&want));
            n_told += strchr(want.data, '=') != NULL;
            buf_release(&want);
        }
        cells_release(&c);
        for (size_t i = 0; i < n; i++)
            record_release(&r[i]);
    }
    CHECK(n_told > 1000);
}

int main(void)
{
    RUN(test_group_texts);
    RUN(test_labels);
    return 0;
}
