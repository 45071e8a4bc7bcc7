/* Downloads over HTTP(S): several files at once, resumed after a cut or a kill, tried again when
 * the server or the network fails for a while, verified, and never half-written under the final
 * name. */
#ifndef DUO_DATA_HTTP_H
#define DUO_DATA_HTTP_H

#include <stddef.h>
#include <stdint.h>

enum http_state {
    HTTP_WAITING,
    HTTP_FETCHED,
    HTTP_THERE,  /* was there and verified; nothing was sent */
    HTTP_ABSENT, /* optional, and the server says 404 */
    HTTP_FAILED,
};

struct http_file {
    const char *name;   /* in messages, e.g. "piqa/valid.jsonl" */
    const char *url;    /* http:// or https:// */
    const char *path;   /* where it goes; folders are made */
    const char *sha256; /* expected, 64 lower-case hex digits, or NULL */
    int64_t nbytes;     /* expected; 0: not known */
    int64_t max_bytes;  /* more than this is an error; 0: no limit */
    int optional;       /* 404 is not an error */
    const char *denied; /* what the user can do about 401 and 403, or NULL */

    /* Looks at the complete bytes at `path` before they get their name; 0 or error(). NULL: none */
    int (*check)(const char *path, const struct http_file *file);
    const char *const *members; /* for check: NULL-terminated names an archive must contain */

    enum http_state state; /* set by http_fetch */
    char got_sha256[65];   /* when fetched or there */
};

struct http_options {
    int n_parallel;     /* files at once */
    int n_tries;        /* in a row without a new byte, before a file is given up */
    double backoff_s;   /* wait before the second try; doubles, with jitter */
    double max_wait_s;  /* bound of the waits, also of the server's Retry-After */
    int stall_s;        /* less than 100 bytes/s for so long counts as a cut */
    int connect_s;      /* to connect */
    int n_redirects;    /* at most, per try */
    const char *token;  /* bearer token or NULL; sent only to: */
    const char *origin; /* "https://host[:port]", compared with scheme, host and port */
};

void http_options_default(struct http_options *o);

/* Brings all files that are not there and verified yet. One line of error() for each that fails;
 * the others still come. Returns 0 if none failed. A failed file's bytes stay in PATH.part where
 * they can be continued. A redirect is followed without the token unless it stays at the origin,
 * and never from https to http. Certificates are always verified. */
int http_fetch(struct http_file *files, size_t n_files, const struct http_options *o);

/* 1 if url has exactly the scheme, host and port of origin. */
int http_same_origin(const char *url, const char *origin);

#endif
