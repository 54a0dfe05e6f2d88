// What the kernel tests share: seeded random numbers with a taste for extremes, comparison of bits
// (all NaNs count as one: kernels.h promises NaN, not which) and the list of levels.
//
// The seed is printed; ABRUZZI_TEST_SEED or the first argument sets it.
#ifndef KERNELS_CHECK_H
#define KERNELS_CHECK_H

// cmocka wants these four before itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cpu/kernels.h"

// Half an ulp of 1: the relative error of one float32 rounding.
#define CHECK_U 0x1p-24

enum check_kind { CHECK_PLAIN, CHECK_EXTREME, CHECK_WITH_NAN };

static uint64_t check_state;

static inline uint64_t check_bits(void) {
    uint64_t z = (check_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline int check_below(int n) {
    return (int)(check_bits() % (uint64_t)n);
}

static inline double check_unit(void) {
    return (double)(check_bits() >> 11) * 0x1p-53;
}

// PLAIN: roughly normal around 0. EXTREME: any finite number, zeros of both signs, subnormals,
// the largest. WITH_NAN: plain, but now and then infinity or NaN.
static inline float check_float(enum check_kind kind) {
    float plain = (float)(check_unit() + check_unit() + check_unit() - 1.5);
    if (kind == CHECK_PLAIN || check_below(4))
        return plain;
    if (kind == CHECK_WITH_NAN) {
        static const float specials[] = {INFINITY, -INFINITY, NAN, 0.0f};
        return check_below(8) ? plain : specials[check_below(4)];
    }
    static const float specials[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-126f, 3.4e38f, -3.4e38f};
    if (check_below(2))
        return specials[check_below(6)];
    float any;
    do {
        uint32_t bits = (uint32_t)check_bits();
        memcpy(&any, &bits, sizeof any);
    } while (!isfinite(any));
    return any;
}

static inline uint16_t check_bf16(enum check_kind kind) {
    float value = check_float(kind);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    // Cutting a NaN could make it an infinity, which is fine here.
    return (uint16_t)(bits >> 16);
}

static inline double check_bf16_value(uint16_t bf16) {
    uint32_t bits = (uint32_t)bf16 << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void *check_alloc(size_t bytes) {
    // Exact, so that the address sanitizer sees one element too many.
    void *memory = malloc(bytes ? bytes : 1);
    assert_non_null(memory);
    return memory;
}

// Panels are 64-byte aligned, and their sizes multiples of it except for short scale arrays.
static inline void *check_alloc_panels(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(memory);
    return memory;
}

static inline float *check_floats(size_t n, enum check_kind kind) {
    float *values = check_alloc(n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = check_float(kind);
    return values;
}

static inline void *check_copy(const void *from, size_t bytes) {
    void *copy = check_alloc(bytes);
    memcpy(copy, from, bytes);
    return copy;
}

static inline void check_same(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("%s: element %zu of %zu is %a, not %a", what, i, n, (double)a[i],
                     (double)b[i]);
}

static inline void check_near(double got, double wanted, double bound, const char *what) {
    if (!(fabs(got - wanted) <= bound))
        fail_msg("%s: %.9g is %.3g away from %.9g, allowed %.3g", what, got, fabs(got - wanted),
                 wanted, bound);
}

// The levels this CPU runs, scalar first; NULL ends the list.
static inline const cpu_kernels *check_level(int i) {
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    return i < 3 ? cpu_kernels_level(names[i]) : NULL;
}

static inline void check_start(int argc, char **argv) {
    const char *seed = argc > 1 ? argv[1] : getenv("ABRUZZI_TEST_SEED");
    check_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    printf("seed %llu, levels:", (unsigned long long)check_state);
    for (int i = 0; check_level(i); i++)
        printf(" %s", check_level(i)->name);
    printf("\n");
    fflush(stdout);
}

#endif
