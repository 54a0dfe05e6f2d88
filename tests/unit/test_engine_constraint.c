// Constraints in the engine: what a choice may sample follows its own output, whatever else is
// going on. The constraints themselves are tested with the grammar room.
#define FAKE_VOCAB 1024
#include "chat_fixture.h"
#include "engine_bench.h"
#include <stdio.h>

static token_vocab *vocab;
static grammar_vocab *grammars;
static int32_t end_id;

static int open_grammars(void **state) {
    (void)state;
    vocab = fixture_chat_vocab(NULL);
    end_id = token_control_id(vocab, "<|im_end|>");
    const grammar_tokens tokens = {
        .think = token_control_id(vocab, "<think>"),
        .think_end = token_control_id(vocab, "</think>"),
        .section_begin = token_control_id(vocab, "<|tool_calls_section_begin|>"),
        .section_end = token_control_id(vocab, "<|tool_calls_section_end|>"),
        .call_begin = token_control_id(vocab, "<|tool_call_begin|>"),
        .call_argument = token_control_id(vocab, "<|tool_call_argument_begin|>"),
        .call_end = token_control_id(vocab, "<|tool_call_end|>"),
        .n_ends = 1,
        .ends = {end_id}};
    grammars = grammar_vocab_create(vocab, &tokens);
    return token_vocab_size(vocab) != FAKE_VOCAB;
}

static int close_grammars(void **state) {
    (void)state;
    grammar_vocab_free(grammars);
    token_vocab_free(vocab);
    return 0;
}

static grammar *compile(const grammar_spec *spec) {
    grammar *g;
    base_err err;
    if (grammar_compile(&g, grammars, spec, NULL, &err))
        fail_msg("%s", err.message);
    assert_non_null(g);
    return g;
}

static grammar *regex(const char *pattern) {
    return compile(&(grammar_spec){.thinking_budget = -1,
                                   .tool_choice = GRAMMAR_TOOLS_NONE,
                                   .answer = GRAMMAR_ANSWER_REGEX,
                                   .regex = pattern,
                                   .regex_len = strlen(pattern),
                                   .answer_field = "regex"});
}

static engine_options options_here(void) {
    engine_options o = default_options();
    o.vocab_size = FAKE_VOCAB;
    o.n_eos = 1;
    o.eos_ids[0] = end_id;
    return o;
}

static engine_params constrained(grammar *g, int max_tokens, uint64_t seed) {
    engine_params p;
    engine_params_init(&p);
    p.max_tokens = max_tokens;
    p.has_seed = true;
    p.seed = seed;
    p.grammar = g;
    return p;
}

// The text of an answer, without the id that ends it.
static char *text_of(const answer *a) {
    static char text[LONGEST * 32];
    size_t len = 0;
    for (int i = 0; i < a->n && a->ids[i] != end_id; i++) {
        size_t n;
        const char *bytes = token_bytes(vocab, a->ids[i], &n);
        memcpy(text + len, bytes, n);
        len += n;
    }
    text[len] = '\0';
    return text;
}

static void expect_only(const char *text, const char *letters, size_t length) {
    if (strlen(text) != length || strspn(text, letters) != length)
        fail_msg("\"%s\" is not of %zu letters %s", text, length, letters);
}

// ---------------------------------------------------------------------------------------------

static void test_outputs_are_what_was_asked_for(void **state) {
    (void)state;
    bench b = bench_open(options_here());
    int32_t prompt[5];
    fill_prompt(prompt, 5, 1);
    grammar *g = regex("[ab]{30}");
    for (uint64_t seed = 0; seed < 50; seed++) {
        engine_params p = constrained(g, 100, seed);
        answer a = ask(&b, prompt, 5, &p);
        expect_only(text_of(&a), "ab", 30);
        assert_true(a.end.finish == ENGINE_FINISH_STOP && a.end.stop_id == end_id);
    }
    engine_params p = constrained(g, 7, 1);
    answer a = ask(&b, prompt, 5, &p);
    assert_true(a.n == 7 && a.end.finish == ENGINE_FINISH_LENGTH);
    grammar_unref(g);
    bench_close(&b);
}

