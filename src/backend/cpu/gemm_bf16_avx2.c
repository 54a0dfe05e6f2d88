// BF16 weights times f32 activations in AVX2: weights are widened by a shift or a mask (the odd
// column is already the high half of its 32 bits) and multiplied in float32.
#include "backend/cpu/avx2.h"

// Many rows share a widened panel; few rows take several panels, for chains enough to hide the
// latency of the multiply-adds. Accumulators: rows x panels x 2.
enum { TILE_ROWS = 6, TILE_PANELS = 4, BLOCK_K = 512 };

// Columns ahead of the current ones to ask for: memory latency, and the prefetchers stop at page
// ends.
enum { AHEAD_K = 512 };

// The even or the odd columns of eight pairs.
CPU_TILE __m256 widened(const uint16_t *pairs, int odd) {
    __m256i both = _mm256_load_si256((const __m256i *)pairs);
    return _mm256_castsi256_ps(odd ? _mm256_and_si256(both, _mm256_set1_epi32((int)0xffff0000u))
                                   : _mm256_slli_epi32(both, 16));
}

// next: where the tile after this one begins reading.
CPU_TILE void tile(int rows, int n_panels, float *y, size_t ldy, const float *x, size_t ldx,
                   const uint16_t *panels, size_t panel_stride, int k_begin, int k_end,
                   int accumulate, const uint16_t *next) {
    __m256 acc[TILE_ROWS][TILE_PANELS * 2];
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int h = 0; h < n_panels * 2; h++)
            acc[r][h] = accumulate ? _mm256_loadu_ps(y + (size_t)r * ldy + (size_t)h * 8)
                                   : _mm256_setzero_ps();
    }
    for (int k = k_begin; k < k_end; k += 2) {
        const uint16_t *pair = panels + (size_t)k * CPU_LANES;
        int k_ahead = k + AHEAD_K / n_panels;
        const uint16_t *ahead = k_ahead < k_end ? panels + (size_t)k_ahead * CPU_LANES
                                                : next + (size_t)(k_ahead - k_end) * CPU_LANES;
        CPU_UNROLL
        for (int p = 0; p < n_panels; p++)
            _mm_prefetch(ahead + (size_t)p * panel_stride, _MM_HINT_T1);
        CPU_UNROLL
        for (int odd = 0; odd < 2; odd++) {
            __m256 weight[TILE_PANELS * 2], value[TILE_ROWS];
            // Whichever are fewer stay in registers.
            if (rows <= n_panels) {
                CPU_UNROLL
                for (int r = 0; r < rows; r++)
                    value[r] = _mm256_set1_ps(x[(size_t)r * ldx + (size_t)(k + odd)]);
                CPU_UNROLL
                for (int h = 0; h < n_panels * 2; h++) {
                    weight[h] = widened(pair + (size_t)(h / 2) * panel_stride + h % 2 * 16, odd);
                    CPU_UNROLL
                    for (int r = 0; r < rows; r++)
                        avx2_add_product(&acc[r][h], weight[h], value[r]);
                }
            } else {
                CPU_UNROLL
                for (int h = 0; h < n_panels * 2; h++)
                    weight[h] = widened(pair + (size_t)(h / 2) * panel_stride + h % 2 * 16, odd);
                CPU_UNROLL
                for (int r = 0; r < rows; r++) {
                    value[r] = _mm256_set1_ps(x[(size_t)r * ldx + (size_t)(k + odd)]);
                    CPU_UNROLL
                    for (int h = 0; h < n_panels * 2; h++)
                        avx2_add_product(&acc[r][h], weight[h], value[r]);
                }
            }
        }
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int h = 0; h < n_panels * 2; h++)
            _mm256_storeu_ps(y + (size_t)r * ldy + (size_t)h * 8, acc[r][h]);
    }
}

typedef void (*tile_function)(float *y, size_t ldy, const float *x, size_t ldx,
                              const uint16_t *panels, size_t panel_stride, int k_begin, int k_end,
                              int accumulate, const uint16_t *next);

#define TILE(rows, n_panels)                                                                       \
    static void tile_##rows##x##n_panels(float *y, size_t ldy, const float *x, size_t ldx,         \
                                         const uint16_t *panels, size_t panel_stride, int k_begin, \
                                         int k_end, int accumulate, const uint16_t *next) {        \
        tile(rows, n_panels, y, ldy, x, ldx, panels, panel_stride, k_begin, k_end, accumulate,     \
             next);                                                                                \
    }
TILE(1, 1)
TILE(1, 2)
TILE(1, 3)
TILE(1, 4)
TILE(2, 1)
TILE(2, 2)
TILE(2, 3)
TILE(3, 1)
TILE(3, 2)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)

// The last name of a row ends its panels.
static const tile_function tiles[TILE_ROWS][TILE_PANELS] = {
    {tile_1x1, tile_1x2, tile_1x3, tile_1x4},
    {tile_2x1, tile_2x2, tile_2x3},
    {tile_3x1, tile_3x2},
    {tile_4x1},
    {tile_5x1},
    {tile_6x1},
};
static const int tile_panels[TILE_ROWS] = {4, 3, 2, 1, 1, 1};

typedef struct product {
    float *y;
    const float *x;
    const uint16_t *panels;
    size_t ldy, ldx, panel_stride;
} product;

static void run_part(const void *of, const avx2_part *part) {
    const product *t = of;
    int step = tile_panels[part->rows - 1];
    for (int p = part->panel, width; p < part->panel_end; p += width) {
        width = part->panel_end - p < step ? part->panel_end - p : step;
        int after = p + width < part->panel_end ? p + width : p;
        const uint16_t *next =
            t->panels + (size_t)after * t->panel_stride + (size_t)part->k_begin * CPU_LANES;
        tiles[part->rows - 1][width - 1](t->y + (size_t)part->row * t->ldy + (size_t)p * CPU_LANES,
                                         t->ldy, t->x + (size_t)part->row * t->ldx, t->ldx,
                                         t->panels + (size_t)p * t->panel_stride, t->panel_stride,
                                         part->k_begin, part->k_end, part->accumulate, next);
    }
}

void cpu_avx2_gemm_bf16(float *y, size_t ldy, const float *x, size_t ldx, int m,
                        const uint16_t *panels, size_t panel_stride, int n_panels, int k_begin,
                        int k_end, int accumulate) {
    product t = {y, x, panels, ldy, ldx, panel_stride};
    avx2_for_parts(m, n_panels, k_begin, k_end, accumulate, TILE_ROWS, BLOCK_K, run_part, &t);
}
