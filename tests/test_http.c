/* Downloads against a server that misbehaves in every way a server or a network can. */
#include <fcntl.h>

#include "data/check.h"
#include "tests/http_case.h"

/* Fetches a path once and wants the body. */
static void good(struct route r, const char *sha256, int n_requests, int n_ranges)
{
    struct route *route = server_add(&server, r);
    struct http_file f;

    CHECK(fetch(r.path, sha256, &f) == 0);
    CHECK(f.state == HTTP_FETCHED);
    CHECK(is_clean(&f, r.body, r.n_body));
    CHECK(route->n_requests == n_requests);
    CHECK(route->n_ranges == n_ranges);
    forget(&f);
}

/* Fetches a path once and wants this failure, with nothing under the final name. */
static void bad(struct route r, const char *sha256, const char *message, int n_requests)
{
    struct route *route = server_add(&server, r);
    struct http_file f;

    CHECK(fetch(r.path, sha256, &f) == -1);
    CHECK(f.state == HTTP_FAILED);
    CHECK(!file_exists(f.path) && !has_suffix(&f, ".lock"));
    CHECK(route->n_requests == n_requests);
    if (!strstr(error_last(), message))
        CHECK_STR(error_last(), message);
    forget(&f);
}

static void fetches_once(void)
{
    struct route *r = server_add(&server, (struct route){.path = "/once", BODY});
    struct http_file f, again;

    CHECK(fetch("/once", body_sha256, &f) == 0);
    CHECK(f.state == HTTP_FETCHED && is_clean(&f, body, N_BODY));
    CHECK_STR(f.got_sha256, body_sha256);
    CHECK(fetch("/once", NULL, &again) == 0);
    CHECK(again.state == HTTP_THERE && r->n_requests == 1);
    /* A byte more, and the file is not what was recorded. */
    FILE *file = fopen(f.path, "a");
    fputc('x', file);
    fclose(file);
    forget(&again);
    CHECK(fetch("/once", NULL, &again) == 0);
    CHECK(again.state == HTTP_FETCHED && r->n_requests == 2 && is_clean(&f, body, N_BODY));
    forget(&f);
    forget(&again);
}

static void resumes_after_cuts(void)
{
    good((struct route){.path = "/cut", BODY, .times = 1, .cut_after = 100000}, NULL, 2, 1);
    /* As many cuts as one likes, as long as each try brings something. */
    good((struct route){.path = "/cuts", BODY, .times = 6, .cut_after = 45000}, body_sha256, 7, 6);
    good((struct route){.path = "/head", BODY, .times = 1, .cut_after = 1}, NULL, 2, 1);
    bad((struct route){.path = "/always", PLAIN, .times = -1, .cut_after = 5000}, NULL,
        "always: cut after 5000 of 300000 bytes; gave up after 3 tries; run again", 3);
}

static void starts_over_where_it_must(void)
{
    good((struct route){.path = "/no-etag", PLAIN, .times = 1, .cut_after = 100000}, NULL, 2, 0);
    good((struct route){.path = "/weak", PLAIN, .etag = "W/\"one\"", .times = 1, .cut_after = 9},
         NULL, 2, 0);
    good(
        (struct route){
            .path = "/ignores", BODY, .ignores_ranges = 1, .times = 1, .cut_after = 100000},
        body_sha256, 2, 1);
}

static void sees_a_changed_file(void)
{
    struct route *r = server_add(&server, (struct route){.path = "/changed",
                                                         BODY,
                                                         .times = 1,
                                                         .cut_after = 100000,
                                                         .then_body = other,
                                                         .then_etag = "\"two\""});
    struct http_file f;

    CHECK(fetch("/changed", NULL, &f) == 0);
    CHECK(is_clean(&f, other, N_BODY) && r->n_requests == 2 && r->n_ranges == 1);
    forget(&f);
}

/* The part of an earlier run was damaged on the disk: found by the hash, and fetched anew. */
static void repairs_a_damaged_part(void)
{
    struct http_options o = quick();
    struct route *r = server_add(
        &server, (struct route){.path = "/damaged", BODY, .times = -1, .stall_after = 60});
    struct http_file f = file_at("/damaged", 0);
    char *part = path_join(folder, "damaged.part");
    int fd;

    o.n_tries = 1;
    CHECK(http_fetch(&f, 1, &o) == -1);
    fd = open(part, O_WRONLY);
    CHECK(fd >= 0 && pwrite(fd, "?", 1, 0) == 1);
    close(fd);
    r->times = 0;
    f.sha256 = body_sha256;
    CHECK(http_fetch(&f, 1, &o) == 0 && is_clean(&f, body, N_BODY));
    CHECK(r->n_requests == 3 && r->n_ranges == 1);
    forget(&f);
    free(part);
}

