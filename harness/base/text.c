/* UTF-8 text over libunistring. */
#include "harness/base/text.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <unistr.h>

#include "harness/base/error.h"

ptrdiff_t utf8_valid(const char *s, size_t nbytes)
{
    const uint8_t *bad = u8_check((const uint8_t *)s, nbytes);

    return bad ? bad - (const uint8_t *)s : -1;
}

size_t text_unshown(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;

    if (*p < 0x20 || *p == 0x7f)
        return *p != 0;
    if (*p == 0xc2)
        return p[1] >= 0x80 && p[1] < 0xa0 ? 2 : 0;
    if (*p == 0xe2 && p[1] == 0x80) /* U+200E, U+200F, U+2028 to U+202E */
        return p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae) ? 3 : 0;
    if (*p == 0xe2 && p[1] == 0x81) /* U+2066 to U+2069 */
        return p[2] >= 0xa6 && p[2] <= 0xa9 ? 3 : 0;
    return *p == 0xd8 && p[1] == 0x9c ? 2 : 0; /* U+061C */
}

const char *text_find_unshown(const char *s)
{
    while (*s && !text_unshown(s))
        s++;
    return *s ? s : NULL;
}

void text_add_mended(struct buf *b, const char *s, size_t nbytes)
{
    for (ptrdiff_t bad; (bad = utf8_valid(s, nbytes)) >= 0;) {
        buf_add(b, s, (size_t)bad);
        buf_adds(b, "\xef\xbf\xbd");
        s += bad + 1;
        nbytes -= (size_t)bad + 1;
    }
    buf_add(b, s, nbytes);
}

char *text_clean(const char *s, int keep_lines)
{
    struct buf b = {0};
    char *from, *to;

    text_add_mended(&b, s, strlen(s));
    buf_adds(&b, "");
    from = to = b.data;
    while (*from) {
        size_t n = *from == '\n' && keep_lines ? 0 : text_unshown(from);

        *to++ = n ? ' ' : *from;
        from += n ? n : 1;
    }
    *to = 0;
    return buf_detach(&b);
}

size_t utf8_length(const char *s, size_t nbytes)
{
    return u8_mbsnlen((const uint8_t *)s, nbytes);
}

/* Spelled out rather than asked of libunistring: its uc_is_property_white_space lacks U+001C to
 * U+001F, and the list has not changed since Unicode 6.3. */
static int is_space(ucs4_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t text_strip(const char **s, size_t nbytes)
{
    ucs4_t c;

    nbytes -= text_trailing_spaces(*s, nbytes);
    while (nbytes > 0) {
        size_t n = (size_t)u8_mbtouc(&c, (const uint8_t *)*s, nbytes);

        if (!is_space(c))
            break;
        *s += n;
        nbytes -= n;
    }
    return nbytes;
}

size_t text_trailing_spaces(const char *s, size_t nbytes)
{
    const uint8_t *start = (const uint8_t *)s, *end = start + nbytes, *p = end, *before;
    ucs4_t c;

    while (p > start && (before = u8_prev(&c, p, start)) && is_space(c))
        p = before;
    return (size_t)(end - p);
}

/* Appends what libunistring returned and frees it; it returns NULL for want of memory only. */
static void add_mapped(struct buf *out, uint8_t *mapped, size_t nbytes)
{
    if (!mapped)
        die("no memory to map the case of a text");
    buf_add(out, mapped, nbytes);
    free(mapped);
}

/* Whether the sigma at [at, after) of text ends a word: beyond code points that casing ignores a
 * cased one precedes it and none follows. libunistring's own rule differs from Python's where a
 * code point is both cased and ignored, so the rule is written out here. */
static int is_final_sigma(const uint8_t *text, const uint8_t *at, const uint8_t *after,
                          const uint8_t *end)
{
    ucs4_t c = 0;

    do {
        at = u8_prev(&c, at, text);
    } while (at && uc_is_property_case_ignorable(c));
    if (!at || !uc_is_property_cased(c))
        return 0;
    while (after < end) {
        after += u8_mbtouc(&c, after, (size_t)(end - after));
        if (!uc_is_property_case_ignorable(c))
            return !uc_is_property_cased(c);
    }
    return 1;
}

/* Appends the full lower-case mapping of [p, end) of text. */
static void add_lower(struct buf *out, const uint8_t *text, const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        const uint8_t *sigma = u8_chr(p, (size_t)(end - p), 0x3a3), *stop = sigma ? sigma : end;
        size_t n;
        uint8_t *mapped = u8_tolower(p, (size_t)(stop - p), "", NULL, NULL, &n);

        add_mapped(out, mapped, n);
        p = stop;
        if (sigma) {
            p += 2;
            buf_adds(out, is_final_sigma(text, sigma, p, end) ? "\u03c2" : "\u03c3");
        }
    }
}

void text_capitalize(const char *s, size_t nbytes, struct buf *out)
{
    const uint8_t *text = (const uint8_t *)s;
    uint8_t *mapped;
    size_t n_first, n;
    ucs4_t c;

    if (nbytes == 0)
        return;
    n_first = (size_t)u8_mbtouc(&c, text, nbytes);
    mapped = u8_totitle(text, n_first, "", NULL, NULL, &n);
    add_mapped(out, mapped, n);
    add_lower(out, text, text + n_first, text + nbytes);
}
