/* What the HTML form looks like. */
#include "harness/measure/doc_html.h"

/* Colours 0 to 11 are of methods (report/facts.c), 12 to 18 of the parts of a token's time. */
#define LIGHT                                                                                      \
    "--page: #fbfbfa; --card: #ffffff; --ink: #1c1e21; --dim: #5c636b; --line: #d9dcdf;\n"         \
    "--c0: #3b4148; --c1: #1463d8; --c2: #0a8297; --c3: #1a7f37; --c4: #946200; --c5: #77808a;\n"  \
    "--c6: #c41e2a; --c7: #c8501e; --c8: #80501f; --c9: #7f3fd6; --c10: #00796b; --c11: "          \
    "#c2187a;\n"                                                                                   \
    "--c12: #1f5fa8; --c13: #3a82c6; --c14: #0f7f74; --c15: #2f9c8c; --c16: #b87a10;\n"            \
    "--c17: #8b929a; --c18: #62696f;\n"
#define DARK                                                                                       \
    "--page: #15171a; --card: #1c1f23; --ink: #e8eaed; --dim: #a2a9b1; --line: #3a3f45;\n"         \
    "--c0: #d3d8de; --c1: #6cb0ff; --c2: #4fd0e0; --c3: #5bd673; --c4: #e5b73b; --c5: #9aa3ad;\n"  \
    "--c6: #ff7a75; --c7: #ffa25c; --c8: #d3a878; --c9: #c39bff; --c10: #4dc4b2; --c11: "          \
    "#ff79b8;\n"                                                                                   \
    "--c12: #5b9be6; --c13: #9cc8f5; --c14: #3fb5a6; --c15: #93dccf; --c16: #eebb5a;\n"            \
    "--c17: #6a727b; --c18: #8a929b;\n"

const char doc_html_style[] =
    ":root { color-scheme: light dark; " LIGHT "}\n"
    "@media (prefers-color-scheme: dark) { :root { " DARK "} }\n"
    "* { box-sizing: border-box; }\n"
    "body { margin: 0 auto; padding: 20px clamp(12px, 3vw, 40px) 60px; max-width: 1320px;\n"
    "  background: var(--page); color: var(--ink);\n"
    "  font: 16px/1.5 system-ui, 'Segoe UI', Roboto, Helvetica, Arial, 'Liberation Sans', "
    "sans-serif; }\n"
    "h1 { font-size: 15px; font-weight: 600; margin: 0 0 4px; color: var(--dim); }\n"
    "h2 { font-size: 21px; line-height: 1.25; margin: 32px 0 8px; }\n"
    "h1 + section h2 { margin-top: 0; }\n"
    "p, ul { margin: 8px 0; max-width: 90ch; white-space: pre-line; overflow-wrap: anywhere; }\n"
    ".lead { color: var(--dim); font-size: 14px; }\n"
    ".strong { font-weight: 700; color: var(--c6); }\n"
    ".answer > p.say { font-size: 19px; line-height: 1.4; }\n"
    "figure { margin: 0; padding: 10px 12px 12px; background: var(--card);\n"
    "  border: 1px solid var(--line); border-radius: 8px; min-width: 0; }\n"
    "figure svg { display: block; width: 100%; height: auto; }\n"
    "figure text { font-family: inherit; }\n"
    "figcaption { font-size: 13.5px; line-height: 1.4; color: var(--dim); margin-top: 6px; }\n"
    ".table { overflow-x: auto; margin: 12px 0; }\n"
    "table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }\n"
    "caption { text-align: left; color: var(--dim); padding: 0 0 4px; white-space: nowrap; }\n"
    "th, td { padding: 3px 9px; text-align: right; white-space: nowrap; }\n"
    "th.l, td.l { text-align: left; }\n"
    "th { border-bottom: 1.5px solid var(--dim); font-weight: 600; vertical-align: bottom; }\n"
    "td { border-bottom: 1px solid var(--line); }\n"
    ".tables p { font-size: 14px; }\n"
    "li { font-size: 14px; }\n"
    "@media (min-width: 620px) {\n"
    "  .plots { display: grid; gap: 16px; align-items: start;\n"
    "    grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); }\n"
    "  .plots h2 { grid-column: 1 / -1; margin-bottom: 0; }\n"
    "}\n"
    "@media (min-width: 1080px) {\n"
    "  .answer { display: flow-root; }\n"
    "  .answer > figure { float: left; width: 52.5%; }\n"
    "  .answer > figure ~ .table, .answer > figure ~ p { margin-left: 54.5%; }\n"
    "}\n"
    ".same-speed th { white-space: normal; min-width: 4.6em; }\n"
    ".same-speed th, .same-speed td { padding: 3px 5px; }\n"
    ".same-speed table { width: 100%; font-size: 13.5px; }\n"
    ".same-speed caption { white-space: normal; }\n"
    ".answer > p:not([class]) { font-size: 13.5px; color: var(--dim); }\n"
    "figure + figure { margin-top: 14px; }\n"
    ".plots figure { margin-top: 0; }\n"
    "@media (max-width: 619px) { .plots figure { margin-top: 14px; }\n"
    "  .answer > p.say { font-size: 17px; } }\n"
    "@media (max-width: 520px) { .same-speed table { font-size: 13px; } }\n"
    "@media print { body { max-width: none; } figure { break-inside: avoid; } }\n";
