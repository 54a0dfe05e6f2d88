// The CPU kernel table: plain C (scalar) first, overridden entry by entry as the CPU allows.
//
// Every level computes the same bits. That is possible because the layouts put output rows into
// vector lanes and the reduction dimension into time: an output element is one chain of fused
// multiply-adds, k ascending, whatever the vector width, the number of rows or the tiling. No
// kernel reorders a sum, contracts an expression by itself or flushes denormals. What a level may
// choose freely is blocking: an accumulator stored to memory and loaded again is the same number.
//
// Weights are repacked into panels of CPU_LANES output rows (the last panel padded with zero rows):
//
//   BF16   [k / 2][16][2] u16: element (row r, column k) at ((k / 2) * 16 + r) * 2 + (k & 1);
//          k is padded to even with zeros.
//   INT4   codes, per group of 32 columns 256 bytes = 4 chunks of 64; chunk j holds columns
//          8j .. 8j + 7: byte r * 4 + i has column 8j + i of row r in its low nibble and column
//          8j + 4 + i in its high nibble; nibbles are offset binary as stored, w = (n - 8) * scale.
//          scales, [group][16] bf16. Codes and scales are separate arrays.
//
// A panel's stride is cpu_bf16_panel_elems / cpu_int4_panel_bytes / cpu_int4_panel_scales.
#ifndef BACKEND_CPU_KERNELS_H
#define BACKEND_CPU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { CPU_LANES = 16, CPU_GROUP = 32, CPU_KEYS = 16 };

static inline size_t cpu_bf16_panel_elems(int cols) {
    return (size_t)(cols + (cols & 1)) * CPU_LANES;
}
static inline size_t cpu_int4_panel_bytes(int cols) {
    return (size_t)cols / 2 * CPU_LANES; // cols % 32 == 0
}
static inline size_t cpu_int4_panel_scales(int cols) {
    return (size_t)cols / CPU_GROUP * CPU_LANES;
}

// An activation row in INT8: x[k] ~ code[k] * scale[k / 32].
typedef struct cpu_int8_rows {
    const int8_t *codes;  // [m][stride_codes]
    const float *scales;  // [m][stride_groups]
    const int32_t *sums8; // [m][stride_groups] 8 * sum of the group's codes
    size_t stride_codes, stride_groups;
} cpu_int8_rows;

