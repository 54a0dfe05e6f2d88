// Scripts played through a real engine: which ids, in which steps.
#include "replay_player.h"

#include <limits.h>

// ---------------------------------------------------------------------------------------------
// The door

static void expect_refused(backend_script script, const char *part) {
    backend *b;
    base_err err = {0};
    engine_options o = small_options();
    backend_options options = backend_options_of(&o);
    const int32_t good[1] = {1};
    const backend_script scripts[2] = {{.ids = good, .n_ids = 1}, script};
    assert_int_equal(backend_open_replay(&b, scripts, 2, &config, &options, &err), BASE_ERR_USAGE);
    assert_null(b);
    if (!strstr(err.message, "script 1: ") || !strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void test_bad_scripts_are_refused(void **state) {
    (void)state;
    const int32_t ids[3] = {1, VOCAB - 1, VOCAB}, negative[1] = {-1};
    const int chunks[2] = {2, 0}, backwards[1] = {INT_MIN};
    expect_refused((backend_script){.ids = ids, .n_ids = 3}, "token id 1000");
    expect_refused((backend_script){.ids = negative, .n_ids = 1}, "token id -1");
    expect_refused((backend_script){.ids = ids, .n_ids = -1}, "-1 ids");
    expect_refused((backend_script){.ids = ids, .n_ids = 2, .chunks = chunks, .n_chunks = 2},
                   "chunk of 0");
    expect_refused((backend_script){.ids = ids, .n_ids = 2, .chunks = backwards, .n_chunks = 1},
                   "chunk of -");
    expect_refused((backend_script){.n_chunks = -1}, "-1 chunks");
    expect_refused((backend_script){.step_ns = -1}, "step_ns");
    expect_refused((backend_script){.prefill_ns = INT64_MAX}, "prefill_ns");
}

static void test_bad_options_are_refused(void **state) {
    (void)state;
    backend *b;
    base_err err = {0};
    engine_options o = small_options();
    backend_options options = backend_options_of(&o);
    options.block_size = 3;
    assert_int_equal(backend_open_replay(&b, NULL, 0, &config, &options, &err), BASE_ERR_USAGE);
    assert_null(b);
    assert_non_null(strstr(err.message, "block_size"));
}

// ---------------------------------------------------------------------------------------------
// Ids

// Each step gives one chunk, the last size listed goes on, and the end comes with the last.
static void test_chunks(void **state) {
    (void)state;
    static const int three[3] = {3, 1, 2}, huge[2] = {1, INT_MAX}, many[40] = {1, 1, 1, 1, 9};
    static const struct {
        const int *chunks;
        int n_chunks, n_steps, steps[16];
    } cases[] = {{three, 3, 6, {3, 1, 2, 2, 2, 1}},
                 {three, 1, 4, {3, 3, 3, 2}},
                 {huge, 2, 2, {1, 10}},
                 {many, 5, 6, {1, 1, 1, 1, 7}},
                 {NULL, 0, 11, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}}};
    int32_t ids[11];
    count_up(ids, 11, 500);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const backend_script script = {
            .ids = ids, .n_ids = 11, .chunks = cases[i].chunks, .n_chunks = cases[i].n_chunks};
        player p = player_open(small_options(), &script, 1);
        engine_params params = play_params(0, 100);
        answer a = {0};
        submit(&p, 1, 20, 100, &params);
        for (int step = 0; !a.ended; step++) {
            assert_true(engine_step(p.engine));
            int n = take(&p, &a, false);
            assert_int_equal(n, step < 16 ? cases[i].steps[step] : 0);
        }
        assert_ids(&a, ids, 11, ENGINE_FINISH_LENGTH);
        assert_false(engine_step(p.engine));
        player_close(&p);
    }
}

static void test_a_script_without_ids(void **state) {
    (void)state;
    const backend_script scripts[2] = {{0}, {.prefill_ns = 2 * ms}};
    player p = player_open(small_options(), scripts, 2);
    for (int i = 0; i < 2; i++) {
        engine_params params = play_params(i, 100);
        answer a = ask(&p, 20, &params);
        assert_ids(&a, NULL, 0, ENGINE_FINISH_LENGTH);
    }
    player_close(&p);
}

