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

/* \p{Lu}, \P{L}: a general category other than C, whose members grow with every Unicode. */
static void read_property(struct reader *r)
{
    size_t n = strcspn(r->p, "}");
    const char *name = r->p + 3;
    int one = n == 4 && strchr("LMNPSZ", name[0]);
    int two = n == 5 && strchr("LMNPSZ", name[0]) && islower((unsigned char)name[1]);

    if (r->p[2] == '{' && r->p[n] == '}' && (one || two))
        copy(r, n + 1);
    else
        fail(r, "only \\p{} of a general category is known");
}

static void read_escape(struct reader *r)
{
    char c = r->p[1];

    if (c == 's' && r->in_class)
        buf_adds(&r->out, white_space);
    else if (c == 's')
        buf_addf(&r->out, "[%s]", white_space);
    else if (c == 'S' && !r->in_class)
        buf_addf(&r->out, "[^%s]", white_space);
    else if (c == 'p' || c == 'P')
        return read_property(r);
    else if (c && (strchr("rntd", c) || ispunct((unsigned char)c)))
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

/* {n}, {n,} or {n,m}; a + after it would mean different things. */
static void read_count(struct reader *r)
{
    size_t n = 1, digits = strspn(r->p + 1, "0123456789");

    n += digits;
    if (r->p[n] == ',')
        n += 1 + strspn(r->p + n + 1, "0123456789");
    if (digits && r->p[n] == '}' && r->p[n + 1] != '+')
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

static int translate(const char *pattern, const char *path, struct buf *out)
{
    struct reader r = {.p = pattern};

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
