/* duo fetch */
#ifndef DUO_CMD_FETCH_H
#define DUO_CMD_FETCH_H

/* argv[0] is "fetch". Returns the exit code: 0 ok, 1 failed, 2 usage. */
int cmd_fetch(int argc, char **argv);

#endif
