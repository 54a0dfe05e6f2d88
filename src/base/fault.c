#include "base/fault.h"

#include "base/num.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int64_t fail_alloc, fail_io; // -1: never
static _Atomic int64_t allocs, ios; // calls so far

int64_t base_fault_number(const char *name) {
    const char *faults = getenv("ABRUZZI_FAULTS");
    if (faults == NULL || strcmp(faults, "1") != 0)
        return -1;
    const char *text = getenv(name);
    int64_t number;
    return text != NULL && base_parse_i64(text, 0, INT64_MAX, &number) ? number : -1;
}

static void read_environment(void) {
    fail_alloc = base_fault_number("FAIL_ALLOC");
    fail_io = base_fault_number("FAIL_IO");
}

static bool due(const int64_t *limit, _Atomic int64_t *calls) {
    pthread_once(&once, read_environment);
    return *limit >= 0 && atomic_fetch_add_explicit(calls, 1, memory_order_relaxed) + 1 == *limit;
}

bool base_fault_alloc_due(void) {
    return due(&fail_alloc, &allocs);
}

bool base_fault_io_due(void) {
    return due(&fail_io, &ios);
}
