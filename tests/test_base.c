/* Files, JSON and buffers. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"
#include "harness/base/memory.h"
#include "harness/base/sha256.h"
#include "harness/base/text.h"
#include "harness/base/words.h"
#include "tests/test.h"

static char folder[] = "/tmp/duo-test-base-XXXXXX";

static int n_files(void)
{
    DIR *d = opendir(folder);
    int n = 0;

    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static int holds(const char *path, const char *want)
{
    struct buf b = {0};
    int same = file_read(path, &b) == 0 && strcmp(buf_str(&b), want) == 0;

    buf_release(&b);
    return same;
}

/* ---- buf */

static void buf_grows(void)
{
    struct buf b = {0};

    CHECK_STR(buf_str(&b), "");
    for (int i = 0; i < 1000; i++)
        buf_addf(&b, "%d,", i);
    CHECK(b.n == 3890 && b.data[b.n] == 0 && strncmp(b.data, "0,1,2,", 6) == 0);
    b.n = 0;
    buf_add(&b, "a\0b", 3);
    buf_addc(&b, 'c');
    CHECK(b.n == 4 && memcmp(b.data, "a\0bc", 5) == 0);
    buf_add(&b, NULL, 0);
    CHECK(b.n == 4);
    buf_release(&b);
    buf_release(&b);
    CHECK(!b.data && b.n == 0 && b.cap == 0);
}

static void buf_detaches(void)
{
    struct buf b = {0};
    char *s = buf_detach(&b);

    CHECK_STR(s, "");
    free(s);
    buf_adds(&b, "x");
    s = buf_detach(&b);
    CHECK_STR(s, "x");
    CHECK(!b.data && b.n == 0);
    free(s);
}

/* ---- files */

static void atomic_write_replaces(void)
{
    char *path = path_join(folder, "replaced");
    struct atomic_file a;

    CHECK(file_write_atomic(path, "old", 3) == 0);
    CHECK(atomic_file_open(&a, path) == 0);
    fputs("new", a.f);
    fflush(a.f);
    CHECK(holds(path, "old"));
    CHECK(n_files() == 2);
    CHECK(atomic_file_commit(&a) == 0);
    CHECK(holds(path, "new"));
    CHECK(n_files() == 1);
    atomic_file_abort(&a); /* a no-op */
    CHECK(atomic_file_open(&a, path) == 0);
    fputs("newer", a.f);
    atomic_file_abort(&a);
    CHECK(holds(path, "new"));
    CHECK(n_files() == 1);
    CHECK(file_write_atomic(path, "", 0) == 0);
    CHECK(holds(path, ""));
    unlink(path);
    free(path);
}

/* In a child whose files may have 64 KiB: the old file stays, no temporary is left. */
static void atomic_write_without_space(void)
{
    char *path = path_join(folder, "big"), *data = xcalloc(1, 1 << 20);
    int status = -1;
    pid_t pid;

    CHECK(file_write_atomic(path, "old", 3) == 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        struct rlimit limit = {1 << 16, 1 << 16};

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(file_write_atomic(path, data, 1 << 20) == -1 &&
                      strstr(error_last(), "cannot write") && strstr(error_last(), path)
                  ? 0
                  : 1);
    }
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(holds(path, "old"));
    CHECK(n_files() == 1);
    unlink(path);
    free(path);
    free(data);
}

static void files_that_cannot_be_read_or_written(void)
{
    char *none = path_join(folder, "no/where"), *empty = path_join(folder, "empty");
    char *pipe = path_join(folder, "pipe"), *link = path_join(folder, "link"), at[64];
    struct buf b = {0};
    struct file_map m;
    struct atomic_file a;

    CHECK(atomic_file_open(&a, none) == -1);
    CHECK(strstr(error_last(), none) && strstr(error_last(), "No such file"));
    CHECK(file_read(none, &b) == -1 && strstr(error_last(), none));
    CHECK(file_read(folder, &b) == -1 && strstr(error_last(), folder));
    CHECK(mkfifo(pipe, 0600) == 0 && file_read(pipe, &b) == -1);
    CHECK(strstr(error_last(), "/pipe' is a named pipe, not a file"));
    CHECK(file_map_open(&m, pipe) == -1 && strstr(error_last(), "named pipe"));
    CHECK(atomic_file_open(&a, pipe) == -1 && strstr(error_last(), "no regular file"));
    CHECK(symlink(empty, link) == 0 && file_write_atomic(empty, "", 0) == 0);
    CHECK(file_write_atomic(link, "x", 1) == 0 && readlink(link, at, sizeof(at)) > 0);
    CHECK(holds(empty, "x"));
    CHECK(dir_make("") == -1 && strstr(error_last(), "no folder's name"));
    CHECK(file_map_open(&m, none) == -1 && strstr(error_last(), none));
    CHECK(file_map_open(&m, folder) == -1 && strstr(error_last(), "not a regular file"));
    CHECK(file_write_atomic(empty, "", 0) == 0);
    CHECK(file_map_open(&m, empty) == -1 && strstr(error_last(), "is empty"));
    file_map_close(&m);
    CHECK(file_exists(empty) && !dir_exists(empty));
    CHECK(!file_exists(folder) && dir_exists(folder));
    CHECK(dir_make(empty) == -1 && strstr(error_last(), "not a folder"));
    unlink(empty);
    unlink(pipe);
    unlink(link);
    buf_release(&b);
    free(none);
    free(empty);
    free(pipe);
    free(link);
}

