/* Fuzz targets: each tests/fuzz/NAME.c has one function, which takes any bytes for a file of its
 * kind, in this process and without touching the disk, and aborts where a promise is
 * broken. libFuzzer calls it through driver.c (`make fuzz`); tests/test_fuzz_corpus.c gives it the
 * corpus (tests/fuzz/corpus/NAME/) in every `make test`. */
#ifndef DUO_TESTS_FUZZ_FUZZ_H
#define DUO_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The targets, in one list for all who need it. */
#define FUZZ_TARGETS(X)                                                                            \
    X(archive)                                                                                     \
    X(calib)                                                                                       \
    X(checkpoint)                                                                                  \
    X(config)                                                                                      \
    X(http)                                                                                        \
    X(index)                                                                                       \
    X(journal)                                                                                     \
    X(json)                                                                                        \
    X(records)                                                                                     \
    X(safetensors)                                                                                 \
    X(sentencepiece)                                                                               \
    X(split)                                                                                       \
    X(table_spec)                                                                                  \
    X(tasks)                                                                                       \
    X(tiktoken)                                                                                    \
    X(tokenizer)

#define FUZZ_DECLARE(name) void fuzz_##name(const uint8_t *data, size_t n);
FUZZ_TARGETS(FUZZ_DECLARE)

/* What was accepted must hold this. */
#define FUZZ_ASSERT(cond)                                                                          \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #cond);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The same, for the first promise about what was accepted: the corpus of a target must have some
 * that is, or it tests nothing but refusals. */
#define FUZZ_ACCEPTED(cond)                                                                        \
    do {                                                                                           \
        FUZZ_ASSERT(cond);                                                                         \
        fuzz_n_accepted++;                                                                         \
    } while (0)
extern size_t fuzz_n_accepted;

/* Puts up DIR/NAME (or DIR/./NAME) with these bytes, DIR being FUZZ_FOLDER: file.h's functions,
 * zip_open, gzopen, fopen and stat of the program find it in memory. Name and bytes are borrowed.
 */
#define FUZZ_FOLDER "/in-memory"
void fuzz_file(const char *name, const void *data, size_t n);
void fuzz_files_forget(void);

#endif