static void sees_stalls(void)
{
    good((struct route){.path = "/stall", BODY, .times = 1, .stall_after = 60}, NULL, 2, 1);
}

static void gives_up_on_silence(void)
{
    struct http_options o = quick();
    struct http_file f = file_at("/silent", 0);

    server_add(&server, (struct route){.path = "/silent", PLAIN, .times = -1, .stall_after = 1});
    o.n_tries = 1;
    CHECK(http_fetch(&f, 1, &o) == -1);
    CHECK(strstr(error_last(), "silent: no data for 1 s after 1 bytes") != NULL);
    CHECK(!file_exists(f.path));
    forget(&f);
}

static void follows_redirects(void)
{
    char far[64], loop[64];

    snprintf(far, sizeof(far), "http://localhost:%d/target", server.port[1]);
    snprintf(loop, sizeof(loop), "/loop");
    server_add(&server, (struct route){.path = "/target", BODY});
    struct route *r =
        server_add(&server, (struct route){.path = "/near", .times = -1, .redirect = "/target"});
    struct http_file f;

    CHECK(fetch("/near", body_sha256, &f) == 0 && is_clean(&f, body, N_BODY));
    CHECK(r->n_requests == 1);
    forget(&f);
    server_add(&server, (struct route){.path = "/far", .times = -1, .redirect = far});
    CHECK(fetch("/far", NULL, &f) == 0 && is_clean(&f, body, N_BODY));
    forget(&f);
    bad((struct route){.path = "/loop", .times = -1, .redirect = loop}, NULL,
        "loop: more than 10 redirects", 11);
    bad((struct route){.path = "/lost", .times = -1, .status = 302}, NULL,
        "lost: 127.0.0.1 redirects (HTTP 302) without an address", 1);
    bad((struct route){.path = "/file", .times = -1, .redirect = "file:///etc/passwd"}, NULL,
        "file: not an http or https address", 1);
}

static void keeps_the_token_at_home(void)
{
    struct http_options o = quick();
    char origin[64], far[64], back[64];
    struct route *gate, *target, *home;
    struct http_file f = file_at("/gate", 0), g = file_at("/gate2", 0), h = file_at("/gate", 1);

    snprintf(origin, sizeof(origin), "http://127.0.0.1:%d", server.port[0]);
    snprintf(far, sizeof(far), "http://127.0.0.1:%d/cdn", server.port[1]);
    snprintf(back, sizeof(back), "http://localhost:%d/cdn", server.port[0]);
    o.token = "hf_secret";
    o.origin = origin;
    gate = server_add(&server, (struct route){.path = "/gate", .times = -1, .redirect = far});
    home = server_add(&server, (struct route){.path = "/gate2", .times = -1, .redirect = back});
    target = server_add(&server, (struct route){.path = "/cdn", BODY});
    CHECK(http_fetch(&f, 1, &o) == 0);
    CHECK(gate->n_tokens[0] == 1 && target->n_requests == 1 && target->n_tokens[1] == 0);
    /* The same port by another name is another host, too. */
    CHECK(http_fetch(&g, 1, &o) == 0);
    CHECK(home->n_tokens[0] == 1 && target->n_requests == 2 && target->n_tokens[0] == 0);
    unlink(h.path);
    CHECK(http_fetch(&h, 1, &o) == 0);
    CHECK(gate->n_tokens[1] == 0 && !strstr(error_last(), "secret"));
    forget(&f);
    forget(&g);
    forget(&h);
    CHECK(http_same_origin("https://a.b/x", "https://A.b:443"));
    CHECK(!http_same_origin("https://a.b/x", "http://a.b"));
    CHECK(!http_same_origin("https://a.b.evil/x", "https://a.b"));
    CHECK(!http_same_origin("https://a.b@evil/x", "https://a.b"));
}