/* A file is refused by its size before any of it is read. */
static void huge_files_are_not_read_whole(void)
{
    char *path = path_join(folder, "huge");
    struct buf b = {0};

    CHECK(file_write_atomic(path, "x", 1) == 0 && truncate(path, FILE_READ_MAX + (off_t)1) == 0);
    CHECK(file_read(path, &b) == -1 && b.cap == 0);
    CHECK(strstr(error_last(), "/huge' is larger than 1024 MiB") != NULL);
    CHECK(!json_read(path));
    unlink(path);
    buf_release(&b);
    free(path);
}

/* What strangers name is shown and not obeyed. */
static void messages_are_one_harmless_line(void)
{
    error("tensor '%s'", "a\nb\033[2J\x7f\tc\xc2\x9b"
                         "1m\xc3\xa9");
    CHECK_STR(error_last(), "tensor 'a?b?[2J??c?1m\xc3\xa9'");
    error("model '%s'", "a\xe2\x80\xaegpj.\xe2\x80\xa8x\xe2\x81\xa6\xd8\x9c\xe2\x82\xac");
    CHECK_STR(error_last(), "model 'a?gpj.?x??\xe2\x82\xac'");
    error("%s", "a\xe2\x80");
    CHECK_STR(error_last(), "a\xe2\x80");
}

/* Whatever the name is, the reason is there, and what was whole UTF-8 is. */
static void long_messages_keep_their_ends(void)
{
    static char name[100001];

    for (size_t n = 900; n < sizeof(name); n += n < 1100 ? 1 : 9173) {
        size_t n_said;

        for (size_t i = 0; i < n; i++)
            name[i] = "\xe2\x82\xac"[i % 3];
        name[n - n % 3] = 0;
        error("F: tensor '%s' has no shape", name);
        n_said = strlen(error_last());
        CHECK(strncmp(error_last(), "F: tensor '\xe2\x82\xac", 14) == 0);
        CHECK(n_said < 1024 && strcmp(error_last() + n_said - 14, "' has no shape") == 0);
        CHECK(utf8_valid(error_last(), n_said) == -1);
        CHECK((n_said == n - n % 3 + 25) == !strstr(error_last(), " ... "));
    }
}

static void folders_are_made(void)
{
    char *deep = path_join(folder, "a/b//c/"), *b = path_join(folder, "a/b");
    char *a = path_join(folder, "a"), *c = path_join(folder, "a/b/c");

    CHECK(dir_make(deep) == 0 && dir_exists(c));
    CHECK(dir_make(deep) == 0);
    rmdir(c);
    rmdir(b);
    rmdir(a);
    free(deep);
    free(a);
    free(b);
    free(c);
}

static void paths_are_joined(void)
{
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};

    for (int i = 0; i < 4; i++) {
        char *p = path_join(cases[i][0], cases[i][1]);

        CHECK_STR(p, cases[i][2]);
        free(p);
    }
}

/* ---- JSON */

static void json_refuses(const char *text, size_t nbytes, const char *message)
{
    cJSON *j = json_parse(text, nbytes, "F");

    CHECK(!j);
    if (!strstr(error_last(), message) || strncmp(error_last(), "F: ", 3) != 0)
        CHECK_STR(error_last(), message);
    cJSON_Delete(j);
}

