/* Reading a set's files from a folder, a zip and gzip, and what hostile archives come to. */
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

#include "data/archive.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "tests/test.h"

static char dir[] = "/tmp/duo-test-archive-XXXXXX"; /* DATA; the set is "s" */

/* DATA/s/NAME in a static buffer. */
static const char *at(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/s/%s", dir, name);
    return path;
}

static void put(const char *name, const void *data, size_t nbytes)
{
    if (file_write_atomic(at(name), data, nbytes) != 0)
        exit(1);
}

/* Writes a zip with one member. */
static void put_zip(const char *name, const char *member, const void *data, size_t nbytes,
                    zip_int32_t method)
{
    zip_t *z = zip_open(at(name), ZIP_CREATE | ZIP_TRUNCATE, NULL);
    zip_int64_t i = zip_file_add(z, member, zip_source_buffer(z, data, nbytes, 0), 0);

    if (i < 0 || zip_set_file_compression(z, (zip_uint64_t)i, method, 0) || zip_close(z))
        exit(1);
}

static void put_gz(const char *name, const char *mode, const void *data, size_t nbytes)
{
    gzFile gz = gzopen(at(name), mode);

    if (!gz || gzwrite(gz, data, (unsigned)nbytes) != (int)nbytes || gzclose(gz) != Z_OK)
        exit(1);
}

/* The last error holds both pieces and is one line. */
static int said(const char *a, const char *b)
{
    int good = strstr(error_last(), a) && strstr(error_last(), b) && !strchr(error_last(), '\n');

    if (!good)
        printf("# error was: %s\n", error_last());
    return good;
}

/* data_read of DATA/s must give this text; NULL: must fail and leave the buffer alone. */
static int reads(const char *archive, const char *file, const char *text)
{
    struct buf out = {0};
    int rc, good;

    buf_adds(&out, "before|");
    rc = data_read(dir, "s", archive, file, &out);
    good = text ? rc == 0 && strcmp(out.data + 7, text) == 0
                : rc == -1 && strcmp(out.data, "before|") == 0;
    if (!good)
        printf("# %s: rc %d, %zu bytes, error %s\n", file, rc, out.n, error_last());
    buf_release(&out);
    return good;
}

static void folder_then_zip_then_gz(void)
{
    put_gz("a.txt.gz", "wb", "from gz", 7);
    CHECK(reads(NULL, "a.txt", "from gz"));
    CHECK(reads("z.zip", "a.txt", "from gz"));
    put_zip("z.zip", "a.txt", "from zip", 8, ZIP_CM_DEFLATE);
    CHECK(reads("z.zip", "a.txt", "from zip"));
    CHECK(reads(NULL, "a.txt", "from gz"));
    put("a.txt", "from folder", 11);
    CHECK(reads("z.zip", "a.txt", "from folder"));
    unlink(at("a.txt"));
    put_zip("z.zip", "deep/er/a.txt", "stored", 6, ZIP_CM_STORE);
    CHECK(reads("z.zip", "deep/er/a.txt", "stored"));
    CHECK(reads("z.zip", "a.txt", "from gz")); /* not in the zip after all */
    unlink(at("a.txt.gz"));
    unlink(at("z.zip"));
}

static void missing_names_the_paths_and_fetch(void)
{
    CHECK(reads("z.zip", "no.txt", NULL));
    CHECK(said("/s/no.txt'", "duo fetch s"));
    CHECK(said("/s/z.zip'", "/s/no.txt.gz'"));
    CHECK(reads(NULL, "no.txt", NULL));
    CHECK(said("/s/no.txt'", "duo fetch s") && !strstr(error_last(), "zip"));
    put_zip("z.zip", "other", "x", 1, ZIP_CM_STORE);
    CHECK(reads("z.zip", "no.txt", NULL));
    CHECK(said("/s/z.zip' has no member 'no.txt'", "duo fetch s"));
    unlink(at("z.zip"));
}

/* 3000 bytes that hardly pack. */
static void noise(char *text)
{
    uint32_t x = 1;
    int i;

    for (i = 0; i < 3000; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = (char)('a' + (x >> 24) % 26);
    }
}

