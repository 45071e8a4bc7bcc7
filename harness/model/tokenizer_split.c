/* Pre-split expressions: a strict reader of the common dialect, and PCRE2 to match. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "harness/model/tokenizer_split.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"

const char split_llama3[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
                            "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
                            "\\s+(?!\\S)|\\s+";
const char split_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
                          "\\s+(?!\\S)|\\s+";

/* White_Space: PCRE2's \s would add U+180E, which lost the property in Unicode 6.3. */
static const char white_space[] = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"
                                  "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

/* The letters and numbers that Unicode 15, 15.1 and 16 added. Hugging Face's Oniguruma and Rust's
 * regex are at 16, PCRE2 10.42 is at 14: with these, words are cut alike whichever is installed. */
static const char letters_since_14[] =
    "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}"
    "\\x{10d4a}-\\x{10d65}\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}"
    "\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}"
    "\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}"
    "\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"
    "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}"
    "\\x{1e030}-\\x{1e06d}\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}"
    "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}";
static const char numbers_since_14[] =
    "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}"
    "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}"
    "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}";

/* The groups without regard to case that are known to mean the same everywhere: Oniguruma folds
 * some letter pairs into one letter ("ss" matches U+00DF), PCRE2 does not. */
static const char *const caseless_groups[] = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    "(?i:[sdmt]|ll|ve|re)",
    NULL,
};

struct split {
    pcre2_code *code;
};

struct split_scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* Reads the expression at p and writes PCRE2's form of it. */
struct reader {
    const char *p;
    struct buf out;
    int in_class;
    const char *why; /* what is wrong at p, once something is */
};

static void copy(struct reader *r, size_t n)
{
    buf_add(&r->out, r->p, n);
    r->p += n;
}

static void fail(struct reader *r, const char *why)
{
    r->why = why;
}

/* A set, as a class of its own or as part of the class being read. */
static void add_set(struct reader *r, const char *set, const char *more)
{
    buf_addf(&r->out, r->in_class ? "%s%s" : "[%s%s]", set, more);
}

/* \p{L} and \p{N} are what pre-tokenisers use; finer categories would need more tables. */
static void read_property(struct reader *r)
{
    if (strncmp(r->p, "\\p{L}", 5) == 0)
        add_set(r, "\\p{L}", letters_since_14);
    else if (strncmp(r->p, "\\p{N}", 5) == 0)
        add_set(r, "\\p{N}", numbers_since_14);
    else
        return fail(r, "of properties only \\p{L} and \\p{N} are known");
    r->p += 5;
}

static void read_escape(struct reader *r)
{
    char c = r->p[1];

    if (c == 's')
        add_set(r, white_space, "");
    else if (c == 'S' && !r->in_class)
        buf_addf(&r->out, "[^%s]", white_space);
    else if (c == 'p' || c == 'P')
        return read_property(r);
    else if (c && (strchr("rnt", c) || ispunct((unsigned char)c)))
        return copy(r, 2);
    else
        return fail(r, "this escape is not known");
    r->p += 2;
}

static void read_group(struct reader *r)
{
    for (int i = 0; caseless_groups[i]; i++) {
        size_t n = strlen(caseless_groups[i]);

        if (strncmp(r->p, caseless_groups[i], n) == 0)
            return copy(r, n);
    }
    if (r->p[1] != '?')
        copy(r, 1);
    else if (r->p[2] && strchr(":=!", r->p[2]))
        copy(r, 3);
    else
        fail(r, "this kind of group is not known");
}

/* {n}, {n,} or {n,m}; a + or ? after it would not mean the same in both. */
static void read_count(struct reader *r)
{
    size_t n = 1, digits = strspn(r->p + 1, "0123456789");

    n += digits;
    if (r->p[n] == ',')
        n += 1 + strspn(r->p + n + 1, "0123456789");
    if (digits && r->p[n] == '}' && r->p[n + 1] != '+' && r->p[n + 1] != '?')
        copy(r, n + 1);
    else
        fail(r, "this repeat is not known");
}

