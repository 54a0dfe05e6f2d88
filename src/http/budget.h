// Memory that the connections of a server share. What a client sends and what it does not read is
// bounded for each of them, but many together would still be more than a machine has.
#ifndef HTTP_BUDGET_H
#define HTTP_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

// The first bytes of a buffer are on nobody's account: those who hold a lot keep nobody from
// sending an ordinary request.
enum { HTTP_UNCOUNTED_BYTES = 64 << 10 };

typedef struct http_budget {
    _Atomic size_t left;
} http_budget;

// A buffer goes from `before` to `after` bytes. False, and nothing done: there is no room for more.
// Any thread. Without a budget (NULL) there always is.
bool http_budget_resize(http_budget *b, size_t before, size_t after);

#endif
