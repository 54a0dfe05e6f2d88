// Who runs when, on which blocks: prefix hits, sharing, preemption, fairness, aborts.
#include "engine_bench.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

// ---------------------------------------------------------------------------------------------
// Prefix cache

static void test_hits_are_counted_in_whole_blocks(void **state) {
    (void)state;
    enum { N = 5 * BLOCK };
    // How many leading ids the second prompt shares with the first; -1: it is the first.
    static const struct {
        int n_common, hit;
    } cases[] = {{0, 0},
                 {1, 0},
                 {BLOCK - 1, 0},
                 {BLOCK, BLOCK},
                 {BLOCK + 1, BLOCK},
                 {N - 1, N - BLOCK},
                 {N, N - BLOCK}}; // the last id is always computed
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b = bench_open(default_options());
        int32_t first[N], second[N];
        fill_prompt(first, N, 0);
        fill_prompt(second, N, 1);
        second[cases[i].n_common % N] = 19; // where the two part, they surely differ
        memcpy(second, first, (size_t)cases[i].n_common * sizeof *first);
        engine_params p = greedy(1);
        ask(&b, first, N, &p);
        assert_int_equal(b.engine->stats.prefix_queries, N);
        assert_int_equal(b.engine->stats.prefix_hits, 0);
        answer a = ask(&b, second, N, &p);
        assert_int_equal(a.end.n_cached, cases[i].hit);
        assert_int_equal(b.engine->stats.prefix_queries, 2 * N);
        assert_int_equal(b.engine->stats.prefix_hits, cases[i].hit);
        assert_int_equal(b.engine->stats.tokens_computed, 2 * N - cases[i].hit);
        assert_expected(&b, &a, second, N, &p, 0);
        bench_close(&b);
    }
}

static void test_prompt_one_beyond_a_block(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[2 * BLOCK + 1];
    fill_prompt(prompt, 2 * BLOCK + 1, 0);
    engine_params p = greedy(1);
    ask(&b, prompt, 2 * BLOCK + 1, &p);
    assert_int_equal(ask(&b, prompt, 2 * BLOCK + 1, &p).end.n_cached, 2 * BLOCK);
    bench_close(&b);
}

static void test_output_is_cached_too(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[LONGEST];
    fill_prompt(prompt, 6, 0);
    engine_params p = greedy(20);
    answer a = ask(&b, prompt, 6, &p);
    memcpy(prompt + 6, a.ids, 20 * sizeof *prompt);
    // 25 of the 26 ids were computed, 24 of them in full blocks.
    assert_int_equal(ask(&b, prompt, 26, &p).end.n_cached, 24);
    bench_close(&b);
}

static void test_salts_and_switches(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[20];
    fill_prompt(prompt, 20, 0);
    engine_params p = greedy(1);
    ask(&b, prompt, 20, &p);
    p.cache_salt = 1;
    assert_int_equal(ask(&b, prompt, 20, &p).end.n_cached, 0);
    assert_int_equal(ask(&b, prompt, 20, &p).end.n_cached, 16);
    p.n_prompt_logprobs = 0;
    assert_int_equal(ask(&b, prompt, 20, &p).end.n_cached, 0);
    bench_close(&b);
    engine_options o = default_options();
    o.prefix_caching = false;
    b = bench_open(o);
    p = greedy(1);
    ask(&b, prompt, 20, &p);
    assert_int_equal(ask(&b, prompt, 20, &p).end.n_cached, 0);
    assert_int_equal(b.engine->stats.prefix_queries, 0);
    bench_close(&b);
}

static void test_chains_are_evicted_from_their_tails(void **state) {
    (void)state;
    engine_options o = default_options();
    o.n_blocks = 10;
    bench b = bench_open(o);
    int32_t first[24], second[24];
    fill_prompt(first, 24, 0);
    fill_prompt(second, 24, 1);
    engine_params p = greedy(1);
    ask(&b, first, 24, &p);  // 6 blocks
    ask(&b, second, 24, &p); // 4 free ones and 2 of the first's tail
    assert_int_equal(ask(&b, first, 24, &p).end.n_cached, 16);
    bench_close(&b);
}

// Two that compute the same at the same time end up on the same blocks.
static void test_equal_prompts_share_blocks(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[22];
    fill_prompt(prompt, 22, 0);
    engine_params p = greedy(10);
    submit(&b, 1, prompt, 22, &p);
    submit(&b, 2, prompt, 22, &p);
    checked_step(b.engine, b.fake);
    assert_int_equal(b.engine->stats.tokens_computed, 44);
    assert_int_equal(b.options.n_blocks - b.engine->blocks.n_free, 5 + 2);
    answer a = finish(&b, 2);
    assert_expected(&b, &a, prompt, 22, &p, 0);
    bench_close(&b);
}

