// Requests straight into an engine on the fake backend: what is counted, and what ends a run early.
#include "engine_bench.h"
#include "measure/offline.h"

enum { N = 30, PROMPT = 21 };

typedef struct fixture {
    bench b;
    backend_ops ops;
    int32_t prompts[N][PROMPT];
    measure_offline_request requests[N];
    measure_offline_options options;
    int last_done, n_calls;
} fixture;

static volatile sig_atomic_t stop;

static void count_done(void *arg, int done) {
    fixture *f = arg;
    assert_int_equal(done, f->last_done + 1);
    f->last_done = done;
    f->n_calls++;
}

static void stop_at_five(void *arg, int done) {
    count_done(arg, done);
    stop = done >= 5;
}

// Each step reads a kilobyte in two seconds.
static void get_stats(const backend *b, backend_stats *out) {
    const fake *f = (const fake *)b;
    *out = (backend_stats){.weight_bytes_read = (uint64_t)f->n_steps * 1000,
                           .seconds = 2 * f->n_steps};
}

static fixture *open_fixture(int max_queue) {
    fixture *f = base_calloc(1, sizeof *f);
    engine_options options = default_options();
    options.max_queue = max_queue;
    f->b = bench_open(options);
    f->ops = *f->b.fake->base.ops;
    f->ops.get_stats = get_stats;
    f->b.fake->base.ops = &f->ops;
    for (int i = 0; i < N; i++) {
        fill_prompt(f->prompts[i], PROMPT, i);
        f->requests[i] = (measure_offline_request){
            .ids = f->prompts[i], .n_ids = PROMPT - i % 7, .output_len = 1 + i % 5};
    }
    f->options = (measure_offline_options){.engine = f->b.engine,
                                           .backend = &f->b.fake->base,
                                           .n = 1,
                                           .on_done = count_done,
                                           .arg = f};
    stop = 0;
    return f;
}

static void close_fixture(fixture *f) {
    bench_close(&f->b);
    base_free(f);
}

static int64_t sum_prompts(void) {
    int64_t sum = 0;
    for (int i = 0; i < N; i++)
        sum += PROMPT - i % 7;
    return sum;
}

static int64_t sum_outputs(void) {
    int64_t sum = 0;
    for (int i = 0; i < N; i++)
        sum += 1 + i % 5;
    return sum;
}

// However short the queue, all requests are run, and once.
static void test_counts(void **state) {
    (void)state;
    for (int queue = 0; queue <= 60; queue += 20) {
        fixture *f = open_fixture(queue);
        measure_offline_result r;
        base_err err;
        assert_int_equal(measure_offline_run(&r, f->requests, N, &f->options, &err), 0);
        assert_int_equal(r.prompt_tokens, sum_prompts());
        assert_int_equal(r.output_tokens, sum_outputs());
        assert_int_equal(f->n_calls, N);
        assert_int_equal(r.weight_bytes, f->b.fake->n_steps * 1000);
        assert_true(r.step_seconds == 2.0 * f->b.fake->n_steps);
        assert_true(r.seconds > 0 && !r.stopped);
        close_fixture(f);
    }
}

static void test_choices(void **state) {
    (void)state;
    fixture *f = open_fixture(8);
    f->options.n = 3;
    measure_offline_result r;
    base_err err;
    for (int again = 0; again < 2; again++) { // the engine is idle again after a run
        f->last_done = f->n_calls = 0;
        const int steps = f->b.fake->n_steps;
        assert_int_equal(measure_offline_run(&r, f->requests, N, &f->options, &err), 0);
        assert_int_equal(r.prompt_tokens, sum_prompts());
        assert_int_equal(r.output_tokens, 3 * sum_outputs());
        assert_int_equal(f->n_calls, N);
        assert_int_equal(r.weight_bytes, (f->b.fake->n_steps - steps) * 1000);
    }
    close_fixture(f);
}

static void test_stop(void **state) {
    (void)state;
    fixture *f = open_fixture(8);
    f->options.stop = &stop;
    f->options.on_done = stop_at_five;
    measure_offline_result r;
    base_err err;
    assert_int_equal(measure_offline_run(&r, f->requests, N, &f->options, &err), 0);
    assert_true(r.stopped);
    assert_true(f->last_done >= 5 && f->last_done < N);
    engine_stats stats;
    engine_get_stats(f->b.engine, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    close_fixture(f);
}

// A request the engine refuses ends the run, names itself, and leaves the engine empty.
static void test_refused(void **state) {
    (void)state;
    fixture *f = open_fixture(8);
    f->requests[17].n_ids = 0;
    measure_offline_result r;
    base_err err = {0};
    assert_int_equal(measure_offline_run(&r, f->requests, N, &f->options, &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "request 17"));
    engine_stats stats;
    engine_get_stats(f->b.engine, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    close_fixture(f);
}

// A model that breaks is an error, not a slow answer.
static void test_broken(void **state) {
    (void)state;
    fixture *f = open_fixture(8);
    f->b.fake->nan_every = 9;
    measure_offline_result r;
    base_err err = {0};
    assert_int_equal(measure_offline_run(&r, f->requests, N, &f->options, &err), BASE_ERR_RANK);
    assert_non_null(strstr(err.message, "request "));
    engine_stats stats;
    engine_get_stats(f->b.engine, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    close_fixture(f);
}

static void test_nothing(void **state) {
    (void)state;
    fixture *f = open_fixture(0);
    measure_offline_result r;
    base_err err;
    assert_int_equal(measure_offline_run(&r, f->requests, 0, &f->options, &err), 0);
    assert_int_equal(r.prompt_tokens + r.output_tokens, 0);
    close_fixture(f);
}

// Two threads read no less than half of what one does: a bound that only a broken probe misses.
static void test_read_gbs(void **state) {
    (void)state;
    double one = measure_read_gbs(1), two = measure_read_gbs(2);
    assert_true(one > 0.1 && one < 10000);
    assert_true(two > one / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),   cmocka_unit_test(test_choices),
        cmocka_unit_test(test_stop),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken),   cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_read_gbs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
