#include "api/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct api_keys {
    int n;
    unsigned char hashes[][SHA256_DIGEST_LENGTH];
};

static void hash(const char *text, size_t len, unsigned char out[SHA256_DIGEST_LENGTH]) {
    if (!SHA256((const unsigned char *)text, len, out)) {
        base_error("api: SHA-256 is not available");
        abort();
    }
}

api_keys *api_keys_create(const char *const *keys, int n) {
    api_keys *k = base_calloc(1, sizeof *k + (size_t)n * sizeof k->hashes[0]);
    k->n = n;
    for (int i = 0; i < n; i++)
        hash(keys[i], strlen(keys[i]), k->hashes[i]);
    return k;
}

void api_keys_free(api_keys *k) {
    if (k)
        OPENSSL_cleanse(k->hashes, (size_t)k->n * sizeof k->hashes[0]);
    base_free(k);
}

// The credentials of "Bearer KEY"; the scheme's name in any case (RFC 9110, 11.1).
static http_slice bearer(http_slice value) {
    static const char scheme[] = "bearer";
    size_t i = sizeof scheme - 1;
    if (!value.at || value.len <= i || strncasecmp(value.at, scheme, i) != 0 || value.at[i] != ' ')
        return (http_slice){0};
    while (i < value.len && value.at[i] == ' ')
        i++;
    return (http_slice){value.at + i, value.len - i};
}

// Hashes are compared, all of them and to the end: neither a length nor a common beginning shows.
static bool known(const api_keys *k, http_slice key) {
    unsigned char given[SHA256_DIGEST_LENGTH];
    if (key.len == 0)
        return false;
    hash(key.at, key.len, given);
    int found = 0;
    for (int i = 0; i < k->n; i++)
        found |= CRYPTO_memcmp(given, k->hashes[i], sizeof given) == 0;
    return found != 0;
}

bool api_keys_admit(const api_keys *k, const http_exchange *x) {
    return k->n == 0 || known(k, bearer(http_header(x, "authorization"))) ||
           known(k, http_header(x, "x-api-key"));
}