static void sees_lies_about_length(void)
{
    struct http_options o = quick();
    struct http_file f = file_at("/short", 0);

    bad((struct route){.path = "/more", BODY, .times = -1, .lie = 500}, NULL,
        "more: cut after 300000 of 300500 bytes; gave up after 3 tries", 5);
    bad((struct route){.path = "/less", BODY, .times = -1, .lie = -500}, body_sha256,
        "less: wrong SHA-256 ", 1);
    server_add(&server, (struct route){.path = "/short", BODY, .times = -1, .lie = -500});
    f.nbytes = N_BODY;
    CHECK(http_fetch(&f, 1, &o) == -1);
    CHECK_STR(error_last(),
              "short: wrong length: the server has 299500 bytes, expected are 300000");
    forget(&f);
    bad((struct route){.path = "/endless", PLAIN, .has_no_length = 1}, NULL,
        "endless: the server does not say how long the file is", 1);
    good((struct route){.path = "/endless-known", PLAIN, .has_no_length = 1}, body_sha256, 1, 0);
    good((struct route){.path = "/chunked", BODY, .is_chunked = 1}, NULL, 1, 0);
    good(
        (struct route){
            .path = "/chunked-cut", BODY, .is_chunked = 1, .times = 1, .cut_after = 9000},
        NULL, 2, 1);
    bad((struct route){.path = "/empty", .body = "", .etag = "\"e\""}, NULL,
        "empty: the server's file is empty", 1);
    bad((struct route){.path = "/empty-chunked", .body = "", .is_chunked = 1}, NULL,
        "empty-chunked: the server's file is empty", 1);
    bad((struct route){.path = "/huge", .times = -1, .n_huge_header = 200000}, NULL,
        "huge: the server's response headers are longer than 65536 bytes", 1);
}

static void keeps_to_size_limits(void)
{
    struct http_options o = quick();
    struct http_file f = file_at("/large", 0), g = file_at("/large-chunked", 0);

    server_add(&server, (struct route){.path = "/large", BODY});
    server_add(&server, (struct route){.path = "/large-chunked", BODY, .is_chunked = 1});
    f.max_bytes = g.max_bytes = N_BODY - 1;
    CHECK(http_fetch(&f, 1, &o) == -1);
    CHECK_STR(error_last(), "large: too large: 300000 bytes, the limit is 299999");
    CHECK(http_fetch(&g, 1, &o) == -1);
    CHECK_STR(error_last(), "large-chunked: too large: more than 299999 bytes");
    forget(&f);
    forget(&g);
}

/* A page in place of the file is not read to its end, which may never come. */
static void cuts_endless_pages(void)
{
    bad((struct route){.path = "/endless-page", .times = -1, .status = 404, .has_endless_page = 1},
        NULL, "endless-page: not found at 127.0.0.1 (HTTP 404)", 1);
    bad((struct route){.path = "/endless-redirect",
                       .times = -1,
                       .status = 302,
                       .redirect = "/target",
                       .has_endless_page = 1},
        NULL, "endless-redirect: 127.0.0.1 redirects (HTTP 302) without an address", 1);
}

static void verifies_hashes(void)
{
    char linked[128];
    struct http_file f;

    bad((struct route){.path = "/wrong", BODY}, other_sha256, "wrong: wrong SHA-256 ", 1);
    /* A hub names the hash of a large file in the redirect to its bytes. */
    snprintf(linked, sizeof(linked), "X-Linked-ETag: \"%s\"\r\n", other_sha256);
    bad((struct route){.path = "/linked", .times = -1, .redirect = "/target", .header = linked},
        NULL, "linked: wrong SHA-256 ", 1);
    snprintf(linked, sizeof(linked), "X-Linked-ETag: \"%s\"\r\n", body_sha256);
    server_add(
        &server,
        (struct route){.path = "/linked-ok", .times = -1, .redirect = "/target", .header = linked});
    CHECK(fetch("/linked-ok", NULL, &f) == 0);
    forget(&f);
}

static void names_refusals(void)
{
    struct http_options o = quick();
    struct http_file f = file_at("/gated", 0), g = file_at("/absent", 0);

    server_add(&server, (struct route){.path = "/gated", .times = -1, .status = 403});
    f.denied = "accept the licence";
    CHECK(http_fetch(&f, 1, &o) == -1);
    CHECK_STR(error_last(), "gated: 127.0.0.1 denies access (HTTP 403): accept the licence");
    forget(&f);
    bad((struct route){.path = "/unknown",
                       .times = -1,
                       .status = 401,
                       .header = "X-Error-Code: RepoNotFound\r\n"},
        NULL, "unknown: not found at 127.0.0.1, or private (HTTP 401)", 1);
    bad((struct route){.path = "/gone", .times = -1, .status = 404}, NULL,
        "gone: not found at 127.0.0.1 (HTTP 404)", 1);
    g.optional = 1;
    CHECK(http_fetch(&g, 1, &o) == 0 && g.state == HTTP_ABSENT);
    forget(&g);
}

