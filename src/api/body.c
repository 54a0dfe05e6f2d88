// A whole reply as one JSON object. Here, unlike in chunks, fields without a value are null.
#include "api/reply.h"

static void add_ends(api_answer *a, int index, bool echo, base_str *out) {
    const api_choice *c = &a->choices[index];
    base_str_adds(out, ",\"logprobs\":");
    api_reply_logprobs(a, index, echo, out);
    base_str_adds(out, ",\"finish_reason\":");
    api_reply_finish_reason(c, out);
    base_str_adds(out, ",\"stop_reason\":");
    api_reply_stop_reason(a, c, out);
    base_str_adds(out, ",\"token_ids\":");
    if (a->call->return_token_ids)
        api_reply_token_ids(out, &c->tokens);
    else
        base_str_adds(out, "null");
}

// Completions have these fields in each choice, chats in the reply.
static void add_prompt_fields(const api_answer *a, int prompt, base_str *out) {
    const base_ids *ids = &a->call->prompts[prompt].ids;
    base_str_adds(out, ",\"prompt_logprobs\":");
    if (a->call->show_prompt_logprobs)
        api_logprobs_prompt(a, &a->sources[prompt].tokens, out);
    else
        base_str_adds(out, "null");
    base_str_adds(out, ",\"prompt_token_ids\":");
    if (a->call->return_token_ids)
        api_reply_ids(out, ids->data, ids->len);
    else
        base_str_adds(out, "null");
}

static void add_completion(api_answer *a, int index, base_str *out) {
    base_str_adds(out, ",\"text\":");
    api_reply_echo(a, index, a->call->echo, out);
    add_ends(a, index, a->call->echo, out);
    add_prompt_fields(a, index / a->call->params.n, out);
}

static void add_field(api_answer *a, const api_choice *c, chat_field field, bool empty_is_null,
                      base_str *out) {
    base_str_clear(&a->piece);
    api_pieces_join(&c->pieces, field, &a->piece);
    if (a->piece.len == 0 && empty_is_null)
        base_str_adds(out, "null");
    else
        api_reply_string(out, &a->piece);
}

// A thought that was empty is "", and none at all is null.
static bool has_thought(const api_answer *a, const api_choice *c) {
    return a->call->include_reasoning && chat_output_reasoning_tokens(c->output) > 0;
}

static void begin_call(const api_known_call *call, base_str *out) {
    base_str_adds(out, "{\"id\":");
    api_reply_string(out, &call->id);
    base_str_adds(out, ",\"type\":\"function\",\"function\":{\"name\":");
    api_reply_string(out, &call->name);
    base_str_adds(out, ",\"arguments\":");
}

// Arguments come after the call they are of and before the next one.
static void add_calls(api_answer *a, const api_choice *c, base_str *out) {
    const api_pieces *p = &c->pieces;
    int at = 0;
    base_str_adds(out, ",\"tool_calls\":[");
    for (int i = 0; i < c->n_calls; i++) {
        base_str_clear(&a->piece);
        for (; at < p->len && p->at[at].call <= i; at++)
            if (p->at[at].call == i)
                base_str_add(&a->piece, p->at[at].text.data, p->at[at].text.len);
        base_str_adds(out, i > 0 ? "," : "");
        begin_call(&c->calls[i], out);
        api_reply_string(out, &a->piece);
        base_str_adds(out, "}}");
    }
    base_str_adds(out, "]");
}

static void add_chat(api_answer *a, int index, base_str *out) {
    const api_choice *c = &a->choices[index];
    bool no_thought = !has_thought(a, c);
    base_str_adds(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    add_field(a, c, CHAT_CONTENT, a->options->reasoning_parser || c->n_calls > 0, out);
    base_str_adds(out, ",\"refusal\":null,\"annotations\":null,\"audio\":null,"
                       "\"function_call\":null");
    if (c->n_calls > 0)
        add_calls(a, c, out);
    base_str_adds(out, ",\"reasoning_content\":");
    add_field(a, c, CHAT_REASONING, no_thought, out);
    base_str_adds(out, ",\"reasoning\":");
    add_field(a, c, CHAT_REASONING, no_thought, out);
    base_str_adds(out, "}");
    add_ends(a, index, false, out);
}

// ---------------------------------------------------------------------------------------------

static void begin_choice(const api_answer *a, int index, base_str *out) {
    if (index == 0)
        base_str_add(out, a->head.data, a->head.len);
    base_str_adds(out, index > 0 ? "},{\"index\":" : "{\"index\":");
    api_reply_int(out, index);
}

static void end_choices(const api_answer *a, base_str *out) {
    base_str_adds(out, "}],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":");
    api_reply_usage(a, out);
    base_str_adds(out, ",\"metrics\":");
    api_reply_metrics(a, out);
}

void api_body_chat(api_answer *a, base_str *out) {
    for (int i = 0; i < a->n_choices; i++) {
        begin_choice(a, i, out);
        add_chat(a, i, out);
    }
    end_choices(a, out);
    add_prompt_fields(a, 0, out);
    base_str_adds(out, ",\"kv_transfer_params\":null}");
}

void api_body_completion(api_answer *a, base_str *out) {
    for (int i = 0; i < a->n_choices; i++) {
        begin_choice(a, i, out);
        add_completion(a, i, out);
    }
    end_choices(a, out);
    base_str_adds(out, ",\"kv_transfer_params\":null}");
}
