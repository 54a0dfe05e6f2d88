// Random constraints and random outputs: a mask is just the ids that are then taken, going back is
// as if what came after had not been, and there always is a way on.
#include "grammar_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const schemas[] = {
    "{}",
    "{\"type\":\"object\"}",
    "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":"
    "\"integer\",\"minimum\":1,\"maximum\":31}},\"required\":[\"city\"]}",
    "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[\"x\",\"xy\",1,null,[]]},\"ab\":{"
    "\"const\":{\"k\":\"v\"}}},\"required\":[\"ab\",\"a\"],\"additionalProperties\":false}",
    "{\"type\":\"object\",\"properties\":{\"next\":{\"anyOf\":[{\"type\":\"null\"},{\"$ref\":"
    "\"#\"}]},\"value\":{\"type\":\"number\"}},\"required\":[\"next\"]}",
    "{\"type\":\"object\",\"properties\":{\"list\":{\"type\":\"array\",\"items\":{\"type\":"
    "\"string\",\"pattern\":\"^[a-z]{2,4}$\"},\"minItems\":1,\"maxItems\":3}},\"required\":["
    "\"list\"],\"additionalProperties\":{\"type\":\"boolean\"}}",
    "{\"type\":\"object\",\"properties\":{\"when\":{\"type\":\"string\",\"format\":\"date\"},"
    "\"note\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":5}},\"minProperties\":1}",
    "{\"type\":\"object\",\"additionalProperties\":false}",
};
static const char *const names[] = {"a",          "a:0",         "a:1:0", "get_weather",
                                    "mcp__x-y.z", "s\xc3\xa4ge", "0"};
static const char *const regexes[] = {"", "[a-c]*", "(yes|no)!?", "\xc3\xa4{2,3}", ".{0,4}", "0"};
static const char *const choices[] = {"yes", "yesterday", "no", "1", "{}", "\xe4\xb8\xad"};
static const size_t choice_lens[] = {3, 9, 2, 1, 2, 3};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static grammar_fixture f;
static json_t *parsed[COUNT(schemas)];

static int set_up(void **state) {
    (void)state;
    f = fixture_grammar();
    for (size_t i = 0; i < COUNT(schemas); i++) {
        parsed[i] = json_loads(schemas[i], 0, NULL);
        assert_non_null(parsed[i]);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(schemas); i++)
        json_decref(parsed[i]);
    fixture_grammar_free(&f);
    return 0;
}

static const json_t *any_schema(uint64_t *seed) {
    return parsed[fixture_random(seed, COUNT(schemas))];
}

static grammar *compile_random(uint64_t *seed) {
    grammar_tool tools[3];
    static const int64_t budgets[] = {-1, -1, 0, 1, 5, 20};
    static const int indices[] = {0, 0, 8, 99};
    const char *regex = regexes[fixture_random(seed, COUNT(regexes))];
    grammar_spec spec = {
        .thought = (grammar_thought)fixture_random(seed, 3),
        .thinking_budget = budgets[fixture_random(seed, COUNT(budgets))],
        .tool_choice = (grammar_tool_choice)fixture_random(seed, 4),
        .tools = tools,
        .n_tools = (int)fixture_random(seed, COUNT(tools)) + 1,
        .one_call = fixture_random(seed, 3) == 0,
        .first_index = indices[fixture_random(seed, COUNT(indices))],
        .answer =
            fixture_random(seed, 2) ? GRAMMAR_ANSWER_TEXT : (grammar_answer)fixture_random(seed, 5),
        .schema = any_schema(seed),
        .regex = regex,
        .regex_len = strlen(regex),
        .choices = choices,
        .choice_lens = choice_lens,
        .n_choices = (int)fixture_random(seed, COUNT(choices)) + 1,
        .no_whitespace = fixture_random(seed, 2),
        .no_additional = fixture_random(seed, 2),
        .answer_field = "answer",
    };
    uint32_t first = fixture_random(seed, COUNT(names));
    for (uint32_t i = 0; i < COUNT(tools); i++) {
        const char *name = names[(first + i) % COUNT(names)];
        tools[i] = (grammar_tool){.name = name,
                                  .name_len = strlen(name),
                                  .parameters = fixture_random(seed, 5) ? any_schema(seed) : NULL,
                                  .field = "tools"};
    }
    grammar *g;
    base_err err = {0};
    if (grammar_compile(&g, f.vocab, &spec, NULL, &err))
        fail_msg("%s", err.message);
    return g;
}

