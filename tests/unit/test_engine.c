// What the engine promises, one behaviour at a time. test_engine_random.c mixes them all.
#include "engine_bench.h"

#include <math.h>
#include <stdio.h>

// ---------------------------------------------------------------------------------------------
// The door

static void expect_invalid(bench *b, const engine_params *p, const char *field) {
    int32_t prompt[3] = {20, 21, 22};
    base_err err = {0};
    assert_int_equal(engine_submit(b->engine, 1, prompt, 3, p, &err), ENGINE_INVALID);
    assert_int_equal(err.code, BASE_ERR_USAGE);
    size_t n = strlen(field);
    if (strncmp(err.message, field, n) != 0 || err.message[n] != ':')
        fail_msg("\"%s\" does not begin with \"%s:\"", err.message, field);
}

#define EXPECT_INVALID(field, ...)                                                                 \
    do {                                                                                           \
        engine_params p;                                                                           \
        engine_params_init(&p);                                                                    \
        __VA_ARGS__;                                                                               \
        expect_invalid(&b, &p, field);                                                             \
    } while (0)

static void test_numbers_out_of_range_are_refused(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    EXPECT_INVALID("n", p.n = 0);
    EXPECT_INVALID("n", p.n = -1);
    EXPECT_INVALID("n", p.n = 13); // 4 run, 8 wait
    EXPECT_INVALID("n", p.n = INT32_MAX);
    EXPECT_INVALID("n", p.n = 2; p.temperature = 0);
    EXPECT_INVALID("n", p.n = 2; p.temperature = 9e-6f);
    EXPECT_INVALID("max_tokens", p.max_tokens = 0);
    EXPECT_INVALID("min_tokens", p.min_tokens = -1);
    EXPECT_INVALID("min_tokens", p.min_tokens = 17);
    EXPECT_INVALID("temperature", p.temperature = -0.1f);
    EXPECT_INVALID("temperature", p.temperature = 2.1f);
    EXPECT_INVALID("temperature", p.temperature = NAN);
    EXPECT_INVALID("temperature", p.temperature = INFINITY);
    EXPECT_INVALID("top_p", p.top_p = 0);
    EXPECT_INVALID("top_p", p.top_p = 1.1f);
    EXPECT_INVALID("top_p", p.top_p = NAN);
    EXPECT_INVALID("min_p", p.min_p = -0.1f);
    EXPECT_INVALID("min_p", p.min_p = 1.1f);
    EXPECT_INVALID("top_k", p.top_k = -2);
    EXPECT_INVALID("presence_penalty", p.presence = 2.1f);
    EXPECT_INVALID("frequency_penalty", p.frequency = -2.1f);
    EXPECT_INVALID("frequency_penalty", p.frequency = -INFINITY);
    EXPECT_INVALID("repetition_penalty", p.repetition = 0);
    EXPECT_INVALID("repetition_penalty", p.repetition = -1);
    EXPECT_INVALID("repetition_penalty", p.repetition = NAN);
    EXPECT_INVALID("repetition_detection.max_pattern_size",
                   p.repetition_detection = (engine_repetition){-1, 0, 2});
    EXPECT_INVALID("repetition_detection.max_pattern_size",
                   p.repetition_detection = (engine_repetition){ENGINE_MAX_PATTERN + 1, 0, 2});
    EXPECT_INVALID("repetition_detection.min_pattern_size",
                   p.repetition_detection = (engine_repetition){3, 4, 2});
    EXPECT_INVALID("repetition_detection.min_count",
                   p.repetition_detection = (engine_repetition){3, 1, 1});
    EXPECT_INVALID("logprobs", p.n_logprobs = 6);
    EXPECT_INVALID("logprobs", p.n_logprobs = -2);
    EXPECT_INVALID("prompt_logprobs", p.n_prompt_logprobs = 6);
    assert_int_equal(b.engine->n_live, 0);
    bench_close(&b);
}

