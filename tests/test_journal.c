/* The resume journal: exactness, keys, damage at random bytes, kill -9. A false entry is one whose
 * bytes are not those stored under its key; none may ever be served. */
#include "tests/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/rng.h"
#include "harness/measure/journal.h"

#define CELL "cell-a"
#define N_VALUES 6

static char dir[64];
static char path[80], wal[80];

/* What item k of a cell holds: doubles that no other key holds. */
static void make_payload(const char *cell, int k, double v[N_VALUES])
{
    struct pcg32 g;

    pcg32_init(&g, (uint64_t)k, (uint64_t)(unsigned char)cell[strlen(cell) - 1]);
    for (int i = 0; i < N_VALUES; i++)
        v[i] = -100 * pcg32_double(&g);
}

static void put(struct journal *j, const char *cell, int k)
{
    double v[N_VALUES];
    char item[32];

    snprintf(item, sizeof(item), "item %d", k);
    make_payload(cell, k, v);
    journal_put(j, cell, item, v, sizeof(v));
}

/* 1 exact, 0 absent, -1 false. */
static int look(struct journal *j, const char *cell, int k)
{
    double v[N_VALUES], want[N_VALUES];
    char item[32];

    snprintf(item, sizeof(item), "item %d", k);
    make_payload(cell, k, want);
    if (!journal_get(j, cell, item, v, sizeof(v)))
        return 0;
    return memcmp(v, want, sizeof(v)) == 0 ? 1 : -1;
}

/* Empties the folder; returns how many journals had been set aside. */
static int clean(void)
{
    DIR *d = opendir(dir);
    int n_aside = 0;

    for (struct dirent *e; (e = readdir(d));) {
        char *p;

        if (e->d_name[0] == '.')
            continue;
        n_aside += strstr(e->d_name, ".corrupt-") && !strstr(e->d_name, "-wal");
        p = path_join(dir, e->d_name);
        unlink(p);
        free(p);
    }
    closedir(d);
    return n_aside;
}

static void test_exact(void)
{
    double special[] = {-0.0, NAN, -INFINITY, 5e-324, 1 / 3.}, back[5];
    unsigned char zero = 1;
    struct journal *j;

    CHECK(journal_open(&j, path) == 0);
    CHECK(!journal_get(j, "a", "b", back, sizeof(back)));
    journal_put(j, "a", "b", special, sizeof(special));
    journal_put(j, "a", "empty", "", 0);
    CHECK(journal_get(j, "a", "b", back, sizeof(back)));
    CHECK(memcmp(back, special, sizeof(back)) == 0);
    for (int k = 0; k < 1000; k++)
        put(j, CELL, k);
    CHECK(journal_close(j) == 0);
    memset(back, 0, sizeof(back));
    CHECK(journal_open(&j, path) == 0);
    CHECK(journal_get(j, "a", "b", back, sizeof(back)));
    CHECK(memcmp(back, special, sizeof(back)) == 0);
    CHECK(journal_get(j, "a", "empty", &zero, 0) && zero == 1);
    CHECK(!journal_get(j, "a", "b", back, sizeof(back) - 1)); /* another size */
    for (int k = 0; k < 1000; k++)
        CHECK(look(j, CELL, k) == 1);
    journal_put(j, "a", "b", special + 1, 8); /* replaces */
    CHECK(journal_flush(j) == 0 && journal_get(j, "a", "b", back, 8) && isnan(back[0]));
    CHECK(journal_close(j) == 0 && journal_close(NULL) == 0);
    CHECK(clean() == 0);
}

static void test_other_keys_get_nothing(void)
{
    static const char *const keys[][2] = {
        {"cell-b", "item 1"}, {"cell-", "aitem 1"},  {"", "cell-aitem 1"},
        {"CELL-A", "item 1"}, {"cell-a", "item 1 "}, {"cell-a", "item 01"},
    };
    double v[N_VALUES];
    struct journal *j;

    CHECK(journal_open(&j, path) == 0);
    put(j, CELL, 1);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
            CHECK(!journal_get(j, keys[i][0], keys[i][1], v, sizeof(v)));
        CHECK(look(j, CELL, 1) == 1);
        journal_flush(j);
    }
    journal_close(j);
    CHECK(clean() == 0);
}

static void alter(const char *sql)
{
    sqlite3 *db;

    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
}

