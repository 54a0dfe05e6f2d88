// Any ids after any prompt: what comes out of the automaton is what the oracle finds over the
// whole, no character is cut, and no marker is shown. The first byte is the flags, the second one
// the prompt's length; then come ids of two bytes each.
#include "output_oracle.h"

enum { MAX_IDS = 3 * FIXTURE_MAX_CALLS }; // no shorter call than this is one

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The small vocabulary's control tokens are rare among 1024 ids: half of the values mean one of the
// first 24. Ordinary tokens do not spell markers: '<' and '[' stand for others.
static int32_t read_id(const token_vocab *vocab, const uint8_t *at) {
    int32_t value = at[0] | at[1] << 8;
    if (value & 1)
        return token_vocab_ordinary(vocab) + (value >> 1) % 24;
    int32_t id = (value >> 1) % (token_vocab_size(vocab) + 2);
    size_t len;
    const char *bytes = token_bytes(vocab, id, &len);
    bool spells =
        id < token_vocab_ordinary(vocab) && (memchr(bytes, '<', len) || memchr(bytes, '[', len));
    return spells ? 200 : id;
}

// The rule for the beginning, written forwards: who speaks, and in which state they are.
static bool thinks(const token_vocab *vocab, const int32_t *ids, size_t n) {
    static const char *const opens[] = {"<think>", "<|im_assistant|>", "<|im_end|>", NULL};
    static const char *const closes[] = {"</think>",
                                         "<|im_user|>",
                                         "<|im_system|>",
                                         "<|tool_calls_section_begin|>",
                                         "<|tool_calls_section_end|>",
                                         "<|tool_call_begin|>",
                                         "<|tool_call_argument_begin|>",
                                         "<|tool_call_end|>",
                                         NULL};
    bool thinking = true;
    for (size_t i = 0; i < n; i++) {
        if (fixture_is(vocab, ids[i], opens))
            thinking = true;
        else if (fixture_is(vocab, ids[i], closes))
            thinking = false;
    }
    return thinking;
}

// Two declared tools, and a history.
static const char *history[] = {"functions.f:0", "call_0", NULL};
static fixture_context context = {
    .tools = "[{\"function\": {\"name\": \"e\", \"parameters\": {\"properties\": {\"a\": {}}}}},"
             "{\"function\": {\"name\": \"to\"}}]",
    .history = history,
};

static void check(const token_vocab *vocab, const chat_format *format,
                  const chat_output_options *options, const int32_t *ids, size_t n_prompt,
                  size_t n) {
    fixture_output whole, pushed;
    oracle_output(&whole, vocab, options, &context, thinks(vocab, ids, n_prompt), ids + n_prompt,
                  n - n_prompt);
    if (!fixture_output_run(&pushed, format, options, ids, n_prompt, ids + n_prompt,
                            n - n_prompt) ||
        !fixture_output_equal(&whole, &pushed))
        abort();
    for (int i = 0; i < CHAT_N_FIELDS; i++) {
        const base_str *text = &pushed.field[i];
        if (options->reasoning && options->skip_special && text->len > 0 &&
            (memchr(text->data, '<', text->len) || memchr(text->data, '[', text->len)))
            abort();
    }
    fixture_output_free(&whole);
    fixture_output_free(&pushed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static token_vocab *vocab;
    static chat_format *format;
    if (!vocab) {
        vocab = fixture_chat_vocab(NULL);
        format = fixture_chat_format(vocab);
        fixture_context_init(&context);
    }
    if (size < 2)
        return 0;
    chat_output_options options = {.reasoning = data[0] & 1, .skip_special = data[0] & 2};
    if (data[0] & 4)
        options.calls = context.calls;
    size_t n = (size - 2) / 2 < MAX_IDS ? (size - 2) / 2 : MAX_IDS;
    size_t n_prompt = data[1] < n ? data[1] : n;
    int32_t *ids = base_alloc((n + 1) * sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = read_id(vocab, data + 2 + 2 * i);
    check(vocab, format, &options, ids, n_prompt, n);
    base_free(ids);
    return 0;
}