static void test_bad_lists_are_refused(void **state) {
    (void)state;
    static const int32_t outside[][1] = {{-1}, {FAKE_VOCAB}, {INT32_MAX}, {INT32_MIN}};
    static const int32_t good[1] = {5};
    static const float nan_value[1] = {NAN}, one[1] = {1};
    bench b = bench_open(default_options());
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        const int32_t *ids = outside[i];
        const int32_t *words[] = {ids};
        const int lens[] = {1};
        EXPECT_INVALID("stop_token_ids", p.n_stop_ids = 1; p.stop_ids = ids);
        EXPECT_INVALID("allowed_token_ids", p.n_allowed = 1; p.allowed_ids = ids);
        EXPECT_INVALID("logit_bias", p.n_bias = 1; p.bias_ids = ids; p.bias_values = one);
        EXPECT_INVALID("bad_words", p.n_bad_words = 1; p.bad_words = words; p.bad_word_lens = lens);
    }
    const int32_t *words[] = {good};
    const int empty[] = {0}, huge[] = {ENGINE_MAX_BAD_WORD_IDS + 1};
    EXPECT_INVALID("bad_words", p.n_bad_words = 1; p.bad_words = words; p.bad_word_lens = empty);
    EXPECT_INVALID("bad_words", p.n_bad_words = 1; p.bad_words = words; p.bad_word_lens = huge);
    EXPECT_INVALID("allowed_token_ids", p.allowed_ids = good);
    EXPECT_INVALID("logit_bias", p.n_bias = 1; p.bias_ids = good; p.bias_values = nan_value);
    EXPECT_INVALID("logit_bias", p.n_bias = -1);
    bench_close(&b);
}

static void test_prompt_limits(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[LONGEST];
    fill_prompt(prompt, LONGEST, 0);
    engine_params p = greedy(5);
    base_err err;
    assert_int_equal(engine_submit(b.engine, 1, prompt, 0, &p, &err), ENGINE_INVALID);
    assert_int_equal(engine_submit(b.engine, 1, prompt, LONGEST, &p, &err), ENGINE_INVALID);
    assert_non_null(strstr(err.message, "maximum context length is 400 tokens"));
    answer a = ask(&b, prompt, LONGEST - 1, &p);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.end.finish, ENGINE_FINISH_LENGTH);
    prompt[7] = FAKE_VOCAB;
    assert_int_equal(engine_submit(b.engine, 1, prompt, 20, &p, &err), ENGINE_INVALID);
    bench_close(&b);
}

static void test_pool_smaller_than_the_context(void **state) {
    (void)state;
    engine_options o = default_options();
    o.n_blocks = 10; // 40 positions: 41 ids, as the last one is not computed
    bench b = bench_open(o);
    int32_t prompt[41];
    fill_prompt(prompt, 41, 0);
    engine_params p = greedy(1000);
    base_err err;
    assert_int_equal(engine_submit(b.engine, 1, prompt, 41, &p, &err), ENGINE_INVALID);
    assert_int_equal(ask(&b, prompt, 40, &p).n, 1);
    answer a = ask(&b, prompt, 5, &p);
    assert_int_equal(a.n, 36);
    assert_int_equal(a.end.finish, ENGINE_FINISH_LENGTH);
    assert_expected(&b, &a, prompt, 5, &p, 0);
    bench_close(&b);
}

static void test_queue_is_bounded(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[3] = {20, 21, 22};
    engine_params one = greedy(5), three = greedy(5);
    three.n = 3;
    three.temperature = 1;
    base_err err;
    for (uint64_t id = 0; id < 9; id++)
        submit(&b, id, prompt, 3, &one);
    submit(&b, 9, prompt, 3, &one);
    assert_int_equal(engine_submit(b.engine, 10, prompt, 3, &three, &err), ENGINE_BUSY);
    assert_int_equal(err.code, BASE_ERR_RESOURCE);
    assert_int_equal(engine_submit(b.engine, 5, prompt, 3, &one, &err), ENGINE_INVALID);
    engine_abort(b.engine, 5);
    submit(&b, 10, prompt, 3, &three);
    assert_int_equal(engine_submit(b.engine, 11, prompt, 3, &one, &err), ENGINE_BUSY);
    answer a[3];
    finish_choices(&b, 10, a, 3);
    bench_close(&b);
}

static void test_options_are_checked(void **state) {
    (void)state;
    base_err err;
    engine_options good = default_options(), bad = good;
    assert_int_equal(engine_options_check(&good, &err), 0);
    bad.max_num_batched_tokens = 3; // fewer rows than sequences
    assert_int_equal(engine_options_check(&bad, &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "max_num_batched_tokens"));
    bad = good;
    bad.eos_ids[0] = FAKE_VOCAB;
    assert_int_equal(engine_options_check(&bad, &err), BASE_ERR_USAGE);
    bad = good;
    bad.n_blocks = 0;
    assert_int_equal(engine_options_check(&bad, &err), BASE_ERR_USAGE);
}

