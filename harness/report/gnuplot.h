/* Running gnuplot, the Debian package gnuplot-nox. */
#ifndef DUO_REPORT_GNUPLOT_H
#define DUO_REPORT_GNUPLOT_H

#include "harness/base/buf.h"

/* Runs a script that draws to standard output by the terminal svg and appends what it drew. The
 * script and all that gnuplot leaves are in a private folder that is gone afterwards; no start-up
 * file of the user's is read. 0, or error(): gnuplot is not there (the message names the package)
 * or failed (with its own words). */
int gnuplot_run(const char *script, struct buf *svg);

#endif
