/* What the HTML form looks like. */
#include "harness/measure/doc_html.h"

const char doc_html_style[] = ":root { color-scheme: light dark; }\n"
                              "body { font: 16px/1.5 sans-serif; }\n";
