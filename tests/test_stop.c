/* Ways out before the end: signals, a mapped file that shrinks, want of memory: what is left
 * behind, what is said, and with which status. Each case is a process of its own. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/folder.h"
#include "harness/base/stop.h"
#include "harness/measure/journal.h"
#include "tests/test.h"

static char folder[] = "/tmp/duo-test-stop-XXXXXX";
static char said[4096];

/* Entries of the folder but for `but`. */
static int n_left(const char *but)
{
    DIR *d = opendir(folder);
    int n = 0;

    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.' && strncmp(e->d_name, but, strlen(but)) != 0;
    if (d)
        closedir(d);
    return n;
}

/* Runs fn in a child until it has written a byte to the pipe; then sends `signal`, if not 0. Its
 * wait status; what it says on stderr goes to said. */
static int in_child(void (*fn)(int ready), int signal)
{
    int ready[2], fd = memfd_create("stderr", 0), status = -1;
    char byte;
    pid_t child;

    fflush(stdout);
    if (pipe(ready) != 0)
        return -1;
    child = fork();
    if (child == 0) {
        close(ready[0]);
        dup2(fd, STDERR_FILENO);
        alarm(60);
        stop_install();
        fn(ready[1]);
        exit(7);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) == 1 && signal)
        kill(child, signal);
    waitpid(child, &status, 0);
    said[0] = 0;
    said[pread(fd, said, sizeof(said) - 1, 0)] = 0;
    close(fd);
    close(ready[0]);
    return status;
}

static void say_ready(int fd)
{
    if (write(fd, "x", 1) != 1)
        exit(8);
}

static void write_files(int ready)
{
    struct atomic_file a, b;
    struct atomic_folder d;
    char *path = path_join(folder, "file"), *dir = path_join(folder, "dir"), *in;

    if (atomic_file_open(&a, path) != 0 || atomic_folder_open(&d, dir) != 0)
        exit(8);
    in = path_join(d.tmp, "inside");
    if (file_write_atomic(in, "x", 1) != 0 || atomic_file_open(&b, in) != 0)
        exit(8);
    fputs("half", a.f);
    stop_advice("go on");
    say_ready(ready);
    for (;;)
        pause();
}

static void signals_remove_what_is_not_finished(void)
{
    static const struct {
        int signal;
        const char *text;
    } cases[] = {{SIGINT, "duo: stopped by SIGINT; go on\n"},
                 {SIGTERM, "duo: stopped by SIGTERM; go on\n"},
                 {SIGHUP, "duo: stopped by SIGHUP; go on\n"},
                 {SIGXCPU, "duo: stopped by SIGXCPU; go on\n"}};

    for (int i = 0; i < 4; i++) {
        int status = in_child(write_files, cases[i].signal);

        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == cases[i].signal);
        CHECK_STR(said, cases[i].text);
        CHECK(n_left("none") == 0);
    }
}

static void end_slowly(void *path)
{
    usleep(200000);
    if (file_write_atomic(path, "x", 1) != 0)
        _exit(8);
}

static void *die_now(void *name)
{
    die("out of %s", (const char *)name);
}

/* Several threads at the end of memory: the first one's work at the end is done in full. */
static void die_together(int ready)
{
    pthread_t t[4];

    (void)ready;
    stop_add(STOP_EXIT, end_slowly, path_join(folder, "done"));
    for (int i = 0; i < 4; i++)
        if (pthread_create(&t[i], NULL, die_now, "memory") != 0)
            exit(8);
    usleep(50000);
    die_now("patience");
}

static void threads_that_die_together(void)
{
    char *path = path_join(folder, "done");
    int status = in_child(die_together, 0);

    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(strncmp(said, "duo: out of memory\n", 19) == 0);
    CHECK(file_exists(path));
    unlink(path);
    free(path);
}

/* A file that grows over the limit, and stderr that nobody reads, leave the process alive. */
static void write_too_much(int ready)
{
    struct rlimit limit = {4096, 4096};
    struct atomic_file a;
    char *path = path_join(folder, "file"), *block = calloc(1, 1 << 16);
    int unread[2], into;

    if (pipe(unread) != 0 || close(unread[0]) != 0 || setrlimit(RLIMIT_FSIZE, &limit) != 0)
        exit(8);
    into = dup(STDERR_FILENO);
    dup2(unread[1], STDERR_FILENO);
    error("nobody hears this");
    dup2(into, STDERR_FILENO);
    if (atomic_file_open(&a, path) != 0)
        exit(8);
    fwrite(block, 1, 1 << 16, a.f);
    say_ready(ready);
    exit(atomic_file_commit(&a) == -1 ? 1 : 8);
}

static void limits_and_lost_readers_are_errors(void)
{
    int status = in_child(write_too_much, 0);

    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(strstr(said, "/file") && strstr(said, "File too large"));
    CHECK(n_left("none") == 0);
}

/* As `| head` does. */
static void print_to_nobody(int ready)
{
    struct atomic_file a;
    char *path = path_join(folder, "file");
    int unread[2];

    if (pipe(unread) != 0 || close(unread[0]) != 0 || atomic_file_open(&a, path) != 0)
        exit(8);
    dup2(unread[1], STDOUT_FILENO);
    say_ready(ready);
    puts("nobody reads this");
    stop_flush_stdout("all");
}

