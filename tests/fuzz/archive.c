/* Zip archives, gzip files, lines of either, and the check of what a download brought. The first
 * byte chooses. */
#include <unistd.h>

#include "data/archive.h"
#include "data/check.h"
#include "tests/fuzz/fuzz.h"

static void read_whole(const char *archive, const char *file)
{
    struct buf out = {0};

    buf_adds(&out, "before");
    if (data_read(FUZZ_FOLDER, ".", archive, file, &out) == 0)
        FUZZ_ACCEPTED(out.n >= 6 && out.n <= ((size_t)1 << 30) + 6);
    else
        FUZZ_ASSERT(out.n == 6);
    FUZZ_ASSERT(memcmp(out.data, "before", 6) == 0 && out.data[out.n] == 0);
    buf_release(&out);
}

static void read_lines(void)
{
    struct data_lines l;
    const char *line;
    size_t n;

    if (data_lines_open(&l, FUZZ_FOLDER, ".", "lines.json") == 0)
        while (data_lines_next(&l, &line, &n) == 1)
            FUZZ_ASSERT(!memchr(line, '\n', n) && line[n] == 0);
    data_lines_close(&l);
}

static void check(const char *name)
{
    static const char *const members[] = {"a.txt", NULL};
    struct http_file f = {.name = name, .path = name, .members = members};
    char path[128];

    snprintf(path, sizeof(path), FUZZ_FOLDER "/%s", name);
    content_check(path, &f);
}

void fuzz_archive(const uint8_t *data, size_t n)
{
    static const char *const names[] = {"x.zip",   "file.txt.gz", "lines.json.gz",
                                        "c.jsonl", "c.json",      "c.safetensors"};
    unsigned which;

    if (n == 0)
        return;
    which = data[0] % 6;
    fuzz_file(names[which], data + 1, n - 1);
    if (which == 0)
        read_whole("x.zip", "a.txt");
    if (which == 1)
        read_whole(NULL, "file.txt");
    if (which == 2)
        read_lines();
    check(names[which]);
    fuzz_files_forget();
}
