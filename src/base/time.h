// Clocks.
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include <stdint.h>

int64_t base_now_ns(void); // monotonic
double base_now_s(void);   // monotonic, seconds
int64_t base_wall_s(void); // seconds since 1970

#endif
