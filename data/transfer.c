/* One file: which answer of the server leads to what. */
#include "data/transfer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "harness/base/error.h"

static void finish(struct transfer *t, enum http_state state)
{
    t->progress->total -= (double)t->announced;
    t->announced = 0;
    t->file->state = state;
    t->state = TRANSFER_DONE;
    part_close(&t->part);
}

/* One line, unless the cause has already printed its own. */
#define FAIL(t, ...)                                                                               \
    do {                                                                                           \
        if (!(t)->is_printed)                                                                      \
            error(__VA_ARGS__);                                                                    \
        finish(t, HTTP_FAILED);                                                                    \
    } while (0)

static void again_at(struct transfer *t, double seconds)
{
    t->state = TRANSFER_READY;
    t->wake = now_seconds() + seconds;
    free(t->url);
    t->url = NULL;
    t->n_redirects = 0;
}

void transfer_start(struct transfer *t)
{
    struct http_file *f = t->file;
    int rc;

    if (!t->is_open) {
        if (file_verified(f->path, f->sha256, f->got_sha256)) {
            finish(t, HTTP_THERE);
            return;
        }
        rc = part_open(&t->part, f->path);
        if (rc > 0) {
            again_at(t, 0.1); /* another process is at it; it may leave the file complete */
            return;
        }
        if (rc < 0) {
            finish(t, HTTP_FAILED);
            return;
        }
        t->is_open = 1;
        t->best = t->part.n_bytes;
        if (f->sha256)
            memcpy(t->sha256, f->sha256, sizeof(t->sha256));
        /* Between the look and the lock another process may have finished. */
        if (file_verified(f->path, f->sha256, f->got_sha256)) {
            finish(t, HTTP_THERE);
            return;
        }
    }
    request_prepare(t);
    t->state = TRANSFER_RUNNING;
}

void transfer_release(struct transfer *t)
{
    curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->headers);
    free(t->url);
    buf_release(&t->fatal);
    part_close(&t->part);
    *t = (struct transfer){0};
}

/* Exponential with jitter (half to whole), so that many clients do not come back together. */
static double next_wait(struct transfer *t)
{
    curl_off_t asked = 0;
    double wait = t->opt->backoff_s * pow(2, t->n_tries - 1) * (0.5 + 0.5 * pcg32_double(t->rng));

    if (curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &asked) == CURLE_OK &&
        (double)asked > wait)
        wait = (double)asked;
    return fmin(wait, t->opt->max_wait_s);
}

/* Tries again after `why`, or gives up with the advice. A try that brought new bytes is no failure:
 * a long download may be cut as often as it likes. */
static void try_again(struct transfer *t, const char *why, int max_tries, const char *advice)
{
    double wait;

    if (t->part.n_bytes > t->best) {
        t->best = t->part.n_bytes;
        t->n_tries = 0;
    }
    if (++t->n_tries >= max_tries) {
        FAIL(t, "%s: %s; gave up after %d tries%s", t->file->name, why, t->n_tries, advice);
        return;
    }
    wait = next_wait(t);
    warning("%s: %s; trying again in %.1f s", t->file->name, why, wait);
    again_at(t, wait);
}

/* From the first byte, at once; a server that forces it again and again is given up. */
static void start_over(struct transfer *t, const char *why)
{
    if (++t->n_restarts > 3) {
        FAIL(t, "%s: %s, again and again", t->file->name, why);
        return;
    }
    warning("%s: %s; starting again", t->file->name, why);
    if (part_restart(&t->part, NULL) != 0) {
        finish(t, HTTP_FAILED);
        return;
    }
    again_at(t, 0);
}

/* Removes the bytes as well: they are wrong and must not be continued. */
#define REJECT(t, ...)                                                                             \
    do {                                                                                           \
        error(__VA_ARGS__);                                                                        \
        part_drop(&(t)->part);                                                                     \
        finish(t, HTTP_FAILED);                                                                    \
    } while (0)

static void accept_bytes(struct transfer *t)
{
    struct http_file *f = t->file;
    long version = 0;

    curl_easy_getinfo(t->curl, CURLINFO_HTTP_VERSION, &version);
    if (t->response.total < 0 && !t->response.chunked && !t->sha256[0] && !f->nbytes &&
        version < CURL_HTTP_VERSION_2_0) {
        REJECT(t, "%s: the server does not say how long the file is, so a cut could not be seen",
               f->name);
        return;
    }
    if (t->part.n_bytes == 0) {
        REJECT(t, "%s: the server's file is empty", f->name);
        return;
    }
    if (f->nbytes && t->part.n_bytes != f->nbytes) {
        REJECT(t, "%s: wrong length: %lld bytes came, expected are %lld", f->name,
               (long long)t->part.n_bytes, (long long)f->nbytes);
        return;
    }
    part_hash(&t->part, f->got_sha256);
    if (t->sha256[0] && strcmp(f->got_sha256, t->sha256) != 0) {
        if (t->asked_from > 0)
            start_over(t, "wrong SHA-256 after a continued download");
        else
            REJECT(t, "%s: wrong SHA-256 %s, expected is %s", f->name, f->got_sha256, t->sha256);
        return;
    }
    if (f->check && f->check(t->part.tmp, f) != 0) {
        part_drop(&t->part);
        finish(t, HTTP_FAILED);
        return;
    }
    finish(t, part_commit(&t->part, f->got_sha256) == 0 ? HTTP_FETCHED : HTTP_FAILED);
}

