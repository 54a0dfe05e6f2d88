// The three matrix kernels: every level against scalar bit by bit, scalar against float64, and what
// batch invariance rests on: a row does not know its neighbours, a range of k may be cut anywhere.
#include "kernels/check.h"

enum kernel { BF16, INT4_F32, INT4_INT8, KERNELS };
static const char *const kernel_names[] = {"gemm_bf16", "gemm_int4_f32", "gemm_int4_int8"};

typedef struct problem {
    enum kernel kernel;
    int m, n_panels, cols; // cols: even, for INT4 a multiple of 32
    size_t ldx, ldy;
    float *x;         // [m][ldx]
    int8_t *x_codes;  // [m][ldx]
    float *x_scales;  // [m][ldx / 32]
    int32_t *x_sums8; // [m][ldx / 32]
    uint16_t *panels; // bf16 [n_panels][stride]
    uint8_t *codes;   // int4 [n_panels][codes_stride]
    uint16_t *scales; // [n_panels][scales_stride]
    size_t stride, codes_stride, scales_stride;
} problem;

static void problem_fill(problem *t, enum check_kind kind) {
    size_t n = (size_t)t->m * t->ldx, groups = t->ldx / CPU_GROUP;
    t->x = check_floats(n, kind);
    t->x_codes = check_alloc(n);
    for (size_t i = 0; i < n; i++)
        t->x_codes[i] = (int8_t)(check_below(4)   ? check_below(255) - 127
                                 : check_below(2) ? 127
                                                  : -127);
    t->x_scales = check_floats((size_t)t->m * groups, kind);
    t->x_sums8 = check_alloc((size_t)t->m * groups * sizeof *t->x_sums8);
    for (int r = 0; r < t->m; r++)
        for (size_t g = 0; g < groups; g++) {
            int32_t sum = 0;
            for (size_t k = 0; k < CPU_GROUP; k++)
                sum += t->x_codes[(size_t)r * t->ldx + g * CPU_GROUP + k];
            t->x_sums8[(size_t)r * groups + g] = 8 * sum;
        }
    // A gap between panels, as a slice of a wider matrix has.
    t->stride = cpu_bf16_panel_elems(t->cols) + 32;
    t->panels = check_alloc_panels(t->stride * (size_t)t->n_panels * sizeof *t->panels);
    for (size_t i = 0; i < t->stride * (size_t)t->n_panels; i++)
        t->panels[i] = check_bf16(kind);
    t->codes_stride = cpu_int4_panel_bytes(t->cols) + 64;
    t->codes = check_alloc_panels(t->codes_stride * (size_t)t->n_panels);
    for (size_t i = 0; i < t->codes_stride * (size_t)t->n_panels; i++)
        t->codes[i] = (uint8_t)check_bits();
    t->scales_stride = cpu_int4_panel_scales(t->cols) + 32;
    t->scales = check_alloc_panels(t->scales_stride * (size_t)t->n_panels * sizeof *t->scales);
    for (size_t i = 0; i < t->scales_stride * (size_t)t->n_panels; i++)
        t->scales[i] = check_bf16(kind);
}

static problem problem_make(enum kernel kernel, int m, int n_panels, int cols,
                            enum check_kind kind) {
    problem t = {.kernel = kernel, .m = m, .n_panels = n_panels, .cols = cols};
    if (kernel != BF16)
        t.cols = (cols + CPU_GROUP - 1) / CPU_GROUP * CPU_GROUP;
    t.ldx = (size_t)(t.cols + check_below(3) * CPU_GROUP);
    t.ldy = (size_t)n_panels * CPU_LANES + (size_t)check_below(5);
    problem_fill(&t, kind);
    return t;
}

static void problem_free(problem *t) {
    free(t->x);
    free(t->x_codes);
    free(t->x_scales);
    free(t->x_sums8);
    free(t->panels);
    free(t->codes);
    free(t->scales);
}

// Rows [row, row + m), panels [panel, panel + n_panels) into y.
static void problem_run_part(const problem *t, const cpu_kernels *level, float *y, size_t ldy,
                             int row, int m, int panel, int n_panels, int k_begin, int k_end,
                             int accumulate) {
    size_t r = (size_t)row, p = (size_t)panel, groups = t->ldx / CPU_GROUP;
    cpu_int8_rows rows = {t->x_codes + r * t->ldx, t->x_scales + r * groups,
                          t->x_sums8 + r * groups, t->ldx, groups};
    switch (t->kernel) {
    case BF16:
        level->gemm_bf16(y, ldy, t->x + r * t->ldx, t->ldx, m, t->panels + p * t->stride, t->stride,
                         n_panels, k_begin, k_end, accumulate);
        return;
    case INT4_F32:
        level->gemm_int4_f32(y, ldy, t->x + r * t->ldx, t->ldx, m, t->codes + p * t->codes_stride,
                             t->codes_stride, t->scales + p * t->scales_stride, t->scales_stride,
                             n_panels, k_begin, k_end, accumulate);
        return;
    default:
        level->gemm_int4_int8(y, ldy, &rows, m, t->codes + p * t->codes_stride, t->codes_stride,
                              t->scales + p * t->scales_stride, t->scales_stride, n_panels, k_begin,
                              k_end, accumulate);
    }
}