// In the middle of a chunk: what comes after is dropped.
static void test_ends_inside_a_chunk(void **state) {
    (void)state;
    static const int32_t ids[12] = {20, 21, 22, EOS, 24, 25, 25, 25, 25, 26, EOS, 30};
    static const int32_t stop[1] = {25};
    static const int chunks[1] = {5};
    const backend_script script = {.ids = ids, .n_ids = 12, .chunks = chunks, .n_chunks = 1};
    player p = player_open(small_options(), &script, 1);
    engine_params params = play_params(0, 100);
    answer a = ask(&p, 20, &params);
    assert_ids(&a, ids, 4, ENGINE_FINISH_STOP);
    assert_int_equal(a.end.stop_id, EOS);
    params.max_tokens = 2;
    a = ask(&p, 20, &params);
    assert_ids(&a, ids, 2, ENGINE_FINISH_LENGTH);
    params.max_tokens = 100;
    params.min_tokens = 5; // EOS does not end before
    a = ask(&p, 20, &params);
    assert_ids(&a, ids, 11, ENGINE_FINISH_STOP);
    params.min_tokens = 0;
    params.ignore_eos = true;
    a = ask(&p, 20, &params);
    assert_ids(&a, ids, 12, ENGINE_FINISH_LENGTH);
    params.repetition_detection = (engine_repetition){.max_pattern = 1, .min_count = 3};
    a = ask(&p, 20, &params);
    assert_ids(&a, ids, 8, ENGINE_FINISH_REPETITION);
    params.stop_ids = stop;
    params.n_stop_ids = 1;
    a = ask(&p, 20, &params);
    assert_ids(&a, ids, 6, ENGINE_FINISH_STOP);
    player_close(&p);
}

static void test_sampling_is_ignored(void **state) {
    (void)state;
    static const int32_t ids[4] = {20, 21, 22, 23}, allowed[1] = {77};
    static const int32_t *const words[1] = {ids};
    static const int lens[1] = {1};
    const backend_script script = {.ids = ids, .n_ids = 4};
    player p = player_open(small_options(), &script, 1);
    engine_params params = play_params(0, 100);
    params.allowed_ids = allowed;
    params.n_allowed = 1;
    params.bad_words = words;
    params.bad_word_lens = lens;
    params.n_bad_words = 1;
    params.repetition = 2;
    params.presence = 1;
    answer a = ask(&p, 20, &params);
    assert_ids(&a, ids, 4, ENGINE_FINISH_LENGTH);
    player_close(&p);
}

static void check_logprobs(int n_logprobs) {
    static const int32_t ids[5] = {20, 21, 22, 23, 24};
    static const int chunks[1] = {2};
    const backend_script script = {.ids = ids, .n_ids = 5, .chunks = chunks, .n_chunks = 1};
    player p = player_open(small_options(), &script, 1);
    engine_params params = play_params(0, 100);
    params.n_logprobs = params.n_prompt_logprobs = n_logprobs;
    submit(&p, 1, 4, 100, &params);
    while (engine_step(p.engine)) {
    }
    engine_event v;
    for (int position = 1; position < 9; position++) {
        assert_true(engine_next_event(p.engine, &v));
        assert_int_equal(v.kind, position < 4 ? ENGINE_EVENT_PROMPT : ENGINE_EVENT_TOKEN);
        assert_int_equal(v.position, position);
        assert_int_equal(v.id, position < 4 ? 100 + position : ids[position - 4]);
        assert_true(v.logprob == 0);
        assert_int_equal(v.rank, 1);
        assert_int_equal(v.n_top, n_logprobs > 0);
        if (v.n_top > 0)
            assert_true(v.top[0].id == v.id && v.top[0].logprob == 0);
        engine_event_free(&v);
    }
    assert_true(engine_next_event(p.engine, &v) && v.kind == ENGINE_EVENT_FINISH);
    player_close(&p);
}

static void test_logprobs(void **state) {
    (void)state;
    check_logprobs(0);
    check_logprobs(1);
    check_logprobs(5);
}

static void test_choices_play_the_same(void **state) {
    (void)state;
    int32_t ids[30];
    count_up(ids, 30, 500);
    static const int chunks[2] = {4, 3};
    const backend_script script = {.ids = ids,
                                   .n_ids = 30,
                                   .chunks = chunks,
                                   .n_chunks = 2,
                                   .prefill_ns = 5 * ms,
                                   .step_ns = ms};
    player p = player_open(small_options(), &script, 1);
    engine_params params = play_params(0, 25);
    params.n = 5;
    answer a[5] = {0};
    submit(&p, 1, 30, 100, &params);
    finish(&p, a, true);
    for (int i = 0; i < 5; i++)
        assert_ids(&a[i], ids, 25, ENGINE_FINISH_LENGTH);
    // The others share the prompt's whole blocks.
    assert_in_range(p.engine->stats.tokens_computed, 30, 30 + 5 * 25 + 4 * 6);
    player_close(&p);
}

// ---------------------------------------------------------------------------------------------

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_scripts_are_refused),
        cmocka_unit_test(test_bad_options_are_refused),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_a_script_without_ids),
        cmocka_unit_test(test_ends_inside_a_chunk),
        cmocka_unit_test(test_sampling_is_ignored),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_choices_play_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
