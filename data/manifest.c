/* A data folder's own document counts. */
#include "data/manifest.h"

#include <stdlib.h>

#include "harness/base/file.h"
#include "harness/base/json.h"

int manifest_expected(const char *data_dir, const char *task, size_t published, size_t *out)
{
    char *path = path_join(data_dir, "manifest.json");
    cJSON *j = NULL;
    int64_t n;
    int rc = -1;

    *out = published;
    if (!file_exists(path)) {
        rc = 0;
        goto out;
    }
    j = json_read(path);
    if (!j || json_int(cJSON_GetObjectItemCaseSensitive(j, "counts"), task, path, 1, 1 << 30, &n))
        goto out;
    *out = (size_t)n;
    rc = 0;
out:
    cJSON_Delete(j);
    free(path);
    return rc;
}