static void json_is_one_whole_value(void)
{
    static const size_t n_deep = 1000000, n_many = 9000000;
    char *deep = malloc(n_deep), *many, objects[] = "{\"a\":";
    cJSON *j = json_parse(" {\"a\": 1} \r\n\t", 13, "F");

    CHECK(j != NULL);
    cJSON_Delete(j);
    json_refuses("", 0, "bad JSON at byte 0");
    json_refuses("{\"a\": 1", 7, "bad JSON at byte");
    json_refuses("{\"a\": 1}}", 9, "something follows the value at byte 8");
    json_refuses("1 2", 3, "something follows the value at byte 2");
    json_refuses("{}\0", 3, "control character 0x00 at byte 2");
    json_refuses("{\x0f\"a\": 1}", 9, "control character 0x0f at byte 1");
    json_refuses("{\"a\nb\": 1}", 10, "control character 0x0a at byte 3");
    json_refuses("{\"\\\"\x01\": 1}", 10, "control character 0x01 at byte 4");
    json_refuses("{\"\x97\": 1}", 8, "invalid UTF-8 at byte 2");
    json_refuses("{\"a\\u0000b\": 1}", 15, "a string holds a NUL (\\u0000) at byte 3");
    j = json_parse("[\"\\\\u0000\"]", 11, "F");
    CHECK(j && strcmp(j->child->valuestring, "\\u0000") == 0);
    cJSON_Delete(j);
    json_refuses("{'a': 1}", 8, "bad JSON");
    json_refuses("{\"a\": NaN}", 10, "bad JSON");
    json_refuses("[1,]", 4, "bad JSON");
    /* A million deep, with and without an end, is refused before the stack is. */
    memset(deep, '[', n_deep);
    json_refuses(deep, n_deep, "bad JSON");
    memset(deep + n_deep / 2, ']', n_deep / 2);
    json_refuses(deep, n_deep, "bad JSON");
    /* Values take much more memory than their text. */
    many = malloc(n_many);
    memset(many, ',', n_many);
    json_refuses(many, n_many, "JSON of more than 8388608 values");
    memset(many + 1, '"', 1);
    many[n_many - 1] = '"';
    json_refuses(many, n_many, "bad JSON"); /* of commas in a string there may be any number */
    free(many);
    for (size_t i = 0; i < n_deep; i++)
        deep[i] = objects[i % 5];
    json_refuses(deep, n_deep, "bad JSON");
    free(deep);
}

static void json_keys_are_unique(void)
{
    static const char fine[] =
        "{\"a\": {\"a\": 1, \"A\": 1}, \"b\": [{\"a\": 1}, {\"a\": 1}], \"\": {}}";
    static const char *const bad[] = {"{\"key\": 1, \"key\": 1}",
                                      "{\"key\": 1, \"b\": 2, \"k\\u0065y\": null}",
                                      "[1, [{\"a\": {\"key\": 1, \"x\": {}, \"key\": 2}}]]"};
    struct buf large = {0};
    cJSON *j = json_parse(fine, strlen(fine), "F");

    CHECK(j != NULL);
    cJSON_Delete(j);
    for (int i = 0; i < 3; i++)
        json_refuses(bad[i], strlen(bad[i]), "F: field 'key' is there twice");
    json_refuses("{\"\": 1, \"\": 1}", 14, "F: field '' is there twice");
    for (int i = 0; i < 1000; i++)
        buf_addf(&large, "%c\"%d\": 0", i ? ',' : '{', i * 7919 % 1000);
    buf_adds(&large, ",\"523\": 0}");
    json_refuses(large.data, large.n, "F: field '523' is there twice");
    buf_release(&large);
}

static void json_fields_are_typed(void)
{
    const char *text = "{\"s\": \"x\", \"i\": 3, \"f\": 2.5, \"b\": true, \"n\": null, \"l\": [1], "
                       "\"big\": 1e300, \"inf\": 1e999}";
    cJSON *j = json_parse(text, strlen(text), "F");
    const cJSON *list;
    const char *s;
    int64_t i;
    double d;
    int b;

    CHECK(json_string(j, "s", "F", &s) == 0 && strcmp(s, "x") == 0);
    CHECK(json_int(j, "i", "F", 3, 3, &i) == 0 && i == 3);
    CHECK(json_number(j, "f", "F", &d) == 0 && d == 2.5);
    CHECK(json_bool(j, "b", "F", &b) == 0 && b == 1);
    CHECK(json_array(j, "l", "F", &list) == 0 && cJSON_GetArraySize(list) == 1);
    CHECK(json_has(j, "s") && !json_has(j, "n") && !json_has(j, "S") && !json_has(NULL, "s"));
    CHECK(json_string(j, "S", "F", &s) == -1);
    CHECK_STR(error_last(), "F: no field 'S'");
    CHECK(json_string(j, "i", "F", &s) == -1);
    CHECK_STR(error_last(), "F: field 'i' is not a string");
    CHECK(json_bool(j, "i", "F", &b) == -1);
    CHECK_STR(error_last(), "F: field 'i' is not true or false");
    CHECK(json_array(j, "s", "F", &list) == -1);
    CHECK_STR(error_last(), "F: field 's' is not a list");
    CHECK(json_number(j, "n", "F", &d) == -1);
    CHECK_STR(error_last(), "F: field 'n' is not a finite number");
    CHECK(json_number(j, "inf", "F", &d) == -1);
    CHECK(json_int(j, "f", "F", 0, 9, &i) == -1);
    CHECK_STR(error_last(), "F: field 'f' is 2.5, not a whole number from 0 to 9");
    CHECK(json_int(j, "i", "F", 0, 2, &i) == -1);
    CHECK(json_int(j, "big", "F", 0, INT64_MAX, &i) == -1);
    cJSON_Delete(j);
}

