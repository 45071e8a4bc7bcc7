/* The table of a record's fields, for what goes over all of them: JSON, CSV, identity. */
#ifndef DUO_MEASURE_RECORD_FIELDS_H
#define DUO_MEASURE_RECORD_FIELDS_H

#include <cjson/cJSON.h>

#include "harness/measure/record.h"

enum field_kind {
    FIELD_STRING,  /* char *, NULL unknown */
    FIELD_NUMBER,  /* double, NaN unknown */
    FIELD_COUNT,   /* double holding a whole number from 0 to 2^53, NaN unknown */
    FIELD_BOOL,    /* double 0 or 1, NaN unknown */
    FIELD_STRINGS, /* char **, count n_warnings */
    FIELD_NUMBERS, /* double *, its count at n_offset */
};
enum field_group {
    GROUP_RUN,    /* when and by what */
    GROUP_MODEL,  /* what was evaluated */
    GROUP_RECIPE, /* how it was pruned, as asked */
    GROUP_PLACE,  /* protocol, backend, limit */
    GROUP_TASK,   /* the question set and the metric */
    GROUP_WORK,   /* speed records: what was timed, and how it ran */
    GROUP_RESULT, /* measured */
    GROUP_PAIRED, /* measured, against the dense model on the same documents */
    GROUP_SPEED,  /* measured, speed records */
    GROUP_LAYERS, /* measured, records of each layer */
};
/* What FIELD_NUMBER may be where it is known; record_check() has the bounds. Nothing measured or
 * asked comes near them: they are there for files that others wrote. */
enum field_range {
    RANGE_ANY,
    RANGE_FROM_0,
    RANGE_ABOVE_0,
    RANGE_SHARE, /* 0 to 1 */
    RANGE_PERPLEXITY,
    RANGE_ERROR, /* of the speed-up */
    RANGE_SCORE, /* as the record's metric */
};
struct record_field {
    const char *name; /* NULL ends the table */
    enum field_kind kind;
    enum field_group group;
    enum field_range range;
    size_t offset;   /* into struct record */
    size_t n_offset; /* of the count of FIELD_NUMBERS */
};

/* In the order in which they are written. */
extern const struct record_field record_fields[];

/* By its name in files, or NULL. */
const struct record_field *record_field_find(const char *name);

/* One double, NaN where unknown: FIELD_NUMBER, FIELD_COUNT, FIELD_BOOL. */
int field_is_number(const struct record_field *f);

/* The member itself; the kind says its type. */
const char *field_string(const struct record *r, const struct record_field *f);
double field_number(const struct record *r, const struct record_field *f);
const double *field_numbers(const struct record *r, const struct record_field *f, size_t *n);

/* Not NULL, not NaN; not for lists. */
int field_is_known(const struct record_field *f, const struct record *r);

/* Appends its value as people read it, "?" for an unknown one; not for lists. */
void field_add_shown(struct buf *b, const struct record *r, const struct record_field *f);

/* The same text or number, or both unknown; not for lists. */
int field_same(const struct record_field *f, const struct record *a, const struct record *b);

/* Appends a warning as it is; the record frees it. */
void field_add_warning(struct record *r, char *text);

/* Appends the line name="text" or name=number that stands for a known field in an identity; nothing
 * for an unknown field or a list. */
void field_add_line(struct buf *b, const struct record *r, const struct record_field *f);

/* Appends its value as JSON; null for an unknown one. */
void field_add_json(struct buf *b, const struct record *r, const struct record_field *f);

/* record_from_json() of a parsed object. id_unsure: run_id is taken as it is. */
int record_from_object(const cJSON *obj, const char *where, int id_unsure, struct record *out);

#endif
