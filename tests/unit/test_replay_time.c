// Scripts played through a real engine: when, beside whom, and what is counted.
#include "replay_player.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

// ---------------------------------------------------------------------------------------------
// Scheduling

// The row that was told LATER is planned twice but counts once.
static void test_nothing_is_counted_twice(void **state) {
    (void)state;
    int32_t ids[16];
    count_up(ids, 16, 500);
    const backend_script script = {.ids = ids, .n_ids = 16, .prefill_ns = ms, .step_ns = ms};
    player p = player_open(small_options(), &script, 1);
    engine_params params = play_params(0, 16);
    answer a = ask(&p, 33, &params);
    engine_stats *stats = &p.engine->stats;
    assert_int_equal(a.end.n_cached, 0);
    assert_int_equal(stats->prefix_queries, 33);
    assert_int_equal(stats->prefix_hits, 0);
    assert_int_equal(stats->prompt_tokens, 33);
    assert_int_equal(stats->generation_tokens, 16);
    assert_int_equal(stats->tokens_computed, 33 + 15);
    a = ask(&p, 33, &params);
    assert_int_equal(a.end.n_cached, 32);
    assert_int_equal(stats->prefix_hits, 32);
    assert_int_equal(stats->tokens_computed, 2 * (33 + 15) - 32);
    player_close(&p);
}

// Far more than the pool holds, with and without waiting, in chunks and one by one.
static void check_preemption(int64_t step_ns, int chunk) {
    enum { N = 24, LENGTH = 90 };
    int32_t ids[LENGTH];
    count_up(ids, LENGTH, 500);
    const backend_script script = {.ids = ids,
                                   .n_ids = LENGTH,
                                   .chunks = &chunk,
                                   .n_chunks = 1,
                                   .prefill_ns = step_ns,
                                   .step_ns = step_ns};
    engine_options o = small_options();
    o.n_blocks = 20; // 160 positions; each of 24 needs up to 130
    player p = player_open(o, &script, 1);
    engine_params params = play_params(0, LENGTH - 10);
    static answer a[N];
    memset(a, 0, sizeof a);
    for (int i = 0; i < N; i++)
        submit(&p, (uint64_t)i + 1, 5 + i, 100 + 10 * i, &params);
    finish(&p, a, false);
    for (int i = 0; i < N; i++)
        assert_ids(&a[i], ids, LENGTH - 10, ENGINE_FINISH_LENGTH);
    assert_true(p.engine->stats.preemptions > 0);
    player_close(&p);
}

static void test_preemption(void **state) {
    (void)state;
    check_preemption(0, 1);
    check_preemption(0, 7);
    check_preemption(ms / 10, 1);
    check_preemption(2 * ms, 7);
}

// Held for an hour: the abort must not wait for it.
static void test_abort_while_held(void **state) {
    (void)state;
    static const int32_t ids[2] = {20, 21};
    const backend_script scripts[2] = {{.ids = ids, .n_ids = 2, .prefill_ns = 3600000 * ms},
                                       {.ids = ids, .n_ids = 2, .step_ns = 3600000 * ms}};
    player p = player_open(small_options(), scripts, 2);
    for (int i = 0; i < 2; i++) {
        engine_params params = play_params(i, 10);
        params.n = 3;
        answer a[3] = {0};
        engine_stats stats;
        submit(&p, 1, 40, 100, &params);
        assert_int_equal(engine_try_step(p.engine), ENGINE_STEPPED);
        assert_int_equal(engine_try_step(p.engine), ENGINE_HELD);
        engine_get_stats(p.engine, &stats);
        assert_int_equal(stats.running + stats.waiting, 3);
        assert_int_equal(stats.blocks_free, stats.blocks_total - 5);
        engine_abort(p.engine, 1);
        engine_get_stats(p.engine, &stats);
        assert_int_equal(stats.blocks_free, stats.blocks_total);
        take(&p, a, true);
        for (int k = 0; k < 3; k++)
            assert_ids(&a[k], NULL, 0, ENGINE_FINISH_ABORT);
        assert_int_equal(engine_try_step(p.engine), ENGINE_IDLE);
    }
    player_close(&p);
}

// Somebody who is held keeps nobody else from running.
static void test_held_ones_do_not_block_others(void **state) {
    (void)state;
    static const int32_t ids[4] = {20, 21, 22, 23};
    const backend_script scripts[2] = {{.ids = ids, .n_ids = 4, .prefill_ns = 3600000 * ms},
                                       {.ids = ids, .n_ids = 4}};
    player p = player_open(small_options(), scripts, 2);
    engine_params held = play_params(0, 10), free_one = play_params(1, 10);
    static answer a[MOST_REQUESTS];
    memset(a, 0, sizeof a);
    submit(&p, 1, 40, 100, &held);
    for (int i = 2; i <= MOST_REQUESTS; i++)
        submit(&p, (uint64_t)i, 40, 100 + i, &free_one);
    while (engine_try_step(p.engine) == ENGINE_STEPPED)
        take(&p, a, false);
    for (int i = 1; i < MOST_REQUESTS; i++)
        assert_ids(&a[i], ids, 4, ENGINE_FINISH_LENGTH);
    assert_int_equal(a[0].n, 0);
    engine_abort(p.engine, 1);
    player_close(&p);
}

static void on_alarm(int signal) {
    (void)signal;
}

