// INT4 weights in AVX2. Against INT8 activations: sums of two products of an unsigned nibble and a
// signed code are 16 bits wide, and so is the sum over a whole group (32 * 15 * 128 over two lanes
// is 30,720), so that one widening per group is enough. Against f32 activations: nibbles become
// floats in the mantissa of a power of two, and the chain of fused multiply-adds is kept.
#include "backend/cpu/avx2.h"

enum { GROUP_BYTES = 256, CHUNK_BYTES = 64, CHUNK_K = 8, CHUNKS = 4 };

// INT8: two sums of pairs per row. The sums over groups lie side by side in memory: rows of y are
// often whole multiples of 4 KiB apart and share a set of the first-level cache.
enum { INT8_ROWS = 4, INT8_BLOCK_K = 2048 };
// f32: for more rows than a tile has, a block of a panel is widened once; 16 KiB of the first-level
// cache. Accumulators: rows x panels x 2; few rows take several panels, for chains enough to hide
// the latency of the multiply-adds.
enum { F32_ROWS = 6, F32_PANELS = 4, F32_BLOCK_GROUPS = 8 };

// Groups ahead of the current one to ask for: memory latency, and the prefetchers stop at page
// ends.
enum { AHEAD = 16 };

typedef struct int4_weights {
    const uint8_t *codes;   // [panels][codes_stride]
    const uint16_t *scales; // [panels][scales_stride] bf16
    size_t codes_stride, scales_stride;
} int4_weights;

static int4_weights weights_from(const int4_weights *w, int panel) {
    int4_weights part = *w;
    part.codes += (size_t)panel * w->codes_stride;
    part.scales += (size_t)panel * w->scales_stride;
    return part;
}

static inline __m256i load_codes(const uint8_t *at) {
    return _mm256_load_si256((const __m256i *)at);
}

// Half h of the sixteen scales of a panel's group.
static inline __m256 load_scales(const uint16_t *scales, int group, int h) {
    const uint16_t *at = scales + (size_t)group * CPU_LANES + (size_t)h * 8;
    return avx2_widen(_mm_load_si128((const __m128i *)at));
}

static inline __m256i broadcast_codes(const int8_t *at) {
    int32_t four;
    memcpy(&four, at, sizeof four);
    return _mm256_set1_epi32(four);
}

// sum += term in 16 bits. The compiler would make a tree of such sums, with more terms alive than
// there are registers.
static inline void add_pairs(__m256i *sum, __m256i term) {
    __asm__("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(term));
}

// A group of a panel for `rows` rows of x, added to acc [rows][16].
CPU_TILE void int8_group(int rows, float *acc, const cpu_int8_rows *x, const uint8_t *group,
                         const uint16_t *scales, int g) {
    const __m256i low_nibbles = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const int8_t *codes = x->codes + (size_t)g * CPU_GROUP;
    __m256i pairs[INT8_ROWS][2];
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        pairs[r][0] = pairs[r][1] = _mm256_setzero_si256();
    CPU_UNROLL
    for (int c = 0; c < CHUNKS; c++) {
        __m256i low[2], high[2];
        CPU_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i chunk = load_codes(group + c * CHUNK_BYTES + h * 32);
            low[h] = _mm256_and_si256(chunk, low_nibbles);
            high[h] = _mm256_and_si256(_mm256_srli_epi16(chunk, 4), low_nibbles);
        }
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            const int8_t *at = codes + (size_t)r * x->stride_codes + (size_t)c * CHUNK_K;
            __m256i first = broadcast_codes(at), second = broadcast_codes(at + 4);
            CPU_UNROLL
            for (int h = 0; h < 2; h++) {
                add_pairs(&pairs[r][h], _mm256_maddubs_epi16(low[h], first));
                add_pairs(&pairs[r][h], _mm256_maddubs_epi16(high[h], second));
            }
        }
    }
    __m256 scale[2] = {load_scales(scales, g, 0), load_scales(scales, g, 1)};
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)r * x->stride_groups + (size_t)g;
        __m256i start = _mm256_set1_epi32(x->sums8[at]);
        __m256 row_scale = _mm256_set1_ps(x->scales[at]);
        CPU_UNROLL
        for (int h = 0; h < 2; h++) {
            float *out = acc + (size_t)r * CPU_LANES + h * 8;
            __m256i dot = _mm256_sub_epi32(_mm256_madd_epi16(pairs[r][h], ones), start);
            __m256 both = _mm256_mul_ps(scale[h], row_scale);
            __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), both, _mm256_load_ps(out));
            _mm256_store_ps(out, sum);
        }
    }
}

