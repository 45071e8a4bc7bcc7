/* tiktoken's form: its lines, and the reading of a whole file, which ends at the number of lines.
 */
#include "harness/base/buf.h"
#include "harness/model/tokenizer.h"
#include "harness/model/tokenizer_tiktoken.h"
#include "tests/fuzz/fuzz.h"

void fuzz_tiktoken(const uint8_t *data, size_t n)
{
    const char *p = (const char *)data, *end = p + n, *stop;
    struct buf bytes = {0};
    size_t number = 0;

    tokenizer_tiktoken.sniff(data, n);
    for (; p < end; p = stop < end ? stop + 1 : end) {
        int rank;

        stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            stop = end;
        rank = tiktoken_parse_line("tokenizer.model", ++number, p, (size_t)(stop - p), &bytes);
        FUZZ_ASSERT(rank < 128000);
        if (rank >= 0)
            FUZZ_ACCEPTED(bytes.n > 0 && bytes.n <= (size_t)(stop - p) / 4 * 3);
    }
    buf_release(&bytes);
    /* Its expression takes long to compile, so not every time. */
    if (n >= 6 && memcmp(data + n - 6, "\nwhole", 6) == 0)
        FUZZ_ASSERT(!tokenizer_tiktoken.open("tokenizer.model", data, n - 6));
}
