// Any calls and outputs: a stream put together is the whole reply, for every grouping of the
// events, and a completion's text is what plain search gives.
#include "answer_bench.h"

static uint32_t rng = 1;

static uint32_t pick(uint32_t n) {
    rng = rng * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)rng * n >> 32);
}

static int32_t pick_id(void) {
    static const char likely[] = "ab.\n \xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80";
    int32_t id;
    if (pick(12) == 0)
        return pick(2) ? b.think_end : b.im_end;
    if (pick(3))
        return byte_id((unsigned char)likely[pick(sizeof likely - 1)]);
    while ((id = (int32_t)pick((uint32_t)token_vocab_size(b.vocab))) == byte_id(0))
        ;
    return id;
}

// The plain rule for a completion's text: decode everything, look where a stop string is complete
// first. *n_tokens: how many ids that takes.
static void expected_text(const base_ids *ids, base_str *text, int *n_tokens) {
    token_decoder decoder = {0};
    size_t end = 0;
    for (*n_tokens = 0; *n_tokens < (int)ids->len;) {
        int32_t id = ids->data[(*n_tokens)++];
        if (id != b.im_end)
            token_decode(&decoder, b.vocab, id, true, text);
        for (; end < text->len; end++)
            for (int i = 0; i < b.call.n_stops; i++) // the first is the longest
                if (b.stop_lens[i] <= end + 1 && memcmp(text->data + end + 1 - b.stop_lens[i],
                                                        b.stops[i], b.stop_lens[i]) == 0) {
                    text->len = end + 1 - b.stop_lens[i];
                    text->data[text->len] = '\0';
                    return;
                }
    }
    token_decode_end(&decoder, text);
}

// One id, or with tools a piece of what frames a call.
static void pick_ids(base_ids *ids) {
    static const char *const pieces[] = {
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>",
        "<|tool_call_begin|>g<|tool_call_argument_begin|>{\"a\":1}<|tool_call_end|>",
        "<|tool_call_begin|>g:1<|tool_call_argument_begin|><|tool_call_end|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
    };
    const char *piece = pieces[pick(sizeof pieces / sizeof *pieces)];
    if (b.call.calls && pick(6) == 0)
        token_encode(b.vocab, piece, strlen(piece), TOKEN_ALLOW_SPECIAL, ids);
    else
        base_ids_add(ids, pick_id());
}

// Fills the script with choices that go on side by side; ids[i] is what choice i samples.
static void random_script(base_ids *ids) {
    int n = b.call.params.n * b.call.n_prompts, left = n;
    bool ended[8] = {false};
    for (int p = 0; p < b.call.n_prompts && b.call.prompt_logprobs; p++)
        for (size_t i = 1; i < b.prompts[p].ids.len; i++) {
            engine_event *e = fixture_push(&b.script, p, 0, ENGINE_EVENT_PROMPT);
            fixture_fill(e, b.prompts[p].ids.data[i], b.call.params.n_logprobs,
                         token_vocab_size(b.vocab));
            e->position = (int)i;
        }
    while (left > 0) {
        int i = (int)pick((uint32_t)n);
        if (ended[i])
            continue;
        int p = i / b.call.params.n, choice = i % b.call.params.n;
        size_t before = ids[i].len;
        pick_ids(&ids[i]);
        for (size_t k = before; k < ids[i].len; k++)
            sample_id(p, choice, ids[i].data[k]);
        int32_t id = ids[i].data[ids[i].len - 1];
        ended[i] = id == b.im_end || pick(40) == 0;
        if (ended[i])
            finish(p, choice, id == b.im_end ? ENGINE_FINISH_STOP : ENGINE_FINISH_LENGTH);
        left -= ended[i];
    }
}

static void expect_texts(const base_ids *ids) {
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    json_t *body = fixture_strip_body(&b.out, false), *choice;
    size_t i;
    int total = 0;
    json_array_foreach(json_object_get(body, "choices"), i, choice) {
        base_str text = {0};
        int n_tokens;
        base_str_add(&text, "", 0);
        expected_text(&ids[i], &text, &n_tokens);
        total += n_tokens;
        const char *shown = json_string_value(json_object_get(choice, "text"));
        if (b.call.echo)
            shown += b.prompts[i / (size_t)b.call.params.n].text.len;
        assert_string_equal(shown, text.data);
        if (b.call.logprobs && !b.call.echo) {
            json_t *logprobs = json_object_get(choice, "logprobs");
            assert_int_equal(json_array_size(json_object_get(logprobs, "tokens")), n_tokens);
        }
        base_str_free(&text);
    }
    assert_int_equal(b.numbers.n_output_tokens, total);
    json_decref(body);
}

static void test_random(void **state) {
    (void)state;
    int rounds = getenv("ABRUZZI_TEST_FULL") ? 20000 : 400, n_with_calls = 0;
    for (int round = 0; round < rounds; round++) {
        rng = (uint32_t)round;
        pick(2);
        set_up(pick(2) ? API_CHAT : API_COMPLETION);
        bool chat = b.call.kind == API_CHAT;
        if (!chat && pick(2))
            set_second_prompt();
        b.call.params.n = 1 + (int)pick(3);
        b.call.logprobs = pick(2);
        b.call.params.n_logprobs = b.call.logprobs ? (int)pick(4) : -1;
        b.call.return_token_ids = pick(2);
        b.call.echo = !chat && pick(2);
        b.call.prompt_logprobs = b.call.echo && b.call.logprobs;
        b.call.include_reasoning = pick(3);
        b.options.reasoning_parser = pick(4);
        if (chat && pick(2))
            set_tools((int)pick(3));
        b.call.one_call = pick(4) == 0;
        b.call.named_tool = pick(4) == 0;
        if (pick(2))
            add_stop("\n\xc3\xa9");
        if (pick(2))
            add_stop("aa");
        if (pick(4) == 0)
            add_stop(".");
        base_ids ids[8] = {{0}};
        random_script(ids);
        expect_same();
        n_with_calls += strstr(b.out.data, "\"tool_calls\":") != NULL;
        if (!chat)
            expect_texts(ids);
        for (int i = 0; i < 8; i++)
            base_ids_free(&ids[i]);
    }
    assert_in_range(n_with_calls, rounds / 10, rounds);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, open_bench, close_bench);
}
