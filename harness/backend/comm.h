/* Several processes, each with a device, that hold parts of one model: what they exchange. Every
 * process makes the same calls in the same order. */
#ifndef DUO_BACKEND_COMM_H
#define DUO_BACKEND_COMM_H

#include <stddef.h>

/* Lives as long as the process. */
struct comm {
    int rank, size;
    /* dst = the nbytes of src of every rank, in the order of ranks. src may lie in dst, at its own
     * rank's place. Runs in the order of the device's operations, like one of them. */
    void (*all_gather)(struct comm *c, void *dst, const void *src, size_t nbytes);
    /* The same beside the operations: it begins when those called before are done; those called
     * after the next begin() or wait() find it done. One at a time is on its way. */
    void (*begin)(struct comm *c, void *dst, const void *src, size_t nbytes);
    void (*wait)(struct comm *c);
    /* Memory of the device for dst and src of begin(), which is fastest between such; NULL: any is
     * as good. Everybody calls with the same nbytes in the same order, and gives it back likewise.
     */
    void *(*alloc)(struct comm *c, size_t nbytes);
    void (*free)(struct comm *c, void *p);
};

#endif
