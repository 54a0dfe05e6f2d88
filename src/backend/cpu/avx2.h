// What the AVX2 files share: their entry points, loads of short vectors, the order of tiles and the
// vector exponential. Included only by *_avx2.c, which alone are compiled with the AVX2 flags.
//
// Sixteen lanes are two registers here: the low one holds lanes 0 .. 7. There are sixteen registers
// in all, so a tile has at most twelve accumulators.
#ifndef BACKEND_CPU_AVX2_H
#define BACKEND_CPU_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "backend/cpu/exp.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/levels.h"

void cpu_avx2_gemm_bf16(float *y, size_t ldy, const float *x, size_t ldx, int m,
                        const uint16_t *panels, size_t panel_stride, int n_panels, int k_begin,
                        int k_end, int accumulate);
void cpu_avx2_gemm_int4_f32(float *y, size_t ldy, const float *x, size_t ldx, int m,
                            const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                            size_t scales_stride, int n_panels, int k_begin, int k_end,
                            int accumulate);
void cpu_avx2_gemm_int4_int8(float *y, size_t ldy, const cpu_int8_rows *x, int m,
                             const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                             size_t scales_stride, int n_panels, int k_begin, int k_end,
                             int accumulate);
void cpu_avx2_attn_load_f32(float *kt, float *v, const void *const keys[16], int latent, int rope);
void cpu_avx2_attn_load_bf16(float *kt, float *v, const void *const keys[16], int latent, int rope);
void cpu_avx2_attn_tile(float *m, float *l, float *acc, const float *q, size_t ldq, int rows,
                        const float *kt, const float *v, const int *valid, int latent, int rope,
                        float scale);
void cpu_avx2_attn_merge(float *ma, float *la, float *acca, const float *mb, const float *lb,
                         const float *accb, int rows, int latent);

// The lanes [0, n), none for n <= 0 and all eight for n >= 8.
static inline __m256i avx2_head(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// The first n floats at `at`, all eight for n >= 8, and zeros. Whole vectors go the quick way:
// masked stores take many cycles on some CPUs.
static inline __m256 avx2_load(const float *at, int n) {
    return n >= 8 ? _mm256_loadu_ps(at) : _mm256_maskload_ps(at, avx2_head(n));
}

static inline void avx2_store(float *at, int n, __m256 value) {
    if (n >= 8)
        _mm256_storeu_ps(at, value);
    else
        _mm256_maskstore_ps(at, avx2_head(n), value);
}

// acc += a * b. With the intrinsic gcc picks forms that overwrite a factor, and then has to spill
// accumulators of tiles that fit the sixteen registers exactly.
static inline void avx2_add_product(__m256 *acc, __m256 a, __m256 b) {
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*acc) : "x"(a), "x"(b));
}

// 8 bf16 to f32.
static inline __m256 avx2_widen(__m128i bf16) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bf16), 16));
}

// Sum and maximum of sixteen lanes in the stride tree 8, 4, 2, 1.
static inline float avx2_tree_sum(__m256 low, __m256 high) {
    __m256 by8 = _mm256_add_ps(low, high);
    __m128 by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    __m128 by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_add_ss(by2, _mm_movehdup_ps(by2)));
}

static inline float avx2_tree_max(__m256 low, __m256 high) {
    __m256 by8 = _mm256_max_ps(low, high);
    __m128 by4 = _mm_max_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    __m128 by2 = _mm_max_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_max_ss(by2, _mm_movehdup_ps(by2)));
}

// 2^n for n in [-126, 127], as cpu_exp2_int.
static inline __m256 avx2_exp2_int(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

// cpu_exp in eight lanes. max and min return their second operand when one is NaN. Which half of an
// odd n is the larger does not matter: the first product is exact either way.
static inline __m256 avx2_exp(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(CPU_EXP_LOW), x);
    x = _mm256_min_ps(_mm256_set1_ps(CPU_EXP_HIGH), x);
    __m256 round = _mm256_set1_ps(CPU_EXP_ROUND);
    __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(CPU_EXP_LOG2E), round);
    __m256 n = _mm256_sub_ps(shifted, round);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-CPU_EXP_LN2_HEAD), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-CPU_EXP_LN2_TAIL), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(CPU_EXP_P4), r, _mm256_set1_ps(CPU_EXP_P3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(CPU_EXP_P2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(CPU_EXP_P1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(CPU_EXP_P0));
    p = _mm256_fmadd_ps(_mm256_mul_ps(p, r), r, r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    __m256i whole = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(round));
    __m256i half = _mm256_srai_epi32(whole, 1);
    p = _mm256_mul_ps(p, avx2_exp2_int(half));
    return _mm256_mul_ps(p, avx2_exp2_int(_mm256_sub_epi32(whole, half)));
}

// A part of a matrix product: rows [row, row + rows), panels [panel, panel_end), columns
// [k_begin, k_end); accumulate: y holds what came before.
typedef struct avx2_part {
    int row, rows, panel, panel_end, k_begin, k_end, accumulate;
} avx2_part;

// Goes through a product in parts of at most tile_rows rows. A part's activations stay in the
// first-level cache while its panels pass, and AVX2_PART_PANELS panels of block_k columns in the
// second-level cache for all rows.
enum { AVX2_PART_PANELS = 8 };

CPU_TILE void avx2_for_parts(int m, int n_panels, int k_begin, int k_end, int accumulate,
                             int tile_rows, int block_k,
                             void (*run)(const void *product, const avx2_part *part),
                             const void *product) {
    // One tile of rows reads each weight once anyway; blocks would only break up the streams.
    int block = m > tile_rows ? block_k : k_end - k_begin;
    int n_tiles = (m + tile_rows - 1) / tile_rows;
    avx2_part part = {.k_begin = k_begin, .accumulate = accumulate};
    do {
        part.k_end = k_end - part.k_begin > block ? part.k_begin + block : k_end;
        for (int p = 0; p < n_panels; p += AVX2_PART_PANELS) {
            part.panel = p;
            part.panel_end = n_panels - p < AVX2_PART_PANELS ? n_panels : p + AVX2_PART_PANELS;
            for (int t = 0; t < n_tiles; t++) {
                // Tiles of nearly equal height: 7 rows are 4 + 3, not 6 + 1.
                part.row = (int)((long)m * t / n_tiles);
                part.rows = (int)((long)m * (t + 1) / n_tiles) - part.row;
                run(product, &part);
            }
        }
        part.k_begin = part.k_end;
        part.accumulate = 1;
    } while (part.k_begin < k_end);
}

#endif
