// Random outputs with calls, well formed, broken and senseless: what the automaton gives id by id
// is what the oracle finds over the whole.
#include "output_oracle.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static token_vocab *vocab;
static chat_format *format;

static const char *history[] = {"functions.f:0", "call_xyz", "functions.a.b:2", "functions.f:2",
                                NULL};
static fixture_context contexts[] = {
    {.tools = "[]"},
    {.tools = "[{\"function\": {\"name\": \"f\"}}]", .history = history},
    {.tools = "[{\"function\": {\"name\": \"f\", \"parameters\": {\"properties\": {\"k\": {}}}}},"
              "{\"function\": {\"name\": \"a.b\", \"parameters\": {\"properties\": {\"l\": {},"
              " \"k\": {}}}}},"
              "{\"function\": {\"name\": \"a:1\"}}, {\"function\": {\"name\": \"functions.f\"}},"
              "{\"function\": {\"name\": \"0\"}}]",
     .history = history},
};
enum { N_CONTEXTS = sizeof contexts / sizeof *contexts };

static const char *const prompts[] = {
    "", "<|im_assistant|>assistant<|im_middle|>", "<|im_assistant|>assistant<|im_middle|><think>",
    "<|im_assistant|>assistant<|im_middle|><think>a</think>b", "<|im_user|>user<|im_middle|>hi"};
static const bool prompt_thinks[] = {true, true, true, false, false};
enum { N_PROMPTS = sizeof prompts / sizeof *prompts };

static int set_up(void **state) {
    (void)state;
    vocab = fixture_chat_vocab(NULL);
    format = fixture_chat_format(vocab);
    for (int i = 0; i < N_CONTEXTS; i++)
        fixture_context_init(&contexts[i]);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < N_CONTEXTS; i++)
        fixture_context_free(&contexts[i]);
    chat_format_free(format);
    token_vocab_free(vocab);
    return 0;
}

static base_ids encode(const char *s) {
    base_ids ids = {0};
    token_encode(vocab, s, strlen(s), TOKEN_ALLOW_SPECIAL, &ids);
    return ids;
}

static void add(base_ids *ids, const char *text) {
    base_ids more = encode(text);
    for (size_t i = 0; i < more.len; i++)
        base_ids_add(ids, more.data[i]);
    base_ids_free(&more);
}

#define PICK(list) (list)[rand() % (int)(sizeof(list) / sizeof *(list))]

static const char *const markers[] = {"<|tool_calls_section_begin|>",
                                      "<|tool_calls_section_end|>",
                                      "<|tool_call_begin|>",
                                      "<|tool_call_argument_begin|>",
                                      "<|tool_call_end|>",
                                      "<think>",
                                      "</think>",
                                      "<|im_end|>"};
static const char *const names[] = {"functions.f:0",
                                    "functions.f:1",
                                    "f:2",
                                    "f",
                                    "a.b:2",
                                    "functions.a.b:3",
                                    "a:1",
                                    "0",
                                    "3",
                                    "functions.a:1:3",
                                    "weird@",
                                    "functions.:0",
                                    "functions.f:07",
                                    "functions.f"};
static const char *const spaces[] = {"", "", "", " ", "\n", " \t\r\n", "\v\f"};
static const char *const arguments[] = {
    "{}",      "{\"k\": 1}", "{\"l\": [\"}\"]}",      "",
    "{\"k\":", "text",       "{\"x\": \"\xc3\xa9\"}", "{\"k\":1}\xe4",
    "1 2\n 3"};
static const char *const texts[] = {"a",  " ",           "functions",   ".", ":",    "0",    "f",
                                    "{",  "}",           "\"k\"",       "1", "\xe4", "\xb8", "\xad",
                                    "\n", "hello hello", "\xe4\xb8\xad"};

static void add_call(base_ids *ids) {
    add(ids, "<|tool_call_begin|>");
    add(ids, PICK(spaces));
    add(ids, PICK(names));
    add(ids, PICK(spaces));
    add(ids, "<|tool_call_argument_begin|>");
    add(ids, PICK(spaces));
    add(ids, PICK(arguments));
    add(ids, PICK(spaces));
    add(ids, "<|tool_call_end|>");
}

static void add_section(base_ids *ids) {
    add(ids, "<|tool_calls_section_begin|>");
    for (int n = rand() % 4; n > 0; n--) {
        add(ids, PICK(spaces));
        add_call(ids);
    }
    add(ids, PICK(spaces));
    add(ids, "<|tool_calls_section_end|>");
}

// What a model may write, more or less.
static base_ids make_output(void) {
    base_ids ids = {0};
    if (rand() % 2)
        add(&ids, "<think>");
    for (int n = rand() % 5; n > 0; n--) {
        int what = rand() % 8;
        if (what < 3)
            add(&ids, PICK(texts));
        else if (what < 5)
            add_section(&ids);
        else if (what < 6)
            add_call(&ids);
        else
            add(&ids, what < 7 ? "</think>" : "<|im_end|>");
    }
    return ids;
}

static void change(base_ids *ids) {
    if (ids->len == 0)
        return;
    size_t at = (size_t)rand() % ids->len;
    base_ids other = encode(rand() % 3 ? PICK(markers) : PICK(texts));
    switch (rand() % 4) {
    case 0:
        ids->len = at;
        break;
    case 1:
        ids->data[at] = other.data[0];
        break;
    case 2:
        memmove(ids->data + at, ids->data + at + 1, (--ids->len - at) * sizeof *ids->data);
        break;
    default:
        base_ids_add(ids, 0);
        memmove(ids->data + at + 1, ids->data + at, (ids->len - 1 - at) * sizeof *ids->data);
        ids->data[at] = other.data[0];
    }
    base_ids_free(&other);
}

