/* SHA-256 through OpenSSL's plain functions. The EVP ones set up the whole library at first use; where
 * there is no memory for that, its clean-up at the end of the process crashes. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "harness/base/sha256.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/base/error.h"

void sha256_init(struct sha256 *s)
{
    s->ctx = xmalloc(sizeof(SHA256_CTX));
    SHA256_Init(s->ctx);
}

void sha256_update(struct sha256 *s, const void *data, size_t nbytes)
{
    SHA256_Update(s->ctx, data, nbytes);
}

void sha256_final(struct sha256 *s, char out[65])
{
    unsigned char md[32];

    SHA256_Final(md, s->ctx);
    free(s->ctx);
    s->ctx = NULL;
    for (size_t i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", md[i]);
}

void sha256_hex(const void *data, size_t nbytes, char out[65])
{
    struct sha256 s;

    sha256_init(&s);
    sha256_update(&s, data, nbytes);
    sha256_final(&s, out);
}
