// Absorbed MLA attention in AVX-512. Scores have the sixteen keys in the lanes and the key's width
// in time; the sums of values have sixteen latent dimensions in the lanes and the keys in time.
#include <math.h>

#include "backend/cpu/avx512.h"

// Score accumulators: one per row. Value accumulators: PV_ROWS x PV_VECTORS.
enum { ROWS = 8, PV_ROWS = 4, PV_VECTORS = 4 };

// In place: row i of the 16 x 16 matrix becomes column i.
CPU_TILE void transpose(__m512 rows[16]) {
    __m512 t[16];
    // Pairs of rows: 2 x 2 blocks, then 4 x 4 inside each 128-bit lane.
    CPU_UNROLL
    for (int i = 0; i < 16; i += 4) {
        __m512 ab_low = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        __m512 ab_high = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        __m512 cd_low = _mm512_unpacklo_ps(rows[i + 2], rows[i + 3]);
        __m512 cd_high = _mm512_unpackhi_ps(rows[i + 2], rows[i + 3]);
        t[i] = _mm512_shuffle_ps(ab_low, cd_low, 0x44);
        t[i + 1] = _mm512_shuffle_ps(ab_low, cd_low, 0xee);
        t[i + 2] = _mm512_shuffle_ps(ab_high, cd_high, 0x44);
        t[i + 3] = _mm512_shuffle_ps(ab_high, cd_high, 0xee);
    }
    // t[4b + c], 128-bit lane a: column 4a + c of rows 4b .. 4b + 3. Now the blocks themselves.
    CPU_UNROLL
    for (int c = 0; c < 4; c++) {
        __m512 low01 = _mm512_shuffle_f32x4(t[c], t[4 + c], 0x44);
        __m512 high01 = _mm512_shuffle_f32x4(t[c], t[4 + c], 0xee);
        __m512 low23 = _mm512_shuffle_f32x4(t[8 + c], t[12 + c], 0x44);
        __m512 high23 = _mm512_shuffle_f32x4(t[8 + c], t[12 + c], 0xee);
        rows[c] = _mm512_shuffle_f32x4(low01, low23, 0x88);
        rows[4 + c] = _mm512_shuffle_f32x4(low01, low23, 0xdd);
        rows[8 + c] = _mm512_shuffle_f32x4(high01, high23, 0x88);
        rows[12 + c] = _mm512_shuffle_f32x4(high01, high23, 0xdd);
    }
}

// bf16: the dtype of the cached rows.
CPU_TILE void load(int bf16, float *kt, float *v, const void *const keys[16], int latent,
                   int rope) {
    int width = latent + rope;
    for (int k = 0; k < width; k += 16) {
        __mmask16 head = avx512_head(width - k);
        __mmask16 head_latent = k < latent ? avx512_head(latent - k) : 0;
        __m512 rows[16];
        CPU_UNROLL
        for (int j = 0; j < 16; j++) {
            rows[j] = _mm512_setzero_ps();
            if (keys[j] && bf16)
                rows[j] =
                    avx512_widen(_mm256_maskz_loadu_epi16(head, (const uint16_t *)keys[j] + k));
            else if (keys[j])
                rows[j] = _mm512_maskz_loadu_ps(head, (const float *)keys[j] + k);
            if (head_latent)
                _mm512_mask_storeu_ps(v + (size_t)j * (size_t)latent + k, head_latent, rows[j]);
        }
        transpose(rows);
        int columns = width - k < 16 ? width - k : 16;
        CPU_UNROLL
        for (int i = 0; i < 16; i++)
            if (i < columns)
                _mm512_storeu_ps(kt + (size_t)(k + i) * CPU_KEYS, rows[i]);
    }
}

void cpu_avx512_attn_load_f32(float *kt, float *v, const void *const keys[16], int latent,
                              int rope) {
    load(0, kt, v, keys, latent, rope);
}

void cpu_avx512_attn_load_bf16(float *kt, float *v, const void *const keys[16], int latent,
                               int rope) {
    load(1, kt, v, keys, latent, rope);
}