typedef struct int8_product {
    float *y;
    const cpu_int8_rows *x;
    const int4_weights *w;
    size_t ldy;
} int8_product;

// acc [rows][16] += groups [g_begin, g_end). next: where the codes read after this panel's begin.
CPU_TILE void int8_tile(int rows, float *acc, const cpu_int8_rows *x, const int4_weights *w,
                        int g_begin, int g_end, const uint8_t *next) {
    for (int g = g_begin; g < g_end; g++) {
        const uint8_t *group = w->codes + (size_t)g * GROUP_BYTES;
        const uint8_t *ahead = g + AHEAD < g_end ? group + AHEAD * GROUP_BYTES
                                                 : next + (size_t)(g + AHEAD - g_end) * GROUP_BYTES;
        CPU_UNROLL
        for (int c = 0; c < CHUNKS; c++)
            _mm_prefetch(ahead + c * CHUNK_BYTES, _MM_HINT_T0);
        int8_group(rows, acc, x, group, w->scales, g);
    }
}

typedef void (*int8_function)(float *acc, const cpu_int8_rows *x, const int4_weights *w,
                              int g_begin, int g_end, const uint8_t *next);

#define INT8_TILE(rows)                                                                            \
    static void int8_##rows(float *acc, const cpu_int8_rows *x, const int4_weights *w,             \
                            int g_begin, int g_end, const uint8_t *next) {                         \
        int8_tile(rows, acc, x, w, g_begin, g_end, next);                                          \
    }
INT8_TILE(1)
INT8_TILE(2)
INT8_TILE(3)
INT8_TILE(4)
static const int8_function int8_tiles[INT8_ROWS] = {int8_1, int8_2, int8_3, int8_4};

static void int8_part(const void *product, const avx2_part *part) {
    const int8_product *t = product;
    cpu_int8_rows x = *t->x;
    x.codes += (size_t)part->row * x.stride_codes;
    x.scales += (size_t)part->row * x.stride_groups;
    x.sums8 += (size_t)part->row * x.stride_groups;
    for (int p = part->panel; p < part->panel_end; p++) {
        _Alignas(32) float acc[INT8_ROWS * CPU_LANES] = {0};
        float *y = t->y + (size_t)part->row * t->ldy + (size_t)p * CPU_LANES;
        if (part->accumulate)
            for (int r = 0; r < part->rows; r++)
                memcpy(acc + r * CPU_LANES, y + (size_t)r * t->ldy, CPU_LANES * sizeof *y);
        int4_weights w = weights_from(t->w, p);
        int g = part->k_begin / CPU_GROUP;
        const uint8_t *next = p + 1 < part->panel_end ? w.codes + w.codes_stride : w.codes;
        int8_tiles[part->rows - 1](acc, &x, &w, g, part->k_end / CPU_GROUP,
                                   next + (size_t)g * GROUP_BYTES);
        for (int r = 0; r < part->rows; r++)
            memcpy(y + (size_t)r * t->ldy, acc + r * CPU_LANES, CPU_LANES * sizeof *y);
    }
}

void cpu_avx2_gemm_int4_int8(float *y, size_t ldy, const cpu_int8_rows *x, int m,
                             const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                             size_t scales_stride, int n_panels, int k_begin, int k_end,
                             int accumulate) {
    int4_weights w = {codes, scales, codes_stride, scales_stride};
    int8_product t = {y, x, &w, ldy};
    avx2_for_parts(m, n_panels, k_begin, k_end, accumulate, INT8_ROWS, INT8_BLOCK_K, int8_part, &t);
}

// Column k of a chunk, eight lanes, as floats n - 8. A nibble at bit s of the mantissa of 2^(23 -
// s) adds n to it; what is subtracted is the power and the offset. Exact, and cheaper than shifting
// and converting. Above bit 16 the nibble would reach the exponent.
CPU_TILE __m256 nibble_values(__m256i chunk, int k) {
    int s = k % 4 * 8 + k / 4 * 4;
    if (s > 16) {
        chunk = _mm256_srli_epi32(chunk, 12);
        s -= 12;
    }
    __m256i nibble = _mm256_and_si256(chunk, _mm256_set1_epi32(15 << s));
    __m256i sum = _mm256_or_si256(nibble, _mm256_set1_epi32((127 + 23 - s) << 23));
    return _mm256_sub_ps(_mm256_castsi256_ps(sum), _mm256_set1_ps((float)((1 << (23 - s)) + 8)));
}

