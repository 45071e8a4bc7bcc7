/* Keys of the resume journal. */
#include "harness/measure/journal.h"

#include <string.h>

#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/measure/record_fields.h"

/* Names and sizes that say nothing about the numbers, or whose content is keyed in their place. */
static int is_keyed(const struct record_field *f)
{
    static const char *const left_out[] = {"model", "n_params", "n_linear_params",
                                           "calib", "threads",  "limit"};

    if (strcmp(f->name, "git") == 0)
        return 1;
    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
        if (strcmp(f->name, left_out[i]) == 0)
            return 0;
    return f->group == GROUP_MODEL || f->group == GROUP_RECIPE || f->group == GROUP_PLACE;
}

int journal_cell_key(const struct record *r, char out[65])
{
    const char *missing = !r->model_sha256               ? "model_sha256"
                          : !r->tokenizer_sha256         ? "tokenizer_sha256"
                          : !r->method                   ? "method"
                          : !r->protocol                 ? "protocol"
                          : !r->backend                  ? "backend"
                          : !r->dtype                    ? "dtype"
                          : r->calib && !r->calib_sha256 ? "calib_sha256"
                                                         : NULL;
    struct buf b = {0};

    if (missing)
        return error("cannot keep results for --resume: %s is not known", missing);
    for (const struct record_field *f = record_fields; f->name; f++)
        if (is_keyed(f))
            field_add_line(&b, r, f);
    sha256_hex(buf_str(&b), b.n, out);
    buf_release(&b);
    return 0;
}

void journal_document_key(struct buf *out, const char *task, size_t index, const struct document *d)
{
    struct sha256 s;
    char hex[65];

    sha256_init(&s);
    for (size_t i = 0; i < d->n_choices; i++) {
        /* with their NULs, so that no two lists of texts give the same bytes */
        sha256_update(&s, d->requests[i].context, strlen(d->requests[i].context) + 1);
        sha256_update(&s, d->requests[i].continuation, strlen(d->requests[i].continuation) + 1);
    }
    sha256_final(&s, hex);
    buf_addf(out, "%s document %zu %s", task, index, hex);
}

void journal_window_key(struct buf *out, const char *task, size_t index, const int32_t *ids,
                        size_t n_ids)
{
    char hex[65];

    sha256_hex(ids, n_ids * sizeof(*ids), hex);
    buf_addf(out, "%s window %zu %s", task, index, hex);
}
