// What the AVX-512 files share: their entry points, masks, lane sums and the vector exponential.
// Included only by *_avx512.c, which alone are compiled with the AVX-512 flags.
#ifndef BACKEND_CPU_AVX512_H
#define BACKEND_CPU_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "backend/cpu/exp.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/levels.h"

void cpu_avx512_gemm_bf16(float *y, size_t ldy, const float *x, size_t ldx, int m,
                          const uint16_t *panels, size_t panel_stride, int n_panels, int k_begin,
                          int k_end, int accumulate);
void cpu_avx512_gemm_int4_f32(float *y, size_t ldy, const float *x, size_t ldx, int m,
                              const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                              size_t scales_stride, int n_panels, int k_begin, int k_end,
                              int accumulate);
void cpu_avx512_gemm_int4_int8(float *y, size_t ldy, const cpu_int8_rows *x, int m,
                               const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                               size_t scales_stride, int n_panels, int k_begin, int k_end,
                               int accumulate);
void cpu_avx512_attn_load_f32(float *kt, float *v, const void *const keys[16], int latent,
                              int rope);
void cpu_avx512_attn_load_bf16(float *kt, float *v, const void *const keys[16], int latent,
                               int rope);
void cpu_avx512_attn_tile(float *m, float *l, float *acc, const float *q, size_t ldq, int rows,
                          const float *kt, const float *v, const int *valid, int latent, int rope,
                          float scale);
void cpu_avx512_attn_merge(float *ma, float *la, float *acca, const float *mb, const float *lb,
                           const float *accb, int rows, int latent);

// The lanes [0, n), all sixteen for n >= 16.
static inline __mmask16 avx512_head(int n) {
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

// 16 bf16 to f32.
static inline __m512 avx512_widen(__m256i bf16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
}

// Sum and maximum of the lanes in the stride tree 8, 4, 2, 1.
static inline float avx512_tree_sum(__m512 lanes) {
    __m256 by8 = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
    __m128 by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    __m128 by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_add_ss(by2, _mm_movehdup_ps(by2)));
}

static inline float avx512_tree_max(__m512 lanes) {
    __m256 by8 = _mm256_max_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
    __m128 by4 = _mm_max_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    __m128 by2 = _mm_max_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_max_ss(by2, _mm_movehdup_ps(by2)));
}

// cpu_exp in sixteen lanes. max and min return their second operand when one is NaN.
static inline __m512 avx512_exp(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(CPU_EXP_LOW), x);
    x = _mm512_min_ps(_mm512_set1_ps(CPU_EXP_HIGH), x);
    __m512 round = _mm512_set1_ps(CPU_EXP_ROUND);
    __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(CPU_EXP_LOG2E), round);
    __m512 n = _mm512_sub_ps(shifted, round);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-CPU_EXP_LN2_HEAD), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-CPU_EXP_LN2_TAIL), r);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(CPU_EXP_P4), r, _mm512_set1_ps(CPU_EXP_P3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(CPU_EXP_P2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(CPU_EXP_P1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(CPU_EXP_P0));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r);
    p = _mm512_add_ps(p, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

#endif