// ---------------------------------------------------------------------------------------------
// Parameters and ends

static void test_normalised_sampling(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[3] = {20, 21, 22};
    engine_params p = greedy(1);
    const backend_sampling *s = &b.fake->last_sampling;
    p.temperature = 9e-6f;
    p.top_p = 0.5f;
    p.min_p = 0.5f;
    p.top_k = 7;
    ask(&b, prompt, 3, &p);
    assert_true(s->temperature == 0 && s->top_p == 1 && s->min_p == 0 && s->top_k == 0);
    p.temperature = 0.001f;
    ask(&b, prompt, 3, &p);
    assert_true(s->temperature == 0.01f && s->top_p == 0.5f && s->min_p == 0.5f && s->top_k == 7);
    p.top_k = -1;
    ask(&b, prompt, 3, &p);
    assert_int_equal(s->top_k, 0);
    p.has_seed = true;
    p.seed = 77;
    ask(&b, prompt, 3, &p);
    assert_int_equal(s->seed, 77);
    p.has_seed = false;
    ask(&b, prompt, 3, &p);
    uint64_t first = s->seed;
    ask(&b, prompt, 3, &p);
    assert_true(first != s->seed);
    bench_close(&b);
}

static void test_bias_is_clamped(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[3] = {20, 21, 22}, ids[2] = {30, 31};
    float values[2] = {1e30f, -1e30f};
    engine_params p = greedy(1);
    p.n_bias = 2;
    p.bias_ids = ids;
    p.bias_values = values;
    submit(&b, 1, prompt, 3, &p);
    const backend_sampling *s = &b.engine->waiting->sampling;
    assert_true(s->bias_values[0] == 100 && s->bias_values[1] == -100);
    assert_int_equal(finish(&b, 1).ids[0], 30);
    bench_close(&b);
}

static engine_params allow(const int32_t *ids, int n, int max_tokens) {
    engine_params p = greedy(max_tokens);
    p.ignore_eos = false;
    p.allowed_ids = ids;
    p.n_allowed = n;
    return p;
}

static void test_ends(void **state) {
    (void)state;
    static const int32_t eos[1] = {EOS}, sixty[1] = {60}, both[2] = {60, EOS};
    bench b = bench_open(default_options());
    int32_t prompt[3] = {20, 21, 22};
    engine_params p = allow(eos, 1, 4);
    answer a = ask(&b, prompt, 3, &p);
    assert_true(a.n == 1 && a.end.finish == ENGINE_FINISH_STOP && a.end.stop_id == EOS);
    p.ignore_eos = true;
    a = ask(&b, prompt, 3, &p);
    assert_true(a.n == 4 && a.end.finish == ENGINE_FINISH_LENGTH && a.end.stop_id == -1);
    p = allow(sixty, 1, 4);
    p.stop_ids = both; // unsorted
    p.n_stop_ids = 2;
    a = ask(&b, prompt, 3, &p);
    assert_true(a.n == 1 && a.end.finish == ENGINE_FINISH_STOP && a.end.stop_id == 60);
    p.max_tokens = 1; // both at once: the stop counts
    assert_int_equal(ask(&b, prompt, 3, &p).end.finish, ENGINE_FINISH_STOP);
    p = allow(both, 2, 40);
    p.min_tokens = 6;
    a = ask(&b, prompt, 3, &p);
    assert_true(a.n > 6 && a.end.stop_id == EOS);
    for (int i = 0; i < 6; i++)
        assert_int_equal(a.ids[i], 60);
    p.allowed_ids = eos;
    p.n_allowed = 1;
    a = ask(&b, prompt, 3, &p);
    assert_true(a.n == 0 && a.end.finish == ENGINE_FINISH_ERROR);
    assert_non_null(a.end.error);
    assert_true(a.end.by_request);
    bench_close(&b);
}

