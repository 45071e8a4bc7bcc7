/* One HTTP request: options of libcurl, and what the response's headers and bytes lead to. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>

#include "data/transfer.h"
#include "harness/base/error.h"

#define MAX_HEADER_BYTES (64 << 10)
#define MAX_PAGE_BYTES (1 << 20) /* of a body that is not the file: a redirect's, an error's */

/* No further try can help: why. Returns -1. */
static int give_up(struct transfer *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int give_up(struct transfer *t, const char *fmt, ...)
{
    char why[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    buf_adds(&t->fatal, why);
    return -1;
}

/* The value of header `name` in a line of n bytes, trimmed, in out; 0 if it is another header. */
static int header_value(const char *line, size_t n, const char *name, char *out, size_t size)
{
    size_t k = strlen(name);

    if (n <= k || line[k] != ':' || strncasecmp(line, name, k) != 0)
        return 0;
    for (line += k + 1, n -= k + 1; n > 0 && (*line == ' ' || *line == '\t'); n--)
        line++;
    while (n > 0 && strchr(" \t\r\n", line[n - 1]))
        n--;
    if (n >= size)
        n = 0; /* longer than anything that is of use here */
    memcpy(out, line, n);
    out[n] = 0;
    return 1;
}

static void read_content_range(struct response *r, const char *value)
{
    long long start, end, total;

    if (sscanf(value, "bytes %lld-%lld/%lld", &start, &end, &total) == 3) {
        r->start = start;
        r->total = total;
    } else if (sscanf(value, "bytes %lld-%lld/", &start, &end) == 2) {
        r->start = start;
    }
}

/* A hub names the SHA-256 of large files in the redirect that leads to their bytes. */
static void read_linked_etag(struct transfer *t, const char *value)
{
    int is_quoted = value[0] == '"';
    const char *hex = value + is_quoted;

    if (!t->sha256[0] && t->n_redirects == 0 && strspn(hex, "0123456789abcdef") == 64 &&
        strcmp(hex + 64, is_quoted ? "\"" : "") == 0)
        snprintf(t->sha256, sizeof(t->sha256), "%.64s", hex);
}

static void read_header(struct transfer *t, const char *line, size_t n)
{
    struct response *r = &t->response;
    char value[1024];

    if (header_value(line, n, "ETag", r->etag, sizeof(r->etag)) ||
        header_value(line, n, "X-Error-Code", r->error_code, sizeof(r->error_code)))
        return;
    if (header_value(line, n, "Content-Length", value, sizeof(value)))
        r->length = strtoll(value, NULL, 10);
    else if (header_value(line, n, "Content-Range", value, sizeof(value)))
        read_content_range(r, value);
    else if (header_value(line, n, "Transfer-Encoding", value, sizeof(value)))
        r->chunked = strcasestr(value, "chunked") != NULL;
    else if (header_value(line, n, "X-Linked-ETag", value, sizeof(value)))
        read_linked_etag(t, value);
}

/* A file system that cannot hold the rest is told before the download, not after hours. */
static int check_space(struct transfer *t, int64_t total)
{
    struct statvfs fs;
    int64_t rest = total - t->part.n_bytes, space;

    if (fstatvfs(t->part.fd, &fs) != 0)
        return 0;
    space = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    if (rest > space)
        return give_up(t, "no space on the disk: %.1f MB needed, %.1f MB free at '%s'",
                       1e-6 * (double)rest, 1e-6 * (double)space, t->part.tmp);
    return 0;
}

static int check_total(struct transfer *t, int64_t total)
{
    const struct http_file *f = t->file;

    if (total == 0)
        return give_up(t, "the server's file is empty");
    if (f->nbytes && total != f->nbytes)
        return give_up(t, "wrong length: the server has %lld bytes, expected are %lld",
                       (long long)total, (long long)f->nbytes);
    if (f->max_bytes && total > f->max_bytes)
        return give_up(t, "too large: %lld bytes, the limit is %lld", (long long)total,
                       (long long)f->max_bytes);
    return check_space(t, total);
}

/* A continuation must begin where the part ends and be of the same version. */
static int is_continuation(const struct transfer *t)
{
    const struct response *r = &t->response;

    return r->start == t->part.n_bytes && t->asked_from > 0 &&
           (!r->etag[0] || strcmp(r->etag, t->part.etag) == 0);
}

/* A weak ETag ("W/...") does not promise equal bytes. */
static const char *strong(const char *etag)
{
    return etag[0] == '"' ? etag : NULL;
}

/* The headers of a 200 or 206 are complete: settles where its bytes go. */
static int begin_body(struct transfer *t)
{
    struct response *r = &t->response;
    int64_t total = r->status == 206 ? r->total : r->length;

    if (r->status == 206 && !is_continuation(t))
        return -1; /* transfer_end starts again from the first byte */
    if (r->status == 200 && t->asked_from > 0)
        warning("%s: %s; starting again", t->file->name,
                strong(r->etag) && strcmp(r->etag, t->part.etag) != 0
                    ? "the file changed at the server"
                    : "the server cannot continue a file");
    if (r->status == 200 && part_restart(&t->part, strong(r->etag)) != 0) {
        t->is_printed = 1;
        return give_up(t, "%s", error_last());
    }
    if (total >= 0 && check_total(t, total) != 0)
        return -1;
    if (total > 0) {
        int64_t rest = total - t->part.n_bytes;

        t->progress->total += (double)(rest - t->announced);
        t->announced = rest;
    }
    r->total = total;
    r->is_body = 1;
    return 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct response *r = &t->response;
    size_t n_bytes = size * n, n_header_bytes = r->n_header_bytes + n_bytes;

    if (n_bytes >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        const char *space = memchr(line, ' ', n_bytes);

        *r = (struct response){.length = -1, .start = -1, .total = -1};
        r->status = space ? atoi(space + 1) : 0;
    } else {
        read_header(t, line, n_bytes);
    }
    r->n_header_bytes = n_header_bytes;
    if (n_header_bytes > MAX_HEADER_BYTES) {
        give_up(t, "the server's response headers are longer than %d bytes", MAX_HEADER_BYTES);
        return 0;
    }
    /* An empty line ends the headers; after the body it ends the trailers of a chunked one. */
    if (n_bytes <= 2 && !r->is_body && (r->status == 200 || r->status == 206) && begin_body(t) != 0)
        return 0;
    return n_bytes;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t n_bytes = size * n;
    int64_t limit = t->file->max_bytes;

    if (!t->response.is_body) {
        t->response.n_page_bytes += n_bytes;
        return t->response.n_page_bytes <= MAX_PAGE_BYTES ? n_bytes
                                                          : 0; /* the status says enough */
    }
    if (limit && t->part.n_bytes + (int64_t)n_bytes > limit) {
        give_up(t, "too large: more than %lld bytes", (long long)limit);
        return 0;
    }
    if (part_write(&t->part, data, n_bytes) != 0) {
        if (errno == ENOSPC || errno == EDQUOT)
            give_up(t, "no space on the disk after %lld bytes, at '%s'", (long long)t->part.n_bytes,
                    t->part.tmp);
        else
            give_up(t, "cannot write '%s': %s", t->part.tmp, strerror(errno));
        return 0;
    }
    t->announced -= (int64_t)n_bytes;
    progress_add(t->progress, (double)n_bytes);
    return n_bytes;
}

/* libcurl fails to set an option only when it is not known to it; going on without verification,
 * say, is out of the question. */
#define SET(curl, option, value)                                                                   \
    do {                                                                                           \
        if (curl_easy_setopt(curl, option, value) != CURLE_OK)                                     \
            die("this libcurl does not know " #option);                                            \
    } while (0)

/* A handle for each request: libcurl 7.88, where a second response on the same handle begins with a
 * folded header, looks at the freed headers of the first one. Connections are kept by the multi
 * handle. */
static void open_handle(struct transfer *t)
{
    curl_easy_cleanup(t->curl);
    t->curl = curl_easy_init();
    if (!t->curl)
        die("libcurl does not start");
    SET(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(t->curl, CURLOPT_FOLLOWLOCATION, 0L); /* transfer.c does, minding the token */
    SET(t->curl, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(t->curl, CURLOPT_SSL_VERIFYHOST, 2L);
    SET(t->curl, CURLOPT_NOSIGNAL, 1L);
    SET(t->curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(t->curl, CURLOPT_USERAGENT, "duo");
    SET(t->curl, CURLOPT_CONNECTTIMEOUT, (long)t->opt->connect_s);
    SET(t->curl, CURLOPT_LOW_SPEED_LIMIT, 100L);
    SET(t->curl, CURLOPT_LOW_SPEED_TIME, (long)t->opt->stall_s);
    SET(t->curl, CURLOPT_ERRORBUFFER, t->curl_error);
    SET(t->curl, CURLOPT_HEADERFUNCTION, on_header);
    SET(t->curl, CURLOPT_HEADERDATA, t);
    SET(t->curl, CURLOPT_WRITEFUNCTION, on_body);
    SET(t->curl, CURLOPT_WRITEDATA, t);
    SET(t->curl, CURLOPT_PRIVATE, t);
    SET(t->curl, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* a proxy never sees the token */
}

static void add_header(struct transfer *t, const char *name, const char *value)
{
    struct buf line = {0};
    struct curl_slist *more;

    buf_addf(&line, "%s: %s", name, value);
    more = curl_slist_append(t->headers, line.data);
    if (!more)
        die("out of memory: %zu bytes asked for", line.n);
    t->headers = more;
    buf_release(&line);
}

void request_prepare(struct transfer *t)
{
    const char *url = t->url ? t->url : t->file->url;
    char from[32];

    curl_slist_free_all(t->headers);
    t->headers = NULL;
    t->response = (struct response){.length = -1, .start = -1, .total = -1};
    t->curl_error[0] = 0;
    t->asked_from = t->part.etag[0] ? t->part.n_bytes : 0;
    open_handle(t);
    SET(t->curl, CURLOPT_URL, url);
    if (t->asked_from > 0) {
        snprintf(from, sizeof(from), "bytes=%lld-", (long long)t->asked_from);
        add_header(t, "Range", from);
        add_header(t, "If-Range", t->part.etag);
    }
    if (t->opt->token && t->opt->origin && http_same_origin(url, t->opt->origin)) {
        struct buf value = {0};

        buf_addf(&value, "Bearer %s", t->opt->token);
        add_header(t, "Authorization", value.data);
        memset(value.data, 0, value.n);
        buf_release(&value);
    }
    SET(t->curl, CURLOPT_HTTPHEADER, t->headers);
}

void url_host(const char *url, char *host, size_t size)
{
    CURLU *u = curl_url();
    char *part = NULL;

    snprintf(host, size, "the server");
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &part, 0) == CURLUE_OK)
        snprintf(host, size, "%s", part);
    curl_free(part);
    curl_url_cleanup(u);
}

/* scheme, host, port (the default one if none is named) of url; 0 if it is none. */
static int split_origin(const char *url, char *out[3])
{
    static const CURLUPart parts[3] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *u = curl_url();
    int ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK;

    for (int i = 0; i < 3; i++)
        ok = ok && curl_url_get(u, parts[i], &out[i], CURLU_DEFAULT_PORT) == CURLUE_OK;
    curl_url_cleanup(u);
    return ok;
}

int http_same_origin(const char *url, const char *origin)
{
    char *a[3] = {0}, *b[3] = {0};
    int same = split_origin(url, a) && split_origin(origin, b);

    for (int i = 0; i < 3; i++)
        same = same && strcasecmp(a[i], b[i]) == 0;
    for (int i = 0; i < 3; i++) {
        curl_free(a[i]);
        curl_free(b[i]);
    }
    return same;
}
