/* The steps by which every parse() builds a document. */
#include "tasks/tasks.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/text.h"

int document_add(struct document *d, const char *where, const char *context, const char *choice)
{
    struct buf continuation = {0};
    size_t i = d->n_choices;

    if (i == TASK_MAX_CHOICES)
        return error("%s: more than %d choices", where, TASK_MAX_CHOICES);
    buf_addf(&continuation, " %s", choice);
    d->requests[i].context = xstrdup(context);
    d->requests[i].continuation = buf_detach(&continuation);
    d->n_chars[i] = utf8_length(choice, strlen(choice));
    d->n_choices++;
    return 0;
}

void document_set_gold(struct document *d, int gold)
{
    struct buf target = {0};

    buf_addf(&target, "%d", gold);
    d->gold = gold;
    d->target = buf_detach(&target);
}

void doc_add(struct document *d, const char *key, cJSON *value)
{
    if (!d->doc)
        d->doc = cJSON_CreateObject();
    if (!d->doc || !value || !cJSON_AddItemToObject(d->doc, key, value))
        die("no memory for field '%s' of a document", key);
}

void doc_add_string(struct document *d, const char *key, const char *s)
{
    doc_add(d, key, cJSON_CreateString(s));
}

void doc_add_int(struct document *d, const char *key, int v)
{
    doc_add(d, key, cJSON_CreateNumber(v));
}

void doc_copy(struct document *d, const cJSON *line, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(line, key);

    if (v)
        doc_add(d, key, cJSON_Duplicate(v, 1));
}
