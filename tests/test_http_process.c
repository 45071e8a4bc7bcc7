/* Downloads in processes of their own: killed, several at one file, out of space; and TLS. */
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/http_case.h"

/* This program again as "child URL PATH LIMIT": a process of its own that can be killed. */
static pid_t child(const struct http_file *f, const char *limit)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl("/proc/self/exe", "test_http_process", "child", f->url, f->path, limit, (char *)NULL);
        _exit(9);
    }
    return pid;
}

static int child_main(char **argv)
{
    struct http_options o = quick();
    struct http_file f = {.name = "child", .url = argv[2], .path = argv[3]};
    struct rlimit limit = {(rlim_t)atol(argv[4]), (rlim_t)atol(argv[4])};

    progress_quiet(1);
    error_silence(1);
    if (limit.rlim_cur > 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (http_fetch(&f, 1, &o) == 0)
        return 0;
    return strstr(error_last(), "cannot write") ? 3 : strstr(error_last(), "no space") ? 4 : 1;
}

static int exit_code(pid_t pid)
{
    int status = -1;

    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The server's threads may still be counting. */
static int n_requests(const struct route *r)
{
    int n;

    pthread_mutex_lock(&server.lock);
    n = r->n_requests;
    pthread_mutex_unlock(&server.lock);
    return n;
}

static void survives_a_kill(void)
{
    struct route *r =
        server_add(&server, (struct route){.path = "/killed", BODY, .times = -1, .slow_us = 5000});
    struct http_file f = file_at("/killed", 0);
    struct buf part = {0};
    struct stat st = {0};
    pid_t pid = child(&f, "0");

    buf_addf(&part, "%s.part", f.path);
    for (int i = 0; i < 400 && st.st_size < 60000; i++) {
        usleep(5000);
        if (stat(part.data, &st) != 0)
            st.st_size = 0;
    }
    kill(pid, SIGKILL);
    CHECK(exit_code(pid) == -1);
    CHECK(st.st_size >= 60000 && !file_exists(f.path));
    pthread_mutex_lock(&server.lock);
    r->slow_us = 0;
    pthread_mutex_unlock(&server.lock);
    pid = child(&f, "0");
    CHECK(exit_code(pid) == 0);
    CHECK(is_clean(&f, body, N_BODY));
    pthread_mutex_lock(&server.lock);
    CHECK(r->n_requests == 2 && r->n_ranges == 1);
    pthread_mutex_unlock(&server.lock);
    buf_release(&part);
    forget(&f);
}

static void shares_a_folder(void)
{
    struct route *r = server_add(&server, (struct route){.path = "/shared", BODY, .slow_us = 3000});
    struct http_file f = file_at("/shared", 0);
    pid_t pids[4];

    for (int i = 0; i < 4; i++)
        pids[i] = child(&f, "0");
    for (int i = 0; i < 4; i++)
        CHECK(exit_code(pids[i]) == 0);
    CHECK(n_requests(r) == 1 && is_clean(&f, body, N_BODY));
    forget(&f);
}

static void names_a_failed_write(void)
{
    struct http_file f = file_at("/limited", 0);

    server_add(&server, (struct route){.path = "/limited", BODY});
    CHECK(exit_code(child(&f, "100000")) == 3);
    CHECK(!file_exists(f.path) && has_suffix(&f, ".part"));
    CHECK(exit_code(child(&f, "0")) == 0 && is_clean(&f, body, N_BODY));
    forget(&f);
}

/* Known and unknown lengths on a file system of 128 KiB. */
static void names_a_full_disk(void)
{
    char *small = path_join(folder, "small"), *chunked = path_join(folder, "small/c");
    struct http_file f = file_at("/small/f", 0), g = file_at("/small/c", 0);

    mkdir(small, 0755);
    if (mount("tmpfs", small, "tmpfs", 0, "size=128k") != 0) {
        SKIP("names_a_full_disk", "a small file system cannot be mounted here");
    } else {
        server_add(&server, (struct route){.path = "/small/f", BODY});
        server_add(&server, (struct route){.path = "/small/c", BODY, .is_chunked = 1});
        CHECK(exit_code(child(&f, "0")) == 4);
        CHECK(exit_code(child(&g, "0")) == 4);
        CHECK(!file_exists(f.path) && !file_exists(g.path));
        umount(small);
    }
    free(small);
    free(chunked);
    forget(&f);
    forget(&g);
}

/* A server whose certificate nobody signed. */
static void verifies_certificates(void)
{
    struct http_options o = quick();
    struct http_file f = file_at("/tls", 0);
    struct buf command = {0}, url = {0};
    char line[256];
    int port = 0;
    FILE *tls;

    buf_addf(
        &command,
        "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -days 2 -subj "
        "/CN=localhost 2>&1 && exec timeout 20 openssl s_server -accept 127.0.0.1:0 -key key "
        "-cert crt -naccept 1 -www 2>&1",
        folder);
    tls = popen(command.data, "r");
    while (tls && !port && fgets(line, sizeof(line), tls))
        if (sscanf(line, "ACCEPT 127.0.0.1:%d", &port) != 1)
            port = 0;
    if (port) {
        buf_addf(&url, "https://127.0.0.1:%d/", port);
        free((char *)f.url);
        f.url = buf_detach(&url);
        CHECK(http_fetch(&f, 1, &o) == -1);
        CHECK(strstr(error_last(), "tls: the certificate of 127.0.0.1 cannot be verified") != NULL);
    } else {
        SKIP("verifies_certificates", "openssl does not serve here");
    }
    if (tls)
        pclose(tls);
    buf_release(&command);
    forget(&f);
}

int main(int argc, char **argv)
{
    setenv("no_proxy", "*", 1);
    if (argc == 5 && strcmp(argv[1], "child") == 0)
        return child_main(argv);
    if (begin() != 0)
        return 1;
    RUN(survives_a_kill);
    RUN(shares_a_folder);
    RUN(names_a_failed_write);
    RUN(names_a_full_disk);
    RUN(verifies_certificates);
    return end();
}
