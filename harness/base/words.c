/* Quoting and splitting command lines. */
#include "harness/base/words.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,./:=+@%_-"

void words_quote(struct buf *b, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *w = words[i];

        buf_adds(b, i ? " " : "");
        if (*w && strspn(w, PLAIN) == strlen(w)) {
            buf_adds(b, w);
            continue;
        }
        buf_addc(b, '\'');
        for (; *w; w++)
            if (*w == '\'')
                buf_adds(b, "'\\''");
            else
                buf_addc(b, *w);
        buf_addc(b, '\'');
    }
}

/* Copies the word at *p to *to, both moved on. 0, or -1 where a quote has no end. */
static int take_word(const char **p, char **to)
{
    char quote = 0;

    for (; **p && (quote || !strchr(" \t\n", **p)); ++*p) {
        if (!quote && (**p == '\'' || **p == '"')) {
            quote = **p;
        } else if (**p == quote) {
            quote = 0;
        } else {
            int escapes = quote != '\'' && **p == '\\' && (*p)[1] &&
                          (!quote || (*p)[1] == '"' || (*p)[1] == '\\');

            *p += escapes;
            *(*to)++ = **p;
        }
    }
    *(*to)++ = 0;
    return quote ? -1 : 0;
}

int words_split(const char *line, const char *where, char ***words)
{
    size_t n = strlen(line), n_words = 0, max_words = n / 2 + 2;
    char **list = xmalloc(max_words * sizeof(*list) + n + 2), *to = (char *)(list + max_words);
    const char *p = line;

    *words = list;
    for (;;) {
        p += strspn(p, " \t\n");
        if (!*p)
            break;
        list[n_words++] = to;
        if (take_word(&p, &to) != 0) {
            free(list);
            *words = NULL;
            return error("%s: a quote without an end", where);
        }
    }
    list[n_words] = NULL;
    return (int)n_words;
}