// s [rows][16] = q . k of all sixteen keys.
CPU_TILE void score_tile(int rows, float *s, const float *q, size_t ldq, const float *kt,
                         int width) {
    __m512 acc[ROWS];
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        acc[r] = _mm512_setzero_ps();
    for (int k = 0; k < width; k++) {
        __m512 keys = _mm512_loadu_ps(kt + (size_t)k * CPU_KEYS);
        CPU_UNROLL
        for (int r = 0; r < rows; r++)
            acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(q[(size_t)r * ldq + (size_t)k]), keys, acc[r]);
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        _mm512_store_ps(s + r * CPU_KEYS, acc[r]);
}

static void scores(int rows, float *s, const float *q, size_t ldq, const float *kt, int width) {
    switch (rows) {
    case 8:
        score_tile(8, s, q, ldq, kt, width);
        return;
    case 7:
        score_tile(7, s, q, ldq, kt, width);
        return;
    case 6:
        score_tile(6, s, q, ldq, kt, width);
        return;
    case 5:
        score_tile(5, s, q, ldq, kt, width);
        return;
    case 4:
        score_tile(4, s, q, ldq, kt, width);
        return;
    case 3:
        score_tile(3, s, q, ldq, kt, width);
        return;
    case 2:
        score_tile(2, s, q, ldq, kt, width);
        return;
    default:
        score_tile(1, s, q, ldq, kt, width);
    }
}

// One row's softmax update: s [16] becomes p [16]; returns the factor for what was accumulated.
static float softmax_row(float *m, float *l, float *s, int valid, float scale) {
    __mmask16 present = avx512_head(valid);
    __m512 score = _mm512_mul_ps(_mm512_load_ps(s), _mm512_set1_ps(scale));
    // A NaN does not take part in the maximum, but it reaches l and acc through p.
    __mmask16 ordered = _mm512_mask_cmp_ps_mask(present, score, score, _CMP_ORD_Q);
    float top = avx512_tree_max(_mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), ordered, score));
    top = *m > top ? *m : top;
    float c = _mm512_cvtss_f32(avx512_exp(_mm512_set1_ps(*m - top)));
    __m512 p = avx512_exp(_mm512_sub_ps(score, _mm512_set1_ps(top)));
    p = _mm512_maskz_mov_ps(present, p);
    _mm512_store_ps(s, p);
    *l = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(*l), _mm_set_ss(c), _mm_set_ss(avx512_tree_sum(p))));
    *m = top;
    return c;
}

// acc = acc * c + p v for `rows` rows and `vectors` x 16 dimensions, of which `head` are there in
// the last vector. mixed: the rows differ in valid, each takes its own first keys.
CPU_TILE void value_tile(int rows, int vectors, int mixed, float *acc, const float *c,
                         const float *p, const float *v, const int *valid, int keys, int latent,
                         __mmask16 head) {
    __m512 sum[PV_ROWS][PV_VECTORS];
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        CPU_UNROLL
    for (int i = 0; i < vectors; i++) {
        const float *at = acc + (size_t)r * (size_t)latent + i * 16;
        sum[r][i] = _mm512_mul_ps(_mm512_maskz_loadu_ps(head, at), _mm512_set1_ps(c[r]));
    }
    for (int j = 0; j < keys; j++) {
        __m512 value[PV_VECTORS];
        CPU_UNROLL
        for (int i = 0; i < vectors; i++)
            value[i] = _mm512_maskz_loadu_ps(head, v + (size_t)j * (size_t)latent + i * 16);
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            __m512 weight = _mm512_set1_ps(p[r * CPU_KEYS + j]);
            __mmask16 take = mixed && j >= valid[r] ? 0 : (__mmask16)0xffff;
            CPU_UNROLL
            for (int i = 0; i < vectors; i++)
                sum[r][i] = mixed ? _mm512_mask3_fmadd_ps(weight, value[i], sum[r][i], take)
                                  : _mm512_fmadd_ps(weight, value[i], sum[r][i]);
        }
    }
    CPU_UNROLL
    for (int r = 0; r < rows; r++)
        CPU_UNROLL
    for (int i = 0; i < vectors; i++)
        _mm512_mask_storeu_ps(acc + (size_t)r * (size_t)latent + i * 16, head, sum[r][i]);
}

