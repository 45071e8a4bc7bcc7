/* A table specification (scripts/tables/NAME.json). */
#include "harness/cmd/table_file.h"
#include "tests/fuzz/fuzz.h"

void fuzz_table_spec(const uint8_t *data, size_t n)
{
    struct table_file t;

    fuzz_file("t.json", data, n);
    if (table_file_open(&t, FUZZ_FOLDER "/t.json") == 0) {
        FUZZ_ACCEPTED(t.title && t.n_cells > 0 && t.n_tasks > 0 && t.n_tasks <= MAX_LIST);
        for (size_t i = 0; i < t.n_cells; i++)
            FUZZ_ASSERT(t.cells[i].label && t.cells[i].want.method);
    }
    table_file_release(&t);
    fuzz_files_forget();
}
