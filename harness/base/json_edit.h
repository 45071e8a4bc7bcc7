/* Changing a member of a JSON file and nothing else of it: numbers keep their form, which a parser
 * and printer would not promise. */
#ifndef DUO_BASE_JSON_EDIT_H
#define DUO_BASE_JSON_EDIT_H

#include "harness/base/buf.h"

/* text: a valid JSON object (json_parse() took it). Its member `key` gets `value`, which is JSON
 * text; a member that is not there is put at the end. Only the object's own members are looked at;
 * names are compared as written, so one spelt with escapes is not found. */
void json_set_member(struct buf *text, const char *key, const char *value);

#endif