// wide [F32_BLOCK_GROUPS * 32][16] = groups [g_begin, g_end) of a panel as floats.
static void widen_panel(float *wide, const uint8_t *codes, int g_begin, int g_end) {
    const uint8_t *end = codes + (size_t)g_end * GROUP_BYTES;
    for (const uint8_t *at = codes + (size_t)g_begin * GROUP_BYTES; at < end; at += CHUNK_BYTES) {
        __m256i low = load_codes(at), high = load_codes(at + 32);
        CPU_UNROLL
        for (int k = 0; k < CHUNK_K; k++, wide += CPU_LANES) {
            _mm256_store_ps(wide, nibble_values(low, k));
            _mm256_store_ps(wide + 8, nibble_values(high, k));
        }
    }
}

// Where a tile's weights of one group are: floats of one panel when the tile is `widened`, codes
// of several panels otherwise.
typedef struct f32_weights {
    const float *wide;    // [32][16]
    const uint8_t *codes; // [panels][codes_stride]
    size_t codes_stride;
} f32_weights;

// Column k of chunk c, half h % 2 of panel h / 2.
CPU_TILE __m256 f32_weight(const f32_weights *w, int widened, int c, int k, int h) {
    if (widened)
        return _mm256_load_ps(w->wide + (c * CHUNK_K + k) * CPU_LANES + h * 8);
    const uint8_t *chunk = w->codes + (size_t)(h / 2) * w->codes_stride + c * CHUNK_BYTES;
    return nibble_values(load_codes(chunk + h % 2 * 32), k);
}

// A group's dot products: dot [rows][n_panels * 2], x [rows][ldx] at the group.
CPU_TILE void f32_group(int rows, int n_panels, int widened, __m256 dot[F32_ROWS][F32_PANELS * 2],
                        const float *x, size_t ldx, const f32_weights *w) {
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int h = 0; h < n_panels * 2; h++)
            dot[r][h] = _mm256_setzero_ps();
    }
    for (int c = 0; c < CHUNKS; c++) {
        CPU_UNROLL
        for (int k = 0; k < CHUNK_K; k++) {
            const float *column = x + c * CHUNK_K + k;
            __m256 weight[F32_PANELS * 2], value[F32_ROWS];
            // Whichever are fewer stay in registers.
            if (rows <= n_panels) {
                CPU_UNROLL
                for (int r = 0; r < rows; r++)
                    value[r] = _mm256_set1_ps(column[(size_t)r * ldx]);
                CPU_UNROLL
                for (int h = 0; h < n_panels * 2; h++) {
                    weight[h] = f32_weight(w, widened, c, k, h);
                    CPU_UNROLL
                    for (int r = 0; r < rows; r++)
                        avx2_add_product(&dot[r][h], weight[h], value[r]);
                }
            } else {
                CPU_UNROLL
                for (int h = 0; h < n_panels * 2; h++)
                    weight[h] = f32_weight(w, widened, c, k, h);
                CPU_UNROLL
                for (int r = 0; r < rows; r++) {
                    value[r] = _mm256_set1_ps(column[(size_t)r * ldx]);
                    CPU_UNROLL
                    for (int h = 0; h < n_panels * 2; h++)
                        avx2_add_product(&dot[r][h], weight[h], value[r]);
                }
            }
        }
    }
}

// Groups [g_begin, g_end), added to y. wide [g_end - g_begin][32][16] when `widened`.
CPU_TILE void f32_tile(int rows, int n_panels, int widened, float *y, size_t ldy, const float *x,
                       size_t ldx, const int4_weights *w, int g_begin, int g_end,
                       const float *wide) {
    for (int g = g_begin; g < g_end; g++) {
        const f32_weights group = {wide, w->codes + (size_t)g * GROUP_BYTES, w->codes_stride};
        __m256 dot[F32_ROWS][F32_PANELS * 2];
        f32_group(rows, n_panels, widened, dot, x + (size_t)g * CPU_GROUP, ldx, &group);
        if (widened)
            wide += CPU_GROUP * CPU_LANES;
        CPU_UNROLL
        for (int h = 0; h < n_panels * 2; h++) {
            __m256 scale = load_scales(w->scales + (size_t)(h / 2) * w->scales_stride, g, h % 2);
            CPU_UNROLL
            for (int r = 0; r < rows; r++) {
                float *at = y + (size_t)r * ldy + (size_t)h * 8;
                _mm256_storeu_ps(at, _mm256_fmadd_ps(dot[r][h], scale, _mm256_loadu_ps(at)));
            }
        }
    }
}

