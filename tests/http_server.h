/* An HTTP/1.1 server on loopback for tests of downloads: one thread per connection, two ports (two
 * "hosts"), and a table of routes that say how each path misbehaves. */
#ifndef DUO_TESTS_HTTP_SERVER_H
#define DUO_TESTS_HTTP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_MAX_ROUTES 96

/* A path and its script. `times` counts requests to which the trouble applies (-1: always); after
 * them the body is served well, with ranges and the ETag. */
struct route {
    const char *path;
    const char *body;
    size_t n_body;
    const char *etag;   /* with its quotes; NULL: none, and no ranges */
    const char *header; /* further lines, each with its \r\n */

    int times;
    int status;            /* answer this instead */
    const char *redirect;  /* with this Location */
    size_t cut_after;      /* close after so many bytes of the body */
    size_t stall_after;    /* send nothing more after so many bytes */
    long lie;              /* added to the true Content-Length */
    size_t n_huge_header;  /* so many bytes of headers */
    int has_endless_page;  /* with status: a body that does not end */
    const char *then_body; /* after `times`, this body of the same length ... */
    const char *then_etag; /* ... with this ETag */

    int ignores_ranges, is_chunked, has_no_length;
    int slow_us; /* wait between blocks of 4 KiB */

    /* What came, under the server's lock. */
    int n_requests, n_ranges, n_tokens[2];
};

struct server {
    struct route routes[SERVER_MAX_ROUTES];
    size_t n_routes;
    int port[2], fd[2];
    pthread_t thread[2];
    pthread_mutex_t lock;
    int n_now, n_most; /* requests being answered; most of them at once */
};

struct connection {
    struct server *server;
    int fd, which;
};

static int server_send(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, data, n, MSG_NOSIGNAL);

        if (k <= 0)
            return -1;
        data += k;
        n -= (size_t)k;
    }
    return 0;
}

static __attribute__((format(printf, 2, 3))) int server_sendf(int fd, const char *fmt, ...)
{
    char text[4096];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return server_send(fd, text, strlen(text));
}

/* One request's head, NUL-terminated; 0 when the client has closed. */
static size_t server_read_head(int fd, char *head, size_t size)
{
    size_t n = 0;

    while (n + 1 < size) {
        if (recv(fd, head + n, 1, 0) <= 0)
            return 0;
        head[++n] = 0;
        if (n >= 4 && strcmp(head + n - 4, "\r\n\r\n") == 0)
            return n;
    }
    return 0;
}

/* The value of a header as a new string, or NULL. */
static char *server_header(const char *head, const char *name)
{
    size_t k = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, k) == 0 && line[2 + k] == ':')
            return strndup(line + 2 + k + 2, strcspn(line + 2 + k + 2, "\r"));
    return NULL;
}

/* Waits until the client gives up (at most five seconds). */
static void server_stall(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    poll(&p, 1, 5000);
}

/* Returns -1 when the connection has to be closed. */
static int server_body(int fd, const struct route *r, const char *body, size_t n, int trouble)
{
    size_t end = n, done = 0;

    if (trouble && r->cut_after)
        end = r->cut_after < n ? r->cut_after : n;
    if (trouble && r->stall_after)
        end = r->stall_after < n ? r->stall_after : n;
    while (done < end) {
        size_t k = end - done < 4096 ? end - done : 4096;

        if (r->is_chunked && server_sendf(fd, "%zx\r\n", k) != 0)
            return -1;
        if (server_send(fd, body + done, k) != 0 || (r->is_chunked && server_send(fd, "\r\n", 2)))
            return -1;
        done += k;
        if (r->slow_us)
            usleep((useconds_t)r->slow_us);
    }
    if (trouble && r->stall_after)
        server_stall(fd);
    if (done < n || (trouble && (r->stall_after || r->lie)) || r->has_no_length)
        return -1;
    return r->is_chunked ? server_send(fd, "0\r\n\r\n", 5) : 0;
}

/* Until the client hangs up. */
static int server_endless_page(int fd, const struct route *r)
{
    static const char block[1 << 16];

    server_sendf(fd, "HTTP/1.1 %d No\r\nContent-Length: 1125899906842624\r\n%s%s%s\r\n", r->status,
                 r->redirect ? "Location: " : "", r->redirect ? r->redirect : "",
                 r->redirect ? "\r\n" : "");
    while (server_send(fd, block, sizeof(block)) == 0)
        ;
    return -1;
}

static int server_trouble(int fd, const struct route *r)
{
    if (r->has_endless_page)
        return server_endless_page(fd, r);
    if (r->redirect)
        return server_sendf(fd, "HTTP/1.1 %d Found\r\nLocation: %s\r\n%sContent-Length: 0\r\n\r\n",
                            r->status ? r->status : 302, r->redirect, r->header ? r->header : "");
    return server_sendf(fd, "HTTP/1.1 %d No\r\n%sContent-Length: 3\r\n\r\nno\n", r->status,
                        r->header ? r->header : "");
}

