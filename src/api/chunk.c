// The events of a stream: each is "data: ", a JSON object and an empty line.
#include "api/reply.h"

// Of this prompt and this choice, as far as they are.
static void add_usage_so_far(const api_answer *a, int index, base_str *out) {
    int n_prompt = (int)a->call->prompts[index / a->call->params.n].ids.len;
    int n_output = a->choices[index].n_tokens;
    base_str_adds(out, ",\"usage\":{\"prompt_tokens\":");
    api_reply_int(out, n_prompt);
    base_str_adds(out, ",\"total_tokens\":");
    api_reply_int(out, (int64_t)n_prompt + n_output);
    base_str_adds(out, ",\"completion_tokens\":");
    api_reply_int(out, n_output);
    base_str_adds(out, "}");
}

static void begin_chunk(const api_answer *a, int index, base_str *out) {
    base_str_add(out, a->head.data, a->head.len);
    base_str_adds(out, "{\"index\":");
    api_reply_int(out, index);
}

static void end_chunk(const api_answer *a, int index, base_str *out) {
    if (a->call->continuous_usage)
        add_usage_so_far(a, index, out);
    base_str_adds(out, "}\n\n");
}

void api_chunk_begin(api_answer *a, int prompt, base_str *out) {
    const api_call *call = a->call;
    const base_ids *ids = &call->prompts[prompt].ids;
    for (int i = prompt * call->params.n; i < (prompt + 1) * call->params.n; i++) {
        begin_chunk(a, i, out);
        base_str_adds(out, ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                           "\"logprobs\":null,\"finish_reason\":null}]");
        if (call->return_token_ids) {
            base_str_adds(out, ",\"prompt_token_ids\":");
            api_reply_ids(out, ids->data, ids->len);
        }
        end_chunk(a, i, out);
    }
}

static void add_ends(const api_answer *a, const api_choice *c, bool stop_reason, base_str *out) {
    base_str_adds(out, ",\"finish_reason\":");
    api_reply_finish_reason(c, out);
    if (stop_reason) {
        base_str_adds(out, ",\"stop_reason\":");
        api_reply_stop_reason(a, c, out);
    }
}

static void add_completion(api_answer *a, int index, base_str *out) {
    const api_call *call = a->call;
    api_choice *c = &a->choices[index];
    const base_ids *prompt = &call->prompts[index / call->params.n].ids;
    bool echo = call->echo && !c->begun;
    begin_chunk(a, index, out);
    base_str_adds(out, ",\"text\":");
    api_reply_echo(a, index, echo, out);
    base_str_adds(out, ",\"logprobs\":");
    api_reply_logprobs(a, index, echo, out);
    add_ends(a, c, true, out);
    if (call->return_token_ids && !c->begun) {
        base_str_adds(out, ",\"prompt_token_ids\":");
        api_reply_ids(out, prompt->data, prompt->len);
    }
    if (call->return_token_ids) {
        base_str_adds(out, ",\"token_ids\":");
        api_reply_token_ids(out, &c->tokens);
    }
    base_str_adds(out, "}]");
    end_chunk(a, index, out);
}

static void add_delta(const api_choice *c, base_str *out) {
    const base_str *reasoning = &c->text[CHAT_REASONING], *content = &c->text[CHAT_CONTENT];
    base_str_adds(out, ",\"delta\":{");
    if (reasoning->len > 0) {
        base_str_adds(out, "\"reasoning_content\":");
        api_reply_string(out, reasoning);
        base_str_adds(out, ",\"reasoning\":");
        api_reply_string(out, reasoning);
    }
    if (content->len > 0) {
        base_str_adds(out, reasoning->len > 0 ? ",\"content\":" : "\"content\":");
        api_reply_string(out, content);
    }
    base_str_adds(out, "}");
}

static void add_chat(api_answer *a, int index, base_str *out) {
    const api_choice *c = &a->choices[index];
    if (c->text[CHAT_REASONING].len == 0 && c->text[CHAT_CONTENT].len == 0 && c->tokens.len == 0 &&
        !c->ended)
        return; // nothing to say
    begin_chunk(a, index, out);
    add_delta(c, out);
    base_str_adds(out, ",\"logprobs\":");
    api_reply_logprobs(a, index, false, out);
    add_ends(a, c, c->ended, out);
    base_str_adds(out, ",\"token_ids\":");
    if (a->call->return_token_ids)
        api_reply_token_ids(out, &c->tokens);
    else
        base_str_adds(out, "null");
    base_str_adds(out, "}]");
    end_chunk(a, index, out);
}

void api_chunk_add(api_answer *a, int index, base_str *out) {
    if (a->call->kind == API_CHAT)
        add_chat(a, index, out);
    else
        add_completion(a, index, out);
}

void api_chunk_end(api_answer *a, base_str *out) {
    if (a->error.status != 0) {
        api_error_print_events(&a->error, out);
        return;
    }
    if (a->call->include_usage) {
        base_str_add(out, a->head.data, a->head.len);
        base_str_adds(out, "],\"usage\":");
        api_reply_usage(a, out);
        base_str_adds(out, "}\n\n");
    }
    base_str_adds(out, "data: [DONE]\n\n");
}
