/* What cells are called. */
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/cells.h"
#include "harness/measure/record_fields.h"

/* What one field is in the cells of one method that have a rule of sparse activations, or in those
 * that have none. */
struct alike {
    const struct record *first, *known; /* the first; the first in which it is known; or NULL */
    int same, known_same;               /* all as `first`; those that know it all as `known` */
};

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

static void look(struct alike *a, const struct record *r, const struct record_field *f)
{
    if (!a->first)
        *a = (struct alike){.first = r, .same = 1, .known_same = 1};
    a->same = a->same && field_same(f, a->first, r);
    if (!field_is_known(f, r))
        return;
    a->known = a->known ? a->known : r;
    a->known_same = a->known_same && field_same(f, a->known, r);
}

/* Does this field tell the cell apart from another of its method? Where one of two has a rule and
 * the other none, which the column A says, what rules alone need is unknown, and that tells
 * nothing. */
static int varies(const struct alike own, const struct alike other, const struct record *r,
                  const struct record_field *f)
{
    return !own.same || (other.known && field_is_known(f, r) &&
                         (!other.known_same || !field_same(f, other.known, r)));
}

/* Appends the field to the labels of the cells that it tells apart. */
static void add_field(struct buf *labels, const struct cells *c, const size_t *method,
                      size_t n_methods, const struct record_field *f)
{
    struct alike(*by_rule)[2] = xcalloc(n_methods, sizeof(*by_rule));

    for (size_t i = 0; i < c->n; i++)
        if (c->first[i]->method)
            look(&by_rule[method[i]][c->first[i]->act_rule != NULL], c->first[i], f);
    for (size_t i = 0; i < c->n; i++) {
        const struct record *r = c->first[i];
        const struct alike *pair = by_rule[method[i]];
        int has_rule = r->act_rule != NULL;

        if (!r->method || !varies(pair[has_rule], pair[!has_rule], r, f))
            continue;
        buf_addf(&labels[i], " %s=", f->name);
        field_add_shown(&labels[i], r, f);
    }
    free(by_rule);
}

void cells_label(struct cells *c)
{
    struct buf *labels = xcalloc(c->n, sizeof(*labels));
    size_t *method = xcalloc(c->n, sizeof(*method)), n_methods;
    const char **names = xcalloc(c->n, sizeof(*names));

    for (size_t i = 0; i < c->n; i++) {
        names[i] = c->first[i]->method ? c->first[i]->method : "-";
        buf_adds(&labels[i], names[i]);
    }
    n_methods = group_texts(names, c->n, method);
    for (const struct record_field *f = record_fields; f->name; f++)
        if (!is_shown(f))
            add_field(labels, c, method, n_methods, f);
    c->label = xcalloc(c->n, sizeof(*c->label));
    for (size_t i = 0; i < c->n; i++)
        c->label[i] = buf_detach(&labels[i]);
    free(labels);
    free(method);
    free((void *)names);
}
