// What somebody sees who watches an engine's thread: a step that is stuck, an engine that only
// waits, and one that never had a thread.
#include "engine_bench.h"

#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

static const int64_t ms = 1000000;

typedef struct service {
    engine_options options;
    backend *backend;
    engine_thread *thread;
    sem_t wakes;
} service;

static void wake(void *arg) {
    sem_post(&((service *)arg)->wakes);
}

static void service_start(service *s, backend *b) {
    base_err err;
    s->backend = b;
    sem_init(&s->wakes, 0, 0);
    if (engine_thread_start(&s->thread, engine_create(b, &s->options), wake, s, &err) != 0)
        fail_msg("%s", err.message);
}

static void service_stop(service *s) {
    engine_thread_stop(s->thread);
    backend_close(s->backend);
    sem_destroy(&s->wakes);
}

static void service_replay(service *s, const backend_script *script) {
    static const model_config config = {.vocab_size = FAKE_VOCAB};
    s->options = default_options();
    s->options.block_size = 8;
    const engine_options *o = &s->options;
    const backend_options options = {.numerics = BACKEND_EXACT,
                                     .threads = 1,
                                     .block_size = o->block_size,
                                     .n_blocks = o->n_blocks,
                                     .interleave = 1,
                                     .max_rows = o->max_num_batched_tokens,
                                     .max_seqs = o->max_num_seqs,
                                     .max_outputs = o->max_num_seqs,
                                     .max_logprobs = o->max_logprobs,
                                     .max_model_len = o->max_model_len};
    backend *b;
    base_err err;
    if (backend_open_replay(&b, script, 1, &config, &options, &err) != 0)
        fail_msg("%s", err.message);
    service_start(s, b);
}

static void send(service *s, uint64_t id) {
    static const int32_t prompt[3] = {20, 21, 22};
    engine_params p;
    base_err err;
    engine_params_init(&p);
    p.script = 0;
    p.ignore_eos = true;
    if (engine_thread_submit(s->thread, id, prompt, 3, &p, &err) != ENGINE_ACCEPTED)
        fail_msg("%s", err.message);
}

static engine_stats stats_of(service *s) {
    engine_stats stats;
    engine_thread_get_stats(s->thread, &stats);
    return stats;
}

// Waits for the end of a request; its tokens on the way.
static int wait_for_end(service *s, engine_finish finish) {
    engine_event v;
    for (int n_tokens = 0;;) {
        while (engine_thread_next_event(s->thread, &v)) {
            n_tokens += v.kind == ENGINE_EVENT_TOKEN;
            if (v.kind != ENGINE_EVENT_FINISH)
                continue;
            assert_int_equal(v.finish, finish);
            return n_tokens;
        }
        sem_wait(&s->wakes);
    }
}

static void sleep_ms(int n) {
    poll(NULL, 0, n);
}

// ---------------------------------------------------------------------------------------------

// An idle engine that gets work has made progress then; a stuck step has not, whatever is sent.
static void test_progress_of_a_stuck_step(void **state) {
    (void)state;
    service s = {.options = default_options()};
    fake *f = fake_open(&s.options, 0);
    service_start(&s, &f->base);
    for (int round = 0; round < 3; round++) {
        sleep_ms(30);
        fake_set_gate(f, true);
        int64_t before = base_now_ns();
        send(&s, 1);
        int64_t after = base_now_ns();
        fake_wait_inside(f);
        sleep_ms(30);
        int64_t progress = stats_of(&s).last_progress_ns;
        assert_true(progress >= before && progress <= after);
        send(&s, 2);
        engine_thread_abort(s.thread, 2);
        sleep_ms(10);
        assert_int_equal(stats_of(&s).last_progress_ns, progress);
        fake_set_gate(f, false);
        wait_for_end(&s, ENGINE_FINISH_ABORT);
        wait_for_end(&s, ENGINE_FINISH_LENGTH);
        assert_true(stats_of(&s).last_progress_ns > progress);
    }
    service_stop(&s);
}

