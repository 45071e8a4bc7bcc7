/* Protocol presets: the rules on which scores depend and implementations differ. Printed with
 * every number and part of every result's identity. */
#ifndef DUO_MEASURE_PROTOCOL_H
#define DUO_MEASURE_PROTOCOL_H

struct protocol {
    const char *name;
    const char *summary;
    int bos; /* BOS before a context, on context and on context + continuation alike */
};

/* NULL-terminated; the first is the default. */
extern const struct protocol *const protocols[];

/* By name (NULL: the default), or NULL after error() that lists the known ones. */
const struct protocol *protocol_find(const char *name);

#endif
