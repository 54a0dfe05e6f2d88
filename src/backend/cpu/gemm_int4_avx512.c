// INT4 weights. Against INT8 activations: unsigned nibbles times signed codes in vpdpbusd, whose
// accumulator starts at minus eight times the sum of the codes, so that the offset of the nibbles
// costs nothing. Against f32 activations: nibbles become floats in a table look-up and the chain of
// fused multiply-adds is kept.
#include "backend/cpu/avx512.h"

enum { GROUP_BYTES = 256, CHUNK_BYTES = 64, CHUNK_K = 8, CHUNKS = 4 };

// INT8: an integer and a float accumulator per row and panel. A block of columns keeps the
// activations of many rows near while the panels pass. A single row takes one panel at a time: the
// memory is the limit then, and one stream, prefetched across the ends of panels, is the quickest.
enum { INT8_ROWS = 6, INT8_PANELS = 2, INT8_BLOCK_K = 2048 };
// f32: a group's dot products in registers, the sums over groups in y. Rows of x are often whole
// multiples of 4 KiB apart and then share a set of the first-level cache, which has 8 or 12 ways.
enum { F32_ROWS = 6, F32_PANELS = 4, F32_BLOCK_K = 1024 };

// Groups ahead of the current one to ask for: memory latency, and the prefetchers stop at page
// ends.
enum { AHEAD = 16 };

typedef struct int4_weights {
    const uint8_t *codes;   // [panels][codes_stride]
    const uint16_t *scales; // [panels][scales_stride] bf16
    size_t codes_stride, scales_stride;
    const uint8_t *next_codes; // where the tile after this one begins reading
} int4_weights;

// What to prefetch in group g of a tile's first panel; the others lie codes_stride apart. The
// scales are few and left to the hardware.
static inline const uint8_t *ahead_of(const int4_weights *w, int g, int g_end) {
    int ahead = g + AHEAD;
    return ahead < g_end ? w->codes + (size_t)ahead * GROUP_BYTES
                         : w->next_codes + (size_t)(ahead - g_end) * GROUP_BYTES;
}

// Panels [p, p + width) of n_panels, to be read from column k on.
static int4_weights weights_at(const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                               size_t scales_stride, int p, int width, int n_panels, int k) {
    int next = p + width < n_panels ? p + width : p;
    return (int4_weights){
        .codes = codes + (size_t)p * codes_stride,
        .scales = scales + (size_t)p * scales_stride,
        .codes_stride = codes_stride,
        .scales_stride = scales_stride,
        .next_codes = codes + (size_t)next * codes_stride + (size_t)(k / CPU_GROUP) * GROUP_BYTES,
    };
}

static inline int32_t load_i32(const int8_t *at) {
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline __m512 load_scales(const int4_weights *w, int panel, int group) {
    size_t at = (size_t)panel * w->scales_stride + (size_t)group * CPU_LANES;
    return avx512_widen(_mm256_load_si256((const __m256i *)(w->scales + at)));
}

CPU_TILE void int8_tile(int rows, int n_panels, float *y, size_t ldy, const cpu_int8_rows *x,
                        const int4_weights *w, int g_begin, int g_end, int accumulate) {
    const __m512i low_nibbles = _mm512_set1_epi8(15);
    __m512 acc[INT8_ROWS][INT8_PANELS];
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        CPU_UNROLL
    for (int p = 0; p < n_panels; p++)
        acc[r][p] = accumulate ? _mm512_loadu_ps(y + (size_t)r * ldy + (size_t)p * CPU_LANES)
                               : _mm512_setzero_ps();
    for (int g = g_begin; g < g_end; g++) {
        const uint8_t *ahead = ahead_of(w, g, g_end);
        __m512i dot[INT8_ROWS][INT8_PANELS];
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            __m512i start = _mm512_set1_epi32(-x->sums8[(size_t)r * x->stride_groups + (size_t)g]);
            CPU_UNROLL
            for (int p = 0; p < n_panels; p++)
                dot[r][p] = start;
        }
        CPU_UNROLL
        for (int c = 0; c < CHUNKS; c++) {
            __m512i low[INT8_PANELS], high[INT8_PANELS];
            CPU_UNROLL
            for (int p = 0; p < n_panels; p++) {
                const uint8_t *at = w->codes + (size_t)p * w->codes_stride +
                                    (size_t)g * GROUP_BYTES + (size_t)c * CHUNK_BYTES;
                _mm_prefetch(ahead + (size_t)p * w->codes_stride + (size_t)c * CHUNK_BYTES,
                             _MM_HINT_T0);
                __m512i chunk = _mm512_load_si512(at);
                low[p] = _mm512_and_si512(chunk, low_nibbles);
                high[p] = _mm512_and_si512(_mm512_srli_epi16(chunk, 4), low_nibbles);
            }
            CPU_UNROLL
            for (int r = 0; r < rows; r++) {
                const int8_t *at = x->codes + (size_t)r * x->stride_codes + (size_t)g * CPU_GROUP +
                                   (size_t)c * CHUNK_K;
                __m512i first = _mm512_set1_epi32(load_i32(at));
                __m512i second = _mm512_set1_epi32(load_i32(at + 4));
                CPU_UNROLL
                for (int p = 0; p < n_panels; p++) {
                    dot[r][p] = _mm512_dpbusd_epi32(dot[r][p], low[p], first);
                    dot[r][p] = _mm512_dpbusd_epi32(dot[r][p], high[p], second);
                }
            }
        }
        __m512 scale[INT8_PANELS];
        CPU_UNROLL
        for (int p = 0; p < n_panels; p++)
            scale[p] = load_scales(w, p, g);
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            __m512 row_scale = _mm512_set1_ps(x->scales[(size_t)r * x->stride_groups + (size_t)g]);
            CPU_UNROLL
            for (int p = 0; p < n_panels; p++)
                acc[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][p]),
                                            _mm512_mul_ps(scale[p], row_scale), acc[r][p]);
        }
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        CPU_UNROLL
    for (int p = 0; p < n_panels; p++)
        _mm512_storeu_ps(y + (size_t)r * ldy + (size_t)p * CPU_LANES, acc[r][p]);
}

