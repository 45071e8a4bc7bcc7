/* The test programs' few macros. Each tests/test_NAME.c is one program; scripts/run-tests adds up
 * the lines "ok", "not ok" and "skip" that they print on stdout. */
#ifndef DUO_TESTS_TEST_H
#define DUO_TESTS_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_bad;

/* Fails the running test, with the place, and goes on. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond);                                    \
            test_bad = 1;                                                                          \
        }                                                                                          \
    } while (0)

#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        const char *got_ = (got), *want_ = (want);                                                 \
        if (!got_ || strcmp(got_, want_) != 0) {                                                   \
            printf("# %s:%d: got \"%s\", want \"%s\"\n", __FILE__, __LINE__,                       \
                   got_ ? got_ : "(null)", want_);                                                 \
            test_bad = 1;                                                                          \
        }                                                                                          \
    } while (0)

/* |got - want| <= tol */
#define CHECK_NEAR(got, want, tol)                                                                 \
    do {                                                                                           \
        double got_ = (got), want_ = (want);                                                       \
        if (!(got_ - want_ <= (tol) && want_ - got_ <= (tol))) {                                   \
            printf("# %s:%d: %s is %.9g, want %.9g within %g\n", __FILE__, __LINE__, #got, got_,   \
                   want_, (double)(tol));                                                          \
            test_bad = 1;                                                                          \
        }                                                                                          \
    } while (0)

/* Runs one test function `static void test(void)` and prints its line. */
#define RUN(fn)                                                                                    \
    do {                                                                                           \
        test_bad = 0;                                                                              \
        fn();                                                                                      \
        printf("%s %s\n", test_bad ? "not ok" : "ok", #fn);                                        \
        fflush(stdout);                                                                            \
    } while (0)

#define SKIP(name, why) printf("skip %s: %s\n", name, why)

/* ../shared beside the checkout (or $DUO_SHARED) holds reference data; NULL where it is absent. */
static inline const char *test_shared(void)
{
    const char *dir = getenv("DUO_SHARED");
    FILE *f;
    char path[4096];

    if (!dir)
        dir = "../shared";
    snprintf(path, sizeof(path), "%s/SHA256SUMS", dir);
    f = fopen(path, "r");
    if (!f)
        return NULL;
    fclose(f);
    return dir;
}

#endif
