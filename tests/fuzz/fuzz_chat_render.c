// Any conversation: the control tokens of its prompt are those of its structure, in number and
// order, whatever its texts spell; the bytes of the ids are the text given out; and texts that
// spell no control token give the same ids when all is tokenised at once. Each message is a byte
// for its kind and texts, each of them a byte for its length and then the bytes, 0xff followed by a
// byte standing for a control token's name.
#include "chat_fixture.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// So few that no stretch of the prompt reaches the tokenizer's cuts, which may fall inside names.
enum { MAX_MESSAGES = 32, MAX_CALLS = 4, MAX_PARTS = 3 };

static token_vocab *vocab;
static chat_format *format;

typedef struct reader {
    const uint8_t *at, *end;
    base_str texts[1024];
    int n_texts;
    bool spells; // a name, or something that may be part of one
} reader;

static unsigned next(reader *r) {
    return r->at < r->end ? *r->at++ : 0;
}

static chat_slice read_text(reader *r) {
    base_str *out = &r->texts[r->n_texts++];
    for (unsigned left = next(r) % 64; left > 0 && r->at < r->end; left--) {
        unsigned char byte = (unsigned char)next(r);
        size_t len = 1;
        const char *bytes = (const char *)&byte;
        if (byte == 0xff)
            bytes = token_bytes(vocab, token_vocab_ordinary(vocab) + (int)next(r) % 24, &len);
        r->spells = r->spells || memchr(bytes, '<', len) || memchr(bytes, '[', len);
        base_str_add(out, bytes, len);
    }
    return (chat_slice){out->data, out->len};
}

typedef struct made {
    chat_conversation c;
    chat_message messages[MAX_MESSAGES];
    chat_slice parts[MAX_MESSAGES][MAX_PARTS];
    chat_tool_call calls[MAX_MESSAGES][MAX_CALLS];
} made;

static void read_message(reader *r, made *m, int i) {
    static const char *const roles[] = {"user", "assistant", "tool", "system"};
    chat_message *message = &m->messages[i];
    unsigned kind = next(r);
    *message = (chat_message){.role = kind & 4 ? read_text(r) : fixture_slice(roles[kind & 3]),
                              .parts = m->parts[i],
                              .tool_calls = m->calls[i]};
    message->n_parts = (int)(kind >> 3 & MAX_PARTS);
    for (int j = 0; j < message->n_parts; j++)
        m->parts[i][j] = read_text(r);
    if (kind & 32)
        message->name = read_text(r);
    if (kind & 64)
        message->reasoning = read_text(r);
    message->n_tool_calls = kind & 128 ? 1 + (int)next(r) % MAX_CALLS : 0;
    for (int j = 0; j < message->n_tool_calls; j++) {
        m->calls[i][j].id = read_text(r);
        m->calls[i][j].name = read_text(r);
        m->calls[i][j].arguments = read_text(r);
    }
    message->tool_call_id = read_text(r);
}

static void read_conversation(reader *r, made *m) {
    unsigned kind = next(r);
    m->c = (chat_conversation){.messages = m->messages,
                               .no_thinking = kind & 4,
                               .add_generation_prompt = kind & 1,
                               .continue_final_message = (kind & 3) == 2};
    if (kind & 8)
        m->c.tools = read_text(r);
    while (r->at < r->end && m->c.n_messages < MAX_MESSAGES)
        read_message(r, m, m->c.n_messages++);
    m->c.continue_final_message = m->c.continue_final_message && m->c.n_messages > 0;
}

// ---------------------------------------------------------------------------------------------
// The structure, in short

static void expect(base_ids *out, const char *name) {
    base_ids_add(out, token_control_id(vocab, name));
}

static void expect_block(base_ids *out, const char *header) {
    expect(out, header);
    expect(out, "<|im_middle|>");
}

static bool is(chat_slice s, const char *word) {
    return s.len == strlen(word) && memcmp(s.at, word, s.len) == 0;
}

