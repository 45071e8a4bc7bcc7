/* The regular expression that cuts text into words before byte-level BPE, run by PCRE2 (JIT). */
#ifndef DUO_MODEL_TOKENIZER_SPLIT_H
#define DUO_MODEL_TOKENIZER_SPLIT_H

#include <stddef.h>

/* LLaMA-3's, the one that its tiktoken-form file implies. */
extern const char split_llama3[];
/* GPT-2's, the default of Hugging Face's ByteLevel pre-tokeniser. */
extern const char split_gpt2[];

/* A compiled expression; shared by threads. */
struct split;

/* Compiles what Oniguruma (Hugging Face) and Rust's regex (tiktoken) would read the same way: the
 * operators | * + ? {n,m}, (?: ), (?= ), (?! ), classes, \r \n \t, \s \S, \p{L} \p{N}, and the
 * English contractions regardless of case. \s is Unicode's White_Space; letters and numbers are
 * those of Unicode 16, as in those two. Anything else, and an expression that matches the empty
 * string, is NULL after error() naming path. */
struct split *split_open(const char *pattern, const char *path);
void split_close(struct split *s);

/* One thread's place for matches. */
struct split_scratch;
struct split_scratch *split_scratch_open(const struct split *s);
void split_scratch_close(struct split_scratch *m);

/* The first match at or after `from` in valid UTF-8 text. 1 and its place, 0: none, or error(). */
int split_next(const struct split *s, struct split_scratch *m, const char *text, size_t nbytes,
               size_t from, size_t *begin, size_t *end);

#endif
