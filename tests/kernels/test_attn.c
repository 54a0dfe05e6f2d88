// Attention tiles: loading, the online softmax update and the merge of partial results.
#include "kernels/check.h"

#include "base/num.h"

enum { MAX_KEYS = 5 * CPU_KEYS };

typedef struct shape {
    int latent, rope;
} shape;

static const shape shapes[] = {{64, 16}, {512, 64}, {2, 2}, {18, 6}, {66, 34}, {30, 4}, {130, 10}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct state_rows {
    float *m, *l, *acc; // [rows], [rows], [rows][latent]
    int rows, latent;
} state_rows;

static state_rows rows_fresh(int rows, int latent) {
    state_rows s = {.rows = rows, .latent = latent};
    s.m = check_alloc((size_t)rows * 4);
    s.l = check_alloc((size_t)rows * 4);
    s.acc = check_alloc((size_t)rows * (size_t)latent * 4);
    for (int r = 0; r < rows; r++) {
        s.m[r] = -INFINITY;
        s.l[r] = 0;
    }
    memset(s.acc, 0, (size_t)rows * (size_t)latent * 4);
    return s;
}

static state_rows rows_copy(const state_rows *from) {
    size_t rows = (size_t)from->rows;
    state_rows s = *from;
    s.m = check_copy(from->m, rows * 4);
    s.l = check_copy(from->l, rows * 4);
    s.acc = check_copy(from->acc, rows * (size_t)from->latent * 4);
    return s;
}

static void rows_free(state_rows *s) {
    free(s->m);
    free(s->l);
    free(s->acc);
}

static void rows_same(const state_rows *a, const state_rows *b, const char *what) {
    check_same(a->m, b->m, (size_t)a->rows, what);
    check_same(a->l, b->l, (size_t)a->rows, what);
    check_same(a->acc, b->acc, (size_t)a->rows * (size_t)a->latent, what);
}

static void test_load(void **state) {
    (void)state;
    for (int round = 0; round < 70; round++) {
        shape s = shapes[round % SHAPES];
        size_t width = (size_t)(s.latent + s.rope);
        float *rows = check_floats(CPU_KEYS * width, CHECK_WITH_NAN);
        uint16_t *half = check_alloc(CPU_KEYS * width * 2);
        for (size_t i = 0; i < CPU_KEYS * width; i++)
            half[i] = check_bf16(CHECK_WITH_NAN);
        const void *keys[16], *half_keys[16];
        for (size_t j = 0; j < CPU_KEYS; j++) {
            int absent = check_below(3) == 0;
            keys[j] = absent ? NULL : rows + j * width;
            half_keys[j] = absent ? NULL : half + j * width;
        }
        for (int i = 0; check_level(i); i++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                float *kt = check_alloc(width * CPU_KEYS * 4);
                float *v = check_alloc(CPU_KEYS * (size_t)s.latent * 4);
                if (bf16)
                    check_level(i)->attn_load_bf16(kt, v, half_keys, s.latent, s.rope);
                else
                    check_level(i)->attn_load_f32(kt, v, keys, s.latent, s.rope);
                for (size_t j = 0; j < CPU_KEYS; j++)
                    for (size_t k = 0; k < width; k++) {
                        float wanted = !keys[j] ? 0.0f
                                       : bf16   ? base_bf16_to_f32(half[j * width + k])
                                                : rows[j * width + k];
                        check_same(kt + k * CPU_KEYS + j, &wanted, 1, "kt");
                        if (k < (size_t)s.latent)
                            check_same(v + j * (size_t)s.latent + k, &wanted, 1, "v");
                    }
                free(kt);
                free(v);
            }
        free(rows);
        free(half);
    }
}

typedef struct tile {
    float *kt, *v;
    int *valid; // [rows]
} tile;

static tile tile_make(int rows, shape s, enum check_kind kind, int mixed) {
    tile t;
    t.kt = check_floats((size_t)(s.latent + s.rope) * CPU_KEYS, kind);
    t.v = check_floats((size_t)s.latent * CPU_KEYS, kind);
    t.valid = check_alloc((size_t)rows * sizeof *t.valid);
    int same = check_below(CPU_KEYS + 1);
    for (int r = 0; r < rows; r++)
        t.valid[r] = mixed == 0 ? CPU_KEYS : mixed == 1 ? same : check_below(CPU_KEYS + 1);
    return t;
}

static void tile_free(tile *t) {
    free(t->kt);
    free(t->v);
    free(t->valid);
}

static void test_tile_levels_agree(void **state) {
    (void)state;
    for (int round = 0; round < 150; round++) {
        shape s = shapes[round % SHAPES];
        int rows = 1 + check_below(s.latent == 512 ? 12 : 45);
        enum check_kind kind = (enum check_kind)(round / 3 % 3);
        size_t ldq = (size_t)(s.latent + s.rope + check_below(5));
        float *q = check_floats((size_t)rows * ldq, kind);
        state_rows wanted = rows_fresh(rows, s.latent);
        for (int step = 0; step < 3; step++) {
            tile t = tile_make(rows, s, kind, round % 3);
            state_rows before = rows_copy(&wanted);
            check_level(0)->attn_tile(wanted.m, wanted.l, wanted.acc, q, ldq, rows, t.kt, t.v,
                                      t.valid, s.latent, s.rope, 0.14f);
            for (int i = 1; check_level(i); i++) {
                state_rows got = rows_copy(&before);
                check_level(i)->attn_tile(got.m, got.l, got.acc, q, ldq, rows, t.kt, t.v, t.valid,
                                          s.latent, s.rope, 0.14f);
                rows_same(&got, &wanted, "attn_tile");
                rows_free(&got);
            }
            rows_free(&before);
            tile_free(&t);
        }
        rows_free(&wanted);
        free(q);
    }
}

// Whatever stands in the absent keys' columns and rows must not be seen, a NaN least of all; and a
// row gives the same alone as among others.
static void test_tile_absent_keys_and_neighbours(void **state) {
    (void)state;
    for (int i = 0; check_level(i); i++)
        for (int round = 0; round < 60; round++) {
            shape s = shapes[round % SHAPES];
            size_t width = (size_t)(s.latent + s.rope), latent = (size_t)s.latent;
            int rows = 1 + check_below(20), most = 0;
            float *q = check_floats((size_t)rows * width, CHECK_PLAIN);
            tile t = tile_make(rows, s, CHECK_PLAIN, 1 + round % 2);
            state_rows together = rows_fresh(rows, s.latent);
            for (int r = 0; r < rows; r++)
                most = t.valid[r] > most ? t.valid[r] : most;
            for (size_t j = (size_t)most; j < CPU_KEYS; j++) {
                for (size_t k = 0; k < width; k++)
                    t.kt[k * CPU_KEYS + j] = NAN;
                for (size_t d = 0; d < latent; d++)
                    t.v[j * latent + d] = NAN;
            }
            check_level(i)->attn_tile(together.m, together.l, together.acc, q, width, rows, t.kt,
                                      t.v, t.valid, s.latent, s.rope, 0.3f);
            for (int r = 0; r < rows; r++) {
                state_rows alone = rows_fresh(1, s.latent);
                // Now also the keys that only its neighbours have.
                float *own_v = check_copy(t.v, latent * CPU_KEYS * sizeof *own_v);
                for (size_t j = (size_t)t.valid[r]; j < CPU_KEYS; j++)
                    for (size_t d = 0; d < latent; d++)
                        own_v[j * latent + d] = NAN;
                check_level(i)->attn_tile(alone.m, alone.l, alone.acc, q + (size_t)r * width, width,
                                          1, t.kt, own_v, t.valid + r, s.latent, s.rope, 0.3f);
                free(own_v);
                check_same(alone.m, together.m + r, 1, "m alone");
                check_same(alone.l, together.l + r, 1, "l alone");
                check_same(alone.acc, together.acc + (size_t)r * latent, latent, "acc alone");
                assert_false(isnan(alone.l[0]));
                rows_free(&alone);
            }
            rows_free(&together);
            tile_free(&t);
            free(q);
        }
}

static void test_tile_nan_comes_out(void **state) {
    (void)state;
    for (int i = 0; check_level(i); i++)
        for (int where = 0; where < 4; where++) {
            shape s = {34, 6};
            size_t width = 40;
            float *q = check_floats(3 * width, CHECK_PLAIN);
            tile t = tile_make(3, s, CHECK_PLAIN, 0);
            state_rows rows = rows_fresh(3, s.latent);
            check_level(i)->attn_tile(rows.m, rows.l, rows.acc, q, width, 3, t.kt, t.v, t.valid,
                                      s.latent, s.rope, 0.3f);
            if (where == 0)
                q[width + 7] = NAN;
            else if (where == 1)
                q[width + 7] = INFINITY;
            else if (where == 2)
                rows.m[1] = NAN;
            else
                q[width + 7] = -INFINITY;
            for (int step = 0; step < 2; step++)
                check_level(i)->attn_tile(rows.m, rows.l, rows.acc, q, width, 3, t.kt, t.v, t.valid,
                                          s.latent, s.rope, 0.3f);
            assert_true(isnan(rows.l[1]) && isnan(rows.acc[34]) && isnan(rows.acc[34 + 33]));
            assert_false(isnan(rows.l[0]) || isnan(rows.l[2]) || isnan(rows.acc[0]) ||
                         isnan(rows.acc[2 * 34]));
            rows_free(&rows);
            tile_free(&t);
            free(q);
        }
}

// Softmax attention of one query over n keys in float64.
typedef struct exact {
    double top, error; // largest score; how far a float32 score may be from its exact value
    double low;        // smallest score
    double out[512];
} exact;

static void exact_attention(exact *e, const float *q, float *const keys[], int n, shape s,
                            double scale) {
    static double score[MAX_KEYS];
    int width = s.latent + s.rope;
    e->top = -INFINITY;
    e->low = INFINITY;
    e->error = 0;
    for (int j = 0; j < n; j++) {
        double dot = 0, magnitude = 0;
        for (int k = 0; k < width; k++) {
            dot += (double)q[k] * (double)keys[j][k];
            magnitude += fabs((double)q[k] * (double)keys[j][k]);
        }
        score[j] = dot * scale;
        e->top = fmax(e->top, score[j]);
        e->low = fmin(e->low, score[j]);
        e->error = fmax(e->error, (width + 2) * CHECK_U * magnitude * scale);
    }
    double sum = 0;
    memset(e->out, 0, sizeof e->out);
    for (int j = 0; j < n; j++) {
        double p = exp(score[j] - e->top);
        sum += p;
        for (int d = 0; d < s.latent; d++)
            e->out[d] += p * (double)keys[j][d];
    }
    for (int d = 0; d < s.latent; d++)
        e->out[d] /= sum;
}

// Relative error of a weight p: twice the scores' error (its own and the maximum's), the rounding
// of the difference, exp's ulp; then per tile the same for the factor c, its product, and sixteen
// additions. Numerator and sum each, so twice. Keys are below 1.5 in magnitude.
static double exact_bound(const exact *e, int tiles) {
    double difference = (e->top - e->low) * CHECK_U;
    double weight = 2 * e->error + difference + 3 * CHECK_U;
    double per_tile = 2 * e->error + difference + (3 + 1 + 16 + 5) * CHECK_U;
    return 2 * (weight + tiles * per_tile) * 1.5;
}

static void attend(const cpu_kernels *level, state_rows *rows, const float *q, size_t ldq,
                   float *const keys[], int first, int last, shape s, float scale) {
    float *kt = check_alloc((size_t)(s.latent + s.rope) * CPU_KEYS * 4);
    float *v = check_alloc((size_t)s.latent * CPU_KEYS * 4);
    int *valid = check_alloc((size_t)rows->rows * sizeof *valid);
    for (int at = first; at < last; at += CPU_KEYS) {
        const void *tile_keys[16] = {0};
        int n = last - at < CPU_KEYS ? last - at : CPU_KEYS;
        for (int j = 0; j < n; j++)
            tile_keys[j] = keys[at + j];
        for (int r = 0; r < rows->rows; r++)
            valid[r] = n;
        level->attn_load_f32(kt, v, tile_keys, s.latent, s.rope);
        level->attn_tile(rows->m, rows->l, rows->acc, q, ldq, rows->rows, kt, v, valid, s.latent,
                         s.rope, scale);
    }
    free(kt);
    free(v);
    free(valid);
}

static void check_against_exact(const state_rows *rows, const float *q, size_t ldq,
                                float *const keys[], int n, shape s, float scale, int tiles) {
    static exact e;
    for (int r = 0; r < rows->rows; r++) {
        exact_attention(&e, q + (size_t)r * ldq, keys, n, s, (double)scale);
        check_near((double)rows->m[r], e.top, e.error, "maximum");
        for (int d = 0; d < s.latent; d++) {
            double got =
                (double)rows->acc[(size_t)r * (size_t)s.latent + (size_t)d] / (double)rows->l[r];
            check_near(got, e.out[d], exact_bound(&e, tiles), "attention");
        }
    }
}

// In one go, and cut in two at any place and merged.
static void test_attention_against_float64(void **state) {
    (void)state;
    for (int i = 0; check_level(i); i++)
        for (int round = 0; round < 4 * SHAPES; round++) {
            shape s = shapes[round % SHAPES];
            int n = 1 + check_below(MAX_KEYS), rows = 1 + check_below(5);
            size_t width = (size_t)(s.latent + s.rope);
            float *keys[MAX_KEYS], *q = check_floats((size_t)rows * width, CHECK_PLAIN);
            for (int j = 0; j < n; j++)
                keys[j] = check_floats(width, CHECK_PLAIN);
            float scale = (float)(check_unit() * 2);
            int tiles = (n + CPU_KEYS - 1) / CPU_KEYS + 2, cut = check_below(n + 1);
            state_rows all = rows_fresh(rows, s.latent);
            attend(check_level(i), &all, q, width, keys, 0, n, s, scale);
            check_against_exact(&all, q, width, keys, n, s, scale, tiles);
            state_rows a = rows_fresh(rows, s.latent), b = rows_fresh(rows, s.latent);
            attend(check_level(i), &a, q, width, keys, 0, cut, s, scale);
            attend(check_level(i), &b, q, width, keys, cut, n, s, scale);
            check_level(i)->attn_merge(a.m, a.l, a.acc, b.m, b.l, b.acc, rows, s.latent);
            check_against_exact(&a, q, width, keys, n, s, scale, tiles);
            for (int j = 0; j < n; j++)
                free(keys[j]);
            rows_free(&all);
            rows_free(&a);
            rows_free(&b);
            free(q);
        }
}

static state_rows rows_random(int rows, int latent, enum check_kind kind) {
    state_rows s = rows_fresh(rows, latent);
    for (int r = 0; r < rows; r++) {
        if (check_below(3) == 0)
            continue; // empty
        s.m[r] = check_float(kind) * 20;
        s.l[r] = fabsf(check_float(kind)) + 1;
        for (int d = 0; d < latent; d++)
            s.acc[r * latent + d] = check_float(kind);
    }
    return s;
}

static void test_merge_levels_agree(void **state) {
    (void)state;
    for (int round = 0; round < 200; round++) {
        int rows = 1 + check_below(20), latent = 2 * (1 + check_below(40));
        enum check_kind kind = (enum check_kind)(round % 3);
        state_rows a = rows_random(rows, latent, kind), b = rows_random(rows, latent, kind);
        state_rows wanted = rows_copy(&a);
        check_level(0)->attn_merge(wanted.m, wanted.l, wanted.acc, b.m, b.l, b.acc, rows, latent);
        for (int i = 1; check_level(i); i++) {
            state_rows got = rows_copy(&a);
            check_level(i)->attn_merge(got.m, got.l, got.acc, b.m, b.l, b.acc, rows, latent);
            rows_same(&got, &wanted, "attn_merge");
            rows_free(&got);
        }
        // An empty side leaves the other's bits alone.
        state_rows empty = rows_fresh(rows, latent), kept = rows_copy(&a);
        check_level(0)->attn_merge(kept.m, kept.l, kept.acc, empty.m, empty.l, empty.acc, rows,
                                   latent);
        rows_same(&kept, &a, "merge with an empty second side");
        check_level(0)->attn_merge(empty.m, empty.l, empty.acc, a.m, a.l, a.acc, rows, latent);
        rows_same(&empty, &a, "merge with an empty first side");
        rows_free(&a);
        rows_free(&b);
        rows_free(&wanted);
        rows_free(&empty);
        rows_free(&kept);
    }
}

int main(int argc, char **argv) {
    check_start(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_tile_levels_agree),
        cmocka_unit_test(test_tile_absent_keys_and_neighbours),
        cmocka_unit_test(test_tile_nan_comes_out),
        cmocka_unit_test(test_attention_against_float64),
        cmocka_unit_test(test_merge_levels_agree),
    };
    return cmocka_run_group_tests_name("attention kernels", tests, NULL, NULL);
}