// The request keeps what it needs of the caller's.
static void test_the_engine_takes_a_reference(void **state) {
    (void)state;
    bench b = bench_open(options_here());
    int32_t prompt[5];
    fill_prompt(prompt, 5, 1);
    grammar *g = regex("[ab]{30}"), *longer = regex("[ab]{300}");
    engine_params p = constrained(g, 100, 1);
    submit(&b, 1, prompt, 5, &p);
    p = constrained(longer, 300, 1);
    submit(&b, 2, prompt, 5, &p); // goes with the engine
    grammar_unref(g);
    grammar_unref(longer);
    while (checked_step(b.engine, b.fake) && b.engine->n_live == 2) {
    }
    assert_int_equal(b.engine->n_live, 1);
    bench_close(&b);
}

static void test_choices_have_states_of_their_own(void **state) {
    (void)state;
    bench b = bench_open(options_here());
    int32_t prompt[9];
    fill_prompt(prompt, 9, 2);
    grammar *g = regex("[ab]{40}");
    engine_params p = constrained(g, 100, 5);
    p.n = 4;
    submit(&b, 1, prompt, 9, &p);
    grammar_unref(g);
    answer a[4];
    finish_choices(&b, 1, a, 4);
    for (int i = 0; i < 4; i++) {
        expect_only(text_of(&a[i]), "ab", 40);
        if (i > 0)
            assert_memory_not_equal(a[i].ids, a[0].ids, 20 * sizeof *a[i].ids);
    }
    bench_close(&b);
}

// What the constraint allows and what the request's own lists allow have to agree.
static void test_lists_narrow_constraints(void **state) {
    (void)state;
    bench b = bench_open(options_here());
    int32_t prompt[5], letters[3];
    fill_prompt(prompt, 5, 1);
    base_ids ids = {0};
    token_encode(vocab, "ac", 1, TOKEN_PLAIN, &ids);
    token_encode(vocab, "c", 1, TOKEN_PLAIN, &ids);
    letters[0] = ids.data[0];
    letters[1] = ids.data[1];
    letters[2] = end_id;
    base_ids_free(&ids);
    grammar *g = regex("[ab]{30}");
    engine_params p = constrained(g, 100, 3);
    p.allowed_ids = letters;
    p.n_allowed = 3;
    answer a = ask(&b, prompt, 5, &p);
    expect_only(text_of(&a), "a", 30);
    p.allowed_ids = letters + 1; // none that may come
    p.n_allowed = 1;
    a = ask(&b, prompt, 5, &p);
    assert_true(a.n == 0 && a.end.finish == ENGINE_FINISH_ERROR && a.end.by_request);
    // Where everything may come the lists stand alone.
    grammar *free = compile(&(grammar_spec){
        .thought = GRAMMAR_THOUGHT_OPEN, .thinking_budget = 5, .tool_choice = GRAMMAR_TOOLS_FREE});
    p = constrained(free, 30, 3);
    letters[2] = token_control_id(vocab, "</think>");
    p.allowed_ids = letters;
    p.n_allowed = 3;
    a = ask(&b, prompt, 5, &p);
    assert_int_equal(a.n, 30);
    int n_ends = 0;
    for (int i = 0; i < a.n; i++) {
        assert_true(fake_in(a.ids[i], letters, 3));
        n_ends += a.ids[i] == letters[2] && i <= 5;
    }
    assert_true(n_ends >= 1);
    // So do bad words.
    const int32_t *word[1] = {&letters[0]};
    p = constrained(g, 100, 3);
    p.n_bad_words = 1;
    p.bad_words = word;
    p.bad_word_lens = (const int[]){1};
    a = ask(&b, prompt, 5, &p);
    for (int i = 0; i < a.n; i++)
        assert_int_not_equal(a.ids[i], letters[0]);
    assert_int_equal(a.end.finish, ENGINE_FINISH_STOP);
    grammar_unref(free);
    grammar_unref(g);
    bench_close(&b);
}

