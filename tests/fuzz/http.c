/* What a server answers, byte for byte, up to eight connections, separated by lines "%". The bytes
 * go through libcurl over a pair of sockets; the token may be in a request to its origin only. */
#include <curl/curl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "data/transfer.h"
#include "harness/base/file.h"
#include "tests/fuzz/disk.h"
#include "tests/fuzz/fuzz.h"

#define ORIGIN "http://hub.test"
#define MAX_BYTES 4096
#define PATH FUZZ_DISK "/file"

struct answers {
    const uint8_t *p, *end;
    int other; /* the server's end of the running connection */
};

static int curl_end = -1; /* libcurl's end of it */

/* The next answer, sent at once and followed by the end of the stream. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct answers *a = arg;
    const uint8_t *cut = a->p < a->end ? memmem(a->p, (size_t)(a->end - a->p), "\n%\n", 3) : NULL;
    size_t n = (size_t)((cut ? cut : a->end) - a->p);
    int pair[2];

    (void)purpose;
    (void)address;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        abort();
    if (n && send(pair[1], a->p, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        abort();
    shutdown(pair[1], SHUT_WR);
    a->p = cut ? cut + 3 : a->end;
    if (a->other >= 0)
        close(a->other);
    a->other = pair[1];
    curl_end = pair[0];
    return pair[0];
}

/* libcurl's call: the pair of sockets is connected. (CURL_SOCKOPT_ALREADY_CONNECTED would say so,
 * but libcurl 7.88 connects all the same, and fails.) */
int connect(int fd, const struct sockaddr *to, socklen_t n)
{
    return fd == curl_end ? 0 : (int)syscall(SYS_connect, fd, to, n);
}

/* What was asked. */
static void check_request(int fd)
{
    char text[4096];
    ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

    text[n > 0 ? n : 0] = 0;
    /* A redirect may have a user of its own, which libcurl sends as it is. */
    if (strstr(text, "\r\nAuthorization: Bearer SECRET\r\n"))
        FUZZ_ASSERT(strcasestr(text, "\r\nHost: hub.test\r\n"));
}

static CURLcode perform(struct transfer *t, struct answers *a)
{
    static CURLM *multi;
    struct curl_slist *all = NULL;
    const CURLMsg *m;
    int left;
    CURLcode rc = CURLE_SSL_CONNECT_ERROR;
    const char *url = t->url ? t->url : t->file->url;

    if (strncasecmp(url, "https:", 6) == 0)
        return rc; /* no TLS here */
    all = curl_slist_append(NULL, "::127.0.0.1:80");
    curl_easy_setopt(t->curl, CURLOPT_CONNECT_TO, all);
    curl_easy_setopt(t->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(t->curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(t->curl, CURLOPT_OPENSOCKETDATA, a);
    curl_easy_setopt(t->curl, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(t->curl, CURLOPT_FORBID_REUSE, 1L);
    if (!multi)
        multi = curl_multi_init();
    curl_multi_add_handle(multi, t->curl);
    for (int n = 1; curl_multi_perform(multi, &n) == CURLM_OK && n > 0;)
        curl_multi_poll(multi, NULL, 0, 1000, NULL);
    m = curl_multi_info_read(multi, &left);
    FUZZ_ASSERT(m && m->msg == CURLMSG_DONE);
    rc = m->data.result;
    curl_multi_remove_handle(multi, t->curl);
    curl_slist_free_all(all);
    if (a->other >= 0) {
        check_request(a->other);
        close(a->other);
        a->other = -1;
    }
    return rc;
}

void fuzz_http(const uint8_t *data, size_t n)
{
    static struct http_options o;
    struct answers a = {data, data + n, -1};
    struct http_file f = {
        .name = "file", .url = ORIGIN "/file", .path = PATH, .max_bytes = MAX_BYTES};
    struct progress progress = {0};
    struct pcg32 rng;
    struct transfer t = {.file = &f, .opt = &o, .progress = &progress, .rng = &rng};
    struct buf got = {0};

    if (!o.token) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        http_options_default(&o);
        o.token = "SECRET";
        o.origin = ORIGIN;
        o.n_redirects = 3;
        o.n_tries = 3;
    }
    pcg32_init(&rng, 1, 1);
    /* One connection that is closed at once; the tries after it are like it. */
    for (int i = 0, n_empty = 0; i < 8 && n_empty < 1 && t.state != TRANSFER_DONE; i++) {
        n_empty += a.p == a.end;
        transfer_start(&t);
        if (t.state == TRANSFER_RUNNING)
            transfer_end(&t, perform(&t, &a));
    }
    FUZZ_ASSERT(t.n_redirects <= o.n_redirects + 1);
    if (f.state == HTTP_FETCHED) {
        FUZZ_ACCEPTED(file_read(PATH, &got) == 0 && got.n > 0 && got.n <= MAX_BYTES);
        buf_release(&got);
    }
    transfer_release(&t);
    disk_clear();
}
