/* The regular expression of a tokenizer.json: up to the first newline, then a text. Words follow
 * each other, are not empty and lie in the text. */
#include "harness/base/text.h"
#include "harness/model/tokenizer_split.h"
#include "tests/fuzz/fuzz.h"

void fuzz_split(const uint8_t *data, size_t n)
{
    const uint8_t *cut = memchr(data, '\n', n);
    char *pattern = strndup((const char *)data, cut ? (size_t)(cut - data) : n);
    const char *text = cut ? (const char *)cut + 1 : "";
    size_t n_text = cut ? n - (size_t)(cut + 1 - data) : 0, at = 0, begin, end;
    struct split *s = NULL;
    struct split_scratch *m;

    if (utf8_valid(pattern, strlen(pattern)) < 0 && utf8_valid(text, n_text) < 0)
        s = split_open(pattern, "tokenizer.json");
    free(pattern);
    if (!s)
        return;
    m = split_scratch_open(s);
    while (split_next(s, m, text, n_text, at, &begin, &end) == 1) {
        FUZZ_ACCEPTED(at <= begin && begin < end && end <= n_text);
        at = end;
    }
    split_scratch_close(m);
    split_close(s);
}