static void test_a_signal_ends_the_sleep(void **state) {
    (void)state;
    static const int32_t ids[1] = {20};
    const backend_script script = {.ids = ids, .n_ids = 1, .prefill_ns = 3600000 * ms};
    player p = player_open(small_options(), &script, 1);
    engine_params params = play_params(0, 10);
    submit(&p, 1, 40, 100, &params);
    assert_true(engine_step(p.engine));
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    sigaction(SIGALRM, &action, &before);
    // More than once: the first could come before the sleep begins.
    const struct itimerval often = {.it_interval.tv_usec = 20000, .it_value.tv_usec = 20000};
    const struct itimerval never = {0};
    setitimer(ITIMER_REAL, &often, NULL);
    assert_true(engine_step(p.engine));
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(p.engine->stats.steps, 1);
    engine_abort(p.engine, 1);
    player_close(&p);
}

// ---------------------------------------------------------------------------------------------
// Time

// A chunk may be late, never early; and what is late once is not late for ever after.
static void test_chunks_are_never_early(void **state) {
    (void)state;
    enum { N = 20, CHUNK = 2 };
    int32_t ids[N];
    int chunk = CHUNK;
    count_up(ids, N, 500);
    const backend_script script = {.ids = ids,
                                   .n_ids = N,
                                   .chunks = &chunk,
                                   .n_chunks = 1,
                                   .prefill_ns = 30 * ms,
                                   .step_ns = 7 * ms};
    player p = player_open(small_options(), &script, 1);
    engine_params params = play_params(0, N + 1);
    answer a = {0};
    int64_t start = base_now_ns(), first_due = 0;
    submit(&p, 1, 20, 100, &params);
    assert_true(engine_step(p.engine));
    engine_seq *s = p.engine->running[0];
    for (int k = 0; k < N / CHUNK; k++) {
        int64_t due = s->due_ns;
        if (k == 0)
            first_due = due;
        assert_true(due >= start + (30 + 7 * (k + 1)) * ms);
        assert_int_equal(due, first_due + 7 * k * ms);
        if (k == 3) // late, by less than a step and by more
            usleep(10000);
        if (k == 6)
            usleep(20000);
        assert_true(engine_step(p.engine));
        assert_int_equal(take(&p, &a, false), CHUNK);
        assert_true(base_now_ns() >= due);
        int64_t late = p.engine->now_ns - due;
        if (late >= 1000 * ms) // the machine has better to do: then the engine starts anew
            first_due += late;
    }
    assert_int_equal(engine_try_step(p.engine), ENGINE_STEPPED); // the end is not held
    take(&p, &a, false);
    assert_ids(&a, ids, N, ENGINE_FINISH_LENGTH);
    assert_true(a.end.prefill_ns >= 37 * ms && a.end.decode_ns >= 9 * 7 * ms - 10 * ms);
    assert_true(base_now_ns() - start < 20000 * ms);
    player_close(&p);
}

// Choices but the first find the prompt computed.
static void test_the_prefill_is_paid_once(void **state) {
    (void)state;
    static const int32_t ids[2] = {20, 21};
    const backend_script script = {
        .ids = ids, .n_ids = 2, .prefill_ns = 40 * ms, .step_ns = 5 * ms};
    player p = player_open(small_options(), &script, 1);
    engine_params params = play_params(0, 10);
    params.n = 2;
    answer a[2] = {0};
    submit(&p, 1, 20, 100, &params);
    while (a[0].n == 0) {
        assert_true(engine_step(p.engine));
        take(&p, a, true);
    }
    while (p.engine->n_running < 2 || p.engine->running[1]->due_ns == 0)
        assert_true(engine_step(p.engine));
    int64_t hold = p.engine->running[1]->due_ns - p.engine->now_ns;
    assert_in_range(hold, 0, 5 * ms);
    finish(&p, a, true);
    for (int i = 0; i < 2; i++)
        assert_ids(&a[i], ids, 2, ENGINE_FINISH_LENGTH);
    player_close(&p);
}

// Many streams share steps: else a thousand of them would be as many steps as ids.
static void test_due_times_are_coalesced(void **state) {
    (void)state;
    enum { N = 200, LENGTH = 20 };
    int32_t ids[LENGTH];
    count_up(ids, LENGTH, 500);
    static backend_script scripts[N];
    for (int i = 0; i < N; i++)
        scripts[i] = (backend_script){
            .ids = ids, .n_ids = LENGTH, .prefill_ns = i * 5 * ms / N, .step_ns = 5 * ms};
    engine_options o = small_options();
    o.max_num_seqs = N;
    o.max_num_batched_tokens = N;
    o.n_blocks = 6 * N;
    player p = player_open(o, scripts, N);
    static answer a[N];
    memset(a, 0, sizeof a);
    for (int i = 0; i < N; i++) {
        engine_params params = play_params(i, LENGTH);
        submit(&p, (uint64_t)i + 1, 5, 100 + i, &params);
    }
    finish(&p, a, false);
    for (int i = 0; i < N; i++)
        assert_ids(&a[i], ids, LENGTH, ENGINE_FINISH_LENGTH);
    assert_in_range(p.engine->stats.steps, LENGTH, N * LENGTH / 4);
    player_close(&p);
}

// ---------------------------------------------------------------------------------------------

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_counted_twice),
        cmocka_unit_test(test_preemption),
        cmocka_unit_test(test_abort_while_held),
        cmocka_unit_test(test_held_ones_do_not_block_others),
        cmocka_unit_test(test_a_signal_ends_the_sleep),
        cmocka_unit_test(test_chunks_are_never_early),
        cmocka_unit_test(test_the_prefill_is_paid_once),
        cmocka_unit_test(test_due_times_are_coalesced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