/* Rows moved to another key or altered by hand stay well-formed for SQLite. */
static void test_altered_rows_ignored(void)
{
    struct journal *j;

    CHECK(journal_open(&j, path) == 0);
    for (int k = 0; k < 5; k++)
        put(j, CELL, k);
    journal_close(j);
    alter("UPDATE results SET item = 'item 9' WHERE item = 'item 1';"
          "UPDATE results SET cell = 'cell-b' WHERE item = 'item 2';"
          "UPDATE results SET payload = zeroblob(48) WHERE item = 'item 3';"
          "UPDATE results SET checksum = x'00' WHERE item = 'item 4';");
    CHECK(journal_open(&j, path) == 0);
    CHECK(look(j, CELL, 0) == 1 && look(j, CELL, 9) == 0 && look(j, "cell-b", 2) == 0);
    CHECK(look(j, CELL, 3) == 0 && look(j, CELL, 4) == 0);
    put(j, CELL, 3);
    CHECK(journal_close(j) == 0 && journal_open(&j, path) == 0);
    CHECK(look(j, CELL, 3) == 1);
    journal_close(j);
    alter("PRAGMA user_version = 2");
    CHECK(journal_open(&j, path) == 0 && look(j, CELL, 0) == 0);
    journal_close(j);
    CHECK(clean() == 1);
}

/* A file with programs in it, which reading or writing would run, is set aside. */
static void test_programs_in_the_file(void)
{
    static const char *const hostile[] = {
        "CREATE TRIGGER t AFTER INSERT ON results BEGIN SELECT count(*) FROM (WITH RECURSIVE c(x) "
        "AS "
        "(SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c); END",
        "CREATE TRIGGER t BEFORE INSERT ON results BEGIN SELECT RAISE(IGNORE); END",
        "CREATE VIEW v AS SELECT * FROM results", "CREATE TABLE more (x CHECK (x > 0))",
        "DROP TABLE results; CREATE TABLE results (cell, item, payload, checksum)"};

    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        struct journal *j;

        CHECK(journal_open(&j, path) == 0);
        journal_close(j);
        alter(hostile[i]);
        CHECK(journal_open(&j, path) == 0);
        put(j, CELL, 1);
        CHECK(journal_close(j) == 0 && journal_open(&j, path) == 0);
        CHECK(look(j, CELL, 1) == 1);
        journal_close(j);
        CHECK(clean() == 1);
    }
}

/* SQLite's names for a journal that keeps nothing. */
static void test_names_that_keep_nothing(void)
{
    struct journal *j;

    CHECK(journal_open(&j, "") == -1 && strstr(error_last(), "nothing would be kept"));
    CHECK(journal_open(&j, ":memory:") == -1 && strstr(error_last(), "':memory:'"));
}

/* Damages a copy and looks at everything. Returns how many entries were still served. */
static int try_damaged(const char *text, size_t nbytes, const char *wal_text, size_t wal_nbytes,
                       int n_items)
{
    struct journal *j = NULL;
    int n_exact = 0, n_false = 0;

    CHECK(file_write_atomic(path, text, nbytes) == 0);
    if (wal_text)
        CHECK(file_write_atomic(wal, wal_text, wal_nbytes) == 0);
    CHECK(journal_open(&j, path) == 0);
    for (int k = 0; j && k < n_items; k++) {
        int got = look(j, CELL, k);

        n_exact += got > 0;
        n_false += got < 0;
    }
    CHECK(n_false == 0);
    if (j) {
        put(j, CELL, n_items); /* and it still stores */
        CHECK(journal_flush(j) == 0);
        journal_close(j);
    }
    return n_exact;
}

static void flip(struct pcg32 *g, char *text, size_t nbytes, int n_flips)
{
    for (int i = 0; i < n_flips; i++)
        text[pcg32_below(g, (uint32_t)nbytes)] ^= (char)(1 + pcg32_below(g, 255));
}

static int n_trials(int usual)
{
    const char *s = getenv("DUO_TEST_TRIALS");

    return s ? atoi(s) : usual;
}

static void test_damage(void)
{
    enum { N = 300 };
    struct buf text = {0}, copy = {0};
    int n_aside = 0, n_served = 0;
    struct journal *j;
    struct pcg32 g;

    pcg32_init(&g, (uint64_t)n_trials(11), 1);
    CHECK(journal_open(&j, path) == 0);
    for (int k = 0; k < N; k++)
        put(j, CELL, k);
    journal_close(j);
    CHECK(file_read(path, &text) == 0);
    CHECK(try_damaged(text.data, text.n, NULL, 0, N) == N && clean() == 0);
    CHECK(try_damaged(text.data, text.n / 2, NULL, 0, N) < N && clean() == 1);
    CHECK(try_damaged("", 0, NULL, 0, N) == 0 && clean() == 0);
    for (int trial = 0; trial < n_trials(100); trial++) {
        copy.n = 0;
        buf_add(&copy, text.data, text.n);
        /* every third time in the header and the schema, where one byte changes the most */
        flip(&g, copy.data, trial % 3 ? copy.n : 700, 1 + trial % 8);
        n_served += try_damaged(copy.data, copy.n, NULL, 0, N);
        n_aside += clean();
    }
    CHECK(n_aside > 0 && n_served > 0);
    buf_release(&text);
    buf_release(&copy);
}

