// The engine in its own thread: many submitters, aborts, a full queue, a step that does not end.
#include "engine_bench.h"

#include <sched.h>
#include <semaphore.h>

enum { N_THREADS = 4, N_EACH = 60 };

typedef struct job {
    int32_t prompt[40];
    int n_prompt;
    engine_params params;
    bool aborted;
    int n; // output so far
    int32_t output[64];
    int n_ends;
    engine_finish finish;
} job;

typedef struct service {
    engine_options options;
    fake *fake;
    engine_thread *thread;
    sem_t wakes;
    job jobs[N_THREADS * N_EACH];
} service;

static void wake(void *arg) {
    sem_post(&((service *)arg)->wakes);
}

static service *service_open(engine_options options) {
    service *s = calloc(1, sizeof *s);
    s->options = options;
    s->fake = fake_open(&s->options, 0);
    sem_init(&s->wakes, 0, 0);
    base_err err;
    engine *e = engine_create(&s->fake->base, &s->options);
    if (engine_thread_start(&s->thread, e, wake, s, &err) != 0)
        abort();
    return s;
}

static void service_close(service *s) {
    engine_thread_stop(s->thread);
    backend_close(&s->fake->base);
    sem_destroy(&s->wakes);
    free(s);
}

static engine_options small_pool(void) {
    engine_options o = default_options();
    o.n_blocks = 40;
    o.max_queue = 6;
    return o;
}

// ---------------------------------------------------------------------------------------------

typedef struct submitter {
    service *service;
    int first;
    pthread_t thread;
} submitter;

static void prepare_job(job *j, int index) {
    fill_prompt(j->prompt, 40, index % 3);
    j->n_prompt = 1 + index % 40;
    engine_params_init(&j->params);
    j->params.has_seed = true;
    j->params.seed = (uint64_t)index;
    j->params.max_tokens = 1 + index % 50;
    j->aborted = index % 7 == 0;
}

static void *submit_jobs(void *arg) {
    submitter *me = arg;
    for (int i = me->first; i < me->first + N_EACH; i++) {
        job *j = &me->service->jobs[i];
        base_err err;
        engine_submit_status status;
        while ((status = engine_thread_submit(me->service->thread, (uint64_t)i, j->prompt,
                                              j->n_prompt, &j->params, &err)) == ENGINE_BUSY)
            sched_yield(); // 10 fit, 240 come
        if (status != ENGINE_ACCEPTED)
            abort();
        if (j->aborted)
            engine_thread_abort(me->service->thread, (uint64_t)i);
        engine_stats stats;
        engine_thread_get_stats(me->service->thread, &stats);
        if (stats.running > 4 || stats.waiting < 0 || stats.running + stats.waiting > 10)
            abort();
    }
    return NULL;
}

static int take_events(service *s) {
    engine_event v;
    int n_ends = 0;
    while (engine_thread_next_event(s->thread, &v)) {
        job *j = &s->jobs[v.request];
        if (v.kind == ENGINE_EVENT_TOKEN) {
            j->output[j->n++] = v.id;
        } else {
            j->finish = v.finish;
            j->n_ends++;
            n_ends++;
        }
        engine_event_free(&v);
    }
    return n_ends;
}

static void check_job(const service *s, const job *j) {
    fake_expected x = fake_expect(&s->options, LONGEST, 0, j->prompt, j->n_prompt, &j->params, 0);
    assert_int_equal(j->n_ends, 1);
    if (j->aborted && j->finish == ENGINE_FINISH_ABORT) {
        assert_true(j->n <= x.n_output);
    } else {
        assert_int_equal(j->n, x.n_output);
        assert_int_equal(j->finish, x.finish);
    }
    assert_memory_equal(j->output, x.output, (size_t)j->n * sizeof *j->output);
    free(x.output);
}