static int server_huge_header(int fd, size_t n)
{
    server_sendf(fd, "HTTP/1.1 200 OK\r\n");
    for (size_t sent = 0; sent < n; sent += 1000)
        if (server_sendf(fd, "X-Filler: %0988d\r\n", 7) != 0)
            return -1;
    return server_sendf(fd, "Content-Length: 3\r\n\r\nyes");
}

static int server_answer(int fd, const struct route *r, const char *head, int trouble)
{
    const char *body = !trouble && r->then_body ? r->then_body : r->body;
    const char *etag = !trouble && r->then_etag ? r->then_etag : r->etag;
    char *range = server_header(head, "Range"), *if_range = server_header(head, "If-Range");
    size_t from = 0;

    if (range && etag && !r->ignores_ranges && (!if_range || strcmp(if_range, etag) == 0))
        from = strtoul(range + strlen("bytes="), NULL, 10);
    free(range);
    free(if_range);
    if (from > 0 && from >= r->n_body)
        return server_sendf(fd, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n");
    if (from > 0)
        server_sendf(fd, "HTTP/1.1 206 Partial\r\nContent-Range: bytes %zu-%zu/%zu\r\n", from,
                     r->n_body - 1, r->n_body);
    else
        server_sendf(fd, "HTTP/1.1 200 OK\r\n");
    if (etag)
        server_sendf(fd, "ETag: %s\r\n", etag);
    if (r->header)
        server_sendf(fd, "%s", r->header);
    if (r->is_chunked)
        server_sendf(fd, "Transfer-Encoding: chunked\r\n");
    else if (!r->has_no_length)
        server_sendf(fd, "Content-Length: %ld\r\n",
                     (long)(r->n_body - from) + (trouble ? r->lie : 0));
    server_sendf(fd, "\r\n");
    return server_body(fd, r, body + from, r->n_body - from, trouble);
}

static int server_one(struct connection *c, const char *head)
{
    struct server *s = c->server;
    struct route *r = NULL, copy;
    char *range = server_header(head, "Range"), *token = server_header(head, "Authorization");
    int trouble, rc;

    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_routes && !r; i++) {
        size_t k = strlen(s->routes[i].path);

        if (strncmp(head, "GET ", 4) == 0 && strncmp(head + 4, s->routes[i].path, k) == 0 &&
            head[4 + k] == ' ')
            r = &s->routes[i];
    }
    if (r) {
        trouble = r->times < 0 || r->n_requests < r->times;
        r->n_requests++;
        r->n_ranges += range != NULL;
        r->n_tokens[c->which] += token != NULL;
        s->n_now++;
        s->n_most = s->n_now > s->n_most ? s->n_now : s->n_most;
        copy = *r;
    }
    pthread_mutex_unlock(&s->lock);
    free(range);
    free(token);
    if (!r)
        return server_sendf(c->fd, "HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nno\n");
    if (trouble && copy.n_huge_header)
        rc = server_huge_header(c->fd, copy.n_huge_header);
    else if (trouble && (copy.status || copy.redirect))
        rc = server_trouble(c->fd, &copy);
    else
        rc = server_answer(c->fd, &copy, head, trouble);
    pthread_mutex_lock(&s->lock);
    s->n_now--;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void *server_connection(void *arg)
{
    struct connection *c = arg;
    char head[8192];

    while (server_read_head(c->fd, head, sizeof(head)) > 0 && server_one(c, head) == 0)
        ;
    shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
    free(c);
    return NULL;
}

static void *server_accept(void *arg)
{
    struct connection *listener = arg;
    struct server *s = listener->server;
    int which = listener->which, fd;
    pthread_t thread;

    free(listener);
    while ((fd = accept(s->fd[which], NULL, NULL)) >= 0) {
        struct connection *c = calloc(1, sizeof(*c));

        *c = (struct connection){s, fd, which};
        if (pthread_create(&thread, NULL, server_connection, c) != 0)
            abort();
        pthread_detach(thread);
    }
    return NULL;
}

static void server_start(struct server *s)
{
    memset(s, 0, sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct connection *c = calloc(1, sizeof(*c));
        socklen_t n = sizeof(a);

        s->fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(s->fd[i], (struct sockaddr *)&a, n) != 0 || listen(s->fd[i], 64) != 0 ||
            getsockname(s->fd[i], (struct sockaddr *)&a, &n) != 0)
            abort();
        s->port[i] = ntohs(a.sin_port);
        *c = (struct connection){s, -1, i};
        if (pthread_create(&s->thread[i], NULL, server_accept, c) != 0)
            abort();
    }
}

/* Adds a route; its counters can be read after the download. */
static struct route *server_add(struct server *s, struct route r)
{
    struct route *added;

    pthread_mutex_lock(&s->lock);
    if (s->n_routes == SERVER_MAX_ROUTES)
        abort();
    if (!r.n_body && r.body)
        r.n_body = strlen(r.body);
    added = &s->routes[s->n_routes++];
    *added = r;
    pthread_mutex_unlock(&s->lock);
    return added;
}

static void server_stop(struct server *s)
{
    for (int i = 0; i < 2; i++) {
        shutdown(s->fd[i], SHUT_RDWR);
        pthread_join(s->thread[i], NULL);
        close(s->fd[i]);
    }
}

#endif
