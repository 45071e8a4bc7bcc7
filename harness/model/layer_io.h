/* Layers on their way between the host's memory and where they are kept, on a thread of its own, so
 * that reading and writing files goes on beside the computation. Jobs run one after another in the
 * order of their calls. */
#ifndef DUO_MODEL_LAYER_IO_H
#define DUO_MODEL_LAYER_IO_H

#include <stddef.h>
#include <stdint.h>

struct layer_io;

/* Fills the block of layer i, as the device is to hold it. 0, or -1 after error(): the program then
 * ends. */
typedef int layer_read_fn(void *arg, size_t i, void *block);

struct layer_io *layer_io_open(layer_read_fn *read, void *arg, size_t nbytes);
void layer_io_close(struct layer_io *io); /* after all jobs are done; NULL is fine */

/* Numbers of jobs: layer_io_wait(job) returns when that one is done; 0 is done always. block is the
 * job's until then. */
uint64_t layer_io_read(struct layer_io *io, size_t i, void *block);
uint64_t layer_io_write(struct layer_io *io, size_t i, const char *path, const char *key,
                        const void *block);
uint64_t layer_io_read_file(struct layer_io *io, size_t i, const char *path, const char *key,
                            void *block);
void layer_io_wait(struct layer_io *io, uint64_t job);

/* Layer files: a head of 256 bytes with the key, 64 hex digits that say what the layer is, and the
 * block's SHA-256, then the block. Written whole or not at all. Is there one of this key and size
 * whose block has that sum? Reads all of it; a warning where only the block is another. */
int layer_file_is(const char *path, const char *key, size_t nbytes);

#endif
