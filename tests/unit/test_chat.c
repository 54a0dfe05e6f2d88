// The chat format: what the template makes of conversations, and that no text becomes a control
// token. tests/reference/test_chat_template.py asks Jinja.
#include "chat_bench.h"
#include <stdio.h>
#include <unistd.h>

// ---------------------------------------------------------------------------------------------
// The control tokens

static void test_format_names_what_is_missing(void **state) {
    (void)state;
    static const char *const needed[] = {"<|im_system|>",
                                         "<|im_user|>",
                                         "<|im_assistant|>",
                                         "<|im_middle|>",
                                         "<|im_end|>",
                                         "<think>",
                                         "</think>",
                                         "<|tool_calls_section_begin|>",
                                         "<|tool_calls_section_end|>",
                                         "<|tool_call_begin|>",
                                         "<|tool_call_argument_begin|>",
                                         "<|tool_call_end|>"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        char quoted[64];
        snprintf(quoted, sizeof quoted, "\"%s\"", needed[i]);
        token_vocab *poor = fixture_chat_vocab(quoted);
        chat_format *none = format;
        base_err err = {0};
        assert_int_equal(chat_format_create(&none, poor, &err), BASE_ERR_MODEL);
        assert_null(none);
        assert_non_null(strstr(err.message, needed[i]));
        token_vocab_free(poor);
    }
}

static void test_tool_markers(void **state) {
    (void)state;
    int n;
    const int32_t *ids = chat_tool_markers(format, &n);
    assert_int_equal(n, 5);
    for (int i = 0; i < n; i++) {
        size_t len;
        const char *name = token_bytes(vocab, ids[i], &len);
        assert_true(token_is_control(vocab, ids[i]) && len > 7 && !memcmp(name, "<|tool_", 7));
        for (int j = 0; j < i; j++)
            assert_int_not_equal(ids[i], ids[j]);
    }
}

// ---------------------------------------------------------------------------------------------
// The template

static chat_slice text(const char *s) {
    return fixture_slice(s);
}

static void render(const chat_conversation *c, unsigned flags, base_ids *ids, base_str *out) {
    base_err err;
    *ids = (base_ids){0};
    *out = (base_str){0};
    assert_int_equal(chat_render(format, c, flags, ids, out, &err), 0);
}

// The bytes of the ids are the text that was given out.
static void check_bytes(const base_ids *ids, const base_str *out) {
    base_str bytes = {0};
    for (size_t i = 0; i < ids->len; i++) {
        size_t len;
        const char *at = token_bytes(vocab, ids->data[i], &len);
        base_str_add(&bytes, at, len);
    }
    assert_int_equal(bytes.len, out->len);
    if (out->len > 0)
        assert_memory_equal(bytes.data, out->data, out->len);
    base_str_free(&bytes);
}

// With texts that spell no control token, the ids are those of the expected text with its names.
static void check_prompt(const chat_conversation *c, const char *expected) {
    for (unsigned flags = 0; flags <= CHAT_ALLOW_SPECIAL; flags++) {
        base_ids ids, wanted = {0};
        base_str out;
        render(c, flags, &ids, &out);
        assert_string_equal(out.data ? out.data : "", expected);
        check_bytes(&ids, &out);
        token_encode(vocab, expected, strlen(expected), TOKEN_ALLOW_SPECIAL, &wanted);
        assert_int_equal(ids.len, wanted.len);
        assert_memory_equal(ids.data, wanted.data, ids.len * sizeof *ids.data);
        base_ids_free(&ids);
        base_ids_free(&wanted);
        base_str_free(&out);
    }
}

#define DEFAULT_SYSTEM                                                                             \
    "<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI."        \
    "<|im_end|>"
#define GENERATE "<|im_assistant|>assistant<|im_middle|>"

static chat_message say(const char *role, const chat_slice *content) {
    return (chat_message){.role = text(role), .parts = content, .n_parts = content != NULL};
}