CPU_TILE void value_rows(int rows, int mixed, float *acc, const float *c, const float *p,
                         const float *v, const int *valid, int keys, int latent) {
    const __mmask16 all = 0xffff;
    int d = 0;
    for (; d + 16 * PV_VECTORS <= latent; d += 16 * PV_VECTORS)
        value_tile(rows, PV_VECTORS, mixed, acc + d, c, p, v + d, valid, keys, latent, all);
    for (; d < latent; d += 16)
        value_tile(rows, 1, mixed, acc + d, c, p, v + d, valid, keys, latent,
                   avx512_head(latent - d));
}

static void values(int rows, float *acc, const float *c, const float *p, const float *v,
                   const int *valid, int latent) {
    int most = 0, least = CPU_KEYS;
    for (int r = 0; r < rows; r++) {
        most = valid[r] > most ? valid[r] : most;
        least = valid[r] < least ? valid[r] : least;
    }
    if (most == 0)
        return;
    if (least < most || rows < PV_ROWS) {
        // Rows one by one when they are few; absent rows are skipped by the mask.
        if (rows == PV_ROWS)
            value_rows(PV_ROWS, 1, acc, c, p, v, valid, most, latent);
        else
            for (int r = 0; r < rows; r++)
                value_rows(1, 0, acc + (size_t)r * (size_t)latent, c + r, p + r * CPU_KEYS, v,
                           valid, valid[r], latent);
        return;
    }
    value_rows(PV_ROWS, 0, acc, c, p, v, valid, most, latent);
}

void cpu_avx512_attn_tile(float *m, float *l, float *acc, const float *q, size_t ldq, int rows,
                          const float *kt, const float *v, const int *valid, int latent, int rope,
                          float scale) {
    for (int row = 0; row < rows; row += ROWS) {
        int count = rows - row < ROWS ? rows - row : ROWS;
        _Alignas(64) float s[ROWS * CPU_KEYS];
        float c[ROWS];
        int any = 0;
        for (int r = 0; r < count; r++)
            any |= valid[row + r];
        if (!any)
            continue;
        scores(count, s, q + (size_t)row * ldq, ldq, kt, latent + rope);
        for (int r = 0; r < count; r++)
            c[r] = valid[row + r] > 0 ? softmax_row(m + row + r, l + row + r, s + r * CPU_KEYS,
                                                    valid[row + r], scale)
                                      : 1.0f;
        for (int r = 0; r < count; r += PV_ROWS)
            values(count - r < PV_ROWS ? count - r : PV_ROWS,
                   acc + (size_t)(row + r) * (size_t)latent, c + r, s + r * CPU_KEYS, v,
                   valid + row + r, latent);
    }
}

void cpu_avx512_attn_merge(float *ma, float *la, float *acca, const float *mb, const float *lb,
                           const float *accb, int rows, int latent) {
    for (int row = 0; row < rows; row++) {
        float *a = acca + (size_t)row * (size_t)latent;
        const float *b = accb + (size_t)row * (size_t)latent;
        if (cpu_merge_empty(ma + row, la + row, a, mb[row], lb[row], b, latent))
            continue;
        float top = ma[row] > mb[row] ? ma[row] : mb[row];
        __m512 ca = avx512_exp(_mm512_set1_ps(ma[row] - top));
        __m512 cb = avx512_exp(_mm512_set1_ps(mb[row] - top));
        la[row] = fmaf(la[row], _mm512_cvtss_f32(ca), lb[row] * _mm512_cvtss_f32(cb));
        ma[row] = top;
        for (int d = 0; d < latent; d += 16) {
            __mmask16 head = avx512_head(latent - d);
            __m512 other = _mm512_mul_ps(_mm512_maskz_loadu_ps(head, b + d), cb);
            __m512 sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(head, a + d), ca, other);
            _mm512_mask_storeu_ps(a + d, head, sum);
        }
    }
}
