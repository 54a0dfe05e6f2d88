// The definition of every kernel in plain C. The faster levels are tested against these functions
// bit by bit, and these against float64. Written to be read, not to be fast.
#include "backend/cpu/kernels.h"

#include <math.h>

#include "backend/cpu/exp.h"
#include "backend/cpu/levels.h"
#include "base/num.h"

static void gemm_bf16(float *y, size_t ldy, const float *x, size_t ldx, int m,
                      const uint16_t *panels, size_t panel_stride, int n_panels, int k_begin,
                      int k_end, int accumulate) {
    for (int row = 0; row < m; row++) {
        const float *xr = x + (size_t)row * ldx;
        for (int p = 0; p < n_panels; p++) {
            const uint16_t *panel = panels + (size_t)p * panel_stride;
            float *out = y + (size_t)row * ldy + (size_t)p * CPU_LANES;
            for (int lane = 0; lane < CPU_LANES; lane++) {
                float acc = accumulate ? out[lane] : 0.0f;
                for (int k = k_begin; k < k_end; k++) {
                    size_t at = ((size_t)(k / 2) * CPU_LANES + (size_t)lane) * 2 + (size_t)(k & 1);
                    acc = fmaf(base_bf16_to_f32(panel[at]), xr[k], acc);
                }
                out[lane] = acc;
            }
        }
    }
}

// The stored nibble of column `k` in [0, 32) of lane `lane` in a group's 256 bytes of codes.
static int int4_code(const uint8_t *group, int lane, int k) {
    uint8_t byte = group[k / 8 * 64 + lane * 4 + k % 4];
    return k % 8 < 4 ? byte & 15 : byte >> 4;
}

static void gemm_int4_f32(float *y, size_t ldy, const float *x, size_t ldx, int m,
                          const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                          size_t scales_stride, int n_panels, int k_begin, int k_end,
                          int accumulate) {
    for (int row = 0; row < m; row++) {
        for (int p = 0; p < n_panels; p++) {
            float *out = y + (size_t)row * ldy + (size_t)p * CPU_LANES;
            for (int lane = 0; lane < CPU_LANES; lane++) {
                float acc = accumulate ? out[lane] : 0.0f;
                for (int g = k_begin / CPU_GROUP; g < k_end / CPU_GROUP; g++) {
                    const uint8_t *group = codes + (size_t)p * codes_stride + (size_t)g * 256;
                    const float *xg = x + (size_t)row * ldx + (size_t)g * CPU_GROUP;
                    uint16_t scale =
                        scales[(size_t)p * scales_stride + (size_t)g * CPU_LANES + (size_t)lane];
                    float dot = 0.0f;
                    for (int k = 0; k < CPU_GROUP; k++)
                        dot = fmaf((float)(int4_code(group, lane, k) - 8), xg[k], dot);
                    acc = fmaf(dot, base_bf16_to_f32(scale), acc);
                }
                out[lane] = acc;
            }
        }
    }
}

static void gemm_int4_int8(float *y, size_t ldy, const cpu_int8_rows *x, int m,
                           const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                           size_t scales_stride, int n_panels, int k_begin, int k_end,
                           int accumulate) {
    for (int row = 0; row < m; row++) {
        const int8_t *xr = x->codes + (size_t)row * x->stride_codes;
        size_t groups_at = (size_t)row * x->stride_groups;
        for (int p = 0; p < n_panels; p++) {
            float *out = y + (size_t)row * ldy + (size_t)p * CPU_LANES;
            for (int lane = 0; lane < CPU_LANES; lane++) {
                float acc = accumulate ? out[lane] : 0.0f;
                for (int g = k_begin / CPU_GROUP; g < k_end / CPU_GROUP; g++) {
                    const uint8_t *group = codes + (size_t)p * codes_stride + (size_t)g * 256;
                    uint16_t scale =
                        scales[(size_t)p * scales_stride + (size_t)g * CPU_LANES + (size_t)lane];
                    int32_t dot = -x->sums8[groups_at + (size_t)g];
                    for (int k = 0; k < CPU_GROUP; k++)
                        dot += int4_code(group, lane, k) * xr[g * CPU_GROUP + k];
                    float both = base_bf16_to_f32(scale) * x->scales[groups_at + (size_t)g];
                    acc = fmaf((float)dot, both, acc);
                }
                out[lane] = acc;
            }
        }
    }
}

static void quantize_group(int8_t *codes, float *scale, int32_t *sum8, const float *x) {
    float amax = 0.0f;
    int finite = 1;
    for (int k = 0; k < CPU_GROUP; k++) {
        finite &= isfinite(x[k]) != 0;
        amax = fabsf(x[k]) > amax ? fabsf(x[k]) : amax;
    }
    float inverse = 127.0f / amax; // inf for amax = 0 and for amax too small to be worth a code
    int codable = finite && isfinite(inverse);
    int32_t sum = 0;
    for (int k = 0; k < CPU_GROUP; k++) {
        codes[k] = codable ? (int8_t)rintf(x[k] * inverse) : 0;
        sum += codes[k];
    }
    *scale = finite ? amax / 127.0f : NAN;
    *sum8 = 8 * sum;
}

static void quantize_int8(int8_t *codes, float *scales, int32_t *sums8, const float *x, int k) {
    for (int g = 0; g < k / CPU_GROUP; g++)
        quantize_group(codes + g * CPU_GROUP, scales + g, sums8 + g, x + g * CPU_GROUP);
}