typedef void (*f32_function)(float *y, size_t ldy, const float *x, size_t ldx,
                             const int4_weights *w, int g_begin, int g_end, const float *wide);

#define F32_TILE(name, rows, n_panels, widened)                                                    \
    static void name(float *y, size_t ldy, const float *x, size_t ldx, const int4_weights *w,      \
                     int g_begin, int g_end, const float *wide) {                                  \
        f32_tile(rows, n_panels, widened, y, ldy, x, ldx, w, g_begin, g_end, wide);                \
    }
F32_TILE(f32_1x1, 1, 1, 0)
F32_TILE(f32_1x2, 1, 2, 0)
F32_TILE(f32_1x3, 1, 3, 0)
F32_TILE(f32_1x4, 1, 4, 0)
F32_TILE(f32_2x1, 2, 1, 0)
F32_TILE(f32_2x2, 2, 2, 0)
F32_TILE(f32_2x3, 2, 3, 0)
F32_TILE(f32_3x1, 3, 1, 0)
F32_TILE(f32_3x2, 3, 2, 0)
F32_TILE(f32_4x1, 4, 1, 0)
F32_TILE(f32_5x1, 5, 1, 0)
F32_TILE(f32_6x1, 6, 1, 0)
F32_TILE(f32_wide_3, 3, 1, 1)
F32_TILE(f32_wide_4, 4, 1, 1)
F32_TILE(f32_wide_5, 5, 1, 1)
F32_TILE(f32_wide_6, 6, 1, 1)

// The last name of a row ends its panels.
static const f32_function f32_tiles[F32_ROWS][F32_PANELS] = {
    {f32_1x1, f32_1x2, f32_1x3, f32_1x4},
    {f32_2x1, f32_2x2, f32_2x3},
    {f32_3x1, f32_3x2},
    {f32_4x1},
    {f32_5x1},
    {f32_6x1},
};
static const int f32_panels[F32_ROWS] = {4, 3, 2, 1, 1, 1};
// More than six rows in tiles of nearly equal height are never fewer than three.
static const f32_function f32_wide_tiles[F32_ROWS] = {NULL,       NULL,       f32_wide_3,
                                                      f32_wide_4, f32_wide_5, f32_wide_6};

static void f32_many_rows(float *y, size_t ldy, const float *x, size_t ldx, int m,
                          const int4_weights *w, int n_panels, int g_begin, int g_end) {
    _Alignas(32) float wide[F32_BLOCK_GROUPS * CPU_GROUP * CPU_LANES];
    int n_tiles = (m + F32_ROWS - 1) / F32_ROWS;
    for (int g = g_begin, stop; g < g_end; g = stop) {
        stop = g_end - g > F32_BLOCK_GROUPS ? g + F32_BLOCK_GROUPS : g_end;
        for (int p = 0; p < n_panels; p++) {
            int4_weights part = weights_from(w, p);
            widen_panel(wide, part.codes, g, stop);
            for (int t = 0; t < n_tiles; t++) {
                int row = (int)((long)m * t / n_tiles);
                int rows = (int)((long)m * (t + 1) / n_tiles) - row;
                f32_wide_tiles[rows - 1](y + (size_t)row * ldy + (size_t)p * CPU_LANES, ldy,
                                         x + (size_t)row * ldx, ldx, &part, g, stop, wide);
            }
        }
    }
}

void cpu_avx2_gemm_int4_f32(float *y, size_t ldy, const float *x, size_t ldx, int m,
                            const uint8_t *codes, size_t codes_stride, const uint16_t *scales,
                            size_t scales_stride, int n_panels, int k_begin, int k_end,
                            int accumulate) {
    int4_weights w = {codes, scales, codes_stride, scales_stride};
    int g_begin = k_begin / CPU_GROUP, g_end = k_end / CPU_GROUP;
    if (!accumulate)
        for (int r = 0; r < m; r++)
            memset(y + (size_t)r * ldy, 0, (size_t)n_panels * CPU_LANES * sizeof *y);
    if (m > F32_ROWS) {
        f32_many_rows(y, ldy, x, ldx, m, &w, n_panels, g_begin, g_end);
        return;
    }
    for (int p = 0, width; p < n_panels; p += width) {
        width = n_panels - p < f32_panels[m - 1] ? n_panels - p : f32_panels[m - 1];
        int4_weights part = weights_from(&w, p);
        f32_tiles[m - 1][width - 1](y + (size_t)p * CPU_LANES, ldy, x, ldx, &part, g_begin, g_end,
                                    NULL);
    }
}
