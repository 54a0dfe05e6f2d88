// Which level of the kernel table runs: what the CPU has, then what ABRUZZI_CPU allows.
#include "backend/cpu/kernels.h"

#include <cpuid.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// XCR0: the operating system saves XMM and YMM, and the three parts of the AVX-512 state too.
enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xe6 };

static cpu_kernels level_scalar, level_avx2, level_avx512;
static bool have_avx2, have_avx512;
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static uint32_t xcr0_read(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

// leaf1: bits of CPUID 1 in ecx. leaf7: bits of CPUID 7 in ebx and ecx.
static bool cpu_has(uint32_t state, unsigned leaf1, unsigned leaf7b, unsigned leaf7c) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    leaf1 |= bit_OSXSAVE | bit_AVX;
    if ((c & leaf1) != leaf1 || (xcr0_read() & state) != state)
        return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return false;
    return (b & leaf7b) == leaf7b && (c & leaf7c) == leaf7c;
}

static void levels_fill(void) {
    have_avx2 = cpu_has(XCR0_AVX, bit_FMA, bit_AVX2, 0);
    have_avx512 = have_avx2 &&
                  cpu_has(XCR0_AVX512, bit_F16C,
                          bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL, bit_AVX512VNNI);
    // A level overrides entry by entry, so it starts from the one below.
    cpu_kernels_fill_scalar(&level_scalar);
    level_avx2 = level_scalar;
    if (have_avx2)
        cpu_kernels_fill_avx2(&level_avx2);
    level_avx512 = level_avx2;
    if (have_avx512)
        cpu_kernels_fill_avx512(&level_avx512);
}

const cpu_kernels *cpu_kernels_level(const char *name) {
    pthread_once(&filled, levels_fill);
    if (!strcmp(name, "scalar"))
        return &level_scalar;
    if (!strcmp(name, "avx2") && have_avx2)
        return &level_avx2;
    if (!strcmp(name, "avx512") && have_avx512)
        return &level_avx512;
    return NULL;
}

const cpu_kernels *cpu_kernels_get(void) {
    const char *wanted = getenv("ABRUZZI_CPU");
    if (wanted && *wanted)
        return cpu_kernels_level(wanted);
    const cpu_kernels *best = cpu_kernels_level("avx512");
    if (!best)
        best = cpu_kernels_level("avx2");
    return best ? best : cpu_kernels_level("scalar");
}
