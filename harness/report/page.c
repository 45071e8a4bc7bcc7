/* The order of the page. */
#include "harness/report/page.h"

#include "harness/report/figures.h"

static int add_block(const struct block *k, size_t number, struct doc *out)
{
    struct facts f;
    struct finding d;
    struct figures g = {&f, &d, number, out};
    struct buf sentence = {0}, lead = {0};
    int rc;

    facts_init(&f, k);
    finding_init(&d, &f);
    doc_section(out, "answer", "What is gained and lost at the same speed");
    block_add_identity(&lead, k->records[0]);
    doc_put(out, DOC_LEAD, "%s", lead.data);
    block_add_limit(out, k->records[0]);
    finding_sentence(&d, &f, &sentence);
    doc_put(out, DOC_SAY, "%s", sentence.data);
    rc = figure_pareto(&g);
    finding_table(&d, &f, out);
    doc_section(out, "plots", "Plots");
    rc = rc || figure_perplexity(&g) || figure_layers(&g) || figure_breakdown(&g) ||
         figure_roofline(&g);
    doc_section(out, "tables", "All numbers");
    block_render(k, out);
    buf_release(&sentence);
    buf_release(&lead);
    finding_release(&d);
    facts_release(&f);
    return rc ? -1 : 0;
}

int page_add(const struct record *const *records, size_t n, struct doc *out)
{
    struct blocks bs;
    int rc = 0;

    blocks_init(&bs, records, n);
    for (size_t i = 0; i < bs.n && rc == 0; i++)
        rc = add_block(&bs.items[i], i, out);
    blocks_release(&bs);
    return rc;
}
