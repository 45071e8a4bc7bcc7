/* The formats by name, csv and jsonl; md is in output_doc.c, json in output_json.c. */
#include "harness/measure/output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/stop.h"
#include "harness/measure/pyjson.h"
#include "harness/measure/record_fields.h"

int output_format_parse(const char *name, enum output_format *out)
{
    static const char *const names[] = {
        [OUTPUT_MD] = "md",
        [OUTPUT_CSV] = "csv",
        [OUTPUT_JSON] = "json",
        [OUTPUT_JSONL] = "jsonl",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum output_format)i;
            return 0;
        }
    }
    return error("unknown output format '%s'; known: md csv json jsonl", name);
}

static void add_csv_value(struct buf *b, const struct record *r, const struct record_field *f)
{
    struct buf list = {0};

    if (f->kind == FIELD_STRING) {
        doc_csv_text(b, field_string(r, f) ? field_string(r, f) : "");
    } else if (f->kind == FIELD_STRINGS) {
        for (size_t i = 0; i < r->n_warnings; i++)
            buf_addf(&list, "%s%s", i ? "; " : "", r->warnings[i]);
        doc_csv_text(b, buf_str(&list));
    } else if (f->kind == FIELD_NUMBERS) {
        size_t n;
        const double *v = field_numbers(r, f, &n);

        for (size_t i = 0; i < n; i++) {
            buf_adds(b, i ? " " : "");
            pyjson_add_number(b, v[i]);
        }
    } else if (!isnan(field_number(r, f))) {
        pyjson_add_number(b, field_number(r, f));
    }
    buf_release(&list);
}

static void output_csv(const struct records *rs, struct buf *out)
{
    for (const struct record_field *f = record_fields; f->name; f++)
        buf_addf(out, "%s%s", f == record_fields ? "" : ",", f->name);
    buf_adds(out, "\r\n");
    for (size_t i = 0; i < rs->n; i++) {
        for (const struct record_field *f = record_fields; f->name; f++) {
            buf_adds(out, f == record_fields ? "" : ",");
            add_csv_value(out, &rs->items[i], f);
        }
        buf_adds(out, "\r\n");
    }
}

static void output_md(const struct records *rs, struct buf *out)
{
    const struct record **records = xcalloc(rs->n, sizeof(*records));
    struct doc doc = {0};

    for (size_t i = 0; i < rs->n; i++)
        records[i] = &rs->items[i];
    output_doc(records, rs->n, &doc);
    doc_md.render(&doc, "", out);
    doc_release(&doc);
    free(records);
}

int output_render(const struct records *rs, enum output_format format, struct buf *out)
{
    for (size_t i = 0; i < rs->n; i++)
        if (record_check(&rs->items[i], "") != 0)
            return -1;
    switch (format) {
    case OUTPUT_MD:
        output_md(rs, out);
        break;
    case OUTPUT_CSV:
        output_csv(rs, out);
        break;
    case OUTPUT_JSON:
        output_json(rs, out);
        break;
    case OUTPUT_JSONL:
        for (size_t i = 0; i < rs->n; i++) {
            if (record_to_json(&rs->items[i], out) != 0)
                return -1;
            buf_addc(out, '\n');
        }
        break;
    }
    return 0;
}

int output_write(const struct records *rs, enum output_format format, const char *path)
{
    struct buf text = {0};
    int rc = output_render(rs, format, &text);

    if (rc == 0 && path)
        rc = file_write_atomic(path, buf_str(&text), text.n);
    else if (rc == 0) {
        fwrite(buf_str(&text), 1, text.n, stdout);
        rc = stop_flush_stdout("the results");
    }
    buf_release(&text);
    return rc;
}
