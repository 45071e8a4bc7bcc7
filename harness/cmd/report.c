/* duo report: files of records as tables, or as one page with plots. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/stop.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/parse.h"
#include "harness/cmd/report_table.h"
#include "harness/measure/output.h"
#include "harness/measure/record_read.h"
#include "harness/report/page.h"

struct options {
    const struct doc_form *form;
    const char *out, *title;
    const char *table, *paper; /* a table of scripts/tables; the published numbers */
    double limit;              /* of the table's runs; NaN: as it says */
    int missing;               /* only the commands for what the table lacks */
    char **files;
    int n_files;
};

static void help(void)
{
    puts(
        "usage: duo report FILE... [OPTION...]\n\n"
        "Tables of the records in FILE... (-o jsonl of eval and bench), one group for each model,\n"
        "protocol, backend, device, type and limit.\n\n"
        "  -o, --format NAME   md (default), csv, latex (booktabs), html: one page, without "
        "network\n"
        "      --out FILE      write there, not to stdout\n"
        "      --title TEXT    of the page\n"
        "      --table NAME    a table of scripts/tables, beside published numbers, and what is\n"
        "                      missing; without FILE everything is\n"
        "      --limit K       the table of runs with that --limit\n"
        "      --missing       only the commands that measure that, one a line\n"
        "      --paper FILE    published numbers; default: results/paper.jsonl\n\n"
        "example:\n"
        "  duo bench -t all --method duogpt,2ssp --sparsity 0.25,0.5 --calib self:16x256 \\\n"
        "            --baseline -o jsonl --out run.jsonl\n"
        "  duo report run.jsonl -o html --out report.html");
}

/* 0; 1 when help was asked for; -1 after error(). */
static int parse(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {{"format", required_argument, NULL, 'o'},
                                          {"out", required_argument, NULL, 'O'},
                                          {"title", required_argument, NULL, 't'},
                                          {"table", required_argument, NULL, 'T'},
                                          {"paper", required_argument, NULL, 'p'},
                                          {"missing", no_argument, NULL, 'm'},
                                          {"limit", required_argument, NULL, 'l'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int c;

    *o = (struct options){.form = &doc_md, .title = "duo report", .limit = NAN};
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":o:h", known, NULL)) != -1) {
        switch (c) {
        case 'o':
            o->form = doc_form_find("--format", optarg);
            if (!o->form)
                return -1;
            break;
        case 'O':
            o->out = optarg;
            break;
        case 't':
            o->title = optarg;
            break;
        case 'T':
            o->table = optarg;
            break;
        case 'p':
            o->paper = optarg;
            break;
        case 'l':
            if (parse_limit(optarg, &o->limit) != 0)
                return -1;
            break;
        case 'm':
            o->missing = 1;
            break;
        case 'h':
            return 1;
        case ':':
            return error("%s needs a value", argv[optind - 1]);
        default:
            return error("unknown option '%s' (see duo report --help)", argv[optind - 1]);
        }
    }
    o->files = argv + optind;
    o->n_files = argc - optind;
    if (!o->table && (o->missing || o->paper || !isnan(o->limit)))
        return error("--missing, --paper and --limit go with --table NAME");
    if (!o->n_files && !o->table)
        return error("report needs a file of records (-o jsonl)");
    return 0;
}

static int write_text(const struct buf *text, const char *path)
{
    if (path)
        return file_write_atomic(path, buf_str(text), text->n);
    return stop_write_stdout(buf_str(text), text->n, "the report");
}

static int report(const struct options *o)
{
    const struct record **records;
    struct record_list l = {0};
    struct buf text = {0};
    struct doc doc = {0};
    int rc = 0;

    for (int i = 0; i < o->n_files && rc == 0; i++)
        rc = o->out && file_same(o->out, o->files[i])
                 ? error("--out %s is one of the files that are read", o->out)
                 : record_list_read(&l, o->files[i]);
    if (rc == 0 && l.n == 0 && !o->table)
        rc = error("%s%s: no records", o->files[0], o->n_files > 1 ? " and the others" : "");
    records = xcalloc(l.n, sizeof(*records));
    for (size_t i = 0; i < l.n; i++)
        records[i] = &l.items[i].rec;
    if (rc == 0 && o->missing) {
        rc = report_table_missing(o->table, o->limit, &l, &text);
    } else if (rc == 0 && o->table) {
        rc = report_table(o->table, o->limit, &l, o->paper, &doc);
    } else if (rc == 0) {
        if (o->form == &doc_html)
            rc = page_add(records, l.n, &doc);
        else
            output_doc(records, l.n, &doc);
    }
    if (rc == 0 && !o->missing)
        o->form->render(&doc, o->title, &text);
    if (rc == 0)
        rc = write_text(&text, o->out);
    free(records);
    doc_release(&doc);
    buf_release(&text);
    record_list_release(&l);
    return rc;
}

int cmd_report(int argc, char **argv)
{
    struct options o;
    int rc = parse(&o, argc, argv);

    if (rc > 0) {
        help();
        return 0;
    }
    if (rc < 0)
        return 2;
    return report(&o) == 0 ? 0 : 1;
}
