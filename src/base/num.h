// Number formats and checked arithmetic.
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline float base_bf16_to_f32(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

// Round to nearest, ties to even; NaN stays NaN (quiet).
static inline uint16_t base_f32_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

// a * b and a + b on sizes; false when the result does not fit.
static inline bool base_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool base_add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

static inline int base_min_int(int a, int b) {
    return a < b ? a : b;
}

static inline int base_max_int(int a, int b) {
    return a > b ? a : b;
}

// a / b rounded up; a >= 0, b > 0.
static inline int base_ceil_div(int a, int b) {
    return a / b + (a % b != 0);
}

static inline size_t base_round_up(size_t n, size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

// Parses a whole decimal string into [low, high]; false for anything else (empty, sign only,
// trailing bytes, out of range).
bool base_parse_i64(const char *text, int64_t low, int64_t high, int64_t *out);
// As above for a finite double.
bool base_parse_f64(const char *text, double low, double high, double *out);

// Writes `n` with thousands separators ("715,072") into `out` and returns it.
char *base_thousands(char out[32], int64_t n);

#endif
