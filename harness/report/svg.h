/* gnuplot's SVG made part of a page. */
#ifndef DUO_REPORT_SVG_H
#define DUO_REPORT_SVG_H

#include "harness/base/buf.h"

/* Tokens that stand for texts in a script: @T0@, @T1@, ... */
#define SVG_TOKEN "@T%zu@"

/* Colours in a script: rgb "#0200NN" is the style sheet's variable --cN, "#0202NN" the same, faint;
 * these are others. */
#define SVG_COLOUR "#0200%02x"
#define SVG_FAINT "#0202%02x"
#define SVG_INK "#020100"
#define SVG_DIM "#020101"
#define SVG_LINE "#020102"
#define SVG_CARD "#020103"

/* Appends the <svg> element: without the XML declaration, with role and label for screen readers,
 * ids that begin with `id`, colours as variables, tokens as their texts, escaped. */
void svg_embed(struct buf *out, const char *svg, const char *id, const char *about,
               char *const *texts, size_t n_texts);

#endif
