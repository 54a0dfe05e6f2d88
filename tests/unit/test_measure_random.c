// The generators against numbers that numpy 2.4 and Python 3.11 gave. tests/measure/test_random.py
// compares many more of them where numpy is installed.
#include "measure/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// To the last bit.
static void same(double found, double expected) {
    assert_memory_equal(&found, &expected, sizeof found);
}

static void test_numpy(void **state) {
    (void)state;
    measure_mt m;
    measure_mt_seed_numpy(&m, 0);
    same(measure_mt_double(&m), 0.5488135039273248);
    same(measure_mt_double(&m), 0.7151893663724195);
    same(measure_mt_double(&m), 0.6027633760716439);
    same(measure_mt_double(&m), 0.5448831829968969);
}

static void test_gamma(void **state) {
    (void)state;
    static const struct {
        double shape, values[5];
    } cases[] = {
        {0.5,
         {0.6080037795214088, 0.7565434401356311, 0.3589667780057752, 0.38296513492132056,
          1.7592170793623914}},
        {1.0,
         {1.59174901632622, 2.5118615259316757, 1.8464462916081377, 1.5744023046345414,
          1.1020969821909985}},
        {3.0,
         {13.418300991778487, 6.7498983540362385, 14.053397800349273, 2.7359332872527053,
          5.003274845538258}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        measure_mt m;
        measure_mt_seed_numpy(&m, 0);
        for (int j = 0; j < 5; j++)
            same(measure_mt_gamma(&m, cases[i].shape, 2.0), cases[i].values[j]);
    }
    measure_mt m;
    measure_mt_seed_numpy(&m, 0);
    same(measure_mt_gamma(&m, 0, 2.0), 0.0);
}

static void test_python(void **state) {
    (void)state;
    measure_mt m;
    measure_mt_seed_python(&m, 0);
    same(measure_mt_double(&m), 0.8444218515250481);
    measure_mt_seed_python(&m, 42);
    same(measure_mt_double(&m), 0.6394267984578837);
    measure_mt_seed_python(&m, (uint64_t)1 << 40); // a seed of two words
    same(measure_mt_double(&m), 0.1036394562812375);
    measure_mt_seed_python(&m, 5);
    assert_int_equal(measure_mt_below(&m, (uint64_t)1 << 40), 561021090885);
    assert_int_equal(measure_mt_below(&m, (uint64_t)1 << 40), 789164966041);
    assert_int_equal(measure_mt_below(&m, (uint64_t)1 << 40), 549512532852);
}

static void test_sample(void **state) {
    (void)state;
    static const uint64_t pool[] = {10, 4, 12, 20, 1, 2};   // sample(range(30), 6)
    static const uint64_t set[] = {663, 308, 808, 98, 148}; // sample(range(1319), 5)
    static const uint64_t shuffled[] = {1, 5, 6, 0, 9, 4, 7, 2, 8, 3};
    uint64_t found[10];
    measure_mt m;
    measure_mt_seed_python(&m, 7);
    measure_mt_sample(&m, 30, 6, found);
    assert_memory_equal(found, pool, sizeof pool);
    measure_mt_seed_python(&m, 7);
    measure_mt_sample(&m, 1319, 5, found);
    assert_memory_equal(found, set, sizeof set);
    for (uint64_t i = 0; i < 10; i++)
        found[i] = i;
    measure_mt_seed_python(&m, 3);
    measure_mt_shuffle(&m, found, 10);
    assert_memory_equal(found, shuffled, sizeof shuffled);
    measure_mt_shuffle(&m, found, 0);
}

static void test_pcg(void **state) {
    (void)state;
    static const int64_t small[] = {139366, 104359, 83744, 44201, 50434};
    static const int64_t large[] = {18172327443, 894200084524, 1003585370534};
    static const int64_t negative[] = {-3, 0, 1, 3};
    static const int64_t words[] = {211788259, 2311974836, 3286275039};
    int64_t found[5];
    measure_pcg p;
    measure_pcg_seed(&p, 0);
    measure_pcg_integers(&p, 0, 163840, 5, found); // leaves half a word for the ranges after
    assert_memory_equal(found, small, sizeof small);
    measure_pcg_integers(&p, 0, (int64_t)1 << 40, 3, found);
    assert_memory_equal(found, large, sizeof large);
    measure_pcg_integers(&p, -3, 4, 4, found);
    assert_memory_equal(found, negative, sizeof negative);
    measure_pcg_integers(&p, 9, 10, 2, found);
    assert_true(found[0] == 9 && found[1] == 9);
    measure_pcg_seed(&p, ((uint64_t)1 << 35) + 1);
    measure_pcg_integers(&p, 0, (int64_t)1 << 32, 3, found);
    assert_memory_equal(found, words, sizeof words);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpy),  cmocka_unit_test(test_gamma), cmocka_unit_test(test_python),
        cmocka_unit_test(test_sample), cmocka_unit_test(test_pcg),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
