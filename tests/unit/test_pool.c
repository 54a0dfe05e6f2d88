// The thread pool: every item once, scratch by worker, tiny regions, more threads than cores.
#include "base/base.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MAX_THREADS 8
#define MAX_ITEMS 1000

typedef struct region {
    int threads;
    int counts[MAX_ITEMS];        // plain: two workers with one item would be a race for TSan
    int64_t scratch[MAX_THREADS]; // by worker, plain for the same reason
    atomic_int bad_worker;
} region;

static void count_item(void *arg, int item, int worker) {
    region *r = arg;
    if (worker < 0 || worker >= r->threads)
        atomic_fetch_add(&r->bad_worker, 1);
    r->counts[item]++;
    r->scratch[worker] += item;
}

static void check_region(base_pool *pool, region *r, int items) {
    memset(r->counts, 0, sizeof r->counts);
    memset(r->scratch, 0, sizeof r->scratch);
    r->threads = base_pool_threads(pool);
    base_pool_run(pool, items, count_item, r);
    int64_t sum = 0;
    for (int i = 0; i < MAX_ITEMS; i++)
        assert_int_equal(r->counts[i], i < items);
    for (int w = 0; w < MAX_THREADS; w++)
        sum += r->scratch[w];
    assert_int_equal(sum, (int64_t)items * (items - 1) / 2);
    assert_int_equal(atomic_load(&r->bad_worker), 0);
}

// 1 to 8 threads: more than the cores of a small machine, where workers must not spin.
static void each_item_runs_once(void **state) {
    (void)state;
    static const int sizes[] = {0, 1, 2, 3, 7, 8, 9, 100, MAX_ITEMS};
    static region r;
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        base_pool *pool = base_pool_create(threads);
        assert_non_null(pool);
        assert_int_equal(base_pool_threads(pool), threads);
        for (int awake = 0; awake < 2; awake++) {
            if (awake)
                base_pool_wake(pool);
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
                check_region(pool, &r, sizes[i]);
            if (awake)
                base_pool_rest(pool);
        }
        base_pool_destroy(pool);
    }
}

static void add_one(void *arg, int item, int worker) {
    (void)worker;
    ((int *)arg)[item]++;
}

// What one region wrote, the next reads: a late worker or a missing barrier would show.
static void tiny_regions_follow_each_other(void **state) {
    (void)state;
    static const int thread_counts[] = {2, 3, 8};
    for (int t = 0; t < 3; t++) {
        base_pool *pool = base_pool_create(thread_counts[t]);
        assert_non_null(pool);
        int rounds = thread_counts[t] <= base_cpu_count() ? 20000 : 2000;
        int values[4] = {0};
        for (int step = 0; step < 10; step++) {
            if (step % 3 != 0) // also some steps without the hint
                base_pool_wake(pool);
            for (int i = 0; i < rounds / 10; i++) {
                base_pool_run(pool, 4, add_one, values);
                assert_int_equal(values[i % 4], step * (rounds / 10) + i + 1);
            }
            base_pool_rest(pool);
        }
        for (int i = 0; i < 4; i++)
            assert_int_equal(values[i], rounds);
        base_pool_destroy(pool);
    }
}

typedef struct outer {
    region *regions;
} outer;

static void run_inner(void *arg, int item, int worker) {
    (void)worker;
    outer *o = arg;
    region *r = &o->regions[item];
    r->threads = 2;
    base_pool *pool = base_pool_create(2);
    base_pool_wake(pool);
    base_pool_run(pool, MAX_ITEMS, count_item, r);
    base_pool_destroy(pool); // even without base_pool_rest
}

// Ranks as threads have a pool each, so several pools spin at once, more threads than cores in all.
static void pools_live_side_by_side(void **state) {
    (void)state;
    static region regions[4];
    base_pool *pool = base_pool_create(4);
    assert_non_null(pool);
    outer o = {.regions = regions};
    base_pool_run(pool, 4, run_inner, &o);
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < MAX_ITEMS; i++)
            assert_int_equal(regions[k].counts[i], 1);
    base_pool_destroy(pool);
}

static void pools_come_and_go(void **state) {
    (void)state;
    base_pool_destroy(NULL);
    for (int i = 0; i < 200; i++) {
        base_pool *pool = base_pool_create(1 + i % MAX_THREADS);
        assert_non_null(pool);
        if (i % 2)
            base_pool_wake(pool);
        if (i % 3 == 0) {
            int values[5] = {0};
            base_pool_run(pool, 5, add_one, values);
            for (int k = 0; k < 5; k++)
                assert_int_equal(values[k], 1);
        }
        base_pool_destroy(pool);
    }
}

static void note_order(void *arg, int item, int worker) {
    (void)worker;
    atomic_int *last = arg;
    // Handed out ascending: with one thread that is the order of execution.
    assert_int_equal(atomic_load(last), item - 1);
    atomic_store(last, item);
}

static void items_ascend(void **state) {
    (void)state;
    base_pool *pool = base_pool_create(1);
    atomic_int last = -1;
    base_pool_run(pool, 50, note_order, &last);
    assert_int_equal(atomic_load(&last), 49);
    base_pool_destroy(pool);
    assert_true(base_cpu_count() >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_runs_once),
        cmocka_unit_test(tiny_regions_follow_each_other),
        cmocka_unit_test(pools_live_side_by_side),
        cmocka_unit_test(pools_come_and_go),
        cmocka_unit_test(items_ascend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
