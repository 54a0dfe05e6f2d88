// The element-wise and row-wise kernels: exp, silu, rmsnorm, INT8 quantisation, axpy, add, and the
// selection of a level.
#include "kernels/check.h"

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float exp_one(const cpu_kernels *level, float x) {
    float y;
    level->exp_f32(&y, &x, 1);
    return y;
}

// Distance in ulps of the result's binade (of the smallest normal one below that).
static double ulps(float got, double wanted) {
    int exponent;
    frexp(wanted, &exponent);
    if (exponent < -125)
        exponent = -125;
    return fabs((double)got - wanted) / ldexp(1.0, exponent - 24);
}

// The last addition costs half an ulp; just below 1, where an ulp is small, r and r + r^2 P each a
// quarter; the polynomial and its products some hundredths.
#define EXP_ULPS 1.05

static void test_exp_accuracy(void **state) {
    (void)state;
    enum { N = 1 << 16 };
    float *x = check_alloc(N * sizeof *x), *y = check_alloc(N * sizeof *y);
    double worst = 0;
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < N; i++)
            x[i] = (float)(check_unit() * (round < 4 ? 175.0 : 2.0) - (round < 4 ? 87.0 : 1.0));
        check_level(0)->exp_f32(y, x, N);
        for (int i = 0; i < N; i++)
            worst = fmax(worst, ulps(y[i], exp((double)x[i])));
    }
    print_message("exp: at most %.3f ulp\n", worst);
    assert_true(worst <= EXP_ULPS);
    // Below the normal range the result is rounded to a multiple of the smallest subnormal.
    for (float at = -104.5f; at < -86.0f; at += 0.0037f)
        assert_true(ulps(exp_one(check_level(0), at), exp((double)at)) <= EXP_ULPS);
    free(x);
    free(y);
}

static void test_exp_specials(void **state) {
    (void)state;
    for (int i = 0; check_level(i); i++) {
        const cpu_kernels *level = check_level(i);
        assert_true(exp_one(level, 0.0f) == 1.0f);
        assert_true(exp_one(level, -0.0f) == 1.0f);
        assert_true(exp_one(level, 0x1p-149f) == 1.0f);
        assert_true(exp_one(level, -0x1p-126f) == 1.0f);
        assert_int_equal(bits_of(exp_one(level, -INFINITY)), 0);
        assert_int_equal(bits_of(exp_one(level, -3.4e38f)), 0);
        assert_int_equal(bits_of(exp_one(level, -103.98f)), 0);
        assert_true(exp_one(level, -103.9f) == 0x1p-149f);
        assert_true(exp_one(level, 88.7f) < INFINITY);
        assert_true(exp_one(level, 88.73f) == INFINITY);
        assert_true(exp_one(level, 3.4e38f) == INFINITY);
        assert_true(exp_one(level, INFINITY) == INFINITY);
        assert_true(isnan(exp_one(level, NAN)));
        assert_true(isnan(exp_one(level, -NAN)));
    }
}

// Every float with `step` 1 (ABRUZZI_TEST_EXP_STEP); by default a prime step through them all.
static void test_exp_levels_agree(void **state) {
    (void)state;
    const char *text = getenv("ABRUZZI_TEST_EXP_STEP");
    uint64_t step = text ? strtoull(text, NULL, 0) : 1013;
    enum { N = 4096 };
    float x[N], wanted[N], y[N];
    uint64_t bits = (uint64_t)check_below((int)(step < 1000000 ? step : 1000000));
    while (bits < (uint64_t)1 << 32) {
        int n = 0;
        for (; n < N && bits < (uint64_t)1 << 32; bits += step)
            x[n++] = float_of((uint32_t)bits);
        check_level(0)->exp_f32(wanted, x, n);
        for (int i = 1; check_level(i); i++) {
            check_level(i)->exp_f32(y, x, n);
            check_same(y, wanted, (size_t)n, "exp");
        }
    }
}

// Every length up to some vectors, all three kinds of input; results in place must be the same.
static void test_elementwise_levels_agree(void **state) {
    (void)state;
    for (int n = 1; n <= 130; n++) {
        enum check_kind kind = (enum check_kind)(n % 3);
        size_t bytes = (size_t)n * sizeof(float);
        float *a = check_floats((size_t)n, kind), *b = check_floats((size_t)n, kind);
        float factor = check_float(kind), *wanted = check_alloc(bytes);
        for (int i = 0; check_level(i); i++) {
            const cpu_kernels *level = check_level(i), *scalar = check_level(0);
            float *y = check_copy(a, bytes);
            scalar->silu_mul(wanted, a, b, n);
            level->silu_mul(y, y, b, n);
            check_same(y, wanted, (size_t)n, "silu_mul");
            scalar->rmsnorm(wanted, a, b, n, 1e-5f);
            memcpy(y, a, bytes);
            level->rmsnorm(y, y, b, n, 1e-5f);
            check_same(y, wanted, (size_t)n, "rmsnorm");
            memcpy(wanted, a, bytes);
            memcpy(y, a, bytes);
            scalar->axpy(wanted, factor, b, n);
            level->axpy(y, factor, b, n);
            check_same(y, wanted, (size_t)n, "axpy");
            scalar->add(wanted, b, n);
            level->add(y, b, n);
            check_same(y, wanted, (size_t)n, "add");
            free(y);
        }
        free(a);
        free(b);
        free(wanted);
    }
}