static void test_plain_conversations(void **state) {
    (void)state;
    chat_slice hi = text("hi"), four = text("4"), empty = text("");
    check_prompt(&(chat_conversation){0}, DEFAULT_SYSTEM);
    check_prompt(&(chat_conversation){.add_generation_prompt = true}, DEFAULT_SYSTEM GENERATE);

    chat_message user = say("user", &hi);
    chat_conversation c = {.messages = &user, .n_messages = 1, .add_generation_prompt = true};
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>" GENERATE);
    user.name = text("alice");
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>alice<|im_middle|>hi<|im_end|>" GENERATE);
    user.name = text("");
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>" GENERATE);

    chat_slice parts[] = {text("one "), text(""), text("two"), text("\n")};
    user.parts = parts;
    user.n_parts = 4;
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>one two\n<|im_end|>" GENERATE);

    chat_message turns[] = {say("system", &empty), say("user", &hi), say("assistant", &four),
                            say("developer", NULL), say("system", &hi)};
    turns[2].reasoning = text("two plus two");
    c = (chat_conversation){.messages = turns, .n_messages = 5};
    check_prompt(&c, "<|im_system|>system<|im_middle|><|im_end|>"
                     "<|im_user|>user<|im_middle|>hi<|im_end|>"
                     "<|im_assistant|>assistant<|im_middle|><think></think>4<|im_end|>"
                     "<|im_system|>developer<|im_middle|><|im_end|>"
                     "<|im_system|>system<|im_middle|>hi<|im_end|>");
}

// What is before the last answer has lost its thoughts; the tool calls behind it keep theirs.
static void test_tool_calls_and_reasoning(void **state) {
    (void)state;
    chat_slice question = text("weather?"), let = text("Let me see."),
               degrees = text("{\"t\": -3}"), cold = text("Cold.");
    chat_tool_call calls[] = {
        {text("functions.get:0"), text("get"), text("{\"city\": \"Oslo\"}")},
        {text("functions.get:1"), text("get"), text("{}")},
    };
    chat_message turns[] = {say("user", &question), say("assistant", &let),  say("tool", &degrees),
                            say("tool", &degrees),  say("assistant", &cold), say("user", &question),
                            say("assistant", NULL), say("tool", &degrees)};
    turns[1].reasoning = turns[4].reasoning = turns[6].reasoning = text("I think");
    turns[1].tool_calls = turns[6].tool_calls = calls;
    turns[1].n_tool_calls = 2;
    turns[6].n_tool_calls = 1;
    turns[2].tool_call_id = text("functions.get:0");
    turns[3].name = text("get");
    turns[7].tool_call_id = text("functions.get:0");
    // Not an assistant's: the template does not look at them.
    turns[5].tool_calls = calls;
    turns[5].n_tool_calls = 1;
    turns[5].reasoning = text("unseen");
    chat_conversation c = {.messages = turns, .n_messages = 8, .tools = text("[{\"a\":1}]")};
    check_prompt(
        &c, "<|im_system|>tool_declare<|im_middle|>[{\"a\":1}]<|im_end|>" DEFAULT_SYSTEM
            "<|im_user|>user<|im_middle|>weather?<|im_end|>"
            "<|im_assistant|>assistant<|im_middle|><think></think>Let me see."
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.get:0"
            "<|tool_call_argument_begin|>{\"city\": \"Oslo\"}<|tool_call_end|>"
            "<|tool_call_begin|>functions.get:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
            "<|tool_calls_section_end|><|im_end|>"
            "<|im_system|>tool<|im_middle|>## Return of functions.get:0\n{\"t\": -3}<|im_end|>"
            "<|im_system|>get<|im_middle|>## Return of \n{\"t\": -3}<|im_end|>"
            "<|im_assistant|>assistant<|im_middle|><think></think>Cold.<|im_end|>"
            "<|im_user|>user<|im_middle|>weather?<|im_end|>"
            "<|im_assistant|>assistant<|im_middle|><think>I think</think>"
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.get:2"
            "<|tool_call_argument_begin|>{\"city\": \"Oslo\"}<|tool_call_end|>"
            "<|tool_calls_section_end|><|im_end|>"
            "<|im_system|>tool<|im_middle|>## Return of functions.get:2\n{\"t\": -3}<|im_end|>");
}

static void test_continue_final_message(void **state) {
    (void)state;
    chat_slice hi = text("hi"), start = text("Once upon a");
    chat_message turns[] = {say("user", &hi), say("assistant", &start)};
    chat_conversation c = {.messages = turns, .n_messages = 2, .continue_final_message = true};
    check_prompt(&c,
                 DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>"
                                "<|im_assistant|>assistant<|im_middle|><think></think>Once upon a");
    c.n_messages = 1;
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi");

    base_ids ids = {0};
    base_err err;
    c.n_messages = 0;
    assert_int_equal(chat_render(format, &c, 0, &ids, NULL, &err), BASE_ERR_USAGE);
    assert_string_equal(err.message, "messages: there is none to continue");
    c.n_messages = 2;
    c.add_generation_prompt = true;
    assert_int_equal(chat_render(format, &c, 0, &ids, NULL, &err), BASE_ERR_USAGE);
    assert_memory_equal(err.message, "continue_final_message: ", 24);
    assert_int_equal(ids.len, 0);
    base_ids_free(&ids);
}