static void read_class_begin(struct reader *r)
{
    r->in_class = 1;
    copy(r, r->p[1] == '^' ? 2 : 1);
    if (*r->p == ']')
        fail(r, "an empty class");
}

static void read_in_class(struct reader *r)
{
    if (*r->p == '[' || strncmp(r->p, "&&", 2) == 0)
        return fail(r, "sets of classes are not known");
    if (*r->p == ']')
        r->in_class = 0;
    copy(r, 1);
}

static void read_one(struct reader *r)
{
    if (*r->p == '\\')
        read_escape(r);
    else if (r->in_class)
        read_in_class(r);
    else if (*r->p == '[')
        read_class_begin(r);
    else if (*r->p == '(')
        read_group(r);
    else if (*r->p == '{')
        read_count(r);
    else if (strchr("^$.", *r->p))
        fail(r, "anchors and the full stop are not known");
    else
        copy(r, 1);
}

/* Most words of English text, tried first without Unicode properties: both known expressions cut
 * ASCII letters that no other character follows, with a space before or not, like this. Saves a
 * fifth of the time. */
static const char shortcut[] = " ?[A-Za-z]++(?![^\\x{0}-\\x{7f}])|";

static int translate(const char *pattern, const char *path, struct buf *out)
{
    struct reader r = {.p = pattern};

    if (strcmp(pattern, split_llama3) == 0 || strcmp(pattern, split_gpt2) == 0)
        buf_adds(&r.out, shortcut);
    while (*r.p && !r.why)
        read_one(&r);
    *out = r.out;
    if (r.why)
        return error("%s: split expression \"%s\" at byte %zu: %s", path, pattern,
                     (size_t)(r.p - pattern), r.why);
    return 0;
}

struct split *split_open(const char *pattern, const char *path)
{
    struct split *s = xcalloc(1, sizeof(*s));
    struct buf form = {0};
    char message[128] = "";
    int code, rc = -1;
    size_t at;
    uint32_t empty = 0;

    if (translate(pattern, path, &form) != 0)
        goto out;
    s->code =
        pcre2_compile((PCRE2_SPTR)buf_str(&form), form.n, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    if (!s->code) {
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
        error("%s: split expression \"%s\": %s", path, pattern, message);
        goto out;
    }
    pcre2_pattern_info(s->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty) {
        error("%s: split expression \"%s\" matches the empty string", path, pattern);
        goto out;
    }
    /* Where there is no JIT, pcre2_match interprets. */
    pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);
    rc = 0;
out:
    buf_release(&form);
    if (rc == 0)
        return s;
    split_close(s);
    return NULL;
}

void split_close(struct split *s)
{
    if (!s)
        return;
    pcre2_code_free(s->code);
    free(s);
}

struct split_scratch *split_scratch_open(const struct split *s)
{
    struct split_scratch *m = xcalloc(1, sizeof(*m));

    m->data = pcre2_match_data_create_from_pattern(s->code, NULL);
    m->context = pcre2_match_context_create(NULL);
    m->stack = pcre2_jit_stack_create(32 << 10, 8 << 20, NULL);
    if (!m->data || !m->context || !m->stack)
        die("out of memory: PCRE2's match data");
    pcre2_jit_stack_assign(m->context, NULL, m->stack);
    return m;
}

void split_scratch_close(struct split_scratch *m)
{
    if (!m)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    free(m);
}

int split_next(const struct split *s, struct split_scratch *m, const char *text, size_t nbytes,
               size_t from, size_t *begin, size_t *end)
{
    int rc = pcre2_match(s->code, (PCRE2_SPTR)text, nbytes, from, PCRE2_NO_UTF_CHECK, m->data,
                         m->context);
    char message[128] = "";

    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0) {
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)message, sizeof(message));
        return error("cannot split a text of %zu bytes into words at byte %zu: %s", nbytes, from,
                     message);
    }
    *begin = pcre2_get_ovector_pointer(m->data)[0];
    *end = pcre2_get_ovector_pointer(m->data)[1];
    return 1;
}