static void test_elementwise_against_float64(void **state) {
    (void)state;
    const cpu_kernels *scalar = check_level(0);
    enum { N = 1000 };
    float g[N], u[N], y[N], z[N];
    for (int i = 0; i < N; i++) {
        g[i] = (float)(check_unit() * 160 - 80);
        u[i] = check_float(CHECK_PLAIN);
    }
    // exp within 1.05 ulp (2.1 u), then a sum, a quotient and a product: 5.1 u.
    scalar->silu_mul(y, g, u, N);
    for (int i = 0; i < N; i++) {
        double wanted = (double)g[i] / (1 + exp(-(double)g[i])) * (double)u[i];
        check_near((double)y[i], wanted, 6 * CHECK_U * fabs(wanted) + 0x1p-140, "silu_mul");
    }
    for (int n = 1; n <= N; n += 37) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += (double)g[i] * (double)g[i];
        double factor = 1 / sqrt(sum / n + 1e-6);
        // The sum: one rounding per element of a lane and four in the tree, halved by the root;
        // quotient, eps, root, reciprocal, two products: 5 more at most.
        double bound = ((n / 16.0 + 1 + 4) / 2 + 6) * CHECK_U;
        scalar->rmsnorm(z, g, u, n, 1e-6f);
        for (int i = 0; i < n; i++) {
            double wanted = (double)g[i] * factor * (double)u[i];
            check_near((double)z[i], wanted, bound * fabs(wanted) + 0x1p-140, "rmsnorm");
        }
    }
    memcpy(z, y, sizeof z);
    scalar->axpy(z, g[0], u, N);
    for (int i = 0; i < N; i++) {
        double wanted = (double)g[0] * (double)u[i] + (double)y[i];
        check_near((double)z[i], wanted, CHECK_U * fabs(wanted) + 0x1p-140, "axpy");
    }
}

// Finite values whose squares overflow must not come out as zeros.
static void test_rmsnorm_overflow(void **state) {
    (void)state;
    enum { N = 37 };
    float x[N], weight[N], y[N];
    for (int i = 0; i < N; i++)
        x[i] = weight[i] = 1.0f;
    for (int i = 0; check_level(i); i++) {
        x[5] = 1e18f;
        check_level(i)->rmsnorm(y, x, weight, N, 1e-5f);
        assert_true(fabsf(y[5] - sqrtf((float)N)) < 1e-3f);
        x[5] = 1e20f;
        check_level(i)->rmsnorm(y, x, weight, N, 1e-5f);
        for (int j = 0; j < N; j++)
            assert_true(isnan(y[j]));
    }
}

static void quantize_groups_agree(const float *x, int k) {
    size_t groups = (size_t)(k / CPU_GROUP);
    int8_t *codes[2] = {check_alloc((size_t)k), check_alloc((size_t)k)};
    float *scales[2] = {check_alloc(groups * 4), check_alloc(groups * 4)};
    int32_t *sums8[2] = {check_alloc(groups * 4), check_alloc(groups * 4)};
    check_level(0)->quantize_int8(codes[0], scales[0], sums8[0], x, k);
    for (int i = 1; check_level(i); i++) {
        check_level(i)->quantize_int8(codes[1], scales[1], sums8[1], x, k);
        assert_memory_equal(codes[0], codes[1], (size_t)k);
        assert_memory_equal(sums8[0], sums8[1], groups * 4);
        check_same(scales[1], scales[0], groups, "quantize_int8 scales");
    }
    for (int i = 0; i < 2; i++) {
        free(codes[i]);
        free(scales[i]);
        free(sums8[i]);
    }
}

static void test_quantize_levels_agree(void **state) {
    (void)state;
    for (int round = 0; round < 3000; round++) {
        int k = CPU_GROUP * (1 + check_below(9));
        float *x = check_floats((size_t)k, (enum check_kind)(round % 3));
        // Whole rows of tiny and of huge numbers too.
        if (round % 5 == 0)
            for (int i = 0; i < k; i++)
                x[i] = ldexpf(check_float(CHECK_PLAIN), check_below(270) - 145);
        quantize_groups_agree(x, k);
        free(x);
    }
}

