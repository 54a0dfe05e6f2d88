// Promise 2: a sequence's ids and log-probabilities are the same bits whatever else is in the
// batch, however its prompt was chunked, cached or preempted, and whatever the thread count. Run on
// a synthesised checkpoint through engine and CPU backend, in both numerics.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
// cmocka wants the four above first.
#include <cmocka.h>

#include "backend/backend.h"
#include "engine/engine.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK = 16, PROMPT = 150, OUTPUT = 24, TOP = 2, NEIGHBOURS = 15, TARGET = 1000 };

static char g_dir[64];
static model *g_model;
static backend_numerics g_numerics;

typedef struct setup {
    int threads, max_batched, n_blocks;
    bool prefix_caching;
} setup;

static const setup base_setup = {.threads = 1, .max_batched = 512, .n_blocks = 400};

typedef struct stack {
    backend *b;
    engine *e;
} stack;

// Everything a client can see of one choice.
typedef struct transcript {
    int n_output, n_prompt_lp, n_cached, finish;
    int32_t ids[OUTPUT];
    float logprobs[OUTPUT];
    float top[OUTPUT][TOP];
    float prompt_logprobs[PROMPT];
} transcript;

static stack stack_open(const setup *s) {
    stack st;
    base_err err = {0};
    const model_config *c = model_get_config(g_model);
    backend_options bo = {.numerics = g_numerics,
                          .threads = s->threads,
                          .block_size = BLOCK,
                          .n_blocks = s->n_blocks,
                          .interleave = 1,
                          .max_rows = s->max_batched,
                          .max_seqs = 32,
                          .max_outputs = s->max_batched,
                          .max_logprobs = TOP,
                          .max_model_len = 1024};
    if (backend_open(&st.b, "cpu", g_model, &bo, &err))
        fail_msg("%s", err.message);
    engine_options eo = {.max_num_seqs = s->max_batched < 32 ? s->max_batched : 32,
                         .max_num_batched_tokens = s->max_batched,
                         .max_model_len = 1024,
                         .max_queue = 64,
                         .block_size = BLOCK,
                         .n_blocks = s->n_blocks,
                         .prefix_caching = s->prefix_caching,
                         .max_logprobs = TOP,
                         .vocab_size = c->vocab_size};
    st.e = engine_create(st.b, &eo);
    assert_non_null(st.e);
    return st;
}

static void stack_close(stack *st) {
    engine_destroy(st->e);
    backend_close(st->b);
}

