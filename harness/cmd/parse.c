/* Strict reading of what options say. */
#include "harness/cmd/parse.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"

int parse_number(const char *name, const char *s, double min, double max, double *out)
{
    char *end;
    double v = 0;

    errno = 0;
    v = strtod(s, &end);
    /* strtod also takes hex, inf, nan and leading white space. */
    if (*end || end == s || errno || !isfinite(v) || strspn(s, "0123456789.eE+-") != strlen(s))
        return error("%s: '%s' is not a number", name, s);
    if (v < min || v > max)
        return error("%s: %s is not between %.16g and %.16g", name, s, min, max);
    *out = v + 0.0; /* -0 is 0 */
    return 0;
}

int parse_whole(const char *name, const char *s, double min, double max, uint64_t *out)
{
    double v = 0;

    if (strspn(s, "0123456789") != strlen(s) || !*s)
        return error("%s: '%s' is not a whole number", name, s);
    if (parse_number(name, s, min, max, &v) != 0)
        return -1;
    *out = strtoull(s, NULL, 10);
    return 0;
}

int parse_limit(const char *s, double *out)
{
    if (parse_number("--limit", s, 0, 1e12, out) != 0)
        return -1;
    if (*out <= 0 || (*out >= 1 && *out != floor(*out)))
        return error("--limit: %s is neither a number of documents nor a share below 1", s);
    return 0;
}

int parse_nbytes(const char *name, const char *s, size_t *out)
{
    static const struct {
        const char *name;
        size_t nbytes;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"KB", 1000},
                 {"MB", 1000000},
                 {"GB", 1000000000},
                 {"TB", 1000000000000},
                 {"KiB", (size_t)1 << 10},
                 {"MiB", (size_t)1 << 20},
                 {"GiB", (size_t)1 << 30},
                 {"TiB", (size_t)1 << 40}};
    size_t n = strspn(s, "0123456789");
    unsigned long long v = strtoull(s, NULL, 10);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && n > 0 && n < 19 && v > 0; i++)
        if (strcasecmp(s + n, units[i].name) == 0 &&
            !__builtin_mul_overflow((size_t)v, units[i].nbytes, out))
            return 0;
    return error("%s: '%s' is not a size, such as 500MB, 5GB or 2GiB", name, s);
}

int parse_word(const char *name, const char *s, const char *const *known, int n, int *out)
{
    struct buf list = {0};
    int rc;

    for (int i = 0; i < n; i++) {
        if (strcmp(known[i], s) == 0) {
            buf_release(&list);
            *out = i;
            return 0;
        }
        buf_addf(&list, "%s%s", i ? ", " : "", known[i]);
    }
    rc = error("%s: '%s' is not known; known: %s", name, s, buf_str(&list));
    buf_release(&list);
    return rc;
}
