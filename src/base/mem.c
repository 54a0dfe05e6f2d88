#include "base/mem.h"

#include "base/fault.h"
#include "base/num.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, bytes) ASAN_POISON_MEMORY_REGION(p, bytes)
#define unpoison(p, bytes) ASAN_UNPOISON_MEMORY_REGION(p, bytes)
#else
#define poison(p, bytes) ((void)(p), (void)(bytes))
#define unpoison(p, bytes) ((void)(p), (void)(bytes))
#endif

#define HUGE_PAGE ((size_t)2 << 20)

static _Noreturn void out_of_memory(size_t bytes) {
    fprintf(stderr, "abruzzi: out of memory allocating %zu bytes\n", bytes);
    abort();
}

void *base_alloc(size_t bytes) {
    void *p = malloc(bytes > 0 ? bytes : 1);
    if (p == NULL)
        out_of_memory(bytes);
    return p;
}

void *base_calloc(size_t count, size_t size) {
    size_t bytes;
    if (!base_mul_size(count, size, &bytes))
        out_of_memory(SIZE_MAX);
    void *p = calloc(bytes > 0 ? bytes : 1, 1);
    if (p == NULL)
        out_of_memory(bytes);
    return p;
}

void *base_realloc(void *p, size_t bytes) {
    void *q = realloc(p, bytes > 0 ? bytes : 1);
    if (q == NULL)
        out_of_memory(bytes);
    return q;
}

char *base_strdup(const char *s) {
    return base_strndup(s, strlen(s));
}

char *base_strndup(const char *s, size_t len) {
    len = strnlen(s, len);
    char *copy = base_alloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

void base_free(void *p) {
    free(p);
}

void *base_try_alloc(size_t bytes) {
    return base_fault_alloc_due() ? NULL : malloc(bytes > 0 ? bytes : 1);
}

void *base_try_calloc(size_t count, size_t size) {
    size_t bytes;
    if (!base_mul_size(count, size, &bytes) || base_fault_alloc_due())
        return NULL;
    return calloc(bytes > 0 ? bytes : 1, 1);
}

void *base_try_realloc(void *p, size_t bytes) {
    return base_fault_alloc_due() ? NULL : realloc(p, bytes > 0 ? bytes : 1);
}

// mmap aligns to 4 KiB only: take one huge page more and give the ends back.
void *base_big_alloc(size_t bytes) {
    size_t padded;
    if (base_fault_alloc_due() || !base_add_size(bytes, 2 * HUGE_PAGE, &padded))
        return NULL;
    size_t rounded = base_round_up(bytes > 0 ? bytes : 1, HUGE_PAGE);
    padded = rounded + HUGE_PAGE;
    char *map = mmap(NULL, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    size_t head = base_round_up((uintptr_t)map, HUGE_PAGE) - (uintptr_t)map;
    if (head > 0)
        munmap(map, head);
    if (padded - head > rounded)
        munmap(map + head + rounded, padded - head - rounded);
    madvise(map + head, rounded, MADV_HUGEPAGE); // a wish: kernels without huge pages refuse it
    return map + head;
}

void base_big_free(void *p, size_t bytes) {
    if (p == NULL)
        return;
    size_t rounded = base_round_up(bytes > 0 ? bytes : 1, HUGE_PAGE);
    unpoison(p, rounded); // or whatever is mapped here next is taken for a guard
    munmap(p, rounded);
}

void base_big_guard(void *p, size_t bytes) {
    poison(p, bytes);
}