static void expect_answer(base_ids *out, const chat_message *m, bool open) {
    expect(out, "<think>");
    if (open && m->n_parts == 0 && m->n_tool_calls == 0 && m->reasoning.len > 0)
        return;
    expect(out, "</think>");
    for (int i = 0; i < m->n_tool_calls; i++) {
        if (i == 0)
            expect(out, "<|tool_calls_section_begin|>");
        expect(out, "<|tool_call_begin|>");
        expect(out, "<|tool_call_argument_begin|>");
        expect(out, "<|tool_call_end|>");
    }
    if (m->n_tool_calls > 0)
        expect(out, "<|tool_calls_section_end|>");
}

static void expect_all(base_ids *out, const chat_conversation *c) {
    int blocks = (c->tools.len > 0) + (c->n_messages == 0 || !is(c->messages[0].role, "system"));
    while (blocks-- > 0) {
        expect_block(out, "<|im_system|>");
        expect(out, "<|im_end|>");
    }
    for (int i = 0; i < c->n_messages; i++) {
        const chat_message *m = &c->messages[i];
        bool open = c->continue_final_message && i == c->n_messages - 1;
        bool answer = is(m->role, "assistant");
        expect_block(out, answer                ? "<|im_assistant|>"
                          : is(m->role, "user") ? "<|im_user|>"
                                                : "<|im_system|>");
        if (answer)
            expect_answer(out, m, open);
        if (!open)
            expect(out, "<|im_end|>");
    }
    if (c->add_generation_prompt)
        expect_block(out, "<|im_assistant|>");
    if (c->add_generation_prompt && c->no_thinking) {
        expect(out, "<think>");
        expect(out, "</think>");
    }
}

// ---------------------------------------------------------------------------------------------

static void require(bool condition) {
    if (!condition)
        abort();
}

static bool same_ids(const base_ids *a, const base_ids *b) {
    return a->len == b->len &&
           (a->len == 0 || memcmp(a->data, b->data, a->len * sizeof *a->data) == 0);
}

static void check_ids(const base_ids *ids, const base_str *text, const base_ids *wanted) {
    base_ids controls = {0};
    size_t at = 0;
    for (size_t i = 0; i < ids->len; i++) {
        size_t len;
        const char *bytes = token_bytes(vocab, ids->data[i], &len);
        require(len <= text->len - at && memcmp(text->data + at, bytes, len) == 0);
        at += len;
        if (token_is_control(vocab, ids->data[i]))
            base_ids_add(&controls, ids->data[i]);
    }
    require(at == text->len && same_ids(&controls, wanted));
    base_ids_free(&controls);
}

// What the output is told is true of the same conversation.
static void check_calls(const chat_conversation *c) {
    chat_calls *calls = chat_calls_create(c, NULL, 0);
    int n = 0;
    for (int i = 0; i < c->n_messages; i++)
        if (is(c->messages[i].role, "assistant"))
            n += c->messages[i].n_tool_calls;
    require(chat_calls_next_index(calls) == n);
    chat_calls_free(calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static made m;
    if (!vocab) {
        vocab = fixture_chat_vocab(NULL);
        format = fixture_chat_format(vocab);
    }
    reader r = {.at = data, .end = data + size};
    base_ids ids = {0}, whole = {0}, wanted = {0};
    base_str text = {0}, whole_text = {0};
    base_err err;
    read_conversation(&r, &m);
    expect_all(&wanted, &m.c);
    require(chat_render(format, &m.c, 0, &ids, &text, &err) == 0);
    check_ids(&ids, &text, &wanted);
    require(chat_render(format, &m.c, CHAT_ALLOW_SPECIAL, &whole, &whole_text, &err) == 0);
    require(text.len == whole_text.len && memcmp(text.data, whole_text.data, text.len) == 0);
    require(r.spells || same_ids(&ids, &whole));
    check_calls(&m.c);
    base_ids_free(&ids);
    base_ids_free(&whole);
    base_ids_free(&wanted);
    base_str_free(&text);
    base_str_free(&whole_text);
    for (int i = 0; i < r.n_texts; i++)
        base_str_free(&r.texts[i]);
    return 0;
}
