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

void api_chunk_begin_completion(api_answer *a, int prompt, base_str *out) {
    (void)a, (void)prompt, (void)out;
}

void api_chunk_begin_chat(api_answer *a, int prompt, base_str *out) {
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

void api_chunk_add_completion(api_answer *a, int index, base_str *out) {
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

// ---------------------------------------------------------------------------------------------
// Chats: a chunk says texts, or one thing of one call, because clients look no further than the
// first entry of tool_calls. The last chunk of what is shown together has the rest.

typedef struct delta {
    api_answer *a;
    int index;
    bool open; // a chunk has been begun
    base_str *out;
} delta;

static void end_delta(delta *d, bool last) {
    api_answer *a = d->a;
    const api_choice *c = &a->choices[d->index];
    base_str_adds(d->out, "},\"logprobs\":");
    if (last) {
        api_reply_logprobs(a, d->index, false, d->out);
        add_ends(a, c, c->ended, d->out);
    } else {
        base_str_adds(d->out, "null,\"finish_reason\":null");
    }
    base_str_adds(d->out, ",\"token_ids\":");
    if (!a->call->return_token_ids)
        base_str_adds(d->out, "null");
    else if (last)
        api_reply_token_ids(d->out, &c->tokens);
    else
        base_str_adds(d->out, "[]");
    base_str_adds(d->out, "}]");
    end_chunk(a, d->index, d->out);
    d->open = false;
}

static void begin_delta(delta *d) {
    if (d->open)
        end_delta(d, false);
    begin_chunk(d->a, d->index, d->out);
    base_str_adds(d->out, ",\"delta\":{");
    d->open = true;
}

static void add_text(delta *d, const api_piece *piece) {
    begin_delta(d);
    if (piece->field == CHAT_REASONING) {
        base_str_adds(d->out, "\"reasoning_content\":");
        api_reply_string(d->out, &piece->text);
        base_str_adds(d->out, ",\"reasoning\":");
    } else {
        base_str_adds(d->out, "\"content\":");
    }
    api_reply_string(d->out, &piece->text);
}

static void begin_call(delta *d, int call) {
    begin_delta(d);
    base_str_adds(d->out, "\"tool_calls\":[{\"index\":");
    api_reply_int(d->out, call);
}

static void add_call(delta *d, const api_piece *piece) {
    api_known_call *call = &d->a->choices[d->index].calls[piece->call];
    if (!call->announced) {
        begin_call(d, piece->call);
        base_str_adds(d->out, ",\"id\":");
        api_reply_string(d->out, &call->id);
        base_str_adds(d->out, ",\"type\":\"function\",\"function\":{\"name\":");
        api_reply_string(d->out, &call->name);
        base_str_adds(d->out, ",\"arguments\":\"\"}}]");
        call->announced = true;
    }
    if (piece->text.len > 0) {
        begin_call(d, piece->call);
        base_str_adds(d->out, ",\"function\":{\"arguments\":");
        api_reply_string(d->out, &piece->text);
        base_str_adds(d->out, "}}]");
    }
}

void api_chunk_add_chat(api_answer *a, int index, base_str *out) {
    const api_choice *c = &a->choices[index];
    delta d = {.a = a, .index = index, .out = out};
    for (int i = 0; i < c->pieces.len; i++) {
        if (c->pieces.at[i].field == CHAT_ARGUMENTS)
            add_call(&d, &c->pieces.at[i]);
        else
            add_text(&d, &c->pieces.at[i]);
    }
    if (!d.open && (c->tokens.len > 0 || c->ended))
        begin_delta(&d);
    if (d.open)
        end_delta(&d, true);
}

// ---------------------------------------------------------------------------------------------

void api_chunk_end(api_answer *a, base_str *out) {
    if (a->error.status != 0) {
        api_error_print_events(&a->error, out);
        return;
    }
    if (a->call->include_usage) {
        base_str_add(out, a->head.data, a->head.len);
        base_str_adds(out, "],\"usage\":");
        api_reply_usage(a, out);
        base_str_adds(out, ",\"metrics\":");
        api_reply_metrics(a, out);
        base_str_adds(out, "}\n\n");
    }
    base_str_adds(out, "data: [DONE]\n\n");
}
