// BF16 weights times f32 activations: weights are widened by a shift or a mask (the odd column is
// already the high half of its 32 bits) and multiplied in float32. BF16 dot instructions would
// round otherwise than the chain of fused multiply-adds, and run at half its rate on some CPUs.
#include "backend/cpu/avx512.h"

// TILE_ROWS x TILE_PANELS accumulators, two widened columns and a broadcast fill the registers.
// A block of TILE_PANELS panels and BLOCK_K columns stays in the second-level cache for all rows.
enum { TILE_ROWS = 6, TILE_PANELS = 4, BLOCK_K = 1024 };

// Columns ahead of the current ones to ask for: memory latency, and the prefetchers stop at page
// ends.
enum { AHEAD_K = 48 };

typedef void (*tile_function)(float *y, size_t ldy, const float *x, size_t ldx,
                              const uint16_t *panels, size_t panel_stride, int k_begin, int k_end,
                              int accumulate, const uint16_t *next);

// next: where the tile after this one begins reading.
CPU_TILE void tile(int rows, int n_panels, float *y, size_t ldy, const float *x, size_t ldx,
                   const uint16_t *panels, size_t panel_stride, int k_begin, int k_end,
                   int accumulate, const uint16_t *next) {
    const __m512i high_half = _mm512_set1_epi32((int)0xffff0000u);
    __m512 acc[TILE_ROWS][TILE_PANELS];
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        CPU_UNROLL
    for (int p = 0; p < n_panels; p++)
        acc[r][p] = accumulate ? _mm512_loadu_ps(y + (size_t)r * ldy + (size_t)p * CPU_LANES)
                               : _mm512_setzero_ps();
    for (int k = k_begin; k < k_end; k += 2) {
        const uint16_t *pair = panels + (size_t)k * CPU_LANES;
        int k_ahead = k + AHEAD_K;
        const uint16_t *ahead = k_ahead < k_end ? panels + (size_t)k_ahead * CPU_LANES
                                                : next + (size_t)(k_ahead - k_end) * CPU_LANES;
        __m512 even[TILE_PANELS], odd[TILE_PANELS];
        CPU_UNROLL
        for (int p = 0; p < n_panels; p++) {
            const uint16_t *at = pair + (size_t)p * panel_stride;
            _mm_prefetch(ahead + (size_t)p * panel_stride, _MM_HINT_T0);
            even[p] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_load_si512(at), 16));
        }
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            __m512 value = _mm512_set1_ps(x[(size_t)r * ldx + (size_t)k]);
            CPU_UNROLL
            for (int p = 0; p < n_panels; p++)
                acc[r][p] = _mm512_fmadd_ps(even[p], value, acc[r][p]);
        }
        CPU_UNROLL
        for (int p = 0; p < n_panels; p++) {
            const uint16_t *at = pair + (size_t)p * panel_stride;
            odd[p] = _mm512_castsi512_ps(_mm512_and_si512(_mm512_load_si512(at), high_half));
        }
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            __m512 value = _mm512_set1_ps(x[(size_t)r * ldx + (size_t)k + 1]);
            CPU_UNROLL
            for (int p = 0; p < n_panels; p++)
                acc[r][p] = _mm512_fmadd_ps(odd[p], value, acc[r][p]);
        }
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        CPU_UNROLL
    for (int p = 0; p < n_panels; p++)
        _mm512_storeu_ps(y + (size_t)r * ldy + (size_t)p * CPU_LANES, acc[r][p]);
}

#define TILE(rows, n_panels)                                                                       \
    static void tile_##rows##x##n_panels(float *y, size_t ldy, const float *x, size_t ldx,         \
                                         const uint16_t *panels, size_t panel_stride, int k_begin, \
                                         int k_end, int accumulate, const uint16_t *next) {        \
        tile(rows, n_panels, y, ldy, x, ldx, panels, panel_stride, k_begin, k_end, accumulate,     \
             next);                                                                                \
    }
#define TILES(rows) TILE(rows, 1) TILE(rows, 2) TILE(rows, 3) TILE(rows, 4)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)

#define NAMES(rows)                                                                                \
    { tile_##rows##x1, tile_##rows##x2, tile_##rows##x3, tile_##rows##x4 }
static const tile_function tiles[TILE_ROWS][TILE_PANELS] = {NAMES(1), NAMES(2), NAMES(3),
                                                            NAMES(4), NAMES(5), NAMES(6)};

void cpu_avx512_gemm_bf16(float *y, size_t ldy, const float *x, size_t ldx, int m,
                          const uint16_t *panels, size_t panel_stride, int n_panels, int k_begin,
                          int k_end, int accumulate) {
    // One tile of rows reads each weight once anyway; blocks would only break up the streams.
    int block = m > TILE_ROWS ? BLOCK_K : k_end - k_begin;
    int n_tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
    int k = k_begin;
    do {
        int stop = k_end - k > block ? k + block : k_end;
        for (int p = 0; p < n_panels; p += TILE_PANELS) {
            int width = n_panels - p < TILE_PANELS ? n_panels - p : TILE_PANELS;
            int after = p + width < n_panels ? p + width : p;
            const uint16_t *next = panels + (size_t)after * panel_stride + (size_t)k * CPU_LANES;
            for (int t = 0; t < n_tiles; t++) {
                // Tiles of nearly equal height: 7 rows are 4 + 3, not 6 + 1.
                int row = (int)((long)m * t / n_tiles);
                int rows = (int)((long)m * (t + 1) / n_tiles) - row;
                tiles[rows - 1][width - 1](y + (size_t)row * ldy + (size_t)p * CPU_LANES, ldy,
                                           x + (size_t)row * ldx, ldx,
                                           panels + (size_t)p * panel_stride, panel_stride, k, stop,
                                           accumulate || k > k_begin, next);
            }
        }
        k = stop;
    } while (k < k_end);
}
