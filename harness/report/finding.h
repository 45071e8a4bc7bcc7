/* The answer to "what do I gain and lose at the same speed?": a few cells chosen, a sentence and a
 * table about them. */
#ifndef DUO_REPORT_FINDING_H
#define DUO_REPORT_FINDING_H

#include "harness/report/facts.h"

/* Speeds within this factor are called about the same. */
#define SAME_SPEED 1.15

struct finding {
    const struct cell_facts
        *chosen; /* whose speed the others are compared at; NULL: there is none */
    /* Of every method its cell nearest in speed, the chosen one's included; by quality, the best
     * first. */
    const struct cell_facts **near;
    size_t n_near;
    const struct cell_facts *rival; /* the best structured one of about that speed, or NULL */
};

/* The chosen cell: DuoGPT's at 50 % weights and 50 % activations if it is there, else the fastest
 * of DuoGPT's, else of the unstructured, else of all. Cells without speed or quality do not count.
 */
void finding_init(struct finding *d, const struct facts *f);
void finding_release(struct finding *d);

/* The sentence, appended; what was not measured is said too. */
void finding_sentence(const struct finding *d, const struct facts *f, struct buf *out);

void finding_table(const struct finding *d, const struct facts *f, struct doc *out);

#endif
