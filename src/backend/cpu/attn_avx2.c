// Absorbed MLA attention in AVX2. Scores have the sixteen keys in the lanes and the key's width in
// time; the sums of values have the latent dimensions in the lanes and the keys in time.
#include <math.h>

#include "backend/cpu/avx2.h"

// Accumulators: ROWS x the two halves of the keys, ROWS x VECTORS of latent dimensions.
enum { ROWS = 6, VECTORS = 2 };

// In place: row i of the 8 x 8 matrix becomes column i.
CPU_TILE void transpose(__m256 rows[8]) {
    __m256 t[8];
    // Pairs of rows: 2 x 2 blocks, then 4 x 4 inside each 128-bit lane.
    CPU_UNROLL
    for (int i = 0; i < 8; i += 4) {
        __m256 ab_low = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        __m256 ab_high = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        __m256 cd_low = _mm256_unpacklo_ps(rows[i + 2], rows[i + 3]);
        __m256 cd_high = _mm256_unpackhi_ps(rows[i + 2], rows[i + 3]);
        t[i] = _mm256_shuffle_ps(ab_low, cd_low, 0x44);
        t[i + 1] = _mm256_shuffle_ps(ab_low, cd_low, 0xee);
        t[i + 2] = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
        t[i + 3] = _mm256_shuffle_ps(ab_high, cd_high, 0xee);
    }
    // t[4b + c], 128-bit lane a: column 4a + c of rows 4b .. 4b + 3.
    CPU_UNROLL
    for (int c = 0; c < 4; c++) {
        rows[c] = _mm256_permute2f128_ps(t[c], t[4 + c], 0x20);
        rows[4 + c] = _mm256_permute2f128_ps(t[c], t[4 + c], 0x31);
    }
}

// The first n values of a key, all eight for n >= 8, and zeros.
CPU_TILE __m256 load_key(int bf16, const void *key, size_t k, int n) {
    if (!bf16)
        return avx2_load((const float *)key + k, n);
    uint16_t short_key[8] = {0};
    const uint16_t *at = (const uint16_t *)key + k;
    if (n < 8)
        at = memcpy(short_key, at, (size_t)n * sizeof *at);
    return avx2_widen(_mm_loadu_si128((const __m128i *)at));
}

// bf16: the dtype of the cached rows.
CPU_TILE void load(int bf16, float *kt, float *v, const void *const keys[16], int latent,
                   int rope) {
    int width = latent + rope;
    for (int k = 0; k < width; k += 8)
        for (int half = 0; half < 16; half += 8) {
            __m256 rows[8];
            CPU_UNROLL
            for (int j = 0; j < 8; j++) {
                const void *key = keys[half + j];
                rows[j] = key ? load_key(bf16, key, (size_t)k, width - k) : _mm256_setzero_ps();
                if (k < latent)
                    avx2_store(v + (size_t)(half + j) * (size_t)latent + k, latent - k, rows[j]);
            }
            transpose(rows);
            CPU_UNROLL
            for (int i = 0; i < 8; i++)
                if (k + i < width)
                    _mm256_storeu_ps(kt + (size_t)(k + i) * CPU_KEYS + half, rows[i]);
        }
}

void cpu_avx2_attn_load_f32(float *kt, float *v, const void *const keys[16], int latent, int rope) {
    load(0, kt, v, keys, latent, rope);
}

void cpu_avx2_attn_load_bf16(float *kt, float *v, const void *const keys[16], int latent,
                             int rope) {
    load(1, kt, v, keys, latent, rope);
}

// s [rows][16] = q . k of all sixteen keys.
CPU_TILE void scores(int rows, float *s, const float *q, size_t ldq, const float *kt, int width) {
    __m256 acc[ROWS][2];
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (int k = 0; k < width; k++) {
        __m256 low = _mm256_loadu_ps(kt + (size_t)k * CPU_KEYS);
        __m256 high = _mm256_loadu_ps(kt + (size_t)k * CPU_KEYS + 8);
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            __m256 value = _mm256_set1_ps(q[(size_t)r * ldq + (size_t)k]);
            avx2_add_product(&acc[r][0], value, low);
            avx2_add_product(&acc[r][1], value, high);
        }
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        _mm256_store_ps(s + r * CPU_KEYS, acc[r][0]);
        _mm256_store_ps(s + r * CPU_KEYS + 8, acc[r][1]);
    }
}

// The scores that take part in the maximum, minus infinity elsewhere. A NaN does not, but it
// reaches l and acc through p.
static inline __m256 candidates(__m256 score, __m256 present) {
    __m256 ordered = _mm256_and_ps(present, _mm256_cmp_ps(score, score, _CMP_ORD_Q));
    return _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), score, ordered);
}

// One row's softmax update: s [16] becomes p [16]; returns the factor for what was accumulated.
static float softmax_row(float *m, float *l, float *s, int valid, float scale) {
    __m256 present[2], score[2], p[2];
    for (int h = 0; h < 2; h++) {
        present[h] = _mm256_castsi256_ps(avx2_head(valid - 8 * h));
        score[h] = _mm256_mul_ps(_mm256_load_ps(s + 8 * h), _mm256_set1_ps(scale));
    }
    float top = avx2_tree_max(candidates(score[0], present[0]), candidates(score[1], present[1]));
    top = *m > top ? *m : top;
    float c = _mm256_cvtss_f32(avx2_exp(_mm256_set1_ps(*m - top)));
    for (int h = 0; h < 2; h++) {
        p[h] = avx2_exp(_mm256_sub_ps(score[h], _mm256_set1_ps(top)));
        p[h] = _mm256_and_ps(p[h], present[h]);
        _mm256_store_ps(s + 8 * h, p[h]);
    }
    *l = fmaf(*l, c, avx2_tree_sum(p[0], p[1]));
    *m = top;
    return c;
}

