// The output automaton: where each byte of an output goes.
#include "chat_bench.h"
#include <stdlib.h>

#define GENERATE "<|im_assistant|>assistant<|im_middle|>"

static void check_fields(const char *prompt, const char *output, chat_output_options options,
                         const char *reasoning, const char *content) {
    base_ids before = encode(prompt), ids = encode(output);
    fixture_split s;
    assert_true(
        fixture_push_output(&s, format, &options, before.data, before.len, ids.data, ids.len));
    assert_string_equal(s.field[CHAT_REASONING].data ? s.field[CHAT_REASONING].data : "",
                        reasoning);
    assert_string_equal(s.field[CHAT_CONTENT].data ? s.field[CHAT_CONTENT].data : "", content);
    fixture_split_free(&s);
    base_ids_free(&before);
    base_ids_free(&ids);
}

static void test_fields(void **state) {
    (void)state;
    chat_output_options on = {.reasoning = true, .skip_special = true};
    check_fields(GENERATE, "<think>I see.</think>Yes.<|im_end|>", on, "I see.", "Yes.");
    check_fields(GENERATE, "I see.</think>Yes.", on, "I see.", "Yes.");
    check_fields(GENERATE, "I see.", on, "I see.", "");
    check_fields(GENERATE, "<think></think>Yes.", on, "", "Yes.");
    check_fields(GENERATE, "<think> a <think>b</think> c <think>d</think> e\n", on, " a b",
                 " c d e\n");
    check_fields(GENERATE, "<think>Call<|tool_calls_section_begin|>x</think>y", on, "Call", "xy");
    check_fields(GENERATE, "Call<|tool_call_begin|>x<|tool_call_argument_begin|>{}", on, "Call",
                 "x{}");
    check_fields(GENERATE, "a<|tool_call_end|>b<|tool_calls_section_end|>c", on, "abc", "");
    check_fields(GENERATE, "\xe4\xb8</think>\xad\xe4\xb8\xad", on, "\xef\xbf\xbd",
                 "\xef\xbf\xbd\xe4\xb8\xad");
    check_fields(GENERATE, "a</think>\xe4\xb8", on, "a", "\xef\xbf\xbd");

    chat_output_options shown = {.reasoning = true};
    check_fields(GENERATE, "<think>a</think>b<|im_end|>", shown, "a", "b<|im_end|>");
    chat_output_options raw = {.skip_special = true};
    check_fields(GENERATE, "<think>a</think>b<|tool_call_begin|><|im_end|>", raw, "",
                 "<think>a</think>b<|tool_call_begin|>");
    chat_output_options all = {0};
    check_fields(GENERATE, "<think>a</think>b<|im_end|>", all, "", "<think>a</think>b<|im_end|>");
}

// What the prompt's open turn says decides how the output begins.
static void test_first_field(void **state) {
    (void)state;
    static const struct {
        const char *prompt;
        bool thinking;
    } cases[] = {
        {"", true},
        {"raw text", true},
        {GENERATE, true},
        {GENERATE "<think>", true},
        {GENERATE "<think>So far", true},
        {GENERATE "<think></think>", false},
        {GENERATE "<think></think>Once upon", false},
        {GENERATE "<think>a<|tool_calls_section_begin|>", false},
        {GENERATE "<think></think>Call<|tool_calls_section_end|>", false},
        {GENERATE "<think></think>old<|im_end|>", true},
        {GENERATE "<think></think>old<|im_end|>" GENERATE, true},
        {"<|im_user|>user<|im_middle|>hi", false},
        {"<|im_user|>user<|im_middle|>hi<|im_end|>", true},
        {"<|im_system|>system<|im_middle|>Be", false},
    };
    chat_output_options on = {.reasoning = true, .skip_special = true};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_fields(cases[i].prompt, "x", on, cases[i].thinking ? "x" : "",
                     cases[i].thinking ? "" : "x");
}