typedef void (*int8_function)(float *y, size_t ldy, const cpu_int8_rows *x, const int4_weights *w,
                              int g_begin, int g_end, int accumulate);

#define INT8_TILE(rows, n_panels)                                                                  \
    static void int8_##rows##x##n_panels(float *y, size_t ldy, const cpu_int8_rows *x,             \
                                         const int4_weights *w, int g_begin, int g_end,            \
                                         int accumulate) {                                         \
        int8_tile(rows, n_panels, y, ldy, x, w, g_begin, g_end, accumulate);                       \
    }
#define INT8_TILES(rows) INT8_TILE(rows, 1) INT8_TILE(rows, 2)
INT8_TILES(1)
INT8_TILES(2)
INT8_TILES(3)
INT8_TILES(4)
INT8_TILES(5)
INT8_TILES(6)

static const int8_function int8_tiles[INT8_ROWS][INT8_PANELS] = {
    {int8_1x1, int8_1x2}, {int8_2x1, int8_2x2}, {int8_3x1, int8_3x2},
    {int8_4x1, int8_4x2}, {int8_5x1, int8_5x2}, {int8_6x1, int8_6x2},
};

void cpu_avx512_gemm_int4_int8(float *y, size_t ldy, const cpu_int8_rows *x, int m,
                               const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                               size_t scales_stride, int n_panels, int k_begin, int k_end,
                               int accumulate) {
    int tile_panels = m == 1 ? 1 : INT8_PANELS;
    // One tile of rows reads each weight once anyway; blocks would only break up the streams.
    int block = m > INT8_ROWS ? INT8_BLOCK_K : k_end - k_begin;
    int n_tiles = (m + INT8_ROWS - 1) / INT8_ROWS;
    int k = k_begin;
    do {
        int stop = k_end - k > block ? k + block : k_end;
        for (int p = 0; p < n_panels; p += tile_panels) {
            int width = n_panels - p < tile_panels ? n_panels - p : tile_panels;
            int4_weights w =
                weights_at(codes, codes_stride, scales, scales_stride, p, width, n_panels, k);
            for (int t = 0; t < n_tiles; t++) {
                // Tiles of nearly equal height: 7 rows are 4 + 3, not 6 + 1.
                int row = (int)((long)m * t / n_tiles);
                int rows = (int)((long)m * (t + 1) / n_tiles) - row;
                cpu_int8_rows part = *x;
                part.codes += (size_t)row * x->stride_codes;
                part.scales += (size_t)row * x->stride_groups;
                part.sums8 += (size_t)row * x->stride_groups;
                int8_tiles[rows - 1][width - 1](y + (size_t)row * ldy + (size_t)p * CPU_LANES, ldy,
                                                &part, &w, k / CPU_GROUP, stop / CPU_GROUP,
                                                accumulate || k > k_begin);
            }
        }
        k = stop;
    } while (k < k_end);
}