static void waits_and_tries_again(void)
{
    struct http_options o = quick();
    struct http_file f = file_at("/busy", 0);
    double start = now_seconds();

    good((struct route){.path = "/broken", BODY, .times = 2, .status = 500}, NULL, 3, 0);
    bad((struct route){.path = "/down", .times = -1, .status = 503}, NULL,
        "down: 127.0.0.1 answers HTTP 503; gave up after 3 tries; try later, or another server", 3);
    bad(
        (struct route){
            .path = "/limit", .times = -1, .status = 429, .header = "Retry-After: 3600\r\n"},
        NULL, "limit: 127.0.0.1 asks for fewer requests (HTTP 429); gave up after 3 tries", 3);
    CHECK(now_seconds() - start < 5); /* the server's hour is bounded */
    server_add(
        &server,
        (struct route){
            .path = "/busy", BODY, .times = 1, .status = 429, .header = "Retry-After: 1\r\n"});
    o.max_wait_s = 5;
    start = now_seconds();
    CHECK(http_fetch(&f, 1, &o) == 0);
    CHECK(now_seconds() - start >= 0.99);
    forget(&f);
}

static void names_a_missing_network(void)
{
    struct http_options o = quick();
    struct http_file f = file_at("/nowhere", 0);

    free((char *)f.url);
    f.url = xstrdup("http://127.0.0.1:1/nowhere");
    CHECK(http_fetch(&f, 1, &o) == -1);
    CHECK_STR(error_last(), "nowhere: no network: cannot connect to 127.0.0.1; gave up after 3 "
                            "tries; a mirror can be named with --mirror");
    forget(&f);
}

static void rejects_web_pages(void)
{
    struct http_options o = quick();
    struct http_file f = file_at("/config.json", 0), g = file_at("/set.zip", 0);

    server_add(&server, (struct route){.path = "/config.json", .body = "<!DOCTYPE html><p>Log in"});
    server_add(&server, (struct route){.path = "/set.zip", .body = "no archive, whatever it says"});
    f.check = g.check = content_check;
    CHECK(http_fetch(&f, 1, &o) == -1 && !file_exists(f.path));
    CHECK_STR(error_last(), "config.json: a web page came in place of the file");
    CHECK(http_fetch(&g, 1, &o) == -1 && !file_exists(g.path));
    CHECK(strstr(error_last(), "set.zip: not a zip archive") != NULL);
    forget(&f);
    forget(&g);
}

static void fetches_several_at_once(void)
{
    static const char *const paths[] = {"/p0", "/p1", "/p2", "/p3", "/p4", "/p5", "/slow"};
    struct http_options o = quick();
    struct http_file files[7];
    struct route *slow = NULL;

    for (int i = 0; i < 7; i++) {
        files[i] = file_at(paths[i], i % 2);
        slow = server_add(&server, (struct route){.path = paths[i], BODY, .slow_us = 1000});
    }
    slow->times = -1;
    slow->status = 404;
    o.n_parallel = 3;
    server.n_most = 0;
    CHECK(http_fetch(files, 7, &o) == -1); /* one fails, the others come */
    for (int i = 0; i < 6; i++)
        CHECK(files[i].state == HTTP_FETCHED && is_clean(&files[i], body, N_BODY));
    CHECK(files[6].state == HTTP_FAILED);
    CHECK(server.n_most >= 2 && server.n_most <= 3);
    for (int i = 0; i < 7; i++)
        forget(&files[i]);
}

int main(void)
{
    setenv("no_proxy", "*", 1);
    if (begin() != 0)
        return 1;
    RUN(fetches_once);
    RUN(resumes_after_cuts);
    RUN(starts_over_where_it_must);
    RUN(sees_a_changed_file);
    RUN(repairs_a_damaged_part);
    RUN(sees_stalls);
    RUN(gives_up_on_silence);
    RUN(follows_redirects);
    RUN(keeps_the_token_at_home);
    RUN(sees_lies_about_length);
    RUN(keeps_to_size_limits);
    RUN(cuts_endless_pages);
    RUN(verifies_hashes);
    RUN(names_refusals);
    RUN(waits_and_tries_again);
    RUN(names_a_missing_network);
    RUN(rejects_web_pages);
    RUN(fetches_several_at_once);
    return end();
}