static void check_reasoning_tokens(const char *prompt, const char *output, int n_reasoning) {
    base_ids before = encode(prompt), ids = encode(output);
    chat_output_options on = {.reasoning = true};
    chat_output *o = chat_output_create(format, &on, before.data, before.len);
    base_str out = {0};
    for (size_t i = 0; i < ids.len; i++)
        chat_output_push(o, ids.data[i], &out);
    assert_int_equal(chat_output_reasoning_tokens(o), n_reasoning);
    chat_output_free(o);
    base_str_free(&out);
    base_ids_free(&before);
    base_ids_free(&ids);
}

static void test_reasoning_tokens(void **state) {
    (void)state;
    check_reasoning_tokens(GENERATE, "", 0);
    check_reasoning_tokens(GENERATE, "<think>", 1);
    check_reasoning_tokens(GENERATE, "<think></think>", 2);
    check_reasoning_tokens(GENERATE, "<think>\n</think>\n\n", 3);
    check_reasoning_tokens(GENERATE "<think>", "\n</think>\n", 2);
    check_reasoning_tokens(GENERATE, "<think>\n<|tool_calls_section_begin|>\n", 2);
    check_reasoning_tokens(GENERATE, "<|tool_calls_section_begin|>\n", 0);
    check_reasoning_tokens(GENERATE "<think></think>", "\n</think>", 0);
}

static void check_whole(const chat_output_options *options, const int32_t *ids, size_t n) {
    fixture_split whole, pushed;
    fixture_split_output(&whole, vocab, true, options, ids, n);
    assert_true(fixture_push_output(&pushed, format, options, NULL, 0, ids, n));
    assert_true(fixture_split_equal(&whole, &pushed));
    fixture_split_free(&whole);
    fixture_split_free(&pushed);
}

// All sequences of up to five of these, streamed and whole.
static void test_every_order(void **state) {
    (void)state;
    static const char *const alphabet[] = {"<think>",
                                           "</think>",
                                           "<|tool_calls_section_begin|>",
                                           "<|tool_call_begin|>",
                                           "<|tool_calls_section_end|>",
                                           "<|im_end|>",
                                           "a",
                                           "\xe4",
                                           "\xb8"};
    enum { N = sizeof alphabet / sizeof *alphabet, LENGTH = 5 };
    int32_t letters[N];
    for (int i = 0; i < N; i++) {
        base_ids one = encode(alphabet[i]);
        assert_int_equal(one.len, 1);
        letters[i] = one.data[0];
        base_ids_free(&one);
    }
    int count = 1;
    for (int length = 0; length <= LENGTH; length++, count *= N) {
        for (int number = 0; number < count; number++) {
            int32_t ids[LENGTH];
            for (int i = 0, rest = number; i < length; i++, rest /= N)
                ids[i] = letters[rest % N];
            for (int flags = 0; flags < 4; flags++)
                check_whole(
                    &(chat_output_options){.reasoning = flags & 1, .skip_special = flags & 2}, ids,
                    (size_t)length);
        }
    }
}

static void test_random_ids(void **state) {
    (void)state;
    srand(11);
    for (int round = 0; round < 3000; round++) {
        int32_t ids[64];
        size_t n = (size_t)(rand() % 64);
        int controls = 1 + rand() % 30; // one in so many is a control token
        for (size_t i = 0; i < n; i++)
            ids[i] = rand() % controls ? rand() % token_vocab_ordinary(vocab)
                                       : token_vocab_ordinary(vocab) + rand() % 24;
        check_whole(&(chat_output_options){.reasoning = round & 1, .skip_special = round & 2}, ids,
                    n);
    }
}

// Ids that no vocabulary has are nothing.
static void test_ids_out_of_range(void **state) {
    (void)state;
    int32_t ids[] = {-1, INT32_MIN, INT32_MAX, token_vocab_size(vocab)};
    chat_output_options on = {.reasoning = true};
    fixture_split s;
    assert_true(fixture_push_output(&s, format, &on, ids, 4, ids, 4));
    assert_int_equal(s.field[CHAT_REASONING].len, 0);
    assert_int_equal(s.field[CHAT_CONTENT].len, 0);
    fixture_split_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),           cmocka_unit_test(test_first_field),
        cmocka_unit_test(test_reasoning_tokens), cmocka_unit_test(test_every_order),
        cmocka_unit_test(test_random_ids),       cmocka_unit_test(test_ids_out_of_range),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