static void test_many_submitters(void **state) {
    (void)state;
    service *s = service_open(small_pool());
    submitter all[N_THREADS];
    for (int i = 0; i < N_THREADS * N_EACH; i++)
        prepare_job(&s->jobs[i], i);
    for (int i = 0; i < N_THREADS; i++) {
        all[i] = (submitter){.service = s, .first = i * N_EACH};
        pthread_create(&all[i].thread, NULL, submit_jobs, &all[i]);
    }
    for (int n_ends = 0; n_ends < N_THREADS * N_EACH;) {
        sem_wait(&s->wakes); // if a wake were lost this would not return
        n_ends += take_events(s);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(all[i].thread, NULL);
    for (int i = 0; i < N_THREADS * N_EACH; i++)
        check_job(s, &s->jobs[i]);
    engine_stats stats;
    engine_thread_get_stats(s->thread, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.blocks_free, stats.blocks_total);
    service_close(s);
}

// ---------------------------------------------------------------------------------------------

// A step hangs; every call of another thread must come back nevertheless, with the right answer.
static void test_nobody_waits_for_a_step(void **state) {
    (void)state;
    service *s = service_open(small_pool());
    int32_t prompt[3] = {20, 21, 22};
    engine_params p = greedy(3), bad = p;
    bad.top_p = 2;
    base_err err;
    engine_event v;
    engine_stats stats;
    fake_set_gate(s->fake, true);
    assert_int_equal(engine_thread_submit(s->thread, 0, prompt, 3, &p, &err), ENGINE_ACCEPTED);
    fake_wait_inside(s->fake);
    for (uint64_t id = 1; id < 10; id++)
        assert_int_equal(engine_thread_submit(s->thread, id, prompt, 3, &p, &err), ENGINE_ACCEPTED);
    assert_int_equal(engine_thread_submit(s->thread, 10, prompt, 3, &p, &err), ENGINE_BUSY);
    assert_int_equal(engine_thread_submit(s->thread, 11, prompt, 3, &bad, &err), ENGINE_INVALID);
    for (uint64_t id = 0; id < 10; id++)
        engine_thread_abort(s->thread, id);
    assert_false(engine_thread_next_event(s->thread, &v));
    engine_thread_get_stats(s->thread, &stats);
    assert_int_equal(stats.running + stats.waiting, 10);
    fake_set_gate(s->fake, false);
    // The step that hung ends, then all are aborted before another one.
    int n_ends = 0, n_tokens = 0;
    while (n_ends < 10) {
        sem_wait(&s->wakes);
        while (engine_thread_next_event(s->thread, &v)) {
            n_tokens += v.kind == ENGINE_EVENT_TOKEN;
            if (v.kind != ENGINE_EVENT_FINISH)
                continue;
            assert_int_equal(v.finish, ENGINE_FINISH_ABORT);
            n_ends++;
        }
    }
    assert_int_equal(n_tokens, 1);
    assert_int_equal(s->fake->n_steps, 1);
    service_close(s);
}

static void test_an_id_in_use_ends_the_newcomer(void **state) {
    (void)state;
    service *s = service_open(small_pool());
    int32_t prompt[3] = {20, 21, 22};
    engine_params p = greedy(3);
    base_err err;
    fake_set_gate(s->fake, true);
    assert_int_equal(engine_thread_submit(s->thread, 5, prompt, 3, &p, &err), ENGINE_ACCEPTED);
    fake_wait_inside(s->fake);
    assert_int_equal(engine_thread_submit(s->thread, 5, prompt, 3, &p, &err), ENGINE_ACCEPTED);
    fake_set_gate(s->fake, false);
    int n_good = 0, n_bad = 0, n_tokens = 0;
    engine_event v;
    while (n_good + n_bad < 2) {
        sem_wait(&s->wakes);
        while (engine_thread_next_event(s->thread, &v)) {
            n_tokens += v.kind == ENGINE_EVENT_TOKEN;
            n_bad += v.kind == ENGINE_EVENT_FINISH && v.finish == ENGINE_FINISH_ERROR;
            n_good += v.kind == ENGINE_EVENT_FINISH && v.finish == ENGINE_FINISH_LENGTH;
        }
    }
    assert_true(n_good == 1 && n_bad == 1 && n_tokens == 3);
    service_close(s);
}

// Stopping with requests running, waiting, not yet taken and events not yet read.
static void test_stop_in_the_middle(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        service *s = service_open(small_pool());
        int32_t prompt[30];
        fill_prompt(prompt, 30, 0);
        engine_params p = greedy(100);
        p.n_logprobs = 3;
        base_err err;
        for (uint64_t id = 0; id < 8; id++)
            assert_int_equal(engine_thread_submit(s->thread, id, prompt, 30, &p, &err),
                             ENGINE_ACCEPTED);
        for (int i = 0; i < round; i++)
            sched_yield();
        service_close(s);
    }
    engine_thread_stop(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_submitters),
        cmocka_unit_test(test_nobody_waits_for_a_step),
        cmocka_unit_test(test_an_id_in_use_ends_the_newcomer),
        cmocka_unit_test(test_stop_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
