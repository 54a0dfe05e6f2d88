// Any ids, wishes and stop strings: a stream put together is the whole reply, however the events
// were grouped. The input: wishes, stop strings (a length and bytes each), then what choices
// sample.
#include "answer_fixture.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static token_vocab *vocab;
static chat_format *format;
static chat_calls *calls; // of a chat with tools
static fixture_script script;

typedef struct input {
    const uint8_t *at, *end;
} input;

static unsigned take(input *in) {
    return in->at < in->end ? *in->at++ : 0;
}

static void set_up(api_options *options, api_call *call, input *in) {
    unsigned wishes = take(in) | take(in) << 8, counts = take(in);
    *options = (api_options){.vocab = vocab, .chat = format, .n_eos = 1};
    options->eos_ids[0] = token_control_id(vocab, "<|im_end|>");
    options->reasoning_parser = wishes & 1;
    *call = (api_call){.kind = wishes & 2 ? API_CHAT : API_COMPLETION, .model = "m"};
    engine_params_init(&call->params);
    call->include_usage = true;
    call->skip_special = wishes & 4;
    call->include_stop = wishes & 8;
    call->include_reasoning = wishes & 16;
    call->logprobs = wishes & 32;
    call->return_token_ids = wishes & 64;
    call->tokens_as_ids = wishes & 128;
    call->params.ignore_eos = wishes & 256;
    call->echo = wishes & 512 && call->kind == API_COMPLETION;
    if (wishes & 1024 && call->kind == API_CHAT)
        call->calls = calls;
    call->one_call = wishes & 2048;
    call->named_tool = wishes & 4096;
    call->params.n = 1 + (int)(counts & 3);
    call->n_prompts = call->kind == API_COMPLETION ? 1 + (int)(counts >> 2 & 1) : 1;
    call->params.n_logprobs = call->logprobs ? (int)(counts >> 3 & 7) : -1;
    call->params.min_tokens = (int)(counts >> 6);
}

static bool is_utf8(const char *text, size_t len) {
    bool valid = true;
    for (size_t at = 0; at < len && valid;)
        at += base_utf8_next(text + at, len - at, &valid);
    return valid;
}

static void read_stops(api_call *call, char **stops, size_t *lens, input *in) {
    call->stops = stops;
    call->stop_lens = lens;
    for (unsigned n = take(in) % 4; n > 0; n--) {
        size_t len = take(in) % 8;
        if (len == 0 || len > (size_t)(in->end - in->at) || memchr(in->at, 0, len) ||
            !is_utf8((const char *)in->at, len))
            continue;
        lens[call->n_stops] = len;
        stops[call->n_stops++] = base_strndup((const char *)in->at, len);
        in->at += len;
    }
}

// Two bytes for an event: the choice, and the id, which is a byte's token as a rule.
static void read_script(const api_options *options, const api_call *call, input *in) {
    int n = call->params.n, n_choices = n * call->n_prompts;
    bool ended[8] = {false};
    while (in->end - in->at >= 2 && script.n < FIXTURE_MAX_EVENTS - 16) {
        unsigned who = take(in), what = take(in);
        int i = (int)(who % 8) % n_choices;
        int32_t id = (int32_t)(who & 128 ? token_vocab_size(vocab) - 1 - (int)what : (int)what);
        size_t len;
        const char *bytes = token_bytes(vocab, id, &len);
        if (ended[i] || memchr(bytes, 0, len)) // jansson reads no keys that have the byte 0
            continue;
        fixture_fill(fixture_push(&script, i / n, i % n, ENGINE_EVENT_TOKEN), id,
                     call->params.n_logprobs, token_vocab_size(vocab));
        ended[i] = id == options->eos_ids[0] && !call->params.ignore_eos;
        if (ended[i])
            fixture_push(&script, i / n, i % n, ENGINE_EVENT_FINISH)->stop_id = id;
    }
    for (int i = 0; i < n_choices; i++)
        if (!ended[i])
            fixture_push(&script, i / n, i % n, ENGINE_EVENT_FINISH)->finish =
                ENGINE_FINISH_LENGTH + i % 3;
}

static json_t *reply(const api_options *options, const api_call *call, fixture_cut cut,
                     uint32_t seed) {
    base_str out = {0};
    bool chat = call->kind == API_CHAT;
    api_answer *a = api_answer_create(options, call);
    fixture_play(a, &script, cut, seed, &out);
    if (!api_answer_done(a) || (!call->stream && out.len > 0))
        abort();
    api_answer_finish(a, &out);
    json_t *whole = call->stream ? fixture_join_stream(&out, chat) : fixture_strip_body(&out, chat);
    if (!whole)
        abort();
    api_answer_free(a);
    base_str_free(&out);
    return whole;
}

static void check(const api_options *options, api_call *call) {
    static const char *const fields[] = {"choices", "usage"};
    call->stream = false;
    json_t *body = reply(options, call, FIXTURE_ALL_AT_ONCE, 0);
    call->stream = true;
    for (fixture_cut cut = 0; cut <= FIXTURE_RANDOM; cut++) {
        json_t *stream = reply(options, call, cut, (uint32_t)script.n);
        for (int i = 0; i < 2; i++)
            if (!json_equal(json_object_get(body, fields[i]), json_object_get(stream, fields[i])))
                abort();
        json_decref(stream);
    }
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!vocab) {
        vocab = fixture_chat_vocab(NULL);
        format = fixture_chat_format(vocab);
        const chat_slice names[] = {fixture_slice("f"), fixture_slice("a-b")};
        calls = chat_calls_create(&(chat_conversation){0}, names, 2);
    }
    api_options options;
    api_call call;
    int32_t prompt_ids[] = {65, 66, 67};
    api_prompt prompts[2] = {{.ids = {prompt_ids, 3, 3}}, {.ids = {prompt_ids, 2, 2}}};
    char *stops[4], echoed[] = "P\xc3\xa9";
    size_t lens[4];
    input in = {data, data + size};
    set_up(&options, &call, &in);
    prompts[0].text = (base_str){echoed, 3, 4};
    call.prompts = prompts;
    read_stops(&call, stops, lens, &in);
    read_script(&options, &call, &in);
    check(&options, &call);
    fixture_script_cut(&script, 0);
    for (int i = 0; i < call.n_stops; i++)
        base_free(stops[i]);
    return 0;
}