CPU_TILE void f32_tile(int rows, int n_panels, float *y, size_t ldy, const float *x, size_t ldx,
                       const int4_weights *w, int g_begin, int g_end, int accumulate) {
    // The permutation looks at the low four bits of a lane only: no masking of nibbles is needed.
    const __m512 values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    if (!accumulate)
        for (int r = 0; r < rows; r++)
            memset(y + (size_t)r * ldy, 0, (size_t)n_panels * CPU_LANES * sizeof *y);
    for (int g = g_begin; g < g_end; g++) {
        const uint8_t *ahead = ahead_of(w, g, g_end);
        __m512 dot[F32_ROWS][F32_PANELS];
        CPU_UNROLL
        for (int r = 0; r < rows; r++)
            CPU_UNROLL
        for (int p = 0; p < n_panels; p++)
            dot[r][p] = _mm512_setzero_ps();
        for (int c = 0; c < CHUNKS; c++) {
            const float *xc = x + (size_t)g * CPU_GROUP + (size_t)c * CHUNK_K;
            // Nibble 2i of a lane is column i, nibble 2i + 1 is column 4 + i.
            CPU_UNROLL
            for (int k = 0; k < CHUNK_K; k++) {
                const unsigned shift = (unsigned)(k % 4 * 8 + k / 4 * 4);
                __m512 weight[F32_PANELS];
                CPU_UNROLL
                for (int p = 0; p < n_panels; p++) {
                    const uint8_t *at = w->codes + (size_t)p * w->codes_stride +
                                        (size_t)g * GROUP_BYTES + (size_t)c * CHUNK_BYTES;
                    if (k == 0)
                        _mm_prefetch(ahead + (size_t)p * w->codes_stride + (size_t)c * CHUNK_BYTES,
                                     _MM_HINT_T0);
                    weight[p] = _mm512_permutexvar_ps(
                        _mm512_srli_epi32(_mm512_load_si512(at), shift), values);
                }
                CPU_UNROLL
                for (int r = 0; r < rows; r++) {
                    __m512 value = _mm512_set1_ps(xc[(size_t)r * ldx + (size_t)k]);
                    CPU_UNROLL
                    for (int p = 0; p < n_panels; p++)
                        dot[r][p] = _mm512_fmadd_ps(weight[p], value, dot[r][p]);
                }
            }
        }
        CPU_UNROLL
        for (int p = 0; p < n_panels; p++) {
            __m512 scale = load_scales(w, p, g);
            CPU_UNROLL
            for (int r = 0; r < rows; r++) {
                float *at = y + (size_t)r * ldy + (size_t)p * CPU_LANES;
                _mm512_storeu_ps(at, _mm512_fmadd_ps(dot[r][p], scale, _mm512_loadu_ps(at)));
            }
        }
    }
}

typedef void (*f32_function)(float *y, size_t ldy, const float *x, size_t ldx,
                             const int4_weights *w, int g_begin, int g_end, int accumulate);

#define F32_TILE(rows, n_panels)                                                                   \
    static void f32_##rows##x##n_panels(float *y, size_t ldy, const float *x, size_t ldx,          \
                                        const int4_weights *w, int g_begin, int g_end,             \
                                        int accumulate) {                                          \
        f32_tile(rows, n_panels, y, ldy, x, ldx, w, g_begin, g_end, accumulate);                   \
    }
#define F32_TILES(rows) F32_TILE(rows, 1) F32_TILE(rows, 2) F32_TILE(rows, 3) F32_TILE(rows, 4)
F32_TILES(1)
F32_TILES(2)
F32_TILES(3)
F32_TILES(4)
F32_TILES(5)
F32_TILES(6)

static const f32_function f32_tiles[F32_ROWS][F32_PANELS] = {
    {f32_1x1, f32_1x2, f32_1x3, f32_1x4}, {f32_2x1, f32_2x2, f32_2x3, f32_2x4},
    {f32_3x1, f32_3x2, f32_3x3, f32_3x4}, {f32_4x1, f32_4x2, f32_4x3, f32_4x4},
    {f32_5x1, f32_5x2, f32_5x3, f32_5x4}, {f32_6x1, f32_6x2, f32_6x3, f32_6x4},
};

void cpu_avx512_gemm_int4_f32(float *y, size_t ldy, const float *x, size_t ldx, int m,
                              const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                              size_t scales_stride, int n_panels, int k_begin, int k_end,
                              int accumulate) {
    int block = m > F32_ROWS ? F32_BLOCK_K : k_end - k_begin;
    int n_tiles = (m + F32_ROWS - 1) / F32_ROWS;
    int k = k_begin;
    do {
        int stop = k_end - k > block ? k + block : k_end;
        for (int p = 0; p < n_panels; p += F32_PANELS) {
            int width = n_panels - p < F32_PANELS ? n_panels - p : F32_PANELS;
            int4_weights w =
                weights_at(codes, codes_stride, scales, scales_stride, p, width, n_panels, k);
            for (int t = 0; t < n_tiles; t++) {
                int row = (int)((long)m * t / n_tiles);
                int rows = (int)((long)m * (t + 1) / n_tiles) - row;
                f32_tiles[rows - 1][width - 1](y + (size_t)row * ldy + (size_t)p * CPU_LANES, ldy,
                                               x + (size_t)row * ldx, ldx, &w, k / CPU_GROUP,
                                               stop / CPU_GROUP, accumulate || k > k_begin);
            }
        }
        k = stop;
    } while (k < k_end);
}
