// Four threads compile, make states and drop constraints while another walks states.
#include "grammar/constraint.h"
#include "grammar_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N_THREADS = 4, N_ROUNDS = 60, CAP = 32 };

static grammar_fixture f;

// States that wait for the thread that may walk them.
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    grammar_state *at[CAP];
    int n, n_alive;
    int n_failed;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void put(grammar_state *s) {
    pthread_mutex_lock(&queue.lock);
    while (queue.n == CAP)
        pthread_cond_wait(&queue.changed, &queue.lock);
    if (s)
        queue.at[queue.n++] = s;
    else
        queue.n_failed++;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
}

static grammar_state *get(void) {
    grammar_state *s = NULL;
    pthread_mutex_lock(&queue.lock);
    while (queue.n == 0 && queue.n_alive > 0)
        pthread_cond_wait(&queue.changed, &queue.lock);
    if (queue.n > 0)
        s = queue.at[--queue.n];
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    return s;
}

// Few enough schemas that threads make the same ones at once, enough that some are forgotten.
static void one_round(uint64_t *seed) {
    base_err err = {0};
    grammar *g;
    uint32_t which = fixture_random(seed, 12);
    json_t *schema =
        json_pack("{s:s,s:{s:{s:s},s:{s:[s,i]}},s:[s]}", "type", "object", "properties", "text",
                  "type", "string", "kind", "enum", "one", (int)which, "required", "kind");
    grammar_tool tools[] = {
        {.name = "a", .name_len = 1, .parameters = schema, .field = "tools[0].p"},
        {.name = "b", .name_len = 1, .field = "tools[1].p"}};
    grammar_spec spec = {.thinking_budget = -1,
                         .tool_choice = which % 2 ? GRAMMAR_TOOLS_REQUIRED : GRAMMAR_TOOLS_AUTO,
                         .tools = tools,
                         .n_tools = 2,
                         .answer = GRAMMAR_ANSWER_SCHEMA,
                         .schema = schema,
                         .answer_field = "answer"};
    int rc = grammar_compile(&g, f.vocab, &spec, NULL, &err);
    json_decref(schema);
    if (rc) {
        fprintf(stderr, "%s\n", err.message);
        put(NULL);
        return;
    }
    grammar *more = grammar_ref(g);
    put(grammar_state_create(g));
    grammar_unref(g);
    put(grammar_state_create(more));
    grammar_unref(more);
}

static void *work(void *arg) {
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    grammar_stats stats;
    for (int i = 0; i < N_ROUNDS; i++) {
        one_round(&seed);
        grammar_get_stats(f.vocab, &stats);
    }
    pthread_mutex_lock(&queue.lock);
    queue.n_alive--;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t threads[N_THREADS];
    f = fixture_grammar();
    f.vocab->cache.limit = 256 << 10; // little room: languages come and go
    queue.n_alive = N_THREADS;
    for (uintptr_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
    uint64_t seed = 7;
    int n = 0;
    for (grammar_state *s; (s = get()) != NULL; n++) {
        fixture_walk w = {.f = &f,
                          .state = s,
                          .seed = seed++,
                          .mask = base_calloc((size_t)f.words, sizeof(uint32_t))};
        assert_int_not_equal(fixture_walk_on(&w, 20, 60), FIXTURE_WALK_BROKEN);
        fixture_walk_end(&w);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(queue.n_failed, 0);
    assert_int_equal(n, 2 * N_THREADS * N_ROUNDS);
    grammar_stats stats;
    grammar_get_stats(f.vocab, &stats);
    assert_true(stats.languages_found > 0 && stats.masks_found > 0);
    assert_true(stats.bytes <= f.vocab->cache.limit);
    fixture_grammar_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