// ---------------------------------------------------------------------------------------------
// Choices

static void check_choices(bool prefix_caching) {
    engine_options o = default_options();
    o.prefix_caching = prefix_caching;
    bench b = bench_open(o);
    int32_t prompt[42];
    fill_prompt(prompt, 42, 0);
    engine_params p = greedy(30);
    p.temperature = 1;
    p.has_seed = true;
    p.seed = 5;
    answer alone = ask(&b, prompt, 42, &p);
    bench_close(&b);
    b = bench_open(o);
    p.n = 4;
    submit(&b, 1, prompt, 42, &p);
    checked_step(b.engine, b.fake); // the prompt
    assert_int_equal(b.engine->n_running, 1);
    checked_step(b.engine, b.fake); // the others' tails
    assert_int_equal(b.engine->n_running, 4);
    engine_stats stats;
    engine_get_stats(b.engine, &stats);
    // 10 full blocks shared, one of its own each. The tails are 2 ids.
    assert_int_equal(stats.blocks_total - stats.blocks_free, 10 + 4);
    assert_int_equal(stats.tokens_computed, 42 + 1 + 3 * 2);
    answer a[4];
    finish_choices(&b, 1, a, 4);
    assert_memory_equal(a[0].ids, alone.ids, sizeof alone.ids);
    for (int i = 0; i < 4; i++) {
        assert_expected(&b, &a[i], prompt, 42, &p, i);
        assert_int_equal(a[i].end.n_cached, 0);
    }
    assert_true(memcmp(a[0].ids, a[1].ids, sizeof a[0].ids) != 0);
    assert_int_equal(b.engine->stats.prompt_tokens, 42);
    assert_int_equal(b.engine->stats.generation_tokens, 120);
    assert_int_equal(b.engine->stats.prefix_hits, 0);
    bench_close(&b);
}

static void test_choices_share_the_prompt(void **state) {
    (void)state;
    check_choices(true);
    check_choices(false);
}

static void test_more_choices_than_places(void **state) {
    (void)state;
    engine_options o = default_options();
    o.max_num_seqs = 2;
    bench b = bench_open(o);
    int32_t prompt[9];
    fill_prompt(prompt, 9, 0);
    engine_params p = greedy(7);
    p.temperature = 1;
    p.has_seed = true;
    p.n = 10;
    submit(&b, 1, prompt, 9, &p);
    answer a[10];
    finish_choices(&b, 1, a, 10);
    for (int i = 0; i < 10; i++)
        assert_expected(&b, &a[i], prompt, 9, &p, i);
    bench_close(&b);
}

// ---------------------------------------------------------------------------------------------
// Preemption

static void test_preemption_changes_nothing(void **state) {
    (void)state;
    engine_options o = default_options();
    o.n_blocks = 20; // 80 positions for three times 40
    bench b = bench_open(o);
    int32_t prompts[3][10];
    engine_params p = greedy(30);
    for (int i = 0; i < 3; i++) {
        fill_prompt(prompts[i], 10, i);
        submit(&b, (uint64_t)i, prompts[i], 10, &p);
    }
    answer a[3];
    memset(a, 0, sizeof a);
    uint64_t order[3];
    int n_ends = 0;
    while (checked_step(b.engine, b.fake)) {
    }
    engine_event v;
    while (engine_next_event(b.engine, &v)) {
        if (v.kind == ENGINE_EVENT_TOKEN) {
            a[v.request].ids[a[v.request].n++] = v.id;
            continue;
        }
        a[v.request].end = v;
        order[n_ends++] = v.request;
    }
    for (int i = 0; i < 3; i++) {
        assert_expected(&b, &a[i], prompts[i], 10, &p, 0);
        assert_int_equal(a[i].end.n_cached, 0);
        assert_int_equal(order[i], i); // first come, first served
    }
    assert_true(b.engine->stats.preemptions > 0);
    assert_int_equal(b.engine->stats.prefix_queries, 30); // recomputation is nobody's query
    assert_int_equal(b.engine->stats.prefix_hits, 0);
    assert_int_equal(b.engine->stats.prompt_tokens, 30);
    bench_close(&b);
}

