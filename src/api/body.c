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

static void add_text_or_null(base_str *out, const base_str *text, bool empty_is_null) {
    if (text->len == 0 && empty_is_null)
        base_str_adds(out, "null");
    else
        api_reply_string(out, text);
}

// A thought that was empty is "", and none at all is null.
static bool has_thought(const api_answer *a, const api_choice *c) {
    return a->call->include_reasoning && chat_output_reasoning_tokens(c->output) > 0;
}

static void add_chat(api_answer *a, int index, base_str *out) {
    const base_str *text = a->choices[index].text;
    bool no_thought = !has_thought(a, &a->choices[index]);
    base_str_adds(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    add_text_or_null(out, &text[CHAT_CONTENT], a->options->reasoning_parser);
    base_str_adds(out, ",\"refusal\":null,\"annotations\":null,\"audio\":null,"
                       "\"function_call\":null,\"reasoning_content\":");
    add_text_or_null(out, &text[CHAT_REASONING], no_thought);
    base_str_adds(out, ",\"reasoning\":");
    add_text_or_null(out, &text[CHAT_REASONING], no_thought);
    base_str_adds(out, "}");
    add_ends(a, index, false, out);
}

void api_body_add(api_answer *a, base_str *out) {
    bool chat = a->call->kind == API_CHAT;
    base_str_add(out, a->head.data, a->head.len);
    for (int i = 0; i < a->n_choices; i++) {
        base_str_adds(out, i > 0 ? ",{\"index\":" : "{\"index\":");
        api_reply_int(out, i);
        if (chat)
            add_chat(a, i, out);
        else
            add_completion(a, i, out);
        base_str_adds(out, "}");
    }
    base_str_adds(out, "],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":");
    api_reply_usage(a, out);
    if (chat)
        add_prompt_fields(a, 0, out);
    base_str_adds(out, ",\"kv_transfer_params\":null}");
}
