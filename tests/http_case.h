/* What the tests of downloads share: a server, a folder, two bodies and quick options. */
#ifndef DUO_TESTS_HTTP_CASE_H
#define DUO_TESTS_HTTP_CASE_H

#include <signal.h>

#include "data/http.h"
#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/progress.h"
#include "harness/base/sha256.h"
#include "tests/http_server.h"
#include "tests/test.h"

#define N_BODY 300000

static struct server server;
static char folder[64];
static char body[N_BODY + 1], other[N_BODY + 1];
static char body_sha256[65], other_sha256[65];

static inline struct http_options quick(void)
{
    struct http_options o;

    http_options_default(&o);
    o.n_tries = 3;
    o.backoff_s = 0.02;
    o.max_wait_s = 0.2;
    o.stall_s = 1;
    return o;
}

/* Names for the n-th test file; the strings live until the program ends. */
static inline struct http_file file_at(const char *path, int which)
{
    struct buf url = {0};
    struct http_file f = {0};

    buf_addf(&url, "http://127.0.0.1:%d%s", server.port[which], path);
    f.name = path + 1;
    f.url = buf_detach(&url);
    f.path = path_join(folder, path + 1);
    return f;
}

static inline void forget(struct http_file *f)
{
    free((char *)f->url);
    free((char *)f->path);
}

/* Fetches one path of the first port with quick options. */
static inline int fetch(const char *path, const char *sha256, struct http_file *f)
{
    struct http_options o = quick();

    *f = file_at(path, 0);
    f->sha256 = sha256;
    return http_fetch(f, 1, &o);
}

static inline int has_suffix(const struct http_file *f, const char *suffix)
{
    struct buf path = {0};
    int there;

    buf_addf(&path, "%s%s", f->path, suffix);
    there = file_exists(path.data);
    buf_release(&path);
    return there;
}

/* The file is there with these bytes, and nothing of the download is left beside it. */
static inline int is_clean(const struct http_file *f, const char *want, size_t n)
{
    struct buf got = {0};
    int ok = file_exists(f->path) && file_read(f->path, &got) == 0 && got.n == n &&
             memcmp(buf_str(&got), want, n) == 0;

    buf_release(&got);
    return ok && has_suffix(f, ".sha256") && !has_suffix(f, ".part") &&
           !has_suffix(f, ".part.etag") && !has_suffix(f, ".lock");
}

#define BODY .body = body, .n_body = N_BODY, .etag = "\"one\""
#define PLAIN .body = body, .n_body = N_BODY

/* Everything before the first and after the last test. */
static inline int begin(void)
{
    signal(SIGPIPE, SIG_IGN);
    error_silence(1);
    progress_quiet(1);
    snprintf(folder, sizeof(folder), "/tmp/duo-test-http-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    for (size_t i = 0; i < N_BODY; i++) {
        body[i] = (char)('a' + i * 7919 % 26);
        other[i] = (char)('A' + i * 7919 % 26);
    }
    sha256_hex(body, N_BODY, body_sha256);
    sha256_hex(other, N_BODY, other_sha256);
    server_start(&server);
    return 0;
}

static inline int end(void)
{
    char command[128];

    server_stop(&server);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) != 0;
}

#endif