// Nobody is admitted at the cost of a prompt already begun.
static void test_admission_leaves_promised_blocks(void **state) {
    (void)state;
    engine_options o = default_options();
    o.n_blocks = 10;
    o.max_num_batched_tokens = 8;
    bench b = bench_open(o);
    int32_t prompt[40];
    fill_prompt(prompt, 40, 0);
    engine_params p = greedy(1);
    submit(&b, 1, prompt, 32, &p); // 8 blocks, in 4 steps
    p.cache_salt = 1;
    submit(&b, 2, prompt, 12, &p); // 3 blocks
    for (int i = 0; i < 4; i++) {
        checked_step(b.engine, b.fake);
        assert_int_equal(b.fake->plan.n_seqs, 1);
    }
    finish(&b, 2);
    assert_int_equal(b.engine->stats.preemptions, 0);
    bench_close(&b);
}

// Blocks found in the cache are free until they are revived: they count once, not twice.
static void test_admission_counts_revived_blocks(void **state) {
    (void)state;
    engine_options o = default_options();
    o.n_blocks = 10;
    bench b = bench_open(o);
    int32_t prompt[40];
    fill_prompt(prompt, 40, 0);
    engine_params p = greedy(1), q = greedy(4);
    ask(&b, prompt, 17, &p); // leaves 4 cached blocks
    q.cache_salt = 1;
    submit(&b, 1, prompt, 9, &q); // 3 blocks for 4 steps
    checked_step(b.engine, b.fake);
    submit(&b, 2, prompt, 29, &p); // 4 cached and 4 new blocks, where 7 are free
    for (int i = 0; i < 3; i++) {
        checked_step(b.engine, b.fake);
        assert_int_equal(b.fake->plan.n_seqs, 1);
    }
    assert_int_equal(finish(&b, 2).end.n_cached, 16);
    assert_int_equal(b.engine->stats.preemptions, 0);
    bench_close(&b);
}

// The only one that is not held gives its blocks back for want of one more: then an older one that
// waits, and fits, must not wait for the hold's end.
static void test_a_preemption_while_others_are_held(void **state) {
    (void)state;
    engine_options o = default_options();
    o.n_blocks = 9;
    o.prefix_caching = false;
    bench b = bench_open(o);
    int32_t first[8], second[20];
    fill_prompt(first, 8, 0);
    fill_prompt(second, 20, 1);
    engine_params p = greedy(10), pair = p;
    pair.n = 2;
    pair.temperature = 1;
    submit(&b, 1, first, 8, &pair);
    submit(&b, 2, second, 20, &p);
    checked_step(b.engine, b.fake);
    checked_step(b.engine, b.fake); // all 9 blocks are taken, the second choice finds none
    assert_int_equal(b.engine->blocks.n_free, 0);
    assert_int_equal(b.engine->n_running, 2);
    assert_int_equal(b.engine->waiting->choice, 1);
    engine_seq *held = b.engine->running[0];
    held->due_ns = base_now_ns() + (int64_t)3600 * 1000000000;
    engine_seq *second_choice = b.engine->waiting;
    while (b.engine->stats.preemptions == 0)
        assert_int_equal(engine_try_step(b.engine), ENGINE_STEPPED);
    assert_int_equal(second_choice->n_ids, 9);
    held->due_ns = 0;
    answer a = finish(&b, 2);
    assert_expected(&b, &a, second, 20, &p, 0);
    bench_close(&b);
}

// ---------------------------------------------------------------------------------------------
// Fairness

static void test_short_prompt_behind_long_ones(void **state) {
    (void)state;
    bench b = bench_open(default_options()); // 64 rows a step
    int32_t prompt[LONGEST];
    fill_prompt(prompt, LONGEST, 0);
    engine_params p = greedy(5);
    submit(&b, 1, prompt, 380, &p);
    p.cache_salt = 1;
    submit(&b, 2, prompt, 380, &p);
    checked_step(b.engine, b.fake);
    assert_int_equal(b.fake->max_rows_seen, 64); // sharing wastes nothing
    p.cache_salt = 2;
    submit(&b, 3, prompt, 12, &p);
    checked_step(b.engine, b.fake);
    engine_event v;
    assert_true(engine_next_event(b.engine, &v));
    assert_int_equal(v.request, 3); // 370 rows of older prompts are still to do
    assert_int_equal(b.engine->stats.tokens_computed, 128);
    finish(&b, 1);
    bench_close(&b);
}

static void test_prompts_do_not_stop_decoding(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[LONGEST];
    fill_prompt(prompt, LONGEST, 0);
    engine_params p = greedy(30);
    submit(&b, 1, prompt, 5, &p);
    checked_step(b.engine, b.fake);
    p.cache_salt = 1;
    submit(&b, 2, prompt, 300, &p);
    engine_event v;
    assert_true(engine_next_event(b.engine, &v));
    for (int i = 0; i < 4; i++) { // 63 rows of the prompt in each
        checked_step(b.engine, b.fake);
        assert_true(engine_next_event(b.engine, &v));
        assert_int_equal(v.request, 1);
        assert_false(engine_next_event(b.engine, &v));
        assert_int_equal(b.fake->plan.n_rows, 64);
        assert_int_equal(b.fake->plan.seqs[0].n_rows, 1); // decode rows first
    }
    finish(&b, 2);
    bench_close(&b);
}

