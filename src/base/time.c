#include "base/time.h"

#include <time.h>

int64_t base_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

double base_now_s(void) {
    return (double)base_now_ns() * 1e-9;
}

int64_t base_wall_s(void) {
    return (int64_t)time(NULL);
}
