// The chat template of Kimi-K2-Thinking, on token ids: what its Jinja file gives (no white space
// between the parts), without ever writing a control token as text.
//
// Text between two control tokens is tokenised as one run. The tokenizer's cuts (after 400,000
// characters, in stretches of more than 25,000 of a kind) count over the whole prompt, with control
// tokens as their names' characters. Only a cut inside such a name makes a difference to the
// reference, which takes it apart: so do we, under CHAT_ALLOW_SPECIAL.
#include "chat/format.h"
#include "chat/history.h"
#include <string.h>

static const char default_system[] = "You are Kimi, an AI assistant created by Moonshot AI.";

typedef struct prompt {
    const chat_format *format;
    bool allow_special;
    chat_history history;
    int n_calls;  // rendered so far
    base_str run; // text that has no ids yet
    token_encoder encoder;
    base_ids *ids;
    base_str *text; // may be NULL
} prompt;

static void end_run(prompt *p) {
    if (p->run.len == 0)
        return;
    const token_vocab *vocab = p->format->vocab;
    if (p->allow_special)
        token_encode(vocab, p->run.data, p->run.len, TOKEN_ALLOW_SPECIAL, p->ids);
    else
        token_encode_text(&p->encoder, vocab, p->run.data, p->run.len, p->ids);
    if (p->text)
        base_str_add(p->text, p->run.data, p->run.len);
    base_str_clear(&p->run);
}

static void add_control(prompt *p, chat_control control) {
    size_t len;
    int32_t id = p->format->ids[control];
    const char *name = token_bytes(p->format->vocab, id, &len);
    if (p->allow_special) { // the whole prompt is one run, the names become ids at its end
        base_str_add(&p->run, name, len);
        return;
    }
    end_run(p);
    token_encode_control(&p->encoder, p->format->vocab, id, p->ids);
    if (p->text)
        base_str_add(p->text, name, len);
}

static void add_slice(prompt *p, chat_slice s) {
    base_str_add(&p->run, s.at, s.len);
}

static void add_text(prompt *p, const char *text) {
    base_str_adds(&p->run, text);
}

// A block of the template's own.
static void add_block(prompt *p, const char *role, chat_slice text) {
    add_control(p, CHAT_IM_SYSTEM);
    add_text(p, role);
    add_control(p, CHAT_IM_MIDDLE);
    add_slice(p, text);
    add_control(p, CHAT_IM_END);
}

static void add_header(prompt *p, const chat_message *m) {
    if (chat_slice_is(m->role, "user"))
        add_control(p, CHAT_IM_USER);
    else if (chat_slice_is(m->role, "assistant"))
        add_control(p, CHAT_IM_ASSISTANT);
    else
        add_control(p, CHAT_IM_SYSTEM);
    add_slice(p, m->name.len > 0 ? m->name : m->role);
    add_control(p, CHAT_IM_MIDDLE);
}

static void add_content(prompt *p, const chat_message *m) {
    for (int i = 0; i < m->n_parts; i++)
        add_slice(p, m->parts[i]);
}

static void add_tool_calls(prompt *p, const chat_message *m) {
    if (m->n_tool_calls == 0)
        return;
    add_control(p, CHAT_SECTION_BEGIN);
    for (int i = 0; i < m->n_tool_calls; i++) {
        add_control(p, CHAT_CALL_BEGIN);
        chat_id_add(&p->run, m->tool_calls[i].name, p->n_calls++);
        add_control(p, CHAT_CALL_ARGUMENT);
        add_slice(p, m->tool_calls[i].arguments);
        add_control(p, CHAT_CALL_END);
    }
    add_control(p, CHAT_SECTION_END);
}

static void add_result(prompt *p, const chat_message *m, int number) {
    const chat_history_call *call = chat_history_answer(&p->history, m->tool_call_id, number);
    add_text(p, "## Return of ");
    if (call)
        chat_id_add(&p->run, call->name, call->index);
    else
        add_slice(p, m->tool_call_id);
    add_text(p, "\n");
    add_content(p, m);
}

typedef enum { FORGOTTEN, KEPT, OPEN } thought;

static void add_answer(prompt *p, const chat_message *m, thought kept) {
    add_control(p, CHAT_THINK);
    if (kept != FORGOTTEN)
        add_slice(p, m->reasoning);
    if (kept == OPEN)
        return;
    add_control(p, CHAT_THINK_END);
    add_content(p, m);
    add_tool_calls(p, m);
}

static bool is_answer(const chat_message *m) {
    return chat_slice_is(m->role, "assistant") && m->n_tool_calls == 0;
}

// A final turn to be continued that has nothing but a thought is still thinking. The template has
// no word for that, and nothing to continue.
static bool ends_in_thought(const chat_conversation *c) {
    const chat_message *last = &c->messages[c->n_messages - 1];
    return c->continue_final_message && is_answer(last) && last->n_parts == 0 &&
           last->reasoning.len > 0;
}

// The last answer to the user; thoughts up to it are over, those behind it belong to tool calls
// that still go on. -1: none.
static int last_answer(const chat_conversation *c, int n_messages) {
    int i = n_messages - 1;
    while (i >= 0 && !is_answer(&c->messages[i]))
        i--;
    return i;
}

static void add_messages(prompt *p, const chat_conversation *c) {
    int n = c->n_messages;
    bool open = n > 0 && ends_in_thought(c);
    int answer = last_answer(c, n - open);
    for (int i = 0; i < n; i++) {
        const chat_message *m = &c->messages[i];
        add_header(p, m);
        if (chat_slice_is(m->role, "assistant"))
            add_answer(p, m, i <= answer ? FORGOTTEN : open && i == n - 1 ? OPEN : KEPT);
        else if (chat_slice_is(m->role, "tool"))
            add_result(p, m, i);
        else
            add_content(p, m);
        if (!c->continue_final_message || i < n - 1)
            add_control(p, CHAT_IM_END);
    }
}

static void add_conversation(prompt *p, const chat_conversation *c) {
    if (c->tools.len > 0)
        add_block(p, "tool_declare", c->tools);
    if (c->n_messages == 0 || !chat_slice_is(c->messages[0].role, "system"))
        add_block(p, "system", (chat_slice){default_system, sizeof default_system - 1});
    add_messages(p, c);
    if (c->add_generation_prompt) {
        add_control(p, CHAT_IM_ASSISTANT);
        add_text(p, "assistant");
        add_control(p, CHAT_IM_MIDDLE);
    }
    if (c->add_generation_prompt && c->no_thinking) {
        add_control(p, CHAT_THINK);
        add_control(p, CHAT_THINK_END);
    }
    end_run(p);
}

int chat_render(const chat_format *f, const chat_conversation *c, unsigned flags, base_ids *ids,
                base_str *text, base_err *err) {
    if (c->continue_final_message && c->add_generation_prompt)
        return base_fail(err, BASE_ERR_USAGE,
                         "continue_final_message: cannot be set together with "
                         "add_generation_prompt");
    if (c->continue_final_message && c->n_messages == 0)
        return base_fail(err, BASE_ERR_USAGE, "messages: there is none to continue");
    prompt p = {.format = f, .allow_special = flags & CHAT_ALLOW_SPECIAL, .ids = ids, .text = text};
    chat_history_read(&p.history, c);
    add_conversation(&p, c);
    chat_history_free(&p.history);
    base_str_free(&p.run);
    return 0;
}
