// The fields that chunks of a stream and whole replies share.
#include "api/reply.h"

#include <string.h>

void api_reply_int(base_str *out, int64_t value) {
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        digits[--at] = '-';
    base_str_add(out, digits + at, sizeof digits - at);
}

void api_reply_string(base_str *out, const base_str *text) {
    base_json_add_string(out, text->data != NULL ? text->data : "", text->len);
}

void api_reply_ids(base_str *out, const int32_t *ids, size_t n) {
    base_str_adds(out, "[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            base_str_adds(out, ",");
        api_reply_int(out, ids[i]);
    }
    base_str_adds(out, "]");
}

void api_reply_token_ids(base_str *out, const api_tokens *tokens) {
    base_str_adds(out, "[");
    for (size_t i = 0; i < tokens->len; i++) {
        if (i > 0)
            base_str_adds(out, ",");
        api_reply_int(out, tokens->at[i].id);
    }
    base_str_adds(out, "]");
}

void api_reply_head(api_answer *a) {
    const api_call *call = a->call;
    const char *object = call->stream ? "chat.completion.chunk" : "chat.completion";
    if (call->kind == API_COMPLETION)
        object = "text_completion";
    base_str_adds(&a->head, call->stream ? "data: {\"id\":" : "{\"id\":");
    base_json_add_string(&a->head, call->id, strlen(call->id));
    base_str_printf(&a->head, ",\"object\":\"%s\",\"created\":%lld,\"model\":", object,
                    (long long)call->created);
    base_json_add_string(&a->head, call->model, strlen(call->model));
    base_str_adds(&a->head, ",\"choices\":[");
}

void api_reply_echo(api_answer *a, int index, bool echo, base_str *out) {
    base_str_clear(&a->piece);
    if (echo) {
        const base_str *prompt = &a->call->prompts[index / a->call->params.n].text;
        base_str_add(&a->piece, prompt->data, prompt->len);
    }
    api_pieces_join(&a->choices[index].pieces, CHAT_CONTENT, &a->piece);
    api_reply_string(out, &a->piece);
}

void api_reply_logprobs(api_answer *a, int index, bool echo, base_str *out) {
    api_choice *c = &a->choices[index];
    const api_tokens *prompt = &a->sources[index / a->call->params.n].tokens;
    if (!a->call->logprobs)
        base_str_adds(out, "null");
    else if (a->call->kind == API_CHAT)
        api_logprobs_chat(a, c, out);
    else
        api_logprobs_completion(a, c, echo ? prompt : NULL, out);
}

void api_reply_finish_reason(const api_choice *c, base_str *out) {
    if (!c->ended) {
        base_str_adds(out, "null");
        return;
    }
    base_str_adds(out, "\"");
    base_str_adds(out, c->finish_reason);
    base_str_adds(out, "\"");
}

void api_reply_stop_reason(const api_answer *a, const api_choice *c, base_str *out) {
    const api_call *call = a->call;
    if (c->stop_string >= 0)
        base_json_add_string(out, call->stops[c->stop_string], call->stop_lens[c->stop_string]);
    else if (c->stop_id >= 0)
        api_reply_int(out, c->stop_id);
    else
        base_str_adds(out, "null"); // end of sequence, length, or not ended
}

static int reasoning_tokens(const api_answer *a) {
    int sum = 0;
    for (int i = 0; i < a->n_choices; i++)
        sum += chat_output_reasoning_tokens(a->choices[i].output);
    return sum;
}

// Where the prefix cache ended although it might have gone on; a batch of prompts has no such
// place.
static void add_miss(const api_answer *a, base_str *out) {
    const api_source *s = &a->sources[0];
    const char *name = engine_miss_name(s->miss);
    if (a->call->n_prompts == 1 && name != NULL)
        base_str_printf(out, ",\"miss\":{\"token\":%d,\"reason\":\"%s\"}", s->miss_at, name);
}

static double ms(int64_t ns) {
    return (double)ns * 1e-6;
}

void api_reply_metrics(const api_answer *a, base_str *out) {
    const api_timing *t = &a->timing;
    base_str_printf(out,
                    "{\"queued_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,"
                    "\"time_to_first_token_ms\":%.3f}",
                    ms(t->queued_ns), ms(t->prefill_ns), ms(t->decode_ns),
                    ms(t->queued_ns + t->prefill_ns));
}

void api_reply_usage(const api_answer *a, base_str *out) {
    api_answer_numbers n = api_answer_get_numbers(a);
    base_str_printf(out, "{\"prompt_tokens\":%d,\"total_tokens\":%d,\"completion_tokens\":%d,",
                    n.n_prompt_tokens, n.n_prompt_tokens + n.n_output_tokens, n.n_output_tokens);
    if (a->options->prompt_tokens_details) {
        base_str_printf(out, "\"prompt_tokens_details\":{\"cached_tokens\":%d", n.n_cached_tokens);
        add_miss(a, out);
        base_str_adds(out, "}");
    } else {
        base_str_adds(out, "\"prompt_tokens_details\":null");
    }
    if (a->call->kind == API_CHAT && a->options->reasoning_parser)
        base_str_printf(out, ",\"completion_tokens_details\":{\"reasoning_tokens\":%d}",
                        reasoning_tokens(a));
    base_str_adds(out, "}");
}