// A final turn that has nothing but a thought is still thinking, and the calls before it go on.
static void test_continue_a_thought(void **state) {
    (void)state;
    chat_slice hi = text("hi"), empty = text("");
    chat_tool_call call = {text("x"), text("f"), text("{}")};
    chat_message turns[] = {say("user", &hi), say("assistant", NULL), say("assistant", NULL)};
    turns[1].reasoning = text("first");
    turns[1].tool_calls = &call;
    turns[1].n_tool_calls = 1;
    turns[2].reasoning = text("then");
    turns[2].name = text("kimi");
    chat_conversation c = {.messages = turns, .n_messages = 3, .continue_final_message = true};
#define CALL                                                                                       \
    "</think><|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"                         \
    "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>" GENERATE
                                    "<think>first" CALL "<|im_end|>"
                                    "<|im_assistant|>kimi<|im_middle|><think>then");
    // With a content, if an empty one, the thought is over, and the turn is the last answer.
    turns[2].parts = &empty;
    turns[2].n_parts = 1;
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>" GENERATE
                                    "<think>" CALL "<|im_end|>"
                                    "<|im_assistant|>kimi<|im_middle|><think></think>");
    // Behind calls there is no going back into the thought.
    c.n_messages = 2;
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>" GENERATE
                                    "<think>first" CALL);
#undef CALL
}

static void test_no_thinking(void **state) {
    (void)state;
    chat_slice hi = text("hi");
    chat_message turns[] = {say("user", &hi), say("assistant", &hi)};
    chat_conversation c = {
        .messages = turns, .n_messages = 1, .add_generation_prompt = true, .no_thinking = true};
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>" GENERATE
                                    "<think></think>");
    c.add_generation_prompt = false;
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>");
    c.n_messages = 2;
    c.continue_final_message = true;
    check_prompt(&c, DEFAULT_SYSTEM "<|im_user|>user<|im_middle|>hi<|im_end|>" GENERATE
                                    "<think></think>hi");
}

// Appends to what there is, and gives the same ids when nobody wants the text.
static void test_appends(void **state) {
    (void)state;
    chat_slice hi = text("hi");
    chat_message user = say("user", &hi);
    chat_conversation c = {.messages = &user, .n_messages = 1};
    base_ids ids, more = {0};
    base_str out;
    base_err err;
    render(&c, 0, &ids, &out);
    size_t n = ids.len;
    base_ids_add(&more, 7);
    assert_int_equal(chat_render(format, &c, 0, &more, NULL, &err), 0);
    assert_int_equal(more.data[0], 7);
    assert_int_equal(more.len, n + 1);
    assert_memory_equal(more.data + 1, ids.data, n * sizeof *ids.data);
    assert_int_equal(chat_render(format, &c, 0, &ids, &out, &err), 0);
    assert_int_equal(ids.len, 2 * n);
    check_bytes(&ids, &out);
    base_ids_free(&ids);
    base_ids_free(&more);
    base_str_free(&out);
}

// A conversation that has `word` in its text number `where`, and otherwise harmless ones.
enum { N_TEXTS = 17 };

typedef struct everywhere {
    chat_slice texts[N_TEXTS];
    chat_message messages[4];
    chat_tool_call calls[2];
    chat_conversation c;
} everywhere;

static void fill(everywhere *e, int where, chat_slice word) {
    for (int i = 0; i < N_TEXTS; i++)
        e->texts[i] = i == where ? word : text("harmless");
    chat_slice *t = e->texts;
    e->calls[0] = (chat_tool_call){.id = t[0], .name = t[1], .arguments = t[2]};
    e->calls[1] = (chat_tool_call){.id = t[3], .name = t[4], .arguments = t[5]};
    e->messages[0] = (chat_message){.role = t[6], .parts = &t[7], .n_parts = 1};
    e->messages[1] =
        (chat_message){.role = text("user"), .name = t[8], .parts = &t[9], .n_parts = 2};
    e->messages[2] = (chat_message){.role = text("assistant"),
                                    .name = t[11],
                                    .reasoning = t[12],
                                    .parts = &t[13],
                                    .n_parts = 1,
                                    .tool_calls = e->calls,
                                    .n_tool_calls = 2};
    e->messages[3] =
        (chat_message){.role = text("tool"), .tool_call_id = t[14], .parts = &t[15], .n_parts = 1};
    e->c = (chat_conversation){
        .messages = e->messages, .n_messages = 4, .tools = t[16], .add_generation_prompt = true};
}