typedef struct cpu_kernels {
    const char *name;

    // y [m][n_panels * 16] f32, row stride ldy: for each element
    //     acc = accumulate ? y : 0;  for k in [k_begin, k_end): acc = fma(w[k], x[k], acc)
    // x [m][>= k_end] f32, row stride ldx, indexed by absolute k. k_begin and k_end are even.
    // Panels lie panel_stride elements apart.
    void (*gemm_bf16)(float *y, size_t ldy, const float *x, size_t ldx, int m,
                      const uint16_t *panels, size_t panel_stride, int n_panels, int k_begin,
                      int k_end, int accumulate);

    // INT4 weights, f32 activations (numerics exact). k_begin, k_end multiples of 32. Per group:
    //     dot = 0;  for k in group: dot = fma((float)(n[k] - 8), x[k], dot)
    //     acc = fma(dot, scale, acc)
    void (*gemm_int4_f32)(float *y, size_t ldy, const float *x, size_t ldx, int m,
                          const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                          size_t scales_stride, int n_panels, int k_begin, int k_end,
                          int accumulate);

    // INT4 weights, INT8 activations (numerics fast). Per group:
    //     dot = sum n[k] * code[k] - 8 * sum code[k]          exact, int32
    //     acc = fma((float)dot, weight scale * activation scale, acc)   the product rounded to f32
    void (*gemm_int4_int8)(float *y, size_t ldy, const cpu_int8_rows *x, int m,
                           const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                           size_t scales_stride, int n_panels, int k_begin, int k_end,
                           int accumulate);

    // One row to INT8, k % 32 == 0. Per group: amax = max |x|; scale = amax / 127; code =
    // round-half-even(x * (127 / amax)), all zero when amax is 0 or so small (below 3.8e-37) that
    // 127 / amax is infinite. NaN or infinity in x comes out as a NaN scale with zero codes, so
    // that it reaches the logits and is caught there.
    void (*quantize_int8)(int8_t *codes, float *scales, int32_t *sums8, const float *x, int k);

    // y = x * (1 / sqrt(mean(x^2) + eps)) * weight. The sum of squares: 16 lanes, lane i takes
    // elements i, i + 16, ... by fma ascending (a short tail as zeros); the lanes are added in the
    // stride tree 8, 4, 2, 1. mean = sum / n, then 1 / sqrtf, all f32; a mean that overflowed makes
    // the whole row NaN, so that it reaches the logits and is caught there. y may be x.
    void (*rmsnorm)(float *y, const float *x, const float *weight, int n, float eps);

    // y = silu(g) * u, silu(g) = g / (1 + exp(-g)) with the table's own exp. y may be g.
    void (*silu_mul)(float *y, const float *g, const float *u, int n);

    // y = exp(x), f32: the exp all kernels share (exp.h). <= 1.05 ulp against float64 everywhere,
    // subnormal results included; 0 below -103.972; +inf above 88.7228; NaN for NaN. y may be x.
    void (*exp_f32)(float *y, const float *x, int n);

    // y = a * x + y and y += x, element by element (fma for the first).
    void (*axpy)(float *y, float a, const float *x, int n);
    void (*add)(float *y, const float *x, int n);

    // Attention, absorbed MLA. A tile is CPU_KEYS = 16 keys of one class in ascending position.
    // load: keys[i] points at a cached row of width latent + rope (f32 or bf16), NULL: a zero row.
    //     kt [latent + rope][16] f32, v [16][latent] f32 (the latent part again, not transposed)
    void (*attn_load_f32)(float *kt, float *v, const void *const keys[16], int latent, int rope);
    void (*attn_load_bf16)(float *kt, float *v, const void *const keys[16], int latent, int rope);

    // One online-softmax update of `rows` query rows with a tile:
    //     s[j] = (fma chain over latent + rope of q[k] * kt[k][j]) * scale,  j < valid[row]
    //     m' = max(m, max_j s[j]);  c = exp(m - m');  p[j] = exp(s[j] - m')
    //     l = fma(l, c, sum_j p[j])  (the sum in the stride tree 8, 4, 2, 1 over 16 lanes, absent
    //         keys 0);  acc[d] = acc[d] * c, then for j ascending acc[d] = fma(p[j], v[j][d],
    //         acc[d])
    // Rows with valid[row] == 0 are left alone; 0 <= valid <= 16. Absent keys (j >= valid[row]) are
    // not looked at: their kt columns and v rows may hold anything, NaN too. A fresh row has
    // m = -inf, l = 0, acc = 0 (c is then exp(-inf) = 0). q [rows][ldq], acc [rows][latent].
    // The maximum is a stride tree of a > b ? a : b without the NaN scores; these, infinite scores
    // and a NaN m come out as NaN in l and acc. Quickest when neighbouring rows share valid.
    void (*attn_tile)(float *m, float *l, float *acc, const float *q, size_t ldq, int rows,
                      const float *kt, const float *v, const int *valid, int latent, int rope,
                      float scale);

    // Merges partial b into a, row by row: m' = max(ma, mb); ca = exp(ma - m'), cb = exp(mb - m');
    // l = fma(la, ca, lb * cb); acc = fma(acca, ca, accb * cb). A side with l == 0 and m == -inf is
    // empty: the other is taken as it is.
    void (*attn_merge)(float *ma, float *la, float *acca, const float *mb, const float *lb,
                       const float *accb, int rows, int latent);
} cpu_kernels;

// The table for this CPU: the highest level it supports and ABRUZZI_CPU (scalar, avx2, avx512)
// allows. An unknown or unsupported value of ABRUZZI_CPU is an error the caller reports: NULL is
// returned.
const cpu_kernels *cpu_kernels_get(void);
// A level by name, NULL when this CPU cannot run it. For tests and bench.
const cpu_kernels *cpu_kernels_level(const char *name);

// Filled by the levels' own files.
void cpu_kernels_fill_scalar(cpu_kernels *table);
void cpu_kernels_fill_avx2(cpu_kernels *table);   // needs AVX2, FMA
void cpu_kernels_fill_avx512(cpu_kernels *table); // needs F, BW, DQ, VL, VNNI

// Repacking (plain C): rows [row0, row0 + 16) of a matrix into one panel; rows beyond `rows` are
// zero. `w` [rows][cols] bf16 and `packed` [rows][cols / 8], `scale` [rows][cols / 32] as stored.
void cpu_pack_bf16(uint16_t *panel, const uint16_t *w, int rows, int cols, int row0);
// The transpose: panel rows are columns [col0, col0 + 16) of w [rows][ldw], reduction over rows.
void cpu_pack_bf16_transposed(uint16_t *panel, const uint16_t *w, size_t ldw, int rows, int cols,
                              int col0);
void cpu_pack_int4(uint8_t *codes, uint16_t *scales, const uint32_t *packed, const uint16_t *scale,
                   int rows, int cols, int row0);

#endif
