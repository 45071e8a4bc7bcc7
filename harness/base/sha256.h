/* SHA-256 as 64 lower-case hex digits and a NUL (OpenSSL's libcrypto does the work). */
#ifndef DUO_BASE_SHA256_H
#define DUO_BASE_SHA256_H

#include <stddef.h>

void sha256_hex(const void *data, size_t nbytes, char out[65]);

/* Over several pieces. */
struct sha256 {
    void *ctx;
};
void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t nbytes);
void sha256_final(struct sha256 *s, char out[65]); /* also releases s */

#endif
