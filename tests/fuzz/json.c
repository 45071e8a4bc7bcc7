/* JSON as such, and a member put into its text. */
#include "harness/base/json.h"
#include "harness/base/json_edit.h"
#include "harness/base/buf.h"
#include "tests/fuzz/fuzz.h"

void fuzz_json(const uint8_t *data, size_t n)
{
    cJSON *j = json_parse((const char *)data, n, "file.json");
    struct buf text = {0}, quoted = {0};
    const char *got = NULL;

    if (cJSON_IsObject(j) && !memchr(data, 0, n) && !memchr(data, '\\', n)) {
        buf_add(&text, data, n);
        json_add_quoted(&quoted, "new \"\x01\n\xc3\xa9");
        json_set_member(&text, "size", buf_str(&quoted));
        cJSON_Delete(j);
        j = json_parse(buf_str(&text), text.n, "edited.json");
        FUZZ_ASSERT(j && json_string(j, "size", "edited.json", &got) == 0);
        FUZZ_ACCEPTED(strcmp(got, "new \"\x01\n\xc3\xa9") == 0);
    }
    cJSON_Delete(j);
    buf_release(&text);
    buf_release(&quoted);
}
