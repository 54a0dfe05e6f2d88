// API keys. What a wrong key has in common with a right one cannot be told from the time it takes.
#ifndef API_AUTH_H
#define API_AUTH_H

#include "http/http.h"

typedef struct api_keys api_keys;

api_keys *api_keys_create(const char *const *keys, int n);
void api_keys_free(api_keys *k); // NULL is fine

// True when there are no keys, or the request has one as "Authorization: Bearer KEY" or
// "x-api-key".
bool api_keys_admit(const api_keys *k, const http_exchange *x);

#endif