static uint32_t draw(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void fill_prompt(int32_t *ids, int n, uint64_t seed) {
    int vocab = model_get_config(g_model)->vocab_size;
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(draw(&seed) % (uint32_t)vocab);
}

static void submit_constrained(engine *e, uint64_t id, const int32_t *prompt, int n_prompt, int n,
                               int output, uint64_t seed, bool prompt_logprobs, grammar *g) {
    engine_params p;
    engine_params_init(&p);
    p.n = n;
    p.max_tokens = output;
    p.temperature = 0.9f;
    p.top_p = 0.97f;
    p.has_seed = true;
    p.seed = seed;
    p.n_logprobs = TOP;
    p.n_prompt_logprobs = prompt_logprobs ? 0 : -1;
    p.grammar = g;
    base_err err = {0};
    if (engine_submit(e, id, prompt, n_prompt, &p, &err) != ENGINE_ACCEPTED)
        fail_msg("%s", err.message);
}

static void submit(engine *e, uint64_t id, const int32_t *prompt, int n_prompt, int n, int output,
                   uint64_t seed, bool prompt_logprobs) {
    submit_constrained(e, id, prompt, n_prompt, n, output, seed, prompt_logprobs, NULL);
}

static void record(transcript *t, const engine_event *ev) {
    switch (ev->kind) {
    case ENGINE_EVENT_PROMPT:
        if (ev->position > 0)
            t->prompt_logprobs[t->n_prompt_lp++] = ev->logprob;
        break;
    case ENGINE_EVENT_TOKEN:
        t->ids[t->n_output] = ev->id;
        t->logprobs[t->n_output] = ev->logprob;
        for (int i = 0; i < TOP; i++)
            t->top[t->n_output][i] = ev->top[i].logprob;
        t->n_output++;
        break;
    case ENGINE_EVENT_FINISH:
        t->finish = 1 + (int)ev->finish;
        t->n_cached = ev->n_cached;
        break;
    }
}

// Runs until nothing is left; events of the target's choices go into out[choice].
static void drain(engine *e, transcript *out) {
    engine_event ev;
    for (int step = 0; engine_step(e); step++) {
        assert_true(step < 100000);
        while (engine_next_event(e, &ev)) {
            if (ev.request == TARGET && out)
                record(&out[ev.choice], &ev);
            engine_event_free(&ev);
        }
    }
    while (engine_next_event(e, &ev)) {
        if (ev.request == TARGET && out)
            record(&out[ev.choice], &ev);
        engine_event_free(&ev);
    }
}

static transcript alone(const setup *s, const int32_t *prompt, bool prompt_logprobs) {
    transcript t = {0};
    stack st = stack_open(s);
    submit(st.e, TARGET, prompt, PROMPT, 1, OUTPUT, 77, prompt_logprobs);
    drain(st.e, &t);
    stack_close(&st);
    assert_int_equal(t.n_output, OUTPUT);
    return t;
}

static void assert_same(const transcript *a, const transcript *b, const char *what) {
    if (a->n_output != b->n_output || a->finish != b->finish ||
        memcmp(a->ids, b->ids, sizeof a->ids) ||
        memcmp(a->logprobs, b->logprobs, sizeof a->logprobs) ||
        memcmp(a->top, b->top, sizeof a->top) || a->n_prompt_lp != b->n_prompt_lp ||
        memcmp(a->prompt_logprobs, b->prompt_logprobs, sizeof a->prompt_logprobs))
        fail_msg("%s: not the same bits", what);
}

// ---------------------------------------------------------------------------------------------

static void test_neighbours(void **state) {
    (void)state;
    int32_t prompt[PROMPT], other[PROMPT];
    fill_prompt(prompt, PROMPT, 1);
    transcript want = alone(&base_setup, prompt, true);
    for (int n = 1; n <= NEIGHBOURS; n++) {
        setup s = base_setup;
        s.max_batched = n % 4 == 1 ? 40 : 256;
        stack st = stack_open(&s);
        transcript got = {0};
        uint64_t rng = 1000 + (uint64_t)n;
        int submitted = 0, target_at = (int)(draw(&rng) % (uint32_t)(n + 1));
        bool more = true;
        for (int step = 0; more || submitted <= n; step++) {
            assert_true(step < 10000);
            while (submitted <= n && (draw(&rng) % 3 == 0 || !more)) {
                if (submitted == target_at) {
                    submit(st.e, TARGET, prompt, PROMPT, 1, OUTPUT, 77, true);
                } else {
                    int len = 1 + (int)(draw(&rng) % (PROMPT - 1));
                    fill_prompt(other, len, rng);
                    submit(st.e, (uint64_t)submitted, other, len, 1, 1 + (int)(draw(&rng) % OUTPUT),
                           rng, false);
                }
                submitted++;
                more = true;
            }
            more = engine_step(st.e);
            engine_event ev;
            while (engine_next_event(st.e, &ev)) {
                if (ev.request == TARGET)
                    record(&got, &ev);
                engine_event_free(&ev);
            }
        }
        drain(st.e, &got);
        stack_close(&st);
        assert_same(&want, &got, "among neighbours");
    }
}

// The masks of other rows change nothing.
static void test_constrained_neighbours(void **state) {
    (void)state;
    int32_t prompt[PROMPT], other[PROMPT];
    token_vocab *vocab;
    base_err err = {0};
    if (token_vocab_load(&vocab, g_dir, &err))
        fail_msg("%s", err.message);
    const grammar_tokens none = {-1, -1, -1, -1, -1, -1, -1, 1, {0}};
    grammar_vocab *grammars = grammar_vocab_create(vocab, &none);
    grammar *g;
    const grammar_spec spec = {.thinking_budget = -1,
                               .answer = GRAMMAR_ANSWER_REGEX,
                               .regex = "[a-f]{500}",
                               .regex_len = 10,
                               .answer_field = "regex"};
    if (grammar_compile(&g, grammars, &spec, NULL, &err))
        fail_msg("%s", err.message);
    fill_prompt(prompt, PROMPT, 12);
    transcript want = alone(&base_setup, prompt, true), got = {0};
    stack st = stack_open(&base_setup);
    for (int i = 0; i < 6; i++) {
        if (i == 3)
            submit(st.e, TARGET, prompt, PROMPT, 1, OUTPUT, 77, true);
        fill_prompt(other, 20 * (i + 1), (uint64_t)i);
        submit_constrained(st.e, (uint64_t)i, other, 20 * (i + 1), 1, OUTPUT, (uint64_t)i, false,
                           g);
    }
    grammar_unref(g);
    drain(st.e, &got);
    stack_close(&st);
    grammar_vocab_free(grammars);
    token_vocab_free(vocab);
    assert_same(&want, &got, "among constrained neighbours");
}

static void test_chunks(void **state) {
    (void)state;
    int32_t prompt[PROMPT];
    fill_prompt(prompt, PROMPT, 2);
    transcript want = alone(&base_setup, prompt, true);
    const int chunks[] = {1, 7, 64, PROMPT};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        setup s = base_setup;
        s.max_batched = chunks[i];
        transcript got = alone(&s, prompt, true);
        assert_same(&want, &got, "prompt in chunks");
    }
}