/* Overwrites bytes of DATA/s/NAME. at_end: the offset counts from the end. */
static void patch(const char *name, size_t offset, int at_end, const void *bytes, size_t n)
{
    struct buf b = {0};

    if (file_read(at(name), &b) != 0)
        exit(1);
    memcpy(b.data + (at_end ? b.n - offset : offset), bytes, n);
    put(name, b.data, b.n);
    buf_release(&b);
}

static void cut(const char *name, size_t nbytes)
{
    struct stat st;

    if (stat(at(name), &st) != 0 || truncate(at(name), st.st_size - (off_t)nbytes) != 0)
        exit(1);
}

static void hostile_zip(void)
{
    /* The last 22 bytes are the end record, before them the directory entry: 46 bytes and the name;
     * the packed size is at 20, the unpacked at 24. */
    const size_t entry = 22 + 46 + 5;
    static const unsigned char huge[4] = {0xff, 0xff, 0xff, 0x7f};
    char text[3000];

    noise(text);
    put_zip("z.zip", "a.txt", text, sizeof(text), ZIP_CM_STORE);
    patch("z.zip", 30 + 5 + 100, 0, "?", 1);
    CHECK(reads("z.zip", "a.txt", NULL));
    CHECK(said("/s/z.zip', member 'a.txt'", "CRC"));

    put_zip("z.zip", "a.txt", text, sizeof(text), ZIP_CM_DEFLATE);
    patch("z.zip", 30 + 5 + 100, 0, "\xff\xff\xff\xff", 4);
    CHECK(reads("z.zip", "a.txt", NULL));
    CHECK(said("/s/z.zip', member 'a.txt'", ""));

    put_zip("z.zip", "a.txt", text, sizeof(text), ZIP_CM_DEFLATE);
    cut("z.zip", 100);
    CHECK(reads("z.zip", "a.txt", NULL));
    CHECK(said("archive '", "/s/z.zip'"));

    put_zip("z.zip", "a.txt", text, sizeof(text), ZIP_CM_DEFLATE);
    patch("z.zip", entry - 24, 1, huge, 4);
    CHECK(reads("z.zip", "a.txt", NULL));
    CHECK(said("member 'a.txt'", "more than 1024 MiB"));

    put_zip("z.zip", "a.txt", text, sizeof(text), ZIP_CM_DEFLATE);
    patch("z.zip", entry - 20, 1, huge, 4);
    CHECK(reads("z.zip", "a.txt", NULL));
    CHECK(said("/s/z.zip'", ""));

    put("z.zip", "PK\3\4 not a zip at all", 21);
    CHECK(reads("z.zip", "a.txt", NULL));
    CHECK(said("/s/z.zip'", "archive"));
    put("z.zip", "", 0);
    CHECK(reads("z.zip", "a.txt", NULL));
    unlink(at("z.zip"));
}

/* Nothing is unpacked to disk, and a member is found by its whole name alone: one that climbs is
 * one of that name, and one that is a link holds text. */
static void climbing_and_linking_members(void)
{
    const size_t entry = 22 + 46 + 5;
    static const unsigned char unix_made[2] = {30, 3}, is_link[4] = {0, 0, 0xff, 0xa1};

    put("secret", "secret", 6);
    put_zip("z.zip", "../secret", "harmless", 8, ZIP_CM_STORE);
    CHECK(reads("z.zip", "a.txt", NULL));
    CHECK(reads("z.zip", "secret.txt", NULL));
    CHECK(said("has no member 'secret.txt'", "duo fetch s"));
    put_zip("z.zip", "a.txt", "secret", 6, ZIP_CM_STORE);
    patch("z.zip", entry - 4, 1, unix_made, 2);
    patch("z.zip", entry - 38, 1, is_link, 4); /* a link to the file beside it */
    put("secret", "what it leads to", 16);
    CHECK(reads("z.zip", "a.txt", "secret"));
    unlink(at("z.zip"));
    unlink(at("secret"));
}

static void bombs(void)
{
    const size_t nbytes = (size_t)16 << 20;
    char *zeros = xcalloc(nbytes, 1);

    put_zip("z.zip", "a.txt", zeros, nbytes, ZIP_CM_DEFLATE);
    CHECK(reads("z.zip", "a.txt", NULL));
    CHECK(said("/s/z.zip', member 'a.txt'", "200 times its packed size"));
    put_gz("a.txt.gz", "wb9", zeros, nbytes);
    CHECK(reads(NULL, "a.txt", NULL));
    CHECK(said("/s/a.txt.gz", "200 times its packed size"));
    /* Small repetitive files are no bombs. */
    memset(zeros, 'x', 1 << 20);
    zeros[1 << 20] = 0;
    put_zip("z.zip", "a.txt", zeros, 1 << 20, ZIP_CM_DEFLATE);
    CHECK(reads("z.zip", "a.txt", zeros));
    unlink(at("z.zip"));
    unlink(at("a.txt.gz"));
    free(zeros);
}

