/* The page of `duo report -o html`: for each block of records the answer in a sentence, the plots,
 * and all tables. */
#ifndef DUO_REPORT_PAGE_H
#define DUO_REPORT_PAGE_H

#include "harness/measure/doc.h"
#include "harness/measure/record.h"

/* Appends the page. 0, or error() where plots cannot be drawn. */
int page_add(const struct record *const *records, size_t n, struct doc *out);

#endif
