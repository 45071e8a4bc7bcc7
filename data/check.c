/* Checks of content by file type. */
#include "data/check.h"

#include <errno.h>
#include <string.h>
#include <zip.h>
#include <zlib.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"

static int check_zip(const char *path, const struct http_file *f)
{
    zip_error_t why;
    zip_stat_t st;
    int code, rc = 0;
    zip_t *zip = zip_open(path, ZIP_RDONLY, &code);

    if (!zip) {
        zip_error_init_with_code(&why, code);
        rc = error("%s: not a zip archive: %s", f->name, zip_error_strerror(&why));
        zip_error_fini(&why);
        return rc;
    }
    for (size_t i = 0; f->members && f->members[i] && rc == 0; i++)
        if (zip_stat(zip, f->members[i], 0, &st) != 0 || !(st.valid & ZIP_STAT_SIZE) || !st.size)
            rc = error("%s: the archive has no '%s'", f->name, f->members[i]);
    zip_discard(zip);
    return rc;
}

static int check_gzip(const char *path, const struct http_file *f)
{
    char block[1 << 12];
    gzFile gz = gzopen(path, "rb");
    int n;

    if (!gz)
        return error("cannot open '%s': %s", path, strerror(errno));
    n = gzread(gz, block, sizeof(block));
    if (gzdirect(gz))
        n = -1; /* zlib passes other files through as they are */
    gzclose(gz);
    return n > 0 ? 0 : error("%s: not a gzip stream", f->name);
}

/* At most max bytes from the start of the file. */
static int read_start(const char *path, size_t max, struct buf *out)
{
    FILE *f = fopen(path, "rb");

    if (!f)
        return error("cannot open '%s': %s", path, strerror(errno));
    buf_reserve(out, max);
    out->n = fread(out->data, 1, max, f);
    out->data[out->n] = 0;
    fclose(f);
    return 0;
}

static int check_json(const char *path, const struct http_file *f, int is_lines)
{
    struct buf text = {0};
    cJSON *v = NULL;
    size_t n;

    if (is_lines ? read_start(path, 1 << 20, &text) : file_read(path, &text))
        return -1;
    n = is_lines ? strcspn(buf_str(&text), "\n") : text.n;
    v = json_parse(buf_str(&text), n, f->name);
    buf_release(&text);
    cJSON_Delete(v);
    return v ? 0 : -1;
}

/* The end of the last tensor, by the header. -1 if there is none. */
static double tensors_end(const cJSON *header)
{
    const cJSON *tensor, *end;
    double last = -1;

    cJSON_ArrayForEach(tensor, header)
    {
        end = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(tensor, "data_offsets"), 1);
        if (cJSON_IsNumber(end) && end->valuedouble > last)
            last = end->valuedouble;
    }
    return last;
}

static int check_safetensors(const char *path, const struct http_file *f)
{
    struct file_map m;
    uint64_t n = 0;
    cJSON *header;
    double want, have;

    if (file_map_open(&m, path) != 0)
        return -1;
    for (size_t i = 0; i < 8 && m.nbytes >= 8; i++)
        n |= (uint64_t)m.data[i] << (8 * i);
    if (n == 0 || n > m.nbytes - 8) { /* n is 0 for a file of less than 8 bytes */
        file_map_close(&m);
        return error("%s: not a safetensors file", f->name);
    }
    header = json_parse((const char *)m.data + 8, n, f->name);
    want = header ? 8 + (double)n + tensors_end(header) : 0;
    have = (double)m.nbytes;
    cJSON_Delete(header);
    file_map_close(&m);
    if (header && want != have)
        return error("%s: the header of the safetensors file does not fit its length", f->name);
    return header ? 0 : -1;
}

static int check_page(const char *path, const struct http_file *f)
{
    struct buf text = {0};
    int rc = read_start(path, 64, &text);
    const char *s = buf_str(&text) + strspn(buf_str(&text), " \t\r\n\xef\xbb\xbf");

    if (rc == 0 && (strncasecmp(s, "<!doctype", 9) == 0 || strncasecmp(s, "<html", 5) == 0))
        rc = error("%s: a web page came in place of the file", f->name);
    buf_release(&text);
    return rc;
}

static int ends(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && strcmp(s + n - k, end) == 0;
}

int content_check(const char *path, const struct http_file *f)
{
    if (check_page(path, f) != 0)
        return -1;
    if (ends(f->path, ".zip"))
        return check_zip(path, f);
    if (ends(f->path, ".gz"))
        return check_gzip(path, f);
    if (ends(f->path, ".json"))
        return check_json(path, f, 0);
    if (ends(f->path, ".jsonl"))
        return check_json(path, f, 1);
    if (ends(f->path, ".safetensors"))
        return check_safetensors(path, f);
    return 0;
}