static void check(const base_ids *ids, const chat_output_options *options,
                  const fixture_context *context, int prompt) {
    base_ids before = encode(prompts[prompt]);
    fixture_output given, wanted;
    oracle_output(&wanted, vocab, options, context, prompt_thinks[prompt], ids->data, ids->len);
    assert_true(
        fixture_output_run(&given, format, options, before.data, before.len, ids->data, ids->len));
    if (!fixture_output_equal(&given, &wanted)) {
        base_str text = {0};
        fixture_decode(vocab, true, false, ids->data, ids->len, &text);
        base_str_adds(&text, "\ngiven:  ");
        fixture_output_print(&given, &text);
        base_str_adds(&text, "\nwanted: ");
        fixture_output_print(&wanted, &text);
        fail_msg("prompt %d reasoning %d special %d tools %d: %s", prompt, options->reasoning,
                 options->skip_special, context ? context->n_names : -1, text.data);
    }
    fixture_output_free(&given);
    fixture_output_free(&wanted);
    base_ids_free(&before);
}

static void check_with_random_options(const base_ids *ids) {
    int which = rand() % (N_CONTEXTS + 1);
    const fixture_context *context = which < N_CONTEXTS ? &contexts[which] : NULL;
    chat_output_options options = {.reasoning = rand() % 4 != 0,
                                   .skip_special = rand() % 2,
                                   .calls = context ? context->calls : NULL};
    check(ids, &options, context, rand() % N_PROMPTS);
}

static int rounds(int n) {
    return getenv("ABRUZZI_TEST_FULL") ? 20 * n : n;
}

static void test_likely(void **state) {
    (void)state;
    srand(21);
    for (int round = rounds(20000); round > 0; round--) {
        base_ids ids = make_output();
        for (int n = rand() % 4; n > 0; n--)
            change(&ids);
        check_with_random_options(&ids);
        base_ids_free(&ids);
    }
}

static void test_unlikely(void **state) {
    (void)state;
    srand(22);
    for (int round = rounds(20000); round > 0; round--) {
        base_ids ids = {0};
        for (int n = rand() % 40; n > 0; n--)
            add(&ids, rand() % 2 ? PICK(markers) : rand() % 2 ? PICK(names) : PICK(texts));
        check_with_random_options(&ids);
        base_ids_free(&ids);
    }
}

// Every sequence of up to five markers and pieces of text.
static void test_every_order(void **state) {
    (void)state;
    static const char *const letters[] = {"<|tool_calls_section_begin|>",
                                          "<|tool_calls_section_end|>",
                                          "<|tool_call_begin|>",
                                          "<|tool_call_argument_begin|>",
                                          "<|tool_call_end|>",
                                          "</think>",
                                          "0",
                                          " ",
                                          "\xe4"};
    enum { N = sizeof letters / sizeof *letters, LENGTH = 5 };
    int32_t alphabet[N];
    for (int i = 0; i < N; i++) {
        base_ids one = encode(letters[i]);
        assert_int_equal(one.len, 1);
        alphabet[i] = one.data[0];
        base_ids_free(&one);
    }
    int count = 1;
    for (size_t length = 0; length <= LENGTH; length++, count *= N) {
        for (int number = 0; number < count; number++) {
            int32_t data[LENGTH];
            for (size_t i = 0, rest = (size_t)number; i < length; i++, rest /= N)
                data[i] = alphabet[rest % N];
            chat_output_options options = {.reasoning = true, .calls = contexts[1].calls};
            check(&(base_ids){.data = data, .len = length}, &options, &contexts[1],
                  1 + 2 * (number % 2));
        }
    }
}

// With whole characters only, the lengths of all fields are together that of the text, and no field
// has a marker.
static void test_accounts(void **state) {
    (void)state;
    srand(23);
    for (int round = rounds(5000); round > 0; round--) {
        base_ids made = make_output(), ids = {0};
        for (int n = rand() % 3; n > 0; n--)
            change(&made);
        const fixture_context *context = &contexts[rand() % N_CONTEXTS];
        chat_output_options options = {
            .reasoning = true, .skip_special = true, .calls = context->calls};
        fixture_output given;
        size_t shown = 0, length = 0;
        for (size_t i = 0; i < made.len; i++) {
            size_t len;
            bool control = token_is_control(vocab, made.data[i]), whole;
            const char *at = token_bytes(vocab, made.data[i], &len);
            base_utf8_next(at, len, &whole);
            if (control || whole)
                base_ids_add(&ids, made.data[i]);
            length += control || !whole ? 0 : len;
        }
        fixture_output_run(&given, format, &options, NULL, 0, ids.data, ids.len);
        for (int i = 0; i < CHAT_N_FIELDS; i++) {
            shown += given.field[i].len;
            assert_true(given.field[i].len == 0 || !strchr(given.field[i].data, '<'));
        }
        assert_int_equal(shown, length);
        fixture_output_free(&given);
        base_ids_free(&ids);
        base_ids_free(&made);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_likely),
        cmocka_unit_test(test_unlikely),
        cmocka_unit_test(test_every_order),
        cmocka_unit_test(test_accounts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