// The stride tree: i + (i + 8), then 4, 2, 1. Destroys `lanes` [16].
static float tree_sum(float *lanes) {
    for (int half = CPU_LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i] + lanes[i + half];
    return lanes[0];
}

static float tree_max(float *lanes) {
    for (int half = CPU_LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    return lanes[0];
}

static void rmsnorm(float *y, const float *x, const float *weight, int n, float eps) {
    float lanes[CPU_LANES] = {0};
    for (int i = 0; i < n; i++)
        lanes[i % CPU_LANES] = fmaf(x[i], x[i], lanes[i % CPU_LANES]);
    float factor = cpu_rmsnorm_factor(tree_sum(lanes), n, eps);
    for (int i = 0; i < n; i++)
        y[i] = x[i] * factor * weight[i];
}

static void silu_mul(float *y, const float *g, const float *u, int n) {
    for (int i = 0; i < n; i++)
        y[i] = g[i] / (1.0f + cpu_exp(-g[i])) * u[i];
}

static void exp_f32(float *y, const float *x, int n) {
    for (int i = 0; i < n; i++)
        y[i] = cpu_exp(x[i]);
}

static void axpy(float *y, float a, const float *x, int n) {
    for (int i = 0; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]);
}

static void add(float *y, const float *x, int n) {
    for (int i = 0; i < n; i++)
        y[i] = y[i] + x[i];
}

static void attn_load_f32(float *kt, float *v, const void *const keys[16], int latent, int rope) {
    for (int j = 0; j < CPU_KEYS; j++) {
        const float *key = keys[j]; // [latent + rope] f32
        for (int k = 0; k < latent + rope; k++) {
            float value = key ? key[k] : 0.0f;
            kt[k * CPU_KEYS + j] = value;
            if (k < latent)
                v[j * latent + k] = value;
        }
    }
}

static void attn_load_bf16(float *kt, float *v, const void *const keys[16], int latent, int rope) {
    for (int j = 0; j < CPU_KEYS; j++) {
        const uint16_t *key = keys[j]; // [latent + rope] bf16
        for (int k = 0; k < latent + rope; k++) {
            float value = key ? base_bf16_to_f32(key[k]) : 0.0f;
            kt[k * CPU_KEYS + j] = value;
            if (k < latent)
                v[j * latent + k] = value;
        }
    }
}

// One row of attn_tile with 0 < valid <= 16.
static void attn_row(float *m, float *l, float *acc, const float *q, const float *kt,
                     const float *v, int valid, int latent, int rope, float scale) {
    float s[CPU_KEYS], p[CPU_KEYS], lanes[CPU_KEYS];
    for (int j = 0; j < CPU_KEYS; j++) {
        float dot = 0.0f;
        for (int k = 0; k < latent + rope; k++)
            dot = fmaf(q[k], kt[k * CPU_KEYS + j], dot);
        s[j] = dot * scale;
        // A NaN does not take part in the maximum, but it reaches l and acc through p.
        lanes[j] = j < valid && !isnan(s[j]) ? s[j] : -INFINITY;
    }
    float top = tree_max(lanes);
    top = *m > top ? *m : top;
    float c = cpu_exp(*m - top);
    for (int j = 0; j < CPU_KEYS; j++)
        lanes[j] = p[j] = j < valid ? cpu_exp(s[j] - top) : 0.0f;
    *l = fmaf(*l, c, tree_sum(lanes));
    *m = top;
    for (int d = 0; d < latent; d++) {
        float sum = acc[d] * c;
        for (int j = 0; j < valid; j++)
            sum = fmaf(p[j], v[j * latent + d], sum);
        acc[d] = sum;
    }
}

static void attn_tile(float *m, float *l, float *acc, const float *q, size_t ldq, int rows,
                      const float *kt, const float *v, const int *valid, int latent, int rope,
                      float scale) {
    for (int row = 0; row < rows; row++)
        if (valid[row] > 0)
            attn_row(m + row, l + row, acc + (size_t)row * (size_t)latent, q + (size_t)row * ldq,
                     kt, v, valid[row], latent, rope, scale);
}

static void attn_merge(float *ma, float *la, float *acca, const float *mb, const float *lb,
                       const float *accb, int rows, int latent) {
    for (int row = 0; row < rows; row++) {
        float *a = acca + (size_t)row * (size_t)latent;
        const float *b = accb + (size_t)row * (size_t)latent;
        if (cpu_merge_empty(ma + row, la + row, a, mb[row], lb[row], b, latent))
            continue;
        float top = ma[row] > mb[row] ? ma[row] : mb[row];
        float ca = cpu_exp(ma[row] - top);
        float cb = cpu_exp(mb[row] - top);
        la[row] = fmaf(la[row], ca, lb[row] * cb);
        for (int d = 0; d < latent; d++)
            a[d] = fmaf(a[d], ca, b[d] * cb);
        ma[row] = top;
    }
}

void cpu_kernels_fill_scalar(cpu_kernels *table) {
    *table = (cpu_kernels){
        .name = "scalar",
        .gemm_bf16 = gemm_bf16,
        .gemm_int4_f32 = gemm_int4_f32,
        .gemm_int4_int8 = gemm_int4_int8,
        .quantize_int8 = quantize_int8,
        .rmsnorm = rmsnorm,
        .silu_mul = silu_mul,
        .exp_f32 = exp_f32,
        .axpy = axpy,
        .add = add,
        .attn_load_f32 = attn_load_f32,
        .attn_load_bf16 = attn_load_bf16,
        .attn_tile = attn_tile,
        .attn_merge = attn_merge,
    };
}