static void quantize_group(const cpu_kernels *level, const float *x, int8_t *codes, float *scale,
                           int32_t *sum8) {
    level->quantize_int8(codes, scale, sum8, x, CPU_GROUP);
}

static void test_quantize_properties(void **state) {
    (void)state;
    const cpu_kernels *scalar = check_level(0);
    for (int round = 0; round < 5000; round++) {
        float x[CPU_GROUP], amax = 0, scale;
        int8_t codes[CPU_GROUP];
        int32_t sum8, sum = 0, top = 0;
        int exponent = check_below(240) - 119;
        for (int i = 0; i < CPU_GROUP; i++) {
            x[i] = ldexpf(check_float(CHECK_PLAIN), exponent);
            amax = fmaxf(amax, fabsf(x[i]));
        }
        quantize_group(scalar, x, codes, &scale, &sum8);
        assert_true(scale == amax / 127.0f);
        for (int i = 0; i < CPU_GROUP; i++) {
            // Half a step, and the roundings of the scale, its inverse and the product, which all
            // act on at most 127 steps.
            double bound = (double)scale * (0.5 + 127 * 4 * CHECK_U);
            check_near((double)scale * codes[i], (double)x[i], bound, "quantize_int8");
            sum += codes[i];
            top = abs(codes[i]) > top ? abs(codes[i]) : top;
        }
        assert_int_equal(sum8, 8 * sum);
        assert_int_equal(top, 127);
    }
}

static void test_quantize_specials(void **state) {
    (void)state;
    static const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
    static const int8_t none[CPU_GROUP];
    for (int l = 0; check_level(l); l++)
        for (int i = 0; i < CPU_GROUP; i++) {
            float x[CPU_GROUP] = {0}, scale;
            int8_t codes[CPU_GROUP];
            int32_t sum8;
            quantize_group(check_level(l), x, codes, &scale, &sum8);
            assert_memory_equal(codes, none, sizeof none);
            assert_true(scale == 0.0f && sum8 == 0);
            // Too small for 127 / amax to be finite: nothing is left, but a finite scale.
            x[i] = 0x1p-130f;
            quantize_group(check_level(l), x, codes, &scale, &sum8);
            assert_memory_equal(codes, none, sizeof none);
            assert_true(isfinite(scale) && sum8 == 0);
            // Ties go to even: amax 127 makes a step of exactly 1.
            x[i] = 127.0f;
            x[(i + 1) % CPU_GROUP] = 2.5f;
            x[(i + 2) % CPU_GROUP] = -3.5f;
            quantize_group(check_level(l), x, codes, &scale, &sum8);
            assert_true(scale == 1.0f && sum8 == 8 * (127 + 2 - 4));
            for (int b = 0; b < 4; b++) {
                x[i] = bad[b];
                quantize_group(check_level(l), x, codes, &scale, &sum8);
                assert_true(isnan(scale));
                assert_memory_equal(codes, none, sizeof none);
                assert_int_equal(sum8, 0);
            }
        }
}

static void test_selection(void **state) {
    (void)state;
    const char *before = getenv("ABRUZZI_CPU");
    char *kept = before ? check_copy(before, strlen(before) + 1) : NULL;
    unsetenv("ABRUZZI_CPU");
    int best = 0;
    while (check_level(best + 1))
        best++;
    assert_ptr_equal(cpu_kernels_get(), check_level(best));
    setenv("ABRUZZI_CPU", "scalar", 1);
    assert_ptr_equal(cpu_kernels_get(), check_level(0));
    setenv("ABRUZZI_CPU", "z80", 1);
    assert_null(cpu_kernels_get());
    static const char *const others[] = {"avx2", "avx512"};
    for (int i = 0; i < 2; i++) {
        setenv("ABRUZZI_CPU", others[i], 1);
        assert_ptr_equal(cpu_kernels_get(), cpu_kernels_level(others[i]));
        if (cpu_kernels_get())
            assert_string_equal(cpu_kernels_get()->name, others[i]);
    }
    assert_null(cpu_kernels_level(""));
    unsetenv("ABRUZZI_CPU");
    if (kept)
        setenv("ABRUZZI_CPU", kept, 1);
    free(kept);
}

int main(int argc, char **argv) {
    check_start(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_accuracy),
        cmocka_unit_test(test_exp_specials),
        cmocka_unit_test(test_exp_levels_agree),
        cmocka_unit_test(test_elementwise_levels_agree),
        cmocka_unit_test(test_elementwise_against_float64),
        cmocka_unit_test(test_rmsnorm_overflow),
        cmocka_unit_test(test_quantize_levels_agree),
        cmocka_unit_test(test_quantize_properties),
        cmocka_unit_test(test_quantize_specials),
        cmocka_unit_test(test_selection),
    };
    return cmocka_run_group_tests_name("vector kernels", tests, NULL, NULL);
}
