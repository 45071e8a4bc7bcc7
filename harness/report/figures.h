/* The page's plots. Each is left out where the records have nothing for it. */
#ifndef DUO_REPORT_FIGURES_H
#define DUO_REPORT_FIGURES_H

#include "harness/report/facts.h"
#include "harness/report/finding.h"
#include "harness/report/plot.h"

struct figures {
    const struct facts *f;
    const struct finding *d;
    size_t block; /* part of the ids */
    struct doc *doc;
};

/* 0 or error() of gnuplot_run(). */
int figure_pareto(const struct figures *g);     /* quality against measured speed */
int figure_perplexity(const struct figures *g); /* against the share of zeros */
int figure_layers(const struct figures *g); /* three: zeros, own error, stream's error by layer */
int figure_breakdown(const struct figures *g); /* a decoded token's time by part */
int figure_roofline(const struct figures *g);  /* bytes a second against bytes */

/* Between the files of figures: ends the plot and puts it in the document. 0 or -1. */
int figure_put(const struct figures *g, struct plot *p, const char *name, const char *caption);

/* Canvas of all figures, pixels. */
#define FIGURE_W 500
#define FIGURE_H 370
#define TICK_ROOM 22 /* right of a plot without names there: half of the last tick's label */

#endif
