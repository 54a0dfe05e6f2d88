// The exponential of all levels: constants and the plain form. The vector form does the same
// operations in the same order, so both give the same bits.
//
//     n = round(x / ln 2);  r = x - n ln 2 in two steps (the first is exact under fma: ln 2's head
//     has 24 bits and r needs no more);  exp(x) = 2^n * (1 + r + r^2 P(r))
//
// P is the degree-4 polynomial that minimises the largest relative error on |r| <= ln 2 / 2; that
// error is 3.1e-9, a twentieth of half an ulp, so what remains is the rounding of the last steps.
#ifndef BACKEND_CPU_EXP_H
#define BACKEND_CPU_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

// Beyond these the result is 0 or +inf whatever x is; inside them n is a small integer.
#define CPU_EXP_LOW (-104.5f)
#define CPU_EXP_HIGH 89.0f
#define CPU_EXP_LOG2E 0x1.715476p+0f
#define CPU_EXP_LN2_HEAD 0x1.62e430p-1f
#define CPU_EXP_LN2_TAIL -0x1.05c610p-29f
// 1.5 * 2^23: adding it rounds to an integer, ties to even, and leaves that integer in the low
// bits.
#define CPU_EXP_ROUND 0x1.8p+23f
#define CPU_EXP_P0 0x1.fffffcp-2f
#define CPU_EXP_P1 0x1.555492p-3f
#define CPU_EXP_P2 0x1.5558f2p-5f
#define CPU_EXP_P3 0x1.123a20p-7f
#define CPU_EXP_P4 0x1.6a23d0p-10f

// 2^n for n in [-126, 127]; any other n gives some number or other, never undefined behaviour.
static inline float cpu_exp2_int(int32_t n) {
    uint32_t bits = ((uint32_t)n + 127u) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

static inline float cpu_exp(float x) {
    // A NaN fails both comparisons and stays.
    if (x < CPU_EXP_LOW)
        x = CPU_EXP_LOW;
    if (x > CPU_EXP_HIGH)
        x = CPU_EXP_HIGH;
    float shifted = fmaf(x, CPU_EXP_LOG2E, CPU_EXP_ROUND);
    float n = shifted - CPU_EXP_ROUND;
    float r = fmaf(n, -CPU_EXP_LN2_HEAD, x);
    r = fmaf(n, -CPU_EXP_LN2_TAIL, r);
    float p = fmaf(CPU_EXP_P4, r, CPU_EXP_P3);
    p = fmaf(p, r, CPU_EXP_P2);
    p = fmaf(p, r, CPU_EXP_P1);
    p = fmaf(p, r, CPU_EXP_P0);
    p = fmaf(p * r, r, r) + 1.0f;

    // Two factors keep 2^n representable over the whole range. The first product is exact, so a
    // subnormal result is rounded once, as by the hardware's scaling instruction.
    uint32_t bits, zero_bits;
    const float zero = CPU_EXP_ROUND;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&zero_bits, &zero, sizeof zero_bits);
    int32_t whole = (int32_t)(bits - zero_bits);
    int32_t half = whole / 2;
    return p * cpu_exp2_int(half) * cpu_exp2_int(whole - half);
}

#endif
