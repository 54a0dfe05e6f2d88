// Why a prompt's prefix was not found in the cache: what a request's last event says of it.
#include "engine_bench.h"

enum { N = 6 * BLOCK + 2 };

static void expect_miss(const engine_event *v, int n_cached, engine_miss miss, int miss_at) {
    assert_int_equal(v->n_cached, n_cached);
    assert_int_equal(v->miss, miss);
    if (miss != ENGINE_MISS_NONE)
        assert_int_equal(v->miss_at, miss_at);
}

static void test_names(void **state) {
    (void)state;
    assert_null(engine_miss_name(ENGINE_MISS_NONE));
    assert_string_equal(engine_miss_name(ENGINE_MISS_DIFFERS), "differs");
    assert_string_equal(engine_miss_name(ENGINE_MISS_EVICTED), "evicted");
    assert_string_equal(engine_miss_name(ENGINE_MISS_NOT_READ), "not_read");
}

// A request that repeats another but for one id, at every place.
static void test_an_id_that_differs(void **state) {
    (void)state;
    int32_t prompt[N], other[N];
    fill_prompt(prompt, N, 1);
    engine_params p = greedy(1);
    for (int at = 0; at < N; at++) {
        bench b = bench_open(default_options());
        answer a = ask(&b, prompt, N, &p);
        expect_miss(&a.end, 0, ENGINE_MISS_NONE, 0);
        memcpy(other, prompt, sizeof other);
        other[at] = prompt[at] == 20 ? 21 : 20;
        a = ask(&b, other, N, &p);
        bool whole = at < 6 * BLOCK && at > 0; // else the ids of no whole block are like any known
        expect_miss(&a.end, at / BLOCK * BLOCK, whole ? ENGINE_MISS_DIFFERS : ENGINE_MISS_NONE, at);
        a = ask(&b, other, N, &p);
        expect_miss(&a.end, 6 * BLOCK, ENGINE_MISS_NONE, 0);
        bench_close(&b);
    }
}

// A prompt that goes on where an earlier one and its answer ended hits both; one that tells the
// answer otherwise than it was learns where.
static void test_an_answer_that_differs(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[100];
    fill_prompt(prompt, N, 2);
    engine_params p = greedy(20);
    answer a = ask(&b, prompt, N, &p);
    memcpy(prompt + N, a.ids, 20 * sizeof *prompt);
    fill_prompt(prompt + N + 20, 10, 3);
    prompt[N + 7] = prompt[N + 7] == 20 ? 21 : 20;
    a = ask(&b, prompt, N + 30, &p);
    expect_miss(&a.end, (N + 7) / BLOCK * BLOCK, ENGINE_MISS_DIFFERS, N + 7);
    bench_close(&b);
}

static void test_eviction(void **state) {
    (void)state;
    engine_options o = default_options();
    o.n_blocks = 10;
    bench b = bench_open(o);
    int32_t prompt[N], other[N];
    fill_prompt(prompt, N, 1);
    fill_prompt(other, N, 2);
    engine_params p = greedy(1);
    ask(&b, prompt, N, &p);
    ask(&b, other, N, &p); // takes 3 blocks that are empty, and the tail of the prompt's chain
    answer a = ask(&b, prompt, N, &p);
    assert_in_range(a.end.n_cached, BLOCK, 5 * BLOCK);
    expect_miss(&a.end, a.end.n_cached, ENGINE_MISS_EVICTED, a.end.n_cached);
    bench_close(&b);
}

static void test_other_salts_are_not_told_of(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[N];
    fill_prompt(prompt, N, 1);
    engine_params p = greedy(1);
    p.cache_salt = 1;
    ask(&b, prompt, N, &p);
    p.cache_salt = 2;
    answer a = ask(&b, prompt, N, &p);
    expect_miss(&a.end, 0, ENGINE_MISS_NONE, 0);
    prompt[9]++;
    a = ask(&b, prompt, N, &p);
    expect_miss(&a.end, 2 * BLOCK, ENGINE_MISS_DIFFERS, 9);
    p.cache_salt = 3;
    a = ask(&b, prompt, N, &p);
    expect_miss(&a.end, 0, ENGINE_MISS_NONE, 0);
    bench_close(&b);
}

static void test_a_cache_that_is_not_read(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[N];
    fill_prompt(prompt, N, 1);
    engine_params p = greedy(1);
    p.n_prompt_logprobs = 0;
    for (int i = 0; i < 2; i++) {
        answer a = ask(&b, prompt, N, &p);
        expect_miss(&a.end, 0, ENGINE_MISS_NOT_READ, 0);
        a = ask(&b, prompt, BLOCK, &p); // no whole block can be found anyway
        expect_miss(&a.end, 0, ENGINE_MISS_NONE, 0);
    }
    bench_close(&b);
    engine_options o = default_options();
    o.prefix_caching = false;
    b = bench_open(o);
    for (int i = 0; i < 2; i++) {
        answer a = ask(&b, prompt, N, &p);
        expect_miss(&a.end, 0, ENGINE_MISS_NONE, 0);
    }
    bench_close(&b);
}

// All choices say the same, and what a preemption makes of the cache changes nothing.
static void test_said_once_a_request(void **state) {
    (void)state;
    engine_options o = default_options();
    o.n_blocks = 24;
    bench b = bench_open(o);
    int32_t prompt[N];
    fill_prompt(prompt, N, 1);
    engine_params p = greedy(50);
    ask(&b, prompt, N, &p);
    prompt[13]++;
    p.temperature = 1;
    p.n = 3;
    submit(&b, 1, prompt, N, &p);
    answer a[3];
    finish_choices(&b, 1, a, 3);
    assert_true(b.engine->stats.preemptions > 0);
    for (int i = 0; i < 3; i++)
        expect_miss(&a[i].end, 3 * BLOCK, ENGINE_MISS_DIFFERS, 13);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_an_id_that_differs),
        cmocka_unit_test(test_an_answer_that_differs),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_other_salts_are_not_told_of),
        cmocka_unit_test(test_a_cache_that_is_not_read),
        cmocka_unit_test(test_said_once_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
