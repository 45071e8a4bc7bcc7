/* A file of records: what is accepted can be written, and read again as the same. */
#include "harness/base/buf.h"
#include "harness/measure/record_read.h"
#include "tests/fuzz/fuzz.h"

void fuzz_records(const uint8_t *data, size_t n)
{
    struct record_list l = {0};

    fuzz_file("r.jsonl", data, n);
    if (record_list_read(&l, FUZZ_FOLDER "/r.jsonl") == 0)
        for (size_t i = 0; i < l.n; i++) {
            struct buf b = {0};

            FUZZ_ACCEPTED(l.items[i].rec.task && l.items[i].rec.metric && l.items[i].rec.model);
            record_string(&l.items[i], "model");
            record_number(&l.items[i], "value");
            if (record_to_json(&l.items[i].rec, &b) == 0)
                FUZZ_ASSERT(b.n > 0 && !memchr(b.data, '\n', b.n - 1));
            buf_release(&b);
        }
    record_list_release(&l);
    fuzz_files_forget();
}
