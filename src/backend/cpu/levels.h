// What the files of several kernel levels share. Everything here is compiled with its includer's
// instruction set, so it must be static or a macro.
#ifndef BACKEND_CPU_LEVELS_H
#define BACKEND_CPU_LEVELS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

// Tile functions take their sizes as arguments and are inlined with constants, so that the loops
// over rows and panels unroll and the accumulators live in registers.
#define CPU_TILE static inline __attribute__((always_inline))
#ifdef __clang__
#define CPU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define CPU_UNROLL _Pragma("GCC unroll 16")
#endif

// What rmsnorm multiplies by. Squares add up to infinity from values of some 1e19 on: one over that
// would be 0, and a wrong row of zeros nothing could tell from a right one.
static inline float cpu_rmsnorm_factor(float squares, int n, float eps) {
    float mean = squares / (float)n;
    return isinf(mean) ? NAN : 1.0f / sqrtf(mean + eps);
}

// A row's part of attn_merge where one side is empty and the other is taken as it is: a [latent] is
// then done. False when both have something.
static inline bool cpu_merge_empty(float *ma, float *la, float *a, float mb, float lb,
                                   const float *b, int latent) {
    if (lb == 0.0f && mb == -INFINITY)
        return true;
    if (*la != 0.0f || *ma != -INFINITY)
        return false;
    *ma = mb;
    *la = lb;
    memcpy(a, b, (size_t)latent * sizeof *a);
    return true;
}

#endif