static void problem_run(const problem *t, const cpu_kernels *level, float *y, int k_begin,
                        int k_end, int accumulate) {
    problem_run_part(t, level, y, t->ldy, 0, t->m, 0, t->n_panels, k_begin, k_end, accumulate);
}

static size_t problem_y(const problem *t) {
    return (size_t)(t->m - 1) * t->ldy + (size_t)t->n_panels * CPU_LANES;
}

static int problem_step(const problem *t) {
    return t->kernel == BF16 ? 2 : CPU_GROUP;
}

static void compare_levels(const problem *t, int k_begin, int k_end, int accumulate) {
    // Whole buffers are compared: gaps between rows must stay as they were.
    size_t n = problem_y(t);
    float *start = check_floats(n + 1, CHECK_PLAIN);
    float *wanted = check_copy(start, (n + 1) * sizeof *start);
    problem_run(t, check_level(0), wanted + 1, k_begin, k_end, accumulate);
    for (int i = 1; check_level(i); i++) {
        float *y = check_copy(start, (n + 1) * sizeof *start);
        problem_run(t, check_level(i), y + 1, k_begin, k_end, accumulate);
        check_same(y, wanted, n + 1, kernel_names[t->kernel]);
        free(y);
    }
    free(start);
    free(wanted);
}

static void test_levels_agree(void **state) {
    (void)state;
    for (int kernel = 0; kernel < KERNELS; kernel++)
        for (int m = 1; m <= 40; m++) {
            int n_panels = 1 + (m + kernel) % 9;
            int cols = 2 * (1 + check_below(100));
            problem t = problem_make(kernel, m, n_panels, cols, (enum check_kind)(m % 3));
            int steps = t.cols / problem_step(&t);
            int first = check_below(steps), last = first + check_below(steps - first + 1);
            compare_levels(&t, 0, t.cols, m & 1);
            compare_levels(&t, first * problem_step(&t), last * problem_step(&t), !(m & 1));
            problem_free(&t);
        }
}

// Long enough for several blocks of columns in every kernel.
static void test_levels_agree_long(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 5}, {3, 2}, {7, 5}, {13, 3}};
    for (int kernel = 0; kernel < KERNELS; kernel++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            problem t = problem_make(kernel, sizes[i][0], sizes[i][1], 4386, CHECK_PLAIN);
            compare_levels(&t, 0, t.cols, 0);
            problem_free(&t);
        }
}

static int8_t code_at(const problem *t, int panel, int lane, int k) {
    const uint8_t *group = t->codes + (size_t)panel * t->codes_stride + (size_t)(k / 32) * 256;
    uint8_t byte = group[k % 32 / 8 * 64 + lane * 4 + k % 4];
    return (int8_t)((k % 8 < 4 ? byte & 15 : byte >> 4) - 8);
}

// One term of an output element in float64.
static double term(const problem *t, int row, int panel, int lane, int k) {
    size_t r = (size_t)row, p = (size_t)panel, l = (size_t)lane;
    if (t->kernel == BF16) {
        size_t at = p * t->stride + (size_t)(k / 2) * 32 + l * 2 + (size_t)(k % 2);
        return check_bf16_value(t->panels[at]) * (double)t->x[r * t->ldx + (size_t)k];
    }
    size_t g = (size_t)(k / CPU_GROUP);
    double weight = code_at(t, panel, lane, k) *
                    check_bf16_value(t->scales[p * t->scales_stride + g * CPU_LANES + l]);
    if (t->kernel == INT4_F32)
        return weight * (double)t->x[r * t->ldx + (size_t)k];
    return weight * t->x_codes[r * t->ldx + (size_t)k] *
           (double)t->x_scales[r * (t->ldx / CPU_GROUP) + g];
}

// A chain of n roundings moves a sum by at most n u / (1 - n u) times the sum of magnitudes. BF16:
// one rounding per column. INT4 f32: 32 inside the group, then one per group. INT4 INT8: the
// product of the scales, then one per group, on magnitudes of whole groups, which the magnitudes of
// the terms bound.
static double allowed(const problem *t, double magnitude) {
    double groups = t->cols / CPU_GROUP;
    double n = t->kernel == BF16 ? t->cols : t->kernel == INT4_F32 ? 32 + groups : 1 + groups;
    return (n + 1) * CHECK_U / (1 - (n + 1) * CHECK_U) * magnitude + 0x1p-120;
}

