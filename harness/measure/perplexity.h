/* Perplexity over windows of one long text (PROTOCOL section 5). */
#ifndef DUO_MEASURE_PERPLEXITY_H
#define DUO_MEASURE_PERPLEXITY_H

#include "harness/base/buf.h"
#include "harness/measure/share.h"
#include "harness/model/tokenizer.h"

/* WikiText's text: the raw file's lines, each with its newline, a blank one as "", joined by two
 * newlines. */
void wikitext_join(const struct buf *raw, struct buf *out);

/* Its ids: one tokenisation of the whole, BOS once at the start if bos. 0 or error(). */
int wikitext_ids(const struct tokenizer *t, const struct buf *raw, int bos, struct ids *out);

/* Mean negative log-likelihood (nats) of ids 1 .. S-1 of each of n_windows windows of `window` = S
 * ids, a fresh context each. nll: n_windows doubles; those that are not NaN on entry are kept (a
 * resumed run), and so are those of batches that are not this process's. Batches are of windows in
 * a row, as in score_requests(). h may be NULL. 0, or error() naming the window whose value is not
 * finite. */
int perplexity_windows(struct session *s, const int32_t *ids, size_t n_windows, size_t window,
                       double *nll, const struct batch_hooks *h);

#endif
