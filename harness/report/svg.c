/* gnuplot's SVG made part of a page. */
#include "harness/report/svg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/measure/doc.h"

static int begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* "rgb( r, g, b)" at s: appends what it stands for; the end of it, or NULL if it is something
 * else. */
static const char *take_colour(struct buf *out, const char *s)
{
    static const char *const others[] = {"--ink", "--dim", "--line", "--card"};
    int r, g, b, n = 0;

    if (sscanf(s, "rgb(%d,%d,%d)%n", &r, &g, &b, &n) != 3 || !n || r != 2 || g > 2)
        return NULL;
    if (g == 0)
        buf_addf(out, "var(--c%d)", b);
    else if (g == 2)
        buf_addf(out, "color-mix(in srgb, var(--c%d) 28%%, transparent)", b);
    else if (b < 4)
        buf_addf(out, "var(%s)", others[b]);
    else
        return NULL;
    return s + n;
}

static const char *take_token(struct buf *out, const char *s, char *const *texts, size_t n_texts)
{
    size_t i;
    int n = 0;

    if (sscanf(s, SVG_TOKEN "%n", &i, &n) != 1 || !n || i >= n_texts)
        return NULL;
    doc_html_text(out, texts[i]);
    return s + n;
}

/* Words of the markup that are replaced by others. */
static const char *take_word(struct buf *out, const char *s, const char *id)
{
    static const char *const ids[] = {" id='", " id=\"", "href='#", "url(#"};

    for (int i = 0; i < 4; i++)
        if (begins(s, ids[i])) {
            buf_addf(out, "%s%s-", ids[i], id);
            return s + strlen(ids[i]);
        }
    if (begins(s, "'black'") || begins(s, "\"black\"")) {
        buf_addf(out, "%cvar(--ink)%c", *s, *s);
        return s + 7;
    }
    return NULL;
}

/* The style sheet chooses the font. */
static const char *skip(const char *s)
{
    static const char *const whole[] = {"<title>Gnuplot", "<desc>", " font-family=\""};
    static const char *const ends[] = {"</title>", "</desc>", "\""};

    for (int i = 0; i < 3; i++)
        if (begins(s, whole[i])) {
            const char *end = strstr(s + strlen(whole[i]), ends[i]);

            return end ? end + strlen(ends[i]) : NULL;
        }
    return NULL;
}

void svg_embed(struct buf *out, const char *svg, const char *id, const char *about,
               char *const *texts, size_t n_texts)
{
    const char *s = strstr(svg, "<svg");

    if (!s)
        return;
    buf_adds(out, "<svg role=\"img\" aria-label=\"");
    doc_html_text(out, about);
    buf_addc(out, '"');
    for (s += 4; *s;) {
        const char *next = NULL;

        if (*s == '@')
            next = take_token(out, s, texts, n_texts);
        else if (*s == 'r')
            next = take_colour(out, s);
        else if (*s == '<' || *s == ' ')
            next = skip(s);
        if (!next)
            next = take_word(out, s, id);
        if (!next)
            buf_addc(out, *s++);
        s = next ? next : s;
    }
}
