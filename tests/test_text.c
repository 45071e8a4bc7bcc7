/* UTF-8 text: the expected values are what Python 3.11 gives. */
#include "harness/base/text.h"
#include "tests/test.h"

/* A literal that may hold NULs, and its length. */
#define LIT(s) (s), sizeof(s) - 1

static void valid_utf8(void)
{
    CHECK(utf8_valid(LIT("")) == -1);
    CHECK(utf8_valid(LIT("abc\0\x7f")) == -1);
    CHECK(utf8_valid(LIT("\u00e9\u20ac\U0001f600\U0010ffff")) == -1);
}

static void invalid_utf8_names_the_byte(void)
{
    CHECK(utf8_valid(LIT("ab\x80")) == 2);                    /* stray continuation */
    CHECK(utf8_valid(LIT("a\xc0\x80")) == 1);                 /* overlong NUL */
    CHECK(utf8_valid(LIT("\xe0\x9f\xbf")) == 0);              /* overlong U+07FF */
    CHECK(utf8_valid(LIT("\xf0\x8f\xbf\xbf")) == 0);          /* overlong U+FFFF */
    CHECK(utf8_valid(LIT("x\xed\xa0\x80")) == 1);             /* surrogate */
    CHECK(utf8_valid(LIT("\xf4\x90\x80\x80")) == 0);          /* above U+10FFFF */
    CHECK(utf8_valid(LIT("\xff")) == 0);                      /* never a byte of UTF-8 */
    CHECK(utf8_valid(LIT("ok \xe2\x82")) == 3);               /* cut short */
    CHECK(utf8_valid(LIT("\u20ac\xe2\x28\xa1")) == 3);        /* broken in the middle */
    CHECK(utf8_valid(LIT("\xef\xbb\xbfx\xf0\x9f\x98")) == 4); /* after a byte order mark */
}

static void length_counts_code_points(void)
{
    CHECK(utf8_length(LIT("")) == 0);
    CHECK(utf8_length(LIT("abc")) == 3);
    CHECK(utf8_length(LIT("na\u00efve \U0001f600")) == 7);
    CHECK(utf8_length(LIT("e\u0301")) == 2); /* not what a reader sees, but what len() says */
}

static const char *const spaces[] = {
    "\t",     "\n",     "\v",       "\f",     "\r",     "\x1c",   "\x1d",   "\x1e",
    "\x1f",   " ",      "\xc2\x85", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002",
    "\u2003", "\u2004", "\u2005",   "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
    "\u2028", "\u2029", "\u202f",   "\u205f", "\u3000", NULL,
};

static const char *const no_spaces[] = {
    "\b", "\x1b", "\xc2\x84", "\u180e", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", NULL,
};

/* text_strip of s as a C string, in a static buffer. */
static const char *strip(const char *s)
{
    static char got[256];
    size_t n = text_strip(&s, strlen(s));

    memcpy(got, s, n);
    got[n] = 0;
    return got;
}

static void strip_takes_pythons_white_space(void)
{
    char text[64];
    size_t i;

    for (i = 0; spaces[i]; i++) {
        snprintf(text, sizeof(text), "%s%sa%sb%s", spaces[i], spaces[i], spaces[i], spaces[i]);
        CHECK(strncmp(strip(text), "a", 1) == 0 && strlen(strip(text)) == 2 + strlen(spaces[i]));
        CHECK(text_trailing_spaces(text, strlen(text)) == strlen(spaces[i]));
        CHECK_STR(strip(spaces[i]), "");
    }
    for (i = 0; no_spaces[i]; i++) {
        CHECK_STR(strip(no_spaces[i]), no_spaces[i]);
        CHECK(text_trailing_spaces(no_spaces[i], strlen(no_spaces[i])) == 0);
    }
    CHECK_STR(strip(""), "");
    CHECK_STR(strip("plain"), "plain");
}

static void trailing_spaces_are_counted_in_bytes(void)
{
    CHECK(text_trailing_spaces(LIT("Answer: \u3000\n")) == 5);
    CHECK(text_trailing_spaces(LIT(" \t ")) == 3);
    CHECK(text_trailing_spaces(LIT("")) == 0);
    CHECK(text_trailing_spaces(LIT("a\0 ")) == 1);
}

static void capitalize_as_python(void)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"hello WORLD", "Hello world"},
        {" ABC", " abc"}, /* the first code point is the space */
        {"1ABC", "1abc"},
        {"\u00dcBER \u00c9T\u00c9", "\u00dcber \u00e9t\u00e9"},
        {"\u00dfA", "Ssa"},               /* sharp s: two letters */
        {"\ufb01RE", "Fire"},             /* ligature fi */
        {"\u0149A", "\u02bcNa"},          /* apostrophe n */
        {"\u01c4\u01c4", "\u01c5\u01c6"}, /* dz with caron: title case is its own letter */
        {"I\u0130", "Ii\u0307"},          /* dotted I: i and a combining dot */
        {"\u10d0\u1c90", "\u10d0\u10d0"}, /* Georgian has no title case */
        {"\U00010428\U00010400", "\U00010400\U00010428"},
        {"\u5b57A", "\u5b57a"},
    };
    struct buf got = {0};
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        got.n = 0;
        buf_add(&got, "", 0);
        text_capitalize(cases[i][0], strlen(cases[i][0]), &got);
        CHECK_STR(got.data, cases[i][1]);
    }
    buf_release(&got);
}

/* Sigma is final after a cased letter with none behind it, whatever is ignored in between; letters
 * that are both cased and ignored (U+0345, U+02B0) count as ignored. */
static void capitalize_final_sigma(void)
{
    static const char *const cases[][2] = {
        {"\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3", /* Odysseus */
         "\u039f\u03b4\u03c5\u03c3\u03c3\u03b5\u03c5\u03c2"},
        {"A\u03a3 \u03a3A", "A\u03c2 \u03c3a"},
        {"A\u03a3", "A\u03c2"},
        {"\u03a3\u03a3", "\u03a3\u03c2"},
        {"x \u03a3", "X \u03c3"},
        {"A\u03a3'A\u03a3.", "A\u03c3'a\u03c2."},
        {"\u02b0\u03a3 ", "\u02b0\u03c3 "},
        {"I\u03a3\u0345", "I\u03c2\u0345"},
        {"s\u03a3'\u03a3", "S\u03c3'\u03c2"},
    };
    struct buf got = {0};
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        got.n = 0;
        text_capitalize(cases[i][0], strlen(cases[i][0]), &got);
        CHECK_STR(buf_str(&got), cases[i][1]);
    }
    buf_release(&got);
}

int main(void)
{
    RUN(valid_utf8);
    RUN(invalid_utf8_names_the_byte);
    RUN(length_counts_code_points);
    RUN(strip_takes_pythons_white_space);
    RUN(trailing_spaces_are_counted_in_bytes);
    RUN(capitalize_as_python);
    RUN(capitalize_final_sigma);
    return 0;
}