static void test_min_tokens_gives_way(void **state) {
    (void)state;
    bench b = bench_open(options_here());
    int32_t prompt[5];
    fill_prompt(prompt, 5, 1);
    grammar *once = regex("a"), *often = regex("a{0,300}");
    for (uint64_t seed = 0; seed < 20; seed++) {
        engine_params p = constrained(once, 100, seed);
        p.min_tokens = 20;
        answer a = ask(&b, prompt, 5, &p);
        assert_true(a.n == 2 && a.end.finish == ENGINE_FINISH_STOP);
        p.grammar = often; // may end, but need not
        a = ask(&b, prompt, 5, &p);
        assert_true(a.n >= 20);
    }
    engine_params p = constrained(once, 10, 1);
    p.ignore_eos = true; // then the end comes again and again
    answer a = ask(&b, prompt, 5, &p);
    assert_true(a.n == 10 && a.end.finish == ENGINE_FINISH_LENGTH);
    for (int i = 1; i < a.n; i++)
        assert_int_equal(a.ids[i], end_id);
    grammar_unref(once);
    grammar_unref(often);
    bench_close(&b);
}

// Small pools preempt, and outputs are those of a large one; neighbours without constraints are
// what they are alone.
static void test_preemption_and_neighbours(void **state) {
    (void)state;
    enum { N = 4, LENGTH = 60 };
    grammar *g = regex("[ab]{55}|[cd]{50}");
    answer alone[N];
    for (int blocks = 200; blocks >= 30; blocks -= 170) {
        engine_options o = options_here();
        o.n_blocks = blocks;
        o.prefix_caching = blocks > 100;
        bench b = bench_open(o);
        int32_t prompts[N][9];
        engine_params p[N];
        for (int i = 0; i < N; i++) {
            fill_prompt(prompts[i], 9, i);
            p[i] = constrained(i % 2 ? NULL : g, LENGTH, (uint64_t)i);
            p[i].ignore_eos = i % 2;
            submit(&b, (uint64_t)i, prompts[i], 9, &p[i]);
        }
        answer *a = calloc(N, sizeof *a);
        while (checked_step(b.engine, b.fake)) {
        }
        engine_event v;
        while (engine_next_event(b.engine, &v))
            if (v.kind == ENGINE_EVENT_TOKEN)
                a[v.request].ids[a[v.request].n++] = v.id;
            else
                a[v.request].end = v;
        assert_int_equal(b.engine->stats.preemptions > 0, blocks < 100);
        for (int i = 0; i < N; i++) {
            if (i % 2)
                assert_expected(&b, &a[i], prompts[i], 9, &p[i], 0);
            else
                assert_int_equal(a[i].end.finish, ENGINE_FINISH_STOP);
            if (blocks < 100) {
                assert_int_equal(a[i].n, alone[i].n);
                assert_memory_equal(a[i].ids, alone[i].ids, (size_t)a[i].n * sizeof *a[i].ids);
            }
            alone[i] = a[i];
        }
        free(a);
        bench_close(&b);
    }
    grammar_unref(g);
}

// Scripts do as they please: their ids end the constraint, and nothing else.
static void test_ids_that_are_not_allowed(void **state) {
    (void)state;
    bench b = bench_open(options_here());
    b.fake->moods.more_every = 2; // ids that no mask was made for
    int32_t prompt[5];
    fill_prompt(prompt, 5, 1);
    grammar *g = regex("(ab){150}");
    int n_wrong = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        engine_params p = constrained(g, 60, seed);
        p.ignore_eos = true;
        answer a = ask(&b, prompt, 5, &p);
        assert_true(a.n == 60 && a.end.finish == ENGINE_FINISH_LENGTH);
        n_wrong += strstr(text_of(&a), "aa") != NULL;
    }
    assert_true(n_wrong > 10);
    grammar_unref(g);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outputs_are_what_was_asked_for),
        cmocka_unit_test(test_the_engine_takes_a_reference),
        cmocka_unit_test(test_choices_have_states_of_their_own),
        cmocka_unit_test(test_lists_narrow_constraints),
        cmocka_unit_test(test_min_tokens_gives_way),
        cmocka_unit_test(test_preemption_and_neighbours),
        cmocka_unit_test(test_ids_that_are_not_allowed),
    };
    return cmocka_run_group_tests(tests, open_grammars, close_grammars);
}