/* A child leaves an unfinished WAL behind; the WAL is damaged. */
static void test_damaged_wal(void)
{
    enum { N = 300 };
    struct buf text = {0}, log = {0}, copy = {0};
    struct pcg32 g;
    pid_t pid = fork();

    pcg32_init(&g, 12, 1);
    if (pid == 0) {
        struct journal *j;

        if (journal_open(&j, path) != 0)
            _exit(1);
        for (int k = 0; k < N; k++)
            put(j, CELL, k);
        journal_flush(j);
        _exit(0); /* without closing: no checkpoint */
    }
    waitpid(pid, NULL, 0);
    CHECK(file_read(path, &text) == 0 && file_read(wal, &log) == 0 && log.n > 10000);
    clean();
    CHECK(try_damaged(buf_str(&text), text.n, log.data, log.n, N) == N);
    clean();
    for (int trial = 0; trial < n_trials(40); trial++) {
        copy.n = 0;
        buf_add(&copy, log.data, log.n);
        flip(&g, copy.data, copy.n, 1 + trial % 4);
        try_damaged(buf_str(&text), text.n, copy.data, copy.n, N);
        clean();
    }
    buf_release(&text);
    buf_release(&log);
    buf_release(&copy);
}

/* Stores items from `from` on until killed; tells through fd what has been committed. */
static void write_forever(int from, int fd)
{
    struct journal *j;

    if (journal_open(&j, path) != 0)
        _exit(1);
    for (int k = from;; k++) {
        put(j, CELL, k);
        if (k % 7 == 0 && (journal_flush(j) != 0 || write(fd, &k, sizeof(k)) != sizeof(k)))
            _exit(1);
    }
}

/* Kills a writer after a random time; returns the last item it reported as committed. */
static int kill_writer(int from, unsigned microseconds)
{
    int fds[2], k, last = from - 1, status = 0;
    pid_t pid;

    if (pipe(fds) != 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        close(fds[0]);
        write_forever(from, fds[1]);
    }
    close(fds[1]);
    usleep(microseconds);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status));
    while (read(fds[0], &k, sizeof(k)) == sizeof(k))
        last = k;
    close(fds[0]);
    return last;
}

/* Every item of [from, last] is there and exact, and nothing false is among the 400 after. */
static void check_committed(int from, int last)
{
    int n_false = 0, n_lost = 0;
    struct journal *j;

    CHECK(journal_open(&j, path) == 0);
    for (int k = from; k < last + 400; k++) {
        int got = look(j, CELL, k);

        n_false += got < 0;
        n_lost += k <= last && got != 1;
    }
    CHECK(n_false == 0);
    CHECK(n_lost == 0);
    CHECK(journal_close(j) == 0);
}

static void test_kill(void)
{
    enum { ROUNDS = 60 };
    int next = 0;
    struct pcg32 g;

    pcg32_init(&g, 13, 1);
    for (int round = 0; round < ROUNDS; round++) {
        int last = kill_writer(next, 500 + pcg32_below(&g, 8000));

        check_committed(next, last);
        next = last + 1;
    }
    check_committed(0, next - 1);
    CHECK(next > ROUNDS);
    CHECK(clean() == 0); /* a kill damages nothing */
}

/* Four processes open the same new journal at once and store, one of them under the others' keys.
 */