static void json_quotes(void)
{
    struct buf b = {0};
    cJSON *j;

    json_add_quoted(&b, "a\"\\\n\r\t\b\f\x01\x7f\u00e9");
    CHECK_STR(b.data, "\"a\\\"\\\\\\n\\r\\t\\b\\f\\u0001\x7f\u00e9\"");
    j = json_parse(b.data, b.n, "F");
    CHECK_STR(cJSON_GetStringValue(j), "a\"\\\n\r\t\b\f\x01\x7f\u00e9");
    cJSON_Delete(j);
    buf_release(&b);
}

/* ---- SHA-256: FIPS 180-2's examples */

static void sha256_examples(void)
{
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    struct sha256 s;
    char hex[65];

    sha256_hex("abc", 3, hex);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_init(&s);
    sha256_update(&s, two, 10);
    sha256_update(&s, two, 0);
    sha256_update(&s, two + 10, strlen(two) - 10);
    sha256_final(&s, hex);
    CHECK_STR(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* The kernel's other count of it: getrusage(). */
static void memory_is_counted(void)
{
    size_t n = (size_t)64 << 20;
    char *p = malloc(n);
    struct rusage u;

    CHECK(p != NULL);
    memset(p, 1, n);
    CHECK(getrusage(RUSAGE_SELF, &u) == 0);
    CHECK(host_memory_peak() >= n && p[n - 1] == 1);
    CHECK_NEAR((double)host_memory_peak(), 1024.0 * (double)u.ru_maxrss, 8e6);
    CHECK(host_memory_free() > 0);
    free(p);
}

static void words_round_trip(void)
{
    static const char *const words[] = {"duo",  "--data",      "a b", "",
                                        "it's", "$(x)`y`\"\\", "*",   "\xc3\xa9"};
    enum { N = sizeof(words) / sizeof(words[0]) };
    struct buf b = {0};
    char **back;

    words_quote(&b, words, N);
    CHECK_STR(b.data, "duo --data 'a b' '' 'it'\\''s' '$(x)`y`\"\\' '*' '\xc3\xa9'");
    CHECK(words_split(b.data, "here", &back) == N);
    for (int i = 0; i < N; i++)
        CHECK_STR(back[i], words[i]);
    free(back);
    CHECK(words_split("  a\\ b\t\"c\\\"d\\e\"'f'  ", "here", &back) == 2);
    CHECK_STR(back[0], "a b");
    CHECK_STR(back[1], "c\"d\\ef");
    CHECK(back[2] == NULL);
    free(back);
    CHECK(words_split("", "here", &back) == 0 && !back[0]);
    free(back);
    CHECK(words_split("a 'b", "here", &back) == -1 && strstr(error_last(), "here: a quote"));
    CHECK(words_split("a \"b\\", "here", &back) == -1);
    buf_release(&b);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    error_silence(1);
    RUN(buf_grows);
    RUN(buf_detaches);
    RUN(atomic_write_replaces);
    RUN(atomic_write_without_space);
    RUN(files_that_cannot_be_read_or_written);
    RUN(huge_files_are_not_read_whole);
    RUN(messages_are_one_harmless_line);
    RUN(long_messages_keep_their_ends);
    RUN(folders_are_made);
    RUN(paths_are_joined);
    RUN(json_is_one_whole_value);
    RUN(json_keys_are_unique);
    RUN(json_fields_are_typed);
    RUN(json_quotes);
    RUN(sha256_examples);
    RUN(memory_is_counted);
    RUN(words_round_trip);
    return rmdir(folder) != 0;
}