static void test_scalar_against_float64(void **state) {
    (void)state;
    for (int kernel = 0; kernel < KERNELS; kernel++)
        for (int round = 0; round < 12; round++) {
            problem t = problem_make(kernel, 1 + round % 3, 1 + round % 2,
                                     2 * (1 + check_below(round < 10 ? 60 : 1000)), CHECK_PLAIN);
            float *y = check_floats(problem_y(&t), CHECK_PLAIN);
            float *start = check_copy(y, problem_y(&t) * sizeof *y);
            problem_run(&t, check_level(0), y, 0, t.cols, round & 1);
            for (int r = 0; r < t.m; r++)
                for (int column = 0; column < t.n_panels * CPU_LANES; column++) {
                    size_t at = (size_t)r * t.ldy + (size_t)column;
                    double sum = round & 1 ? (double)start[at] : 0, magnitude = fabs(sum);
                    for (int k = 0; k < t.cols; k++) {
                        double one = term(&t, r, column / CPU_LANES, column % CPU_LANES, k);
                        sum += one;
                        magnitude += fabs(one);
                    }
                    check_near((double)y[at], sum, allowed(&t, magnitude), kernel_names[kernel]);
                }
            free(y);
            free(start);
            problem_free(&t);
        }
}

// One range of k, and the same range in pieces: the same bits.
static void test_k_may_be_split(void **state) {
    (void)state;
    for (int i = 0; check_level(i); i++)
        for (int kernel = 0; kernel < KERNELS; kernel++)
            for (int round = 0; round < 8; round++) {
                problem t = problem_make(kernel, 1 + 2 * round, 1 + round % 5, 256, CHECK_EXTREME);
                size_t n = problem_y(&t);
                float *whole = check_floats(n, CHECK_PLAIN);
                float *pieces = check_copy(whole, n * sizeof *whole);
                problem_run(&t, check_level(i), whole, 0, t.cols, 0);
                for (int k = 0, next; k < t.cols; k = next) {
                    int left = (t.cols - k) / problem_step(&t);
                    next = k + (1 + check_below(left)) * problem_step(&t);
                    problem_run(&t, check_level(i), pieces, k, next, k > 0);
                }
                check_same(pieces, whole, n, kernel_names[kernel]);
                free(whole);
                free(pieces);
                problem_free(&t);
            }
}

// A row alone and a panel alone give what they give in company.
static void test_rows_are_independent(void **state) {
    (void)state;
    for (int i = 0; check_level(i); i++)
        for (int kernel = 0; kernel < KERNELS; kernel++)
            for (int m = 1; m <= 23; m += 2) {
                problem t = problem_make(kernel, m, 1 + m % 9, 96, CHECK_WITH_NAN);
                float *all = check_floats(problem_y(&t), CHECK_PLAIN);
                problem_run(&t, check_level(i), all, 0, t.cols, 0);
                for (int r = 0; r < m; r++)
                    for (int p = 0; p < t.n_panels; p++) {
                        float one[CPU_LANES];
                        problem_run_part(&t, check_level(i), one, CPU_LANES, r, 1, p, 1, 0, t.cols,
                                         0);
                        check_same(one, all + (size_t)r * t.ldy + (size_t)p * CPU_LANES, CPU_LANES,
                                   kernel_names[kernel]);
                    }
                free(all);
                problem_free(&t);
            }
}

// Adding nothing is zero, or what was there.
static void test_empty_range(void **state) {
    (void)state;
    for (int i = 0; check_level(i); i++)
        for (int kernel = 0; kernel < KERNELS; kernel++) {
            problem t = problem_make(kernel, 9, 3, 64, CHECK_PLAIN);
            t.ldy = 3 * CPU_LANES;
            size_t n = problem_y(&t);
            float *y = check_floats(n, CHECK_PLAIN);
            float *start = check_copy(y, n * sizeof *y);
            problem_run(&t, check_level(i), y, 32, 32, 1);
            check_same(y, start, n, "accumulate over nothing");
            problem_run(&t, check_level(i), y, 32, 32, 0);
            memset(start, 0, n * sizeof *start);
            check_same(y, start, n, "sum over nothing");
            free(y);
            free(start);
            problem_free(&t);
        }
}

int main(int argc, char **argv) {
    check_start(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_agree),           cmocka_unit_test(test_levels_agree_long),
        cmocka_unit_test(test_scalar_against_float64), cmocka_unit_test(test_k_may_be_split),
        cmocka_unit_test(test_rows_are_independent),   cmocka_unit_test(test_empty_range),
    };
    return cmocka_run_group_tests_name("gemm kernels", tests, NULL, NULL);
}