static bool mask_is_all(const grammar_fixture *of, const uint32_t *mask) {
    for (int32_t id = 0; id < of->size; id++) {
        if (!fixture_bit(mask, id))
            return false;
    }
    return true;
}

// Every id, one by one: taken just when the mask says so.
static void check_mask(fixture_walk *w) {
    bool masked = grammar_state_mask(w->state, w->mask, f.size), only_ends = masked;
    int n = 0;
    for (int32_t id = 0; id < f.size; id++) {
        bool allowed = !masked || fixture_bit(w->mask, id);
        size_t n_ids = w->ids.len, n_text = w->text.len;
        bool taken = fixture_walk_take(w, id);
        fixture_walk_back(w, 1);
        w->ids.len = n_ids;
        w->text.len = n_text;
        if (taken != allowed) {
            size_t len;
            const char *bytes = token_bytes(f.tokens, id, &len);
            fail_msg("after %s: %.*s is %s", w->text.data ? w->text.data : "", (int)len, bytes,
                     taken ? "masked, but taken" : "allowed, but refused");
        }
        n += allowed;
        only_ends = only_ends && (!allowed || fixture_is_end(&f, id));
    }
    assert_true(n > 0);
    assert_false(masked && mask_is_all(&f, w->mask));
    assert_int_equal(grammar_state_must_end(w->state), only_ends);
}

static void check_same(grammar_state *a, grammar_state *b) {
    uint32_t *of_a = base_calloc((size_t)f.words, sizeof *of_a);
    uint32_t *of_b = base_calloc((size_t)f.words, sizeof *of_b);
    assert_int_equal(grammar_state_mask(a, of_a, f.size), grammar_state_mask(b, of_b, f.size));
    assert_memory_equal(of_a, of_b, (size_t)f.words * sizeof *of_a);
    assert_int_equal(grammar_state_must_end(a), grammar_state_must_end(b));
    base_free(of_a);
    base_free(of_b);
}

// Goes back some ids; the state must be like a new one that took the others. Then forth again.
static void check_rollback(fixture_walk *w, grammar *g) {
    size_t n = fixture_random(&w->seed, (uint32_t)w->n_kept + 1), at = w->ids.len - n;
    grammar_state *again = grammar_state_create(g);
    for (size_t i = 0; i < at; i++)
        assert_true(grammar_state_advance(again, w->ids.data[i]));
    grammar_state_rollback(w->state, (int)n);
    check_same(w->state, again);
    for (size_t i = at; i < w->ids.len; i++) {
        assert_true(grammar_state_advance(w->state, w->ids.data[i]));
        assert_true(grammar_state_advance(again, w->ids.data[i]));
        if (fixture_random(&w->seed, 8) == 0)
            check_same(w->state, again);
    }
    check_same(w->state, again);
    grammar_state_free(again);
}

static void test_random(void **state) {
    (void)state;
    int n = getenv("ABRUZZI_TEST_FULL") ? 4000 : 250, ended = 0, compiled = 0;
    uint64_t seed = 1;
    for (int i = 0; i < n; i++) {
        grammar *g = compile_random(&seed);
        if (!g)
            continue;
        compiled++;
        fixture_walk w = fixture_walk_begin(&f, g, (uint64_t)i + 1);
        fixture_walk_keys(&w, parsed[2]);
        fixture_walk_keys(&w, parsed[3]);
        fixture_walked walked = FIXTURE_WALK_ON;
        while (walked == FIXTURE_WALK_ON && w.ids.len < 300) {
            if (fixture_random(&w.seed, 12) == 0)
                check_mask(&w);
            if (fixture_random(&w.seed, 12) == 0)
                check_rollback(&w, g);
            walked = fixture_walk_step(&w, 40);
        }
        assert_int_not_equal(walked, FIXTURE_WALK_BROKEN);
        check_mask(&w);
        check_rollback(&w, g);
        ended += walked == FIXTURE_WALK_ENDED;
        fixture_walk_end(&w);
        grammar_unref(g);
    }
    printf("# %d of %d outputs ended\n", ended, compiled);
    assert_true(ended > compiled / 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