// Few ids to choose from, so that patterns of many sizes come up by themselves.
static void test_repetition_detection(void **state) {
    (void)state;
    static const int32_t few[3] = {60, 61, 62};
    bench b = bench_open(default_options());
    int n_ended = 0, n_full = 0;
    for (int i = 0; i < 300; i++) {
        int32_t prompt[3] = {20 + i % 50, 21, 22 + i % 7};
        engine_params p = allow(few, 1 + i % 3, 60);
        p.min_tokens = i % 5 == 0 ? 20 : 0;
        p.repetition_detection =
            (engine_repetition){.max_pattern = i % 7, .min_pattern = i % 3, .min_count = 2 + i % 4};
        if (p.repetition_detection.min_pattern > p.repetition_detection.max_pattern)
            p.repetition_detection.min_pattern = 0;
        answer a = ask(&b, prompt, 3, &p);
        assert_expected(&b, &a, prompt, 3, &p, 0);
        n_ended += a.end.finish == ENGINE_FINISH_REPETITION;
        n_full += a.end.finish == ENGINE_FINISH_LENGTH;
    }
    assert_true(n_ended > 100 && n_full > 20);
    bench_close(&b);
}

static void test_bad_words(void **state) {
    (void)state;
    static const int32_t allowed[2] = {5, 6}, five[1] = {5}, sixes[2] = {6, 6};
    const int32_t *words[2] = {five, sixes};
    const int lens[2] = {1, 2};
    bench b = bench_open(default_options());
    int32_t prompt[1] = {6}; // the prompt does not count as the word's beginning
    engine_params p = allow(allowed, 2, 30);
    p.bad_words = words;
    p.bad_word_lens = lens;
    p.n_bad_words = 1;
    answer a = ask(&b, prompt, 1, &p);
    assert_int_equal(a.n, 30);
    for (int i = 0; i < a.n; i++)
        assert_int_equal(a.ids[i], 6);
    p.n_bad_words = 2; // after the first 6 nothing is left
    a = ask(&b, prompt, 1, &p);
    assert_true(a.n == 1 && a.ids[0] == 6 && a.end.finish == ENGINE_FINISH_ERROR);
    p.bad_words = words + 1;
    p.bad_word_lens = lens + 1;
    p.n_bad_words = 1;
    a = ask(&b, prompt, 1, &p);
    assert_int_equal(a.n, 30);
    for (int i = 1; i < a.n; i++)
        assert_false(a.ids[i - 1] == 6 && a.ids[i] == 6);
    bench_close(&b);
}

static void test_logprob_events(void **state) {
    (void)state;
    engine_options o = default_options();
    o.max_outputs = 7;
    bench b = bench_open(o);
    int32_t prompt[30];
    fill_prompt(prompt, 30, 0);
    engine_params p = greedy(2);
    p.n_logprobs = 0;
    p.n_prompt_logprobs = 5;
    for (int round = 0; round < 2; round++) { // the second could find the prompt in the cache
        submit(&b, 1, prompt, 30, &p);
        while (checked_step(b.engine, b.fake)) {
        }
        engine_event v;
        for (int position = 1; position < 32; position++) {
            assert_true(engine_next_event(b.engine, &v));
            assert_int_equal(v.position, position);
            assert_int_equal(v.kind, position < 30 ? ENGINE_EVENT_PROMPT : ENGINE_EVENT_TOKEN);
            assert_int_equal(v.n_top, position < 30 ? 5 : 0);
            assert_true(v.logprob < 0 && v.rank > 0);
            engine_event_free(&v);
        }
        assert_true(engine_next_event(b.engine, &v) && v.kind == ENGINE_EVENT_FINISH);
        assert_int_equal(v.n_cached, 0);
        assert_false(engine_next_event(b.engine, &v));
    }
    bench_close(&b);
}

// ---------------------------------------------------------------------------------------------
// Faults

static void test_nan_ends_that_request_only(void **state) {
    (void)state;
    int32_t prompt[9], other[9];
    fill_prompt(prompt, 9, 0);
    fill_prompt(other, 9, 1);
    setenv("ABRUZZI_FAULTS", "1", 1);
    setenv("NAN_AT_STEP", "3", 1);
    bench b = bench_open(default_options());
    unsetenv("NAN_AT_STEP");
    unsetenv("ABRUZZI_FAULTS");
    engine_params p = greedy(8);
    submit(&b, 1, prompt, 9, &p);
    checked_step(b.engine, b.fake);
    checked_step(b.engine, b.fake);
    checked_step(b.engine, b.fake);
    answer a = finish(&b, 1);
    assert_true(a.n == 2 && a.end.finish == ENGINE_FINISH_ERROR);
    assert_non_null(strstr(a.end.error, "finite"));
    assert_int_equal(b.engine->stats.nan_guard, 1);
    a = ask(&b, prompt, 9, &p); // what the bad step left is not reused
    assert_int_equal(a.end.n_cached, 0);
    assert_expected(&b, &a, prompt, 9, &p, 0);
    bench_close(&b);
}