// ---------------------------------------------------------------------------------------------
// Aborts

// Aborts a request in each state it goes through; its neighbour must not notice.
static void test_abort_in_any_state(void **state) {
    (void)state;
    int32_t prompt[100], other[50];
    fill_prompt(prompt, 100, 0);
    fill_prompt(other, 50, 1);
    for (int after = 0; after < 10; after++) {
        engine_options o = default_options();
        o.max_num_seqs = 3; // of the 4 choices some wait, one is new
        bench b = bench_open(o);
        engine_params p = greedy(40), q = greedy(10);
        p.temperature = 1;
        p.n = 4;
        submit(&b, 2, other, 50, &q);
        submit(&b, 1, prompt, 100, &p);
        for (int i = 0; i < after; i++)
            checked_step(b.engine, b.fake);
        engine_abort(b.engine, 1);
        engine_abort(b.engine, 1);
        engine_abort(b.engine, 99);
        check_engine(b.engine, b.fake);
        assert_int_equal(b.engine->n_live, 1);
        engine_event v;
        int n_ends = 0;
        answer a = {0};
        for (bool more = true; more;) {
            more = checked_step(b.engine, b.fake);
            while (engine_next_event(b.engine, &v)) {
                if (v.request == 1 && v.kind == ENGINE_EVENT_FINISH) {
                    assert_int_equal(v.finish, ENGINE_FINISH_ABORT);
                    n_ends++;
                } else if (v.request == 2 && v.kind == ENGINE_EVENT_TOKEN) {
                    a.ids[a.n++] = v.id;
                } else if (v.request == 2) {
                    a.end = v;
                }
            }
        }
        assert_int_equal(n_ends, 4);
        assert_int_equal(b.engine->stats.finished_abort, 4);
        assert_expected(&b, &a, other, 50, &q, 0);
        assert_int_equal(b.engine->blocks.n_free, o.n_blocks);
        bench_close(&b);
    }
}

// ---------------------------------------------------------------------------------------------
// Memory

#ifndef SANITIZED
static int n_allocations;

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t bytes);

void *malloc(size_t bytes) {
    n_allocations++;
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t size) {
    n_allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *p, size_t bytes) {
    n_allocations++;
    return __libc_realloc(p, bytes);
}
#endif

static void test_steps_allocate_nothing(void **state) {
    (void)state;
#ifdef SANITIZED
    print_message("# the sanitizer's allocator stands where ours would count\n");
    skip();
#else
    engine_options o = default_options();
    o.n_blocks = 101;
    bench b = bench_open(o);
    int32_t prompt[4][120];
    engine_params p = greedy(230);
    for (int i = 0; i < 4; i++) {
        fill_prompt(prompt[i], 120, i);
        submit(&b, (uint64_t)i, prompt[i], 120, &p);
    }
    int before = n_allocations;
    engine_event v;
    while (b.engine->n_live == 4) { // prompts, decoding, preemption, admission
        engine_step(b.engine);
        while (engine_next_event(b.engine, &v)) {
        }
    }
    assert_true(b.engine->stats.preemptions > 0);
    assert_int_equal(n_allocations - before, 1); // the ring of events, once
    bench_close(&b);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hits_are_counted_in_whole_blocks),
        cmocka_unit_test(test_prompt_one_beyond_a_block),
        cmocka_unit_test(test_output_is_cached_too),
        cmocka_unit_test(test_salts_and_switches),
        cmocka_unit_test(test_chains_are_evicted_from_their_tails),
        cmocka_unit_test(test_equal_prompts_share_blocks),
        cmocka_unit_test(test_choices_share_the_prompt),
        cmocka_unit_test(test_more_choices_than_places),
        cmocka_unit_test(test_preemption_changes_nothing),
        cmocka_unit_test(test_admission_leaves_promised_blocks),
        cmocka_unit_test(test_admission_counts_revived_blocks),
        cmocka_unit_test(test_a_preemption_while_others_are_held),
        cmocka_unit_test(test_short_prompt_behind_long_ones),
        cmocka_unit_test(test_prompts_do_not_stop_decoding),
        cmocka_unit_test(test_abort_in_any_state),
        cmocka_unit_test(test_steps_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
