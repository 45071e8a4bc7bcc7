/* SHA-256 through OpenSSL. */
#include "harness/base/sha256.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "harness/base/error.h"

void sha256_begin(void)
{
    char unused[65];

    sha256_hex("", 0, unused);
}

void sha256_init(struct sha256 *s)
{
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx || !EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL))
        die("out of memory, or this OpenSSL has no SHA-256");
}

void sha256_update(struct sha256 *s, const void *data, size_t nbytes)
{
    if (!EVP_DigestUpdate(s->ctx, data, nbytes))
        die("SHA-256 failed");
}

void sha256_final(struct sha256 *s, char out[65])
{
    unsigned char md[32];

    if (!EVP_DigestFinal_ex(s->ctx, md, NULL))
        die("SHA-256 failed");
    EVP_MD_CTX_free(s->ctx);
    s->ctx = NULL;
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", md[i]);
}

void sha256_hex(const void *data, size_t nbytes, char out[65])
{
    struct sha256 s;

    sha256_init(&s);
    sha256_update(&s, data, nbytes);
    sha256_final(&s, out);
}