static void test_nan_spares_the_neighbours(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompts[3][9];
    engine_params p = greedy(12);
    for (int i = 0; i < 3; i++) {
        fill_prompt(prompts[i], 9, i);
        submit(&b, (uint64_t)i, prompts[i], 9, &p);
    }
    // A period under which only the second prompt's first output is not a number.
    uint64_t bad = fake_hash(prompts[1], 9);
    fake_expected x[3];
    for (int every = 60;; every++) {
        bool nan[3];
        for (int i = 0; i < 3; i++) {
            x[i] = fake_expect(&b.options, LONGEST, every, prompts[i], 9, &p, 0);
            nan[i] = x[i].nan;
            free(x[i].output);
        }
        if (!fake_is_nan(bad, every) || nan[0] || nan[2])
            continue;
        b.fake->nan_every = every;
        break;
    }
    answer a[3];
    memset(a, 0, sizeof a);
    while (checked_step(b.engine, b.fake)) {
    }
    engine_event v;
    while (engine_next_event(b.engine, &v))
        if (v.kind == ENGINE_EVENT_TOKEN)
            a[v.request].ids[a[v.request].n++] = v.id;
        else
            a[v.request].end = v;
    assert_true(a[1].n == 0 && a[1].end.finish == ENGINE_FINISH_ERROR);
    assert_expected(&b, &a[0], prompts[0], 9, &p, 0);
    assert_expected(&b, &a[2], prompts[2], 9, &p, 0);
    assert_int_equal(b.engine->stats.nan_guard, 1);
    bench_close(&b);
}

// One choice's bad logits end the request: its other choices get the error too, once each.
static void test_nan_ends_all_choices(void **state) {
    (void)state;
    bench b = bench_open(default_options());
    int32_t prompt[9];
    fill_prompt(prompt, 9, 0);
    engine_params p = greedy(40);
    p.temperature = 1;
    p.has_seed = true;
    p.n = 3;
    fake_expected x[3];
    do { // a period under which choice 1 alone fails, and not at once
        b.fake->nan_every++;
        for (int i = 0; i < 3; i++) {
            x[i] = fake_expect(&b.options, LONGEST, b.fake->nan_every, prompt, 9, &p, i);
            free(x[i].output);
        }
    } while (x[0].nan || x[2].nan || !x[1].nan || x[1].n_output < 3 || x[1].n_output > 30);
    submit(&b, 1, prompt, 9, &p);
    answer a[3];
    finish_choices(&b, 1, a, 3);
    for (int i = 0; i < 3; i++)
        assert_true(a[i].end.finish == ENGINE_FINISH_ERROR && !a[i].end.by_request);
    assert_int_equal(a[1].n, x[1].n_output);
    assert_true(a[0].n > 2 && a[0].n < 40);
    assert_int_equal(b.engine->stats.nan_guard, 1);
    assert_int_equal(b.engine->stats.finished_error, 3);
    bench_close(&b);
}

static void test_slow_steps(void **state) {
    (void)state;
    setenv("ABRUZZI_FAULTS", "1", 1);
    setenv("SLOW_STEP_MS", "20", 1);
    bench b = bench_open(default_options());
    unsetenv("SLOW_STEP_MS");
    unsetenv("ABRUZZI_FAULTS");
    int32_t prompt[1] = {20};
    engine_params p = greedy(3);
    int64_t start = base_now_ns();
    ask(&b, prompt, 1, &p);
    assert_true(base_now_ns() - start >= 60 * 1000000);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_out_of_range_are_refused),
        cmocka_unit_test(test_bad_lists_are_refused),
        cmocka_unit_test(test_prompt_limits),
        cmocka_unit_test(test_pool_smaller_than_the_context),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_normalised_sampling),
        cmocka_unit_test(test_bias_is_clamped),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_repetition_detection),
        cmocka_unit_test(test_bad_words),
        cmocka_unit_test(test_logprob_events),
        cmocka_unit_test(test_nan_ends_that_request_only),
        cmocka_unit_test(test_nan_spares_the_neighbours),
        cmocka_unit_test(test_nan_ends_all_choices),
        cmocka_unit_test(test_slow_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
