// The element-wise and row-wise kernels in AVX-512, and the entry that fills the table.
#include <math.h>

#include "backend/cpu/avx512.h"

static void quantize_int8(int8_t *codes, float *scales, int32_t *sums8, const float *x, int k) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (int g = 0; g < k / CPU_GROUP; g++, codes += CPU_GROUP, x += CPU_GROUP) {
        __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
        // As integers magnitudes order like the floats, with infinity and then the NaNs on top.
        __m512i larger = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                          _mm512_and_si512(_mm512_castps_si512(b), magnitude));
        uint32_t bits = _mm512_reduce_max_epu32(larger);
        float amax;
        memcpy(&amax, &bits, sizeof amax);
        int finite = bits < 0x7f800000u;
        float inverse = 127.0f / amax;
        __m512i ca = _mm512_setzero_si512(), cb = _mm512_setzero_si512();
        if (finite && isfinite(inverse)) {
            __m512 factor = _mm512_set1_ps(inverse);
            ca = _mm512_cvtps_epi32(_mm512_mul_ps(a, factor));
            cb = _mm512_cvtps_epi32(_mm512_mul_ps(b, factor));
        }
        _mm_storeu_si128((__m128i *)codes, _mm512_cvtepi32_epi8(ca));
        _mm_storeu_si128((__m128i *)(codes + 16), _mm512_cvtepi32_epi8(cb));
        scales[g] = finite ? amax / 127.0f : NAN;
        sums8[g] = 8 * _mm512_reduce_add_epi32(_mm512_add_epi32(ca, cb));
    }
}

static void rmsnorm(float *y, const float *x, const float *weight, int n, float eps) {
    __m512 squares = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 16) {
        __m512 value = _mm512_maskz_loadu_ps(avx512_head(n - i), x + i);
        squares = _mm512_fmadd_ps(value, value, squares);
    }
    __m512 factor = _mm512_set1_ps(cpu_rmsnorm_factor(avx512_tree_sum(squares), n, eps));
    for (int i = 0; i < n; i += 16) {
        __mmask16 head = avx512_head(n - i);
        __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(head, x + i), factor);
        __m512 result = _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(head, weight + i));
        _mm512_mask_storeu_ps(y + i, head, result);
    }
}

static void silu_mul(float *y, const float *g, const float *u, int n) {
    const __m512 sign = _mm512_set1_ps(-0.0f), one = _mm512_set1_ps(1.0f);
    for (int i = 0; i < n; i += 16) {
        __mmask16 head = avx512_head(n - i);
        __m512 gate = _mm512_maskz_loadu_ps(head, g + i);
        __m512 below = _mm512_add_ps(one, avx512_exp(_mm512_xor_ps(gate, sign)));
        __m512 result =
            _mm512_mul_ps(_mm512_div_ps(gate, below), _mm512_maskz_loadu_ps(head, u + i));
        _mm512_mask_storeu_ps(y + i, head, result);
    }
}

static void exp_f32(float *y, const float *x, int n) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 head = avx512_head(n - i);
        _mm512_mask_storeu_ps(y + i, head, avx512_exp(_mm512_maskz_loadu_ps(head, x + i)));
    }
}

static void axpy(float *y, float a, const float *x, int n) {
    const __m512 factor = _mm512_set1_ps(a);
    for (int i = 0; i < n; i += 16) {
        __mmask16 head = avx512_head(n - i);
        __m512 result = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(head, x + i),
                                        _mm512_maskz_loadu_ps(head, y + i));
        _mm512_mask_storeu_ps(y + i, head, result);
    }
}

static void add(float *y, const float *x, int n) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 head = avx512_head(n - i);
        __m512 result =
            _mm512_add_ps(_mm512_maskz_loadu_ps(head, y + i), _mm512_maskz_loadu_ps(head, x + i));
        _mm512_mask_storeu_ps(y + i, head, result);
    }
}

void cpu_kernels_fill_avx512(cpu_kernels *table) {
    table->name = "avx512";
    table->gemm_bf16 = cpu_avx512_gemm_bf16;
    table->gemm_int4_f32 = cpu_avx512_gemm_int4_f32;
    table->gemm_int4_int8 = cpu_avx512_gemm_int4_int8;
    table->quantize_int8 = quantize_int8;
    table->rmsnorm = rmsnorm;
    table->silu_mul = silu_mul;
    table->exp_f32 = exp_f32;
    table->axpy = axpy;
    table->add = add;
    table->attn_load_f32 = cpu_avx512_attn_load_f32;
    table->attn_load_bf16 = cpu_avx512_attn_load_bf16;
    table->attn_tile = cpu_avx512_attn_tile;
    table->attn_merge = cpu_avx512_attn_merge;
}