// Held for an hour is not stuck, and goes on at once when there is something to do.
static void test_progress_while_held(void **state) {
    (void)state;
    static const int32_t ids[2] = {20, 21};
    service s;
    service_replay(&s, &(backend_script){.ids = ids, .n_ids = 2, .prefill_ns = 3600000 * ms});
    send(&s, 1);
    while (stats_of(&s).steps == 0)
        sleep_ms(1);
    sleep_ms(50);
    int64_t before = base_now_ns();
    engine_stats stats = stats_of(&s);
    assert_true(stats.last_progress_ns >= before);
    assert_int_equal(stats.running, 1);
    send(&s, 2); // wakes it, and is held too
    while (stats_of(&s).running < 2)
        sleep_ms(1);
    engine_thread_abort(s.thread, 1);
    assert_int_equal(wait_for_end(&s, ENGINE_FINISH_ABORT), 0);
    engine_thread_abort(s.thread, 2);
    assert_int_equal(wait_for_end(&s, ENGINE_FINISH_ABORT), 0);
    stats = stats_of(&s);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.blocks_free, stats.blocks_total);
    assert_int_equal(stats.steps, 2);
    send(&s, 3);
    service_stop(&s); // while somebody is held
}

// The thread sleeps until the next chunk, not for ever and not shorter.
static void test_chunks_come_in_time(void **state) {
    (void)state;
    static const int32_t ids[5] = {20, 21, 22, 23, 24};
    service s;
    service_replay(
        &s, &(backend_script){.ids = ids, .n_ids = 5, .prefill_ns = 30 * ms, .step_ns = 10 * ms});
    int64_t start = base_now_ns();
    send(&s, 1);
    assert_int_equal(wait_for_end(&s, ENGINE_FINISH_LENGTH), 5);
    int64_t took = base_now_ns() - start;
    assert_true(took >= 80 * ms && took < 20000 * ms);
    assert_in_range(stats_of(&s).steps, 7, 7); // LATER, five ids, the end
    service_stop(&s);
}

// ---------------------------------------------------------------------------------------------
// Faults, each in a process of its own

// STALL_RANK=0: no step ends. Another rank is not ours.
static void stall(const char *rank) {
    setenv("ABRUZZI_FAULTS", "1", 1);
    setenv("STALL_RANK", rank, 1);
    bench b = bench_open(default_options());
    int32_t prompt[3] = {20, 21, 22};
    engine_params p = greedy(1);
    submit(&b, 1, prompt, 3, &p);
    engine_step(b.engine);
    _exit(0);
}

static void test_a_stalled_rank_never_ends_its_step(void **state) {
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0)
        stall("1");
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    child = fork();
    if (child == 0)
        stall("0");
    sleep_ms(300);
    assert_int_equal(waitpid(child, &status, WNOHANG), 0);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
}

static void start_without_memory(void) {
    const struct rlimit none = {0, 0};
    service s = {.options = default_options()};
    fake *f = fake_open(&s.options, 0);
    base_err err = {0};
    engine *e = engine_create(&f->base, &s.options);
    engine_thread *t = (engine_thread *)&s;
    setrlimit(RLIMIT_AS, &none);
    bool good = engine_thread_start(&t, e, wake, &s, &err) == BASE_ERR_RESOURCE && !t &&
                err.code == BASE_ERR_RESOURCE && strstr(err.message, "thread");
    _exit(good ? 0 : 1);
}

static void test_no_thread_to_be_had(void **state) {
    (void)state;
#ifdef SANITIZED
    print_message("# sanitizers need the memory themselves\n");
    skip();
#endif
    int status;
    pid_t child = fork();
    if (child == 0)
        start_without_memory();
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        // First: threads that have ended leave their stacks for others to use.
        cmocka_unit_test(test_no_thread_to_be_had),
        cmocka_unit_test(test_a_stalled_rank_never_ends_its_step),
        cmocka_unit_test(test_progress_of_a_stuck_step),
        cmocka_unit_test(test_progress_while_held),
        cmocka_unit_test(test_chunks_come_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
