/* The safetensors format as hostile input. */
#include "tests/checkpoint_fixture.h"

static const unsigned char bytes[4096];

static int parse(const char *header, size_t n, size_t data_nbytes)
{
    struct safetensors st = {.path = xstrdup("F")};
    int rc = safetensors_parse(&st, header, n, bytes, data_nbytes);

    safetensors_close(&st);
    return rc;
}

static void refuses(const char *header, size_t data_nbytes, const char *message)
{
    FAILS(parse(header, strlen(header), data_nbytes), message);
    CHECK(strncmp(error_last(), "F: ", 3) == 0);
}

#define T(dtype, shape, begin, end)                                                                \
    "{\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": [" begin ", " end "]}"

static void good_header(void)
{
    const char *h = "{\"__metadata__\": {\"format\": \"pt\"}, \"b\": " T(
        "F16", "[2, 3]", "0",
        "12") ", \"a\": " T("F32", "[4]", "12",
                            "28") ", \"s\": " T("BF16", "[]", "28",
                                                "30") ", \"none\": " T("I64", "[0, 7]", "30",
                                                                       "30") "}   ";
    struct safetensors st = {.path = xstrdup("F")};

    CHECK(safetensors_parse(&st, h, strlen(h), bytes, 30) == 0);
    CHECK(st.n_tensors == 4);
    CHECK_STR(st.tensors[0].name, "a"); /* by name */
    CHECK_STR(st.tensors[1].name, "b");
    CHECK(st.tensors[0].dtype == DTYPE_F32 && st.tensors[0].n_dims == 1);
    CHECK(st.tensors[0].data == bytes + 12 && st.tensors[0].nbytes == 16);
    CHECK(st.tensors[1].dtype == DTYPE_F16 && st.tensors[1].dims[1] == 3);
    CHECK(st.tensors[2].dtype == -1 && st.tensors[2].nbytes == 0);
    CHECK(st.tensors[3].dtype == DTYPE_BF16 && st.tensors[3].n_dims == 0);
    safetensors_close(&st);
    CHECK(parse("{}", 2, 0) == 0);
    CHECK(parse("{\"__metadata__\": 3}", 19, 0) == 0);
}

static void headers(void)
{
    refuses("", 0, "bad JSON");
    refuses("[]", 0, "header is not a JSON object");
    refuses("3", 0, "header is not a JSON object");
    refuses("{\"a\": ", 0, "bad JSON");
    refuses("{} x", 0, "something follows the value");
    refuses("{\"a\": [0, 4]}", 4, "tensor 'a': not a JSON object");
    refuses("{\"a\": null}", 4, "tensor 'a': not a JSON object");
    refuses("{\"a\": {\"shape\": [1], \"data_offsets\": [0, 4]}}", 4,
            "tensor 'a': no field 'dtype'");
    refuses("{\"a\": {\"dtype\": \"F32\", \"data_offsets\": [0, 4]}}", 4,
            "tensor 'a': no field 'shape'");
    refuses("{\"a\": {\"dtype\": \"F32\", \"shape\": [1]}}", 4,
            "tensor 'a': no field 'data_offsets'");
    refuses("{\"a\": {\"dtype\": 4, \"shape\": [1], \"data_offsets\": [0, 4]}}", 4,
            "field 'dtype' is not a string");
    refuses("{\"a\": {\"dtype\": \"F32\", \"shape\": 1, \"data_offsets\": [0, 4]}}", 4,
            "field 'shape' is not a list");
    refuses("{\"a\": " T("F4", "[1]", "0", "4") "}", 4, "tensor 'a': unknown dtype 'F4'");
    refuses("{\"a\": " T("f32", "[1]", "0", "4") "}", 4, "unknown dtype 'f32'");
}

static void shapes(void)
{
    refuses("{\"a\": " T("F32", "[2]", "0", "4") "}", 4, "4 bytes of data do not fit its shape");
    refuses("{\"a\": " T("F32", "[1]", "0", "5") "}", 5, "5 bytes of data do not fit its shape");
    refuses("{\"a\": " T("F32", "[0]", "0", "4") "}", 4, "do not fit its shape");
    refuses("{\"a\": " T("F32", "[-1]", "0", "4") "}", 4, "tensor 'a': bad shape");
    refuses("{\"a\": " T("F32", "[1.5]", "0", "4") "}", 4, "bad shape");
    refuses("{\"a\": " T("F32", "[\"1\"]", "0", "4") "}", 4, "bad shape");
    refuses("{\"a\": " T("F32", "[1e17]", "0", "4") "}", 4, "bad shape");
    refuses("{\"a\": " T("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "bad shape");
    /* 2^64 elements, and 2^62 elements of 4 bytes: both are 0 when they wrap round. */
    refuses("{\"a\": " T("F32", "[4294967296, 4294967296]", "0", "0") "}", 0, "bad shape");
    refuses("{\"a\": " T("F32", "[2147483648, 2147483648]", "0", "0") "}", 0, "do not fit");
}

static void offsets(void)
{
    refuses("{\"a\": " T("F32", "[1]", "4", "0") "}", 4, "tensor 'a': bad data_offsets");
    refuses("{\"a\": " T("F32", "[1]", "-4", "0") "}", 4, "bad data_offsets");
    refuses("{\"a\": " T("F32", "[1]", "0.5", "4.5") "}", 8, "bad data_offsets");
    refuses("{\"a\": " T("F32", "[1]", "\"0\"", "4") "}", 8, "bad data_offsets");
    refuses("{\"a\": " T("F32", "[1]", "0, 2", "4") "}", 8, "bad data_offsets");
    refuses("{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": []}}", 4,
            "bad data_offsets");
    refuses("{\"a\": " T("F32", "[1]", "0", "1e300") "}", 4, "bad data_offsets");
    refuses("{\"a\": " T("F32", "[4]", "0", "16") "}", 12,
            "tensor 'a': data ends at byte 16, the file's data at 12 (truncated file?)");
    refuses("{\"a\": " T("F32", "[1]", "9007199254740984", "9007199254740988") "}", 4,
            "the file's data at 4");
}

