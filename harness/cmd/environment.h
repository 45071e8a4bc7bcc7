/* What a result may depend on that no option says: kept in records, part of no identity. */
#ifndef DUO_CMD_ENVIRONMENT_H
#define DUO_CMD_ENVIRONMENT_H

#include "harness/measure/record.h"

/* Fills host, build and libraries. command is the caller's. */
void environment_fields(struct record *r);

#endif
