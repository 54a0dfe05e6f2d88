// The chat template of Kimi-K2-Thinking, on token ids: what its Jinja file gives (no white space
// between the parts), without ever writing a control token as text.
//
// Text between two control tokens is tokenised as one run. The reference makes its cuts (after
// 400,000 characters, in stretches of more than 25,000 of a kind) over the whole prompt, here they
// count from the beginning of a run: the ids differ in prompts longer than that, and agree under
// CHAT_ALLOW_SPECIAL.
#include "chat/format.h"
#include <string.h>

static const char default_system[] = "You are Kimi, an AI assistant created by Moonshot AI.";

typedef struct prompt {
    const chat_format *format;
    bool allow_special;
    base_str run; // text that has no ids yet
    base_ids *ids;
    base_str *text; // may be NULL
} prompt;

static void end_run(prompt *p) {
    if (p->run.len == 0)
        return;
    token_encode(p->format->vocab, p->run.data, p->run.len,
                 p->allow_special ? TOKEN_ALLOW_SPECIAL : TOKEN_PLAIN, p->ids);
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
    base_ids_add(p->ids, id);
    if (p->text)
        base_str_add(p->text, name, len);
}

static void add_slice(prompt *p, chat_slice s) {
    base_str_add(&p->run, s.at, s.len);
}

static void add_text(prompt *p, const char *text) {
    base_str_adds(&p->run, text);
}

static bool is(chat_slice s, const char *word) {
    return s.len == strlen(word) && memcmp(s.at, word, s.len) == 0;
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
    if (is(m->role, "user"))
        add_control(p, CHAT_IM_USER);
    else if (is(m->role, "assistant"))
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
        add_slice(p, m->tool_calls[i].id);
        add_control(p, CHAT_CALL_ARGUMENT);
        add_slice(p, m->tool_calls[i].arguments);
        add_control(p, CHAT_CALL_END);
    }
    add_control(p, CHAT_SECTION_END);
}

static void add_message(prompt *p, const chat_message *m, bool keep_reasoning) {
    add_header(p, m);
    if (is(m->role, "assistant")) {
        add_control(p, CHAT_THINK);
        if (keep_reasoning)
            add_slice(p, m->reasoning);
        add_control(p, CHAT_THINK_END);
        add_content(p, m);
        add_tool_calls(p, m);
        return;
    }
    if (is(m->role, "tool")) {
        add_text(p, "## Return of ");
        add_slice(p, m->tool_call_id);
        add_text(p, "\n");
    }
    add_content(p, m);
}

// The last answer to the user; thoughts up to it are over, those behind it belong to tool calls
// that still go on. -1: none.
static int last_answer(const chat_conversation *c) {
    int i = c->n_messages - 1;
    while (i >= 0 && (!is(c->messages[i].role, "assistant") || c->messages[i].n_tool_calls > 0))
        i--;
    return i;
}

static void add_conversation(prompt *p, const chat_conversation *c) {
    if (c->tools.len > 0)
        add_block(p, "tool_declare", c->tools);
    if (c->n_messages == 0 || !is(c->messages[0].role, "system"))
        add_block(p, "system", (chat_slice){default_system, sizeof default_system - 1});
    int answer = last_answer(c);
    for (int i = 0; i < c->n_messages; i++) {
        add_message(p, &c->messages[i], i > answer);
        if (!c->continue_final_message || i < c->n_messages - 1)
            add_control(p, CHAT_IM_END);
    }
    if (c->add_generation_prompt) {
        add_control(p, CHAT_IM_ASSISTANT);
        add_text(p, "assistant");
        add_control(p, CHAT_IM_MIDDLE);
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
    add_conversation(&p, c);
    base_str_free(&p.run);
    return 0;
}
