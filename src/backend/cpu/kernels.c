// Which level of the kernel table runs: what the CPU has, then what ABRUZZI_CPU allows.
#include "backend/cpu/kernels.h"

#include <cpuid.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// XCR0: the operating system saves XMM, YMM and the three parts of the AVX-512 state.
enum { XCR0_AVX512 = 0xe6 };

static cpu_kernels level_scalar, level_avx512;
static bool have_avx512;
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static uint32_t xcr0_read(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool cpu_has_avx512(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    const unsigned leaf1 = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if ((c & leaf1) != leaf1 || (xcr0_read() & XCR0_AVX512) != XCR0_AVX512)
        return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return false;
    const unsigned leaf7 = bit_AVX2 | bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    return (b & leaf7) == leaf7 && (c & bit_AVX512VNNI);
}

static void levels_fill(void) {
    have_avx512 = cpu_has_avx512();
    cpu_kernels_fill_scalar(&level_scalar);
    // A level overrides entry by entry, so it starts from the one below.
    level_avx512 = level_scalar;
    if (have_avx512)
        cpu_kernels_fill_avx512(&level_avx512);
}

const cpu_kernels *cpu_kernels_level(const char *name) {
    pthread_once(&filled, levels_fill);
    if (!strcmp(name, "scalar"))
        return &level_scalar;
    if (!strcmp(name, "avx512") && have_avx512)
        return &level_avx512;
    return NULL;
}

const cpu_kernels *cpu_kernels_get(void) {
    const char *wanted = getenv("ABRUZZI_CPU");
    if (wanted && *wanted)
        return cpu_kernels_level(wanted);
    const cpu_kernels *best = cpu_kernels_level("avx512");
    return best ? best : cpu_kernels_level("scalar");
}
