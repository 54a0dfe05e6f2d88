// Memory. Allocations for sizes of our own making abort with a message when memory is out;
// the try_ family is for sizes that a client or a file controls and returns NULL.
// ABRUZZI_FAULTS=1 with FAIL_ALLOC=n makes the n-th try_ or big allocation of the process fail.
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *base_alloc(size_t bytes);               // uninitialised; never NULL; free with base_free
void *base_calloc(size_t count, size_t size); // zeroed; aborts on overflow too
void *base_realloc(void *p, size_t bytes);
char *base_strdup(const char *s);
char *base_strndup(const char *s, size_t len);
void base_free(void *p); // NULL is fine

void *base_try_alloc(size_t bytes);
void *base_try_calloc(size_t count, size_t size); // NULL on overflow too
void *base_try_realloc(void *p, size_t bytes);

// Anonymous zero pages for weights, caches and activations: 2 MiB aligned, huge pages requested,
// touched lazily. NULL when refused. The caller passes the same size to base_big_free.
void *base_big_alloc(size_t bytes);
void base_big_free(void *p, size_t bytes);
// Between the parts of such an allocation: under AddressSanitizer touching these bytes is an error,
// as it could not find otherwise; else this does nothing.
void base_big_guard(void *p, size_t bytes);

#endif