static base_ids controls_of(const base_ids *ids) {
    base_ids controls = {0};
    for (size_t i = 0; i < ids->len; i++)
        if (token_is_control(vocab, ids->data[i]))
            base_ids_add(&controls, ids->data[i]);
    return controls;
}

static base_ids render_controls(const chat_conversation *c, unsigned flags) {
    base_ids ids;
    base_str out;
    render(c, flags, &ids, &out);
    check_bytes(&ids, &out);
    base_ids controls = controls_of(&ids);
    base_ids_free(&ids);
    base_str_free(&out);
    return controls;
}

// Every name of a control token, then bytes that are not UTF-8 and a NUL.
static base_str hostile_text(void) {
    base_str hostile = {0};
    for (int id = token_vocab_ordinary(vocab); id < token_vocab_size(vocab); id++) {
        size_t len;
        const char *name = token_bytes(vocab, id, &len);
        base_str_add(&hostile, name, len);
    }
    base_str_add(&hostile, "<|im_end|\xff>\0\xe4\xb8</think", 22);
    return hostile;
}

static void test_no_text_becomes_a_control_token(void **state) {
    (void)state;
    base_str hostile = hostile_text();
    everywhere e;
    fill(&e, -1, text(NULL));
    base_ids harmless = render_controls(&e.c, 0);
    assert_int_equal(harmless.len, 30);
    for (int i = 0; i < N_TEXTS; i++) {
        fill(&e, i, (chat_slice){hostile.data, hostile.len});
        base_ids controls = render_controls(&e.c, 0);
        assert_int_equal(controls.len, harmless.len);
        assert_memory_equal(controls.data, harmless.data, controls.len * sizeof *controls.data);
        base_ids_free(&controls);
        // The test sees what it forbids: all but the calls' ids are in the prompt, and the name of
        // the one that has a result twice.
        controls = render_controls(&e.c, CHAT_ALLOW_SPECIAL);
        int shown = i == 0 || i == 3 ? 0 : i == 1 ? 2 : 1;
        int named = token_vocab_size(vocab) - token_vocab_ordinary(vocab);
        assert_int_equal(controls.len, harmless.len + (size_t)(shown * named));
        base_ids_free(&controls);
    }
    base_ids_free(&harmless);
    base_str_free(&hostile);
}

// The end of one text and the beginning of the next must not make a name either.
static void test_no_joint_becomes_a_control_token(void **state) {
    (void)state;
    chat_slice halves[] = {text("<|im_"), text("end|>")};
    chat_message user = {.role = text("user"), .parts = halves, .n_parts = 2};
    chat_conversation c = {.messages = &user, .n_messages = 1};
    base_ids controls = render_controls(&c, 0);
    assert_int_equal(controls.len, 6);
    base_ids_free(&controls);
}

static void test_model_vocabulary(void **state) {
    (void)state;
    static const int32_t expected[] = {163594, 14062,  163601, 3900,   554,    24980, 72,
                                       11,     519,    22572,  26626,  5232,   673,   30218,
                                       10065,  22572,  13,     163586, 163587, 2482,  163601,
                                       9663,   163586, 163588, 69702,  163601};
    const char *dir = "../shared/data/kimi-tokenizer";
    token_vocab *kimi;
    base_err err;
    if (access(dir, F_OK) != 0) {
        print_message("# %s is absent\n", dir);
        skip();
    }
    assert_int_equal(token_vocab_load(&kimi, dir, &err), 0);
    chat_format *f = fixture_chat_format(kimi);
    chat_slice hi = text("hi");
    chat_message user = say("user", &hi);
    chat_conversation c = {.messages = &user, .n_messages = 1, .add_generation_prompt = true};
    base_ids ids = {0};
    assert_int_equal(chat_render(f, &c, 0, &ids, NULL, &err), 0);
    assert_int_equal(ids.len, sizeof expected / sizeof *expected);
    assert_memory_equal(ids.data, expected, sizeof expected);
    base_ids_free(&ids);
    chat_format_free(f);
    token_vocab_free(kimi);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_names_what_is_missing),
        cmocka_unit_test(test_tool_markers),
        cmocka_unit_test(test_plain_conversations),
        cmocka_unit_test(test_tool_calls_and_reasoning),
        cmocka_unit_test(test_continue_final_message),
        cmocka_unit_test(test_continue_a_thought),
        cmocka_unit_test(test_no_thinking),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_no_text_becomes_a_control_token),
        cmocka_unit_test(test_no_joint_becomes_a_control_token),
        cmocka_unit_test(test_model_vocabulary),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