static void places(void)
{
    refuses("{\"a\": " T("F32", "[2]", "0", "8") ", \"b\": " T("F32", "[2]", "4", "12") "}", 12,
            "tensor 'b' overlaps another");
    refuses("{\"a\": " T("F32", "[1]", "0", "4") ", \"b\": " T("F32", "[1]", "8", "12") "}", 12,
            "tensor 'b' follows a gap");
    refuses("{\"a\": " T("F32", "[1]", "4", "8") "}", 8, "tensor 'a' follows a gap");
    refuses("{\"a\": " T("F32", "[1]", "0", "4") "}", 7, "3 bytes at its end belong to no tensor");
    refuses("{}", 1, "1 bytes at its end belong to no tensor");
    refuses("{\"a\": " T("F32", "[1]", "0", "4") ", \"a\": " T("F32", "[1]", "4", "8") "}", 8,
            "field 'a' is there twice");
}

/* ---- whole files */

static int opens(const void *data, size_t nbytes, uint64_t length)
{
    struct buf file = {0};
    struct safetensors st;
    char *path = path_join(folder, "f");
    int rc;

    for (int i = 0; i < 8; i++)
        buf_addc(&file, (char)(length >> 8 * i));
    buf_add(&file, data, nbytes);
    write_file("f", file.data, file.n);
    rc = safetensors_open(&st, path);
    safetensors_close(&st);
    buf_release(&file);
    free(path);
    return rc;
}

#define ONE "{\"a\":" T("F32", "[1]", "0", "4") "}"

static void lengths(void)
{
    const char file[] = ONE "abcd";
    size_t n = sizeof(ONE) - 1;

    CHECK(opens(file, n + 4, n) == 0);
    FAILS(opens(file, n + 4, n - 1), "bad JSON");
    FAILS(opens(file, n + 4, n + 1), "something follows the value");
    FAILS(opens(file, n + 4, 0), "bad JSON");
    FAILS(opens(file, n + 4, n + 5), "does not fit the file's");
    FAILS(opens(file, n + 4, UINT64_MAX), "header length 18446744073709551615 does not fit");
    FAILS(opens(file, n + 4, UINT64_MAX - 7), "does not fit the file's");
    FAILS(opens(file, n + 3, n), "(truncated file?)");
    FAILS(opens(file, n + 5, n), "1 bytes at its end");
}

static int opens_path(const char *path)
{
    struct safetensors st;
    int rc = safetensors_open(&st, path);

    safetensors_close(&st);
    return rc;
}

/* A file cut anywhere is refused in one line. */
static void truncated(void)
{
    const char file[] = ONE "abcd";
    struct buf whole = {0}, data = {0};
    char *path = path_join(folder, "f");

    buf_add(&data, file + sizeof(ONE) - 1, 4);
    add_file(&whole, ONE, sizeof(ONE) - 1, &data);
    for (size_t n = 0; n < whole.n; n++) {
        write_file("f", whole.data, n);
        FAILS(opens_path(path), n == 0            ? "is empty"
                                : n < 8           ? "too short"
                                : n < whole.n - 4 ? "does not fit the file's"
                                                  : "truncated");
        CHECK(strstr(error_last(), path) != NULL);
    }
    FAILS(opens_path(folder), "not a regular file");
    buf_release(&whole);
    buf_release(&data);
    free(path);
}

/* Any one byte of the header changed: an error or not, but one line and no crash. */
static void flipped_bytes(void)
{
    char header[] =
        "{\"a\":" T("F16", "[2,3]", "0", "12") ",\"b\":" T("F32", "[1]", "12", "16") "}";
    size_t n = strlen(header);

    error_silence(1);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 256; c++) {
            char was = header[i];

            header[i] = (char)c;
            parse(header, n, 16);
            header[i] = was;
        }
    error_silence(0);
    CHECK(parse(header, n, 16) == 0);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    RUN(good_header);
    RUN(headers);
    RUN(shapes);
    RUN(offsets);
    RUN(places);
    RUN(lengths);
    RUN(truncated);
    RUN(flipped_bytes);
    remove_file("f");
    return rmdir(folder) != 0;
}