static void print_to_a_full_disk(int ready)
{
    int full = open("/dev/full", O_WRONLY);

    dup2(full, STDOUT_FILENO);
    say_ready(ready);
    puts("no room for this");
    exit(stop_flush_stdout("all") == -1 ? 1 : 8);
}

static void stdout_without_a_reader_or_room(void)
{
    int status = in_child(print_to_nobody, 0);

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
    CHECK_STR(said, "");
    CHECK(n_left("none") == 0);
    status = in_child(print_to_a_full_disk, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK_STR(said, "duo: cannot write all to stdout: No space left on device\n");
}

/* The sanitizers' malloc() then gives NULL for too much, as others do (and says so, too). */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void run_out_of_memory(int ready)
{
    struct atomic_file a;
    char *path = path_join(folder, "file");

    say_ready(ready);
    if (atomic_file_open(&a, path) != 0)
        exit(8);
    fputs("half", a.f);
    xmalloc((size_t)1 << 62);
}

static void dying_removes_what_is_not_finished(void)
{
    int status = in_child(run_out_of_memory, 0);

    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(strstr(said, "duo: out of memory: 4611686018427387904 bytes asked for\n") != NULL);
    CHECK(n_left("none") == 0);
}

static void fill_journal(int ready)
{
    struct journal *j;
    char *path = path_join(folder, "j");
    double v = 5;

    if (journal_open(&j, path) != 0)
        exit(8);
    journal_put(j, "cell", "item", &v, sizeof(v)); /* waits for more, up to a second */
    say_ready(ready);
    for (;;)
        pause();
}

static void signals_flush_the_journal(void)
{
    char *path = path_join(folder, "j");
    struct journal *j = NULL;
    double v = 0;

    CHECK(WTERMSIG(in_child(fill_journal, SIGTERM)) == SIGTERM);
    CHECK(journal_open(&j, path) == 0);
    CHECK(journal_get(j, "cell", "item", &v, sizeof(v)) == 1 && v == 5);
    journal_close(j);
    free(path);
    CHECK(n_left("j") == 0);
}

/* nohup's way. */
static void ignore_hangups(int ready)
{
    say_ready(ready);
    usleep(200000);
    exit(9);
}

static void ignored_signals_stay_ignored(void)
{
    int status;

    signal(SIGHUP, SIG_IGN);
    status = in_child(ignore_hangups, SIGHUP);
    signal(SIGHUP, SIG_DFL);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

/* ---- mapped files */

static char *make_file(size_t n)
{
    char *path = path_join(folder, "mapped"), *bytes = calloc(n, 1);

    memset(bytes, 'm', n);
    if (file_write_atomic(path, bytes, n) != 0)
        exit(8);
    free(bytes);
    return path;
}

static void read_truncated(int ready)
{
    struct file_map m;
    char *path = make_file(1 << 16);
    volatile unsigned char byte;

    if (file_map_open(&m, path) != 0 || truncate(path, 5000) != 0)
        exit(8);
    say_ready(ready);
    byte = m.data[5000]; /* of the last page, which is still there */
    byte = m.data[1 << 15];
    (void)byte;
}

static void a_file_that_shrinks_is_named(void)
{
    int status = in_child(read_truncated, 0);

    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(strstr(said, "/mapped' cannot be read any more: it was made shorter") != NULL);
    CHECK(strchr(said, '\n') == said + strlen(said) - 1);
}

/* Replaced by another file of its name, the old one is read on. */
static void a_file_that_is_replaced_stays(void)
{
    char *path = make_file(1 << 16), name[4096];
    struct file_map m;

    CHECK(file_map_open(&m, path) == 0);
    CHECK(file_write_atomic(path, "new", 3) == 0);
    CHECK(m.data[0] == 'm' && m.data[(1 << 16) - 1] == 'm');
    CHECK(file_map_at(m.data + 5, name, sizeof(name)) == 1);
    CHECK_STR(name, path);
    CHECK(file_map_at(m.data + (1 << 16), name, sizeof(name)) == 0);
    file_map_close(&m);
    CHECK(file_map_at(m.data, name, sizeof(name)) == 0);
    free(path);
}

static void raise_another(int ready)
{
    say_ready(ready);
    kill(getpid(), SIGBUS);
    for (;;)
        pause();
}

static void other_faults_are_not_hidden(void)
{
    int status = in_child(raise_another, 0);

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(void)
{
    char command[128];

    signal(SIGINT, SIG_DFL); /* who runs the test may ignore them: nohup, a shell's & */
    signal(SIGHUP, SIG_DFL);
    if (!mkdtemp(folder))
        return 1;
    RUN(signals_remove_what_is_not_finished);
    RUN(limits_and_lost_readers_are_errors);
    RUN(stdout_without_a_reader_or_room);
    RUN(dying_removes_what_is_not_finished);
    RUN(threads_that_die_together);
    RUN(signals_flush_the_journal);
    RUN(ignored_signals_stay_ignored);
    RUN(a_file_that_shrinks_is_named);
    RUN(a_file_that_is_replaced_stays);
    RUN(other_faults_are_not_hidden);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) != 0;
}
