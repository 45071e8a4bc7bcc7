/* Calibration ids with their side file, and files of shares. The first byte chooses: '{' a file of
 * shares; 's' the ids' side file up to the first newline, then ids; else ids alone. */
#include "data/calib.h"
#include "harness/measure/act_calib.h"
#include "tests/fuzz/fuzz.h"

static void ratios(const uint8_t *data, size_t n)
{
    double ratio[2 * N_GROUPS];

    fuzz_file("ratios.json", data, n);
    if (act_ratios_read(FUZZ_FOLDER "/ratios.json", 2, ratio) != 0)
        return;
    for (size_t i = 0; i < 2 * N_GROUPS; i++)
        FUZZ_ASSERT(ratio[i] >= 0 && ratio[i] <= 0.999);
}

static void open_ids(const char *name)
{
    struct model m = {.config.max_positions = 64, .config.n_vocab = 1000};
    struct calib_source src = {.model = &m, .data_dir = FUZZ_FOLDER};
    struct calib c;

    if (calib_open(&c, name, &src) != 0)
        return;
    FUZZ_ACCEPTED(c.window >= 2 && c.window <= 64 && c.n_windows > 0);
    for (size_t i = 0; i < c.n_windows * c.window; i++)
        FUZZ_ASSERT(c.ids[i] >= 0 && c.ids[i] < 1000);
    calib_release(&c);
}

void fuzz_calib(const uint8_t *data, size_t n)
{
    const uint8_t *cut = memchr(data, '\n', n);

    if (n > 0 && data[0] == '{') {
        ratios(data, n);
    } else if (n > 0 && data[0] == 's' && cut) {
        fuzz_file("side.i32.json", data + 1, (size_t)(cut - data) - 1);
        fuzz_file("side.i32", cut + 1, n - (size_t)(cut + 1 - data));
        open_ids(FUZZ_FOLDER "/side.i32");
        open_ids(FUZZ_FOLDER "/side.i32:1x2");
    } else {
        fuzz_file("ids.2x3.i32", data, n);
        open_ids(FUZZ_FOLDER "/ids.2x3.i32");
        open_ids(FUZZ_FOLDER "/ids.2x3.i32:1x4");
    }
    fuzz_files_forget();
}
