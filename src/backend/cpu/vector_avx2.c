// The element-wise and row-wise kernels in AVX2, and the entry that fills the table.
#include <math.h>

#include "backend/cpu/avx2.h"

static inline uint32_t reduce_max_epu32(__m256i lanes) {
    __m128i by4 = _mm_max_epu32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    __m128i by2 = _mm_max_epu32(by4, _mm_shuffle_epi32(by4, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(by2, _mm_shuffle_epi32(by2, 0xb1)));
}

static inline int32_t reduce_add_epi32(__m256i lanes) {
    __m128i by4 = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    __m128i by2 = _mm_add_epi32(by4, _mm_shuffle_epi32(by4, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(by2, _mm_shuffle_epi32(by2, 0xb1)));
}

// One group: its sum of codes.
static int32_t encode_group(int8_t *codes, const float *x, float inverse) {
    const __m256 factor = _mm256_set1_ps(inverse);
    __m256i code[4];
    for (int i = 0; i < 4; i++)
        code[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), factor));
    __m256i low = _mm256_packs_epi32(code[0], code[1]);
    __m256i high = _mm256_packs_epi32(code[2], code[3]);
    // Packing works inside each 128-bit lane and leaves the fours of codes interleaved.
    __m256i mixed = _mm256_packs_epi16(low, high);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)codes, _mm256_permutevar8x32_epi32(mixed, order));
    return reduce_add_epi32(
        _mm256_add_epi32(_mm256_add_epi32(code[0], code[1]), _mm256_add_epi32(code[2], code[3])));
}

static void quantize_int8(int8_t *codes, float *scales, int32_t *sums8, const float *x, int k) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    for (int g = 0; g < k / CPU_GROUP; g++, codes += CPU_GROUP, x += CPU_GROUP) {
        // As integers magnitudes order like the floats, with infinity and then the NaNs on top.
        __m256i largest = _mm256_setzero_si256();
        for (int i = 0; i < CPU_GROUP; i += 8) {
            __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(x + i));
            largest = _mm256_max_epu32(largest, _mm256_and_si256(bits, magnitude));
        }
        uint32_t bits = reduce_max_epu32(largest);
        float amax;
        memcpy(&amax, &bits, sizeof amax);
        int finite = bits < 0x7f800000u;
        float inverse = 127.0f / amax;
        scales[g] = finite ? amax / 127.0f : NAN;
        if (finite && isfinite(inverse)) {
            sums8[g] = 8 * encode_group(codes, x, inverse);
        } else {
            memset(codes, 0, CPU_GROUP);
            sums8[g] = 0;
        }
    }
}

static void rmsnorm(float *y, const float *x, const float *weight, int n, float eps) {
    __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 first = _mm256_loadu_ps(x + i), second = _mm256_loadu_ps(x + i + 8);
        low = _mm256_fmadd_ps(first, first, low);
        high = _mm256_fmadd_ps(second, second, high);
    }
    if (i < n) {
        __m256 first = avx2_load(x + i, n - i);
        low = _mm256_fmadd_ps(first, first, low);
    }
    if (i + 8 < n) {
        __m256 second = avx2_load(x + i + 8, n - i - 8);
        high = _mm256_fmadd_ps(second, second, high);
    }
    __m256 factor = _mm256_set1_ps(cpu_rmsnorm_factor(avx2_tree_sum(low, high), n, eps));
    for (i = 0; i < n; i += 8) {
        __m256 scaled = _mm256_mul_ps(avx2_load(x + i, n - i), factor);
        avx2_store(y + i, n - i, _mm256_mul_ps(scaled, avx2_load(weight + i, n - i)));
    }
}

static void silu_mul(float *y, const float *g, const float *u, int n) {
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
    for (int i = 0; i < n; i += 8) {
        __m256 gate = avx2_load(g + i, n - i);
        __m256 below = _mm256_add_ps(one, avx2_exp(_mm256_xor_ps(gate, sign)));
        __m256 result = _mm256_mul_ps(_mm256_div_ps(gate, below), avx2_load(u + i, n - i));
        avx2_store(y + i, n - i, result);
    }
}

static void exp_f32(float *y, const float *x, int n) {
    for (int i = 0; i < n; i += 8)
        avx2_store(y + i, n - i, avx2_exp(avx2_load(x + i, n - i)));
}

static void axpy(float *y, float a, const float *x, int n) {
    const __m256 factor = _mm256_set1_ps(a);
    for (int i = 0; i < n; i += 8) {
        __m256 sum = avx2_load(y + i, n - i);
        avx2_store(y + i, n - i, _mm256_fmadd_ps(factor, avx2_load(x + i, n - i), sum));
    }
}

static void add(float *y, const float *x, int n) {
    for (int i = 0; i < n; i += 8) {
        __m256 sum = avx2_load(y + i, n - i);
        avx2_store(y + i, n - i, _mm256_add_ps(sum, avx2_load(x + i, n - i)));
    }
}

void cpu_kernels_fill_avx2(cpu_kernels *table) {
    table->name = "avx2";
    table->gemm_bf16 = cpu_avx2_gemm_bf16;
    table->gemm_int4_f32 = cpu_avx2_gemm_int4_f32;
    table->gemm_int4_int8 = cpu_avx2_gemm_int4_int8;
    table->quantize_int8 = quantize_int8;
    table->rmsnorm = rmsnorm;
    table->silu_mul = silu_mul;
    table->exp_f32 = exp_f32;
    table->axpy = axpy;
    table->add = add;
    table->attn_load_f32 = cpu_avx2_attn_load_f32;
    table->attn_load_bf16 = cpu_avx2_attn_load_bf16;
    table->attn_tile = cpu_avx2_attn_tile;
    table->attn_merge = cpu_avx2_attn_merge;
}