static void hostile_gz(void)
{
    char text[3000];

    noise(text);
    put_gz("a.txt.gz", "wb", text, sizeof(text));
    cut("a.txt.gz", 100);
    CHECK(reads(NULL, "a.txt", NULL));
    CHECK(said("/s/a.txt.gz", "end of file"));

    put_gz("a.txt.gz", "wb", text, sizeof(text));
    patch("a.txt.gz", 8, 1, "\1\2\3\4", 4); /* the checksum */
    CHECK(reads(NULL, "a.txt", NULL));
    CHECK(said("/s/a.txt.gz", "data check"));

    put("a.txt.gz", "plain text under a false name", 29);
    CHECK(reads(NULL, "a.txt", NULL));
    CHECK(said("/s/a.txt.gz'", "not a gzip file"));
    put("a.txt.gz", "", 0);
    CHECK(reads(NULL, "a.txt", NULL));

    put_gz("a.txt.gz", "wb", "one ", 4);
    put_gz("a.txt.gz", "ab", "two", 3); /* members in a row are one file */
    CHECK(reads(NULL, "a.txt", "one two"));
    unlink(at("a.txt.gz"));
}

/* All lines joined by "|", then "END" or "ERROR". */
static const char *all_lines(const char *file)
{
    static char got[512];
    struct data_lines l;
    const char *line;
    size_t nbytes;
    int rc = data_lines_open(&l, dir, "s", file);

    got[0] = 0;
    while (rc == 0 && (rc = data_lines_next(&l, &line, &nbytes)) > 0) {
        rc = strlen(line) == nbytes ? 0 : -1;
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%.8s%zu|", line, l.n);
    }
    data_lines_close(&l);
    return strcat(got, rc == 0 ? "END" : "ERROR");
}

static void lines_plain_and_packed(void)
{
    char *text = xcalloc(300001, 1);

    put("l.json", "a\n\nc\r\nd", 7);
    CHECK_STR(all_lines("l.json"), "a1|2|c\r3|d4|END");
    put("l.json", "a\n", 2);
    CHECK_STR(all_lines("l.json"), "a1|END");
    put("l.json", "", 0);
    CHECK_STR(all_lines("l.json"), "END");
    unlink(at("l.json"));
    put_gz("l.json.gz", "wb", "x\ny\n", 4);
    CHECK_STR(all_lines("l.json"), "x1|y2|END");
    CHECK_STR(all_lines("l.json.gz"), "x1|y2|END");
    /* A line longer than what is read at once, and a newline at its very end. */
    memset(text, 'q', 300000);
    memcpy(text + 150000, "\nmid\n", 5);
    text[299999] = '\n';
    put_gz("l.json.gz", "wb", text, 300000);
    CHECK_STR(all_lines("l.json"), "qqqqqqqq1|mid2|qqqqqqqq3|END");
    cut("l.json.gz", 20);
    CHECK(strstr(all_lines("l.json"), "ERROR") && said("/s/l.json.gz", "end of file"));
    put("l.json.gz", "false", 5);
    CHECK_STR(all_lines("l.json"), "ERROR");
    unlink(at("l.json.gz"));
    CHECK_STR(all_lines("l.json"), "ERROR");
    CHECK(said("/s/l.json'", "duo fetch s"));
    free(text);
}

int main(void)
{
    char set[64];

    if (!mkdtemp(dir))
        return 1;
    snprintf(set, sizeof(set), "%s/s", dir);
    if (dir_make(set) != 0)
        return 1;
    error_silence(1);
    RUN(folder_then_zip_then_gz);
    RUN(missing_names_the_paths_and_fetch);
    RUN(hostile_zip);
    RUN(climbing_and_linking_members);
    RUN(bombs);
    RUN(hostile_gz);
    RUN(lines_plain_and_packed);
    rmdir(set);
    rmdir(dir);
    return 0;
}
