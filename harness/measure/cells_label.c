/* What cells are called. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/cells.h"
#include "harness/measure/pyjson.h"
#include "harness/measure/record_fields.h"

/* The cells of one method with a rule of sparse activations, or without one: without it, which the
 * column A says, what rules alone need is unknown, and that tells nothing apart. */
struct alike {
    const struct record *first;
    size_t other; /* of the same method, with a rule where these have none: its number, or NONE */
    const struct record *known; /* the first in which the field is known, or NULL */
    int same, known_same;       /* all as `first`; those that know it all as `known` */
};
#define NONE ((size_t)-1)

/* What the other columns show or the page says above. */
static int is_shown(const struct record_field *f)
{
    static const char *const shown[] = {"method", "weight_sparsity", "act_sparsity", "nm",
                                        "calib_sha256"};

    if (f->group != GROUP_RECIPE && strcmp(f->name, "threads") != 0)
        return 1;
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        if (strcmp(f->name, shown[i]) == 0)
            return 1;
    return 0;
}

static int is_unknown(const struct record *r, const struct record_field *f)
{
    return f->kind == FIELD_STRING ? !field_string(r, f) : isnan(field_number(r, f));
}

/* The numbers of the cells' groups in of_cell. */
static struct alike *group(const struct cells *c, size_t *of_cell, size_t *n)
{
    char **texts = xcalloc(2 * c->n, sizeof(*texts));
    size_t *numbers = xcalloc(2 * c->n, sizeof(*numbers));
    struct alike *groups;

    for (size_t i = 0; i < 2 * c->n; i++) { /* behind the cells, the groups that would be theirs */
        const struct record *r = c->first[i < c->n ? i : i - c->n];
        int has_rule = (r->act_rule != NULL) == (i < c->n);
        struct buf b = {0};

        buf_addf(&b, "%d%s", has_rule, r->method ? r->method : "");
        texts[i] = buf_detach(&b);
    }
    *n = group_texts(texts, 2 * c->n, numbers);
    groups = xcalloc(*n, sizeof(*groups));
    for (size_t i = c->n; i-- > 0;) {
        of_cell[i] = numbers[i];
        groups[numbers[i]].first = c->first[i];
        groups[numbers[i]].other = numbers[i + c->n];
    }
    for (size_t i = 0; i < 2 * c->n; i++)
        free(texts[i]);
    free(texts);
    free(numbers);
    for (size_t g = 0; g < *n; g++)
        if (groups[g].first && !groups[groups[g].other].first)
            groups[g].other = NONE;
    return groups;
}

static void look(struct alike *groups, size_t n, const struct cells *c, const size_t *of_cell,
                 const struct record_field *f)
{
    for (size_t g = 0; g < n; g++) {
        groups[g].known = NULL;
        groups[g].same = groups[g].known_same = 1;
    }
    for (size_t i = 0; i < c->n; i++) {
        struct alike *g = &groups[of_cell[i]];
        const struct record *r = c->first[i];

        g->same = g->same && field_same(f, g->first, r);
        if (is_unknown(r, f))
            continue;
        g->known = g->known ? g->known : r;
        g->known_same = g->known_same && field_same(f, g->known, r);
    }
}

/* Does this field tell the cell apart from another of its method? */
static int varies(const struct alike *groups, const struct alike *g, const struct record *r,
                  const struct record_field *f)
{
    const struct alike *o = g->other == NONE ? NULL : &groups[g->other];

    return !g->same || (o && o->known && !is_unknown(r, f) &&
                        (!o->known_same || !field_same(f, o->known, r)));
}

static void add_value(struct buf *b, const struct record *r, const struct record_field *f)
{
    buf_addf(b, " %s=", f->name);
    if (is_unknown(r, f))
        buf_addc(b, '?');
    else if (f->kind == FIELD_STRING)
        buf_adds(b, field_string(r, f));
    else
        pyjson_add_number(b, field_number(r, f));
}

void cells_label(struct cells *c)
{
    struct buf *labels = xcalloc(c->n, sizeof(*labels));
    size_t *of_cell = xcalloc(c->n, sizeof(*of_cell)), n;
    struct alike *groups = group(c, of_cell, &n);

    for (size_t i = 0; i < c->n; i++)
        buf_adds(&labels[i], c->first[i]->method ? c->first[i]->method : "-");
    for (const struct record_field *f = record_fields; f->name; f++) {
        if (is_shown(f))
            continue;
        look(groups, n, c, of_cell, f);
        for (size_t i = 0; i < c->n; i++)
            if (c->first[i]->method && varies(groups, &groups[of_cell[i]], c->first[i], f))
                add_value(&labels[i], c->first[i], f);
    }
    c->label = xcalloc(c->n, sizeof(*c->label));
    for (size_t i = 0; i < c->n; i++)
        c->label[i] = buf_detach(&labels[i]);
    free(labels);
    free(of_cell);
    free(groups);
}
