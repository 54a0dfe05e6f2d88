// Repacking of weight matrices into the panels of kernels.h. It runs over every byte of a
// checkpoint once, so the work is done on 32-bit words: two bf16 columns, or eight INT4 columns,
// of one row. A panel is then the transposed word matrix, sixteen rows becoming sixteen lanes.
#include <string.h>

#include "backend/cpu/kernels.h"

typedef uint32_t words __attribute__((vector_size(16)));

static inline words words_load(const uint8_t *at) {
    words value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t word_load(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

// The nibbles of a stored word are columns 0 1 2 3 4 5 6 7, lowest first; the panel wants
// 0 4 1 5 2 6 3 7: the middle bytes change places, then the middle nibbles of each half.
#define NIBBLES_MIX(value, swap)                                                                   \
    do {                                                                                           \
        swap = (value ^ (value >> 8)) & 0x0000ff00u;                                               \
        value ^= swap ^ (swap << 8);                                                               \
        swap = (value ^ (value >> 4)) & 0x00f000f0u;                                               \
        value ^= swap ^ (swap << 4);                                                               \
    } while (0)

static inline words words_mix(words value) {
    words swap;
    NIBBLES_MIX(value, swap);
    return value;
}

static inline uint32_t word_mix(uint32_t value) {
    uint32_t swap;
    NIBBLES_MIX(value, swap);
    return value;
}

// out [n][16] words = the transpose of `rows` rows of n words, stride bytes apart; missing rows are
// zero. Neither side needs to be aligned to more than its element: checkpoints are mapped files.
static inline __attribute__((always_inline)) void
words_transpose(uint32_t *out, const uint8_t *in, size_t stride, int rows, int n, int mix) {
    int k = 0;
    for (; rows == CPU_LANES && k + 4 <= n; k += 4) {
        for (int r = 0; r < CPU_LANES; r += 4) {
            const uint8_t *at = in + (size_t)r * stride + (size_t)k * 4;
            words a = words_load(at), b = words_load(at + stride);
            words c = words_load(at + 2 * stride), d = words_load(at + 3 * stride);
            if (mix) {
                a = words_mix(a);
                b = words_mix(b);
                c = words_mix(c);
                d = words_mix(d);
            }
            words ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
            words ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            words cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            words cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            words t[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                          __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                          __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                          __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
            for (int i = 0; i < 4; i++)
                memcpy(out + (size_t)(k + i) * CPU_LANES + r, &t[i], sizeof t[i]);
        }
    }
    for (; k < n; k++) {
        for (int r = 0; r < CPU_LANES; r++) {
            uint32_t value = r < rows ? word_load(in + (size_t)r * stride + (size_t)k * 4) : 0;
            out[(size_t)k * CPU_LANES + (size_t)r] = mix ? word_mix(value) : value;
        }
    }
}

// How many of the sixteen rows from row0 on exist.
static int rows_present(int rows, int row0) {
    int left = rows - row0;
    return left < 0 ? 0 : left < CPU_LANES ? left : CPU_LANES;
}

void cpu_pack_bf16(uint16_t *panel, const uint16_t *w, int rows, int cols, int row0) {
    int present = rows_present(rows, row0);
    const uint16_t *first = w + (size_t)row0 * (size_t)cols;
    words_transpose((uint32_t *)(void *)panel, (const uint8_t *)first, (size_t)cols * 2, present,
                    cols / 2, 0);
    if (cols % 2) {
        uint16_t *last = panel + (size_t)(cols / 2) * CPU_LANES * 2;
        for (int r = 0; r < CPU_LANES; r++) {
            last[r * 2] = r < present ? first[(size_t)r * (size_t)cols + (size_t)cols - 1] : 0;
            last[r * 2 + 1] = 0;
        }
    }
}

void cpu_pack_bf16_transposed(uint16_t *panel, const uint16_t *w, size_t ldw, int rows, int cols,
                              int col0) {
    int present = rows_present(cols, col0);
    for (int k = 0; k < rows; k += 2) {
        uint16_t *out = panel + (size_t)k * CPU_LANES;
        uint16_t even[CPU_LANES] = {0}, odd[CPU_LANES] = {0};
        const uint16_t *at = w + (size_t)k * ldw + (size_t)col0;
        memcpy(even, at, (size_t)present * sizeof *even);
        if (k + 1 < rows)
            memcpy(odd, at + ldw, (size_t)present * sizeof *odd);
        for (int c = 0; c < CPU_LANES; c++) {
            out[c * 2] = even[c];
            out[c * 2 + 1] = odd[c];
        }
    }
}

void cpu_pack_int4(uint8_t *codes, uint16_t *scales, const uint32_t *packed, const uint16_t *scale,
                   int rows, int cols, int row0) {
    int present = rows_present(rows, row0);
    int words_per_row = cols / 8, groups = cols / CPU_GROUP;
    const uint32_t *first = packed + (size_t)row0 * (size_t)words_per_row;
    words_transpose((uint32_t *)(void *)codes, (const uint8_t *)first, (size_t)words_per_row * 4,
                    present, words_per_row, 1);
    const uint16_t *first_scale = scale + (size_t)row0 * (size_t)groups;
    for (int g = 0; g < groups; g++)
        for (int r = 0; r < CPU_LANES; r++)
            scales[g * CPU_LANES + r] =
                r < present ? first_scale[(size_t)r * (size_t)groups + (size_t)g] : 0;
}
