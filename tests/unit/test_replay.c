// Scripts played through a real engine: which ids, in which steps, and when.
#include "engine/state.h"

#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { VOCAB = 1000, EOS = 9, MOST_IDS = 300, MOST_REQUESTS = 64 };
static const int64_t ms = 1000000;

typedef struct player {
    backend *backend;
    engine *engine;
} player;

static const model_config config = {.vocab_size = VOCAB};

static engine_options small_options(void) {
    return (engine_options){.max_num_seqs = 8,
                            .max_num_batched_tokens = 64,
                            .max_model_len = 400,
                            .max_queue = MOST_REQUESTS,
                            .block_size = 8,
                            .n_blocks = 400,
                            .prefix_caching = true,
                            .max_logprobs = 5,
                            .vocab_size = VOCAB,
                            .n_eos = 1,
                            .eos_ids = {EOS}};
}

static backend_options backend_options_of(const engine_options *o) {
    return (backend_options){.numerics = BACKEND_EXACT,
                             .threads = 1,
                             .block_size = o->block_size,
                             .n_blocks = o->n_blocks,
                             .interleave = 1,
                             .max_rows = o->max_num_batched_tokens,
                             .max_seqs = o->max_num_seqs,
                             .max_outputs = o->max_num_seqs,
                             .max_logprobs = o->max_logprobs,
                             .max_model_len = o->max_model_len};
}

static player player_open(engine_options o, const backend_script *scripts, int n_scripts) {
    player p;
    base_err err = {0};
    backend_options options = backend_options_of(&o);
    if (backend_open_replay(&p.backend, scripts, n_scripts, &config, &options, &err) != 0)
        fail_msg("%s", err.message);
    p.engine = engine_create(p.backend, &o);
    return p;
}

static void player_close(player *p) {
    engine_stats stats;
    engine_get_stats(p->engine, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.blocks_free, stats.blocks_total);
    engine_destroy(p->engine);
    backend_close(p->backend);
}

static engine_params play_params(int script, int max_tokens) {
    engine_params p;
    engine_params_init(&p);
    p.script = script;
    p.max_tokens = max_tokens;
    return p;
}

// Ids from `first` on, never EOS.
static void count_up(int32_t *ids, int n, int first) {
    for (int i = 0; i < n; i++)
        ids[i] = first + i;
}

static void submit(player *p, uint64_t id, int n_prompt, int first, const engine_params *params) {
    int32_t prompt[MOST_IDS];
    base_err err = {0};
    count_up(prompt, n_prompt, first);
    if (engine_submit(p->engine, id, prompt, n_prompt, params, &err) != ENGINE_ACCEPTED)
        fail_msg("%s", err.message);
}

typedef struct answer {
    int32_t ids[MOST_IDS];
    int n;
    engine_event end;
    bool ended;
} answer;

// Takes what there is; answers of request 1 + i, or of choice i of request 1.
static int take(player *p, answer *a, bool choices) {
    engine_event v;
    int n_tokens = 0;
    while (engine_next_event(p->engine, &v)) {
        answer *to = &a[choices ? (size_t)v.choice : v.request - 1];
        assert_false(to->ended);
        if (v.kind == ENGINE_EVENT_TOKEN) {
            to->ids[to->n++] = v.id;
            n_tokens++;
        } else if (v.kind == ENGINE_EVENT_FINISH) {
            to->ended = true;
            to->end = v;
            assert_int_equal(v.n_output, to->n);
        }
        engine_event_free(&v);
    }
    return n_tokens;
}

static void finish(player *p, answer *a, bool choices) {
    while (engine_step(p->engine))
        take(p, a, choices);
}

static answer ask(player *p, int n_prompt, const engine_params *params) {
    answer a = {0};
    submit(p, 1, n_prompt, 100, params);
    finish(p, &a, false);
    assert_true(a.ended);
    return a;
}

static void assert_ids(const answer *a, const int32_t *ids, int n, engine_finish end) {
    assert_int_equal(a->n, n);
    assert_memory_equal(a->ids, ids, (size_t)n * sizeof *ids);
    assert_int_equal(a->end.finish, end);
}

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
        cmocka_unit_test(test_bad_scripts_are_refused),
        cmocka_unit_test(test_bad_options_are_refused),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_a_script_without_ids),
        cmocka_unit_test(test_ends_inside_a_chunk),
        cmocka_unit_test(test_sampling_is_ignored),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_choices_play_the_same),
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