// acc = acc * c + p v for `rows` rows, keys [from, to) and `vectors` x 8 dimensions, of which n are
// there in the last vector.
CPU_TILE void value_tile(int rows, int vectors, float *acc, const float *c, const float *p,
                         const float *v, int from, int to, int latent, int n) {
    __m256 sum[ROWS][VECTORS];
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int i = 0; i < vectors; i++)
            sum[r][i] = _mm256_mul_ps(avx2_load(acc + (size_t)r * (size_t)latent + i * 8, n),
                                      _mm256_set1_ps(c[r]));
    }
    for (int j = from; j < to; j++) {
        __m256 value[VECTORS];
        CPU_UNROLL
        for (int i = 0; i < vectors; i++)
            value[i] = avx2_load(v + (size_t)j * (size_t)latent + i * 8, n);
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            __m256 weight = _mm256_set1_ps(p[r * CPU_KEYS + j]);
            CPU_UNROLL
            for (int i = 0; i < vectors; i++)
                avx2_add_product(&sum[r][i], weight, value[i]);
        }
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int i = 0; i < vectors; i++)
            avx2_store(acc + (size_t)r * (size_t)latent + i * 8, n, sum[r][i]);
    }
}

CPU_TILE void value_rows(int rows, float *acc, const float *c, const float *p, const float *v,
                         int from, int to, int latent) {
    int d = 0;
    for (; d + 8 * VECTORS <= latent; d += 8 * VECTORS)
        value_tile(rows, VECTORS, acc + d, c, p, v + d, from, to, latent, 8);
    for (; d < latent; d += 8)
        value_tile(rows, 1, acc + d, c, p, v + d, from, to, latent, latent - d);
}

// The keys that all rows have together, then what some rows have more of, row by row.
CPU_TILE void values(int rows, float *acc, const float *c, const float *p, const float *v,
                     const int *valid, int latent) {
    const float unscaled = 1.0f;
    int least = CPU_KEYS;
    for (int r = 0; r < rows; r++)
        least = valid[r] < least ? valid[r] : least;
    value_rows(rows, acc, c, p, v, 0, least, latent);
    for (int r = 0; r < rows; r++)
        if (valid[r] > least)
            value_rows(1, acc + (size_t)r * (size_t)latent, &unscaled, p + r * CPU_KEYS, v, least,
                       valid[r], latent);
}

typedef struct tile_keys {
    const float *kt, *v; // [latent + rope][16], [16][latent]
    int latent, rope;
    float scale;
} tile_keys;

CPU_TILE void tile(int rows, float *m, float *l, float *acc, const float *q, size_t ldq,
                   const int *valid, const tile_keys *t) {
    _Alignas(32) float s[ROWS * CPU_KEYS];
    float c[ROWS];
    int any = 0;
    for (int r = 0; r < rows; r++)
        any |= valid[r];
    if (!any)
        return;
    scores(rows, s, q, ldq, t->kt, t->latent + t->rope);
    for (int r = 0; r < rows; r++)
        c[r] =
            valid[r] > 0 ? softmax_row(m + r, l + r, s + r * CPU_KEYS, valid[r], t->scale) : 1.0f;
    values(rows, acc, c, s, t->v, valid, t->latent);
}

typedef void (*tile_function)(float *m, float *l, float *acc, const float *q, size_t ldq,
                              const int *valid, const tile_keys *t);

#define TILE(rows)                                                                                 \
    static void tile_##rows(float *m, float *l, float *acc, const float *q, size_t ldq,            \
                            const int *valid, const tile_keys *t) {                                \
        tile(rows, m, l, acc, q, ldq, valid, t);                                                   \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
static const tile_function tiles[ROWS] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};

void cpu_avx2_attn_tile(float *m, float *l, float *acc, const float *q, size_t ldq, int rows,
                        const float *kt, const float *v, const int *valid, int latent, int rope,
                        float scale) {
    const tile_keys t = {kt, v, latent, rope, scale};
    int n_tiles = (rows + ROWS - 1) / ROWS;
    for (int i = 0; i < n_tiles; i++) {
        // Tiles of nearly equal height: 8 rows are 4 + 4, not 6 + 2.
        int row = (int)((long)rows * i / n_tiles);
        int count = (int)((long)rows * (i + 1) / n_tiles) - row;
        tiles[count - 1](m + row, l + row, acc + (size_t)row * (size_t)latent,
                         q + (size_t)row * ldq, ldq, valid + row, &t);
    }
}

void cpu_avx2_attn_merge(float *ma, float *la, float *acca, const float *mb, const float *lb,
                         const float *accb, int rows, int latent) {
    for (int row = 0; row < rows; row++) {
        float *a = acca + (size_t)row * (size_t)latent;
        const float *b = accb + (size_t)row * (size_t)latent;
        if (cpu_merge_empty(ma + row, la + row, a, mb[row], lb[row], b, latent))
            continue;
        float top = ma[row] > mb[row] ? ma[row] : mb[row];
        __m256 ca = avx2_exp(_mm256_set1_ps(ma[row] - top));
        __m256 cb = avx2_exp(_mm256_set1_ps(mb[row] - top));
        la[row] = fmaf(la[row], _mm256_cvtss_f32(ca), lb[row] * _mm256_cvtss_f32(cb));
        ma[row] = top;
        for (int d = 0; d < latent; d += 8) {
            __m256 other = _mm256_mul_ps(avx2_load(b + d, latent - d), cb);
            __m256 sum = _mm256_fmadd_ps(avx2_load(a + d, latent - d), ca, other);
            avx2_store(a + d, latent - d, sum);
        }
    }
}