static void test_processes_at_once(void)
{
    enum { N_PROCESSES = 4, N = 400 };
    pid_t pids[N_PROCESSES];
    struct journal *j;
    int status;

    for (int p = 0; p < N_PROCESSES; p++) {
        pids[p] = fork();
        if (pids[p] == 0) {
            int bad = journal_open(&j, path) != 0;

            for (int k = 0; !bad && k < N; k++) {
                put(j, CELL, p == 3 ? k : p * N + k);
                if (k % 20 == p)
                    bad |= journal_flush(j) != 0;
            }
            _exit(bad || journal_close(j) != 0);
        }
    }
    for (int p = 0; p < N_PROCESSES; p++) {
        waitpid(pids[p], &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    CHECK(journal_open(&j, path) == 0);
    for (int k = 0; k < 3 * N; k++)
        CHECK(look(j, CELL, k) == 1);
    journal_close(j);
    CHECK(clean() == 0);
}

/* What somebody needs stays as it is, under its name. */
static void test_files_of_others(void)
{
    static const char text[] = "{\"run_id\": \"0123456789abcdef\"}\n";
    struct buf before = {0}, after = {0};
    struct journal *j;

    CHECK(file_write_atomic(path, text, strlen(text)) == 0);
    CHECK(journal_open(&j, path) == -1 && strstr(error_last(), "is a text, not a journal"));
    CHECK(file_read(path, &after) == 0);
    CHECK_STR(buf_str(&after), text);
    CHECK(clean() == 0);
    alter("CREATE TABLE places (url TEXT); INSERT INTO places VALUES ('x')");
    CHECK(file_read(path, &before) == 0);
    CHECK(journal_open(&j, path) == -1 && strstr(error_last(), "of another program"));
    after.n = 0;
    CHECK(file_read(path, &after) == 0);
    CHECK(before.n == after.n && memcmp(before.data, after.data, after.n) == 0);
    CHECK(!file_exists(wal) && clean() == 0);
    buf_release(&before);
    buf_release(&after);
}

/* A folder that is locked by somebody else is no reason to wait for ever; nothing is renamed. */
static void test_locked_folder(void)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    struct journal *j;

    CHECK(flock(fd, LOCK_EX) == 0);
    CHECK(journal_open(&j, path) == 0);
    put(j, CELL, 1);
    CHECK(journal_close(j) == 0);
    alter("PRAGMA user_version = 2");
    CHECK(journal_open(&j, path) == -1 && strstr(error_last(), "its folder locked"));
    close(fd);
    CHECK(journal_open(&j, path) == 0);
    journal_close(j);
    CHECK(clean() == 1);
}

static void test_cannot_open(void)
{
    struct journal *j;

    CHECK(journal_open(&j, "/nonexistent/folder/journal") == -1 && !j);
    CHECK(strstr(error_last(), "/nonexistent/folder/journal") != NULL);
    CHECK(journal_open(&j, dir) == -1 && !j);
    CHECK(dir_exists(dir));
}

static void test_keys(void)
{
    char a[65], b[65], c[] = "x", e[] = "";
    struct document d = {.n_choices = 1, .requests = {{c, e}}},
                    o = {.n_choices = 1, .requests = {{e, c}}};
    struct buf x = {0}, y = {0};
    struct record r;

    record_init(&r);
    record_set(&r.model_sha256, "1");
    record_set(&r.tokenizer_sha256, "2");
    record_set(&r.method, "wanda");
    record_set(&r.protocol, "lmeval-0.4");
    record_set(&r.backend, "cpu");
    CHECK(journal_cell_key(&r, a) == -1 && strstr(error_last(), "dtype"));
    record_set(&r.dtype, "f32");
    CHECK(journal_cell_key(&r, a) == 0 && strlen(a) == 64);
    record_set(&r.model, "elsewhere");
    record_set(&r.task, "piqa");
    r.limit = 10;
    r.threads = 3;
    CHECK(journal_cell_key(&r, b) == 0);
    CHECK_STR(b, a);
    r.act_sparsity = 0.5;
    CHECK(journal_cell_key(&r, b) == 0 && strcmp(a, b) != 0);
    record_set(&r.calib, "c4:128x2048");
    CHECK(journal_cell_key(&r, b) == -1 && strstr(error_last(), "calib_sha256"));
    record_release(&r);
    journal_document_key(&x, "piqa", 3, &d);
    journal_document_key(&y, "piqa", 3, &o);
    CHECK(strncmp(x.data, "piqa document 3 ", 16) == 0 && strcmp(x.data, y.data) != 0);
    x.n = 0;
    journal_window_key(&x, "wikitext2", 165, (int32_t[]){1, 2}, 2);
    CHECK(strncmp(x.data, "wikitext2 window 165 ", 21) == 0);
    buf_release(&x);
    buf_release(&y);
}

int main(void)
{
    error_silence(1);
    /* in memory where there is such a folder: a disk's syncs would be most of the time */
    snprintf(dir, sizeof(dir), "%s/duo-test-journal-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof(path), "%s/journal", dir);
    snprintf(wal, sizeof(wal), "%s/journal-wal", dir);
    RUN(test_exact);
    RUN(test_other_keys_get_nothing);
    RUN(test_altered_rows_ignored);
    RUN(test_programs_in_the_file);
    RUN(test_names_that_keep_nothing);
    RUN(test_damage);
    RUN(test_damaged_wal);
    RUN(test_kill);
    RUN(test_processes_at_once);
    RUN(test_files_of_others);
    RUN(test_locked_folder);
    RUN(test_cannot_open);
    RUN(test_keys);
    clean();
    return rmdir(dir) != 0;
}