static void follow(struct transfer *t)
{
    const char *from = t->url ? t->url : t->file->url;
    char *to = NULL, host[256];

    curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &to);
    url_host(from, host, sizeof(host));
    if (!to) {
        FAIL(t, "%s: %s redirects (HTTP %d) without an address", t->file->name, host,
             t->response.status);
    } else if (++t->n_redirects > t->opt->n_redirects) {
        FAIL(t, "%s: more than %d redirects, the last at %s", t->file->name, t->opt->n_redirects,
             host);
    } else if (strncasecmp(from, "https:", 6) == 0 && strncasecmp(to, "https:", 6) != 0) {
        FAIL(t, "%s: %s redirects from https to an insecure address", t->file->name, host);
    } else {
        char *url = xstrdup(to);

        free(t->url);
        t->url = url;
        t->wake = 0;
        t->state = TRANSFER_READY;
    }
}

static void take_denial(struct transfer *t, const char *host)
{
    const char *advice = t->file->denied;

    if (strcmp(t->response.error_code, "RepoNotFound") == 0)
        FAIL(t, "%s: not found at %s, or private (HTTP %d)", t->file->name, host,
             t->response.status);
    else
        FAIL(t, "%s: %s denies access (HTTP %d)%s%s", t->file->name, host, t->response.status,
             advice ? ": " : "", advice ? advice : "");
}

static void take_status(struct transfer *t)
{
    int status = t->response.status;
    char host[256], why[320];

    url_host(t->url ? t->url : t->file->url, host, sizeof(host));
    snprintf(why, sizeof(why), "%s answers HTTP %d", host, status);
    if (status == 200 || status == 206) {
        accept_bytes(t);
    } else if (status >= 301 && status <= 308 && status != 304) {
        follow(t);
    } else if (status == 401 || status == 403) {
        take_denial(t, host);
    } else if (status == 404 || status == 410) {
        if (t->file->optional)
            finish(t, HTTP_ABSENT);
        else
            FAIL(t, "%s: not found at %s (HTTP %d)", t->file->name, host, status);
    } else if (status == 416 && t->asked_from > 0) {
        start_over(t, "the server has no bytes after those already here");
    } else if (status == 429) {
        snprintf(why, sizeof(why), "%s asks for fewer requests (HTTP 429)", host);
        try_again(t, why, t->opt->n_tries, "; try later");
    } else if (status == 408 || status >= 500) {
        try_again(t, why, t->opt->n_tries, "; try later, or another server with --mirror");
    } else {
        FAIL(t, "%s: %s", t->file->name, why);
    }
}

static void take_cut(struct transfer *t, CURLcode rc)
{
    long long here = t->part.n_bytes, total = t->response.total;
    char host[256], why[320];

    url_host(t->url ? t->url : t->file->url, host, sizeof(host));
    if (rc == CURLE_OPERATION_TIMEDOUT && !t->response.n_header_bytes)
        snprintf(why, sizeof(why), "%s does not answer", host);
    else if (rc == CURLE_OPERATION_TIMEDOUT)
        snprintf(why, sizeof(why), "no data for %d s after %lld bytes", t->opt->stall_s, here);
    else if (total > 0)
        snprintf(why, sizeof(why), "cut after %lld of %lld bytes", here, total);
    else
        snprintf(why, sizeof(why), "cut after %lld bytes", here);
    try_again(t, why, t->opt->n_tries,
              t->part.etag[0] ? "; run again to go on from there" : "; run again");
}

static void take_no_network(struct transfer *t, CURLcode rc)
{
    const char *url = t->url ? t->url : t->file->url;
    int max_tries = t->opt->n_tries < 3 ? t->opt->n_tries : 3; /* it rarely comes back at once */
    char host[256], why[320];

    url_host(url, host, sizeof(host));
    snprintf(why, sizeof(why), "no network: cannot %s %s",
             rc == CURLE_COULDNT_RESOLVE_HOST ? "find the address of" : "connect to", host);
    try_again(t, why, max_tries, "; a mirror can be named with --mirror");
}

static void take_error(struct transfer *t, CURLcode rc)
{
    const char *name = t->file->name;
    const char *detail = t->curl_error[0] ? t->curl_error : curl_easy_strerror(rc);
    char host[256];

    url_host(t->url ? t->url : t->file->url, host, sizeof(host));
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        take_no_network(t, rc);
        return;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        take_cut(t, rc);
        return;
    case CURLE_PEER_FAILED_VERIFICATION:
        FAIL(t, "%s: the certificate of %s cannot be verified: %s", name, host, detail);
        return;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        FAIL(t, "%s: not an http or https address, at %s", name, host);
        return;
    default:
        FAIL(t, "%s: %s: %s", name, host, detail);
    }
}

void transfer_end(struct transfer *t, CURLcode rc)
{
    if (t->fatal.n)
        FAIL(t, "%s: %s", t->file->name, buf_str(&t->fatal));
    else if (rc == CURLE_OK || (rc == CURLE_WRITE_ERROR && t->response.n_page_bytes))
        take_status(t);
    else if (rc == CURLE_WRITE_ERROR && t->response.status == 206)
        start_over(t, "the file changed at the server");
    else
        take_error(t, rc);
}