static void test_threads(void **state) {
    (void)state;
    int32_t prompt[PROMPT];
    fill_prompt(prompt, PROMPT, 3);
    transcript want = alone(&base_setup, prompt, true);
    for (int threads = 2; threads <= 5; threads++) {
        setup s = base_setup;
        s.threads = threads;
        transcript got = alone(&s, prompt, true);
        assert_same(&want, &got, "threads");
    }
}

static void test_prefix_cache(void **state) {
    (void)state;
    int32_t prompt[PROMPT], other[PROMPT];
    fill_prompt(prompt, PROMPT, 4);
    transcript want = alone(&base_setup, prompt, false);
    setup s = base_setup;
    s.prefix_caching = true;
    const int shared[] = {0, 1, BLOCK - 1, BLOCK, BLOCK + 1, PROMPT - 1, PROMPT};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        stack st = stack_open(&s);
        fill_prompt(other, PROMPT, 5);
        memcpy(other, prompt, (size_t)shared[i] * sizeof *prompt);
        if (shared[i] < PROMPT)
            other[shared[i]] = prompt[shared[i]] == 0 ? 1 : 0;
        submit(st.e, 1, other, PROMPT, 1, 2, 9, false);
        drain(st.e, NULL);
        transcript got = {0};
        submit(st.e, TARGET, prompt, PROMPT, 1, OUTPUT, 77, false);
        drain(st.e, &got);
        stack_close(&st);
        int reusable = shared[i] < PROMPT ? shared[i] : PROMPT - 1;
        assert_int_equal(got.n_cached, reusable / BLOCK * BLOCK);
        got.n_cached = want.n_cached;
        assert_same(&want, &got, "prefix cache");
    }
}

// The pool holds both prompts but not both outputs: the target, last to come, is preempted, since
// the other one is all there is beside it.
static void test_preemption(void **state) {
    (void)state;
    int32_t prompt[PROMPT], other[PROMPT];
    fill_prompt(prompt, PROMPT, 6);
    fill_prompt(other, PROMPT, 7);
    transcript want = alone(&base_setup, prompt, false);
    for (int caching = 0; caching < 2; caching++) {
        setup s = base_setup;
        s.prefix_caching = caching;
        s.n_blocks = 2 * ((PROMPT + BLOCK - 1) / BLOCK) + 1;
        stack st = stack_open(&s);
        submit(st.e, 1, other, PROMPT, 1, 100, 9, false);
        submit(st.e, TARGET, prompt, PROMPT, 1, OUTPUT, 77, false);
        transcript got = {0};
        drain(st.e, &got);
        engine_stats stats;
        engine_get_stats(st.e, &stats);
        stack_close(&st);
        assert_true(stats.preemptions > 0);
        assert_same(&want, &got, "preemption");
    }
}

static void test_choices(void **state) {
    (void)state;
    int32_t prompt[PROMPT];
    fill_prompt(prompt, PROMPT, 11);
    transcript want = alone(&base_setup, prompt, false);
    for (int caching = 0; caching < 2; caching++) {
        setup s = base_setup;
        s.prefix_caching = caching;
        stack st = stack_open(&s);
        transcript got[4] = {0};
        submit(st.e, TARGET, prompt, PROMPT, 4, OUTPUT, 77, false);
        drain(st.e, got);
        stack_close(&st);
        assert_same(&want, &got[0], "choice 0 of 4");
        // The other choices draw from streams of their own.
        for (int i = 1; i < 4; i++) {
            assert_int_equal(got[i].n_output, OUTPUT);
            assert_memory_not_equal(got[i].ids, got[0].ids, sizeof got[0].ids);
        }
    }
}

// ---------------------------------------------------------------------------------------------

static int open_model(void) {
    base_err err = {0};
    snprintf(g_dir, sizeof g_dir, "/tmp/abruzzi-invariance-XXXXXX");
    if (!mkdtemp(g_dir))
        return 1;
    model_synth_options so = {.preset = "tiny", .seed = 5, .threads = 2};
    if (model_synth(g_dir, &so, &err) || model_open(&g_model, g_dir, NULL, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}

static int use_exact(void **state) {
    (void)state;
    g_numerics = BACKEND_EXACT;
    return 0;
}

static int use_fast(void **state) {
    (void)state;
    g_numerics = BACKEND_FAST;
    return 0;
}

#define BOTH(f)                                                                                    \
    {#f " exact", f, use_exact, NULL, NULL}, {                                                     \
#f " fast", f, use_fast, NULL, NULL                                                        \
    }

int main(void) {
    if (open_model())
        return 1;
    const struct CMUnitTest tests[] = {BOTH(test_neighbours),   BOTH(test_constrained_neighbours),
                                       BOTH(test_chunks),       BOTH(test_threads),
                                       BOTH(test_prefix_cache), BOTH(test_preemption),
                                       BOTH(test_choices)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    model_close(g_model);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", g_dir);
    return system(command) != 0 || failed;
}
