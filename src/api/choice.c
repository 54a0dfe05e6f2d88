// A choice: sampled ids -> text of its fields, cut at stop strings; tokens as the reply needs them.
#include "api/reply.h"

#include <string.h>

// Takes the event's list over.
static void tokens_add(api_tokens *tokens, engine_event *event) {
    if (tokens->len == tokens->cap) {
        tokens->cap = tokens->cap > 0 ? 2 * tokens->cap : 4;
        tokens->at = base_realloc(tokens->at, tokens->cap * sizeof *tokens->at);
    }
    tokens->at[tokens->len++] = (api_token){.id = event->id,
                                            .rank = event->rank,
                                            .logprob = event->logprob,
                                            .n_top = event->n_top,
                                            .top = event->top};
    event->top = NULL;
    event->n_top = 0;
}

static void tokens_clear(api_tokens *tokens) {
    for (size_t i = 0; i < tokens->len; i++)
        base_free(tokens->at[i].top);
    tokens->len = 0;
}

void api_tokens_free(api_tokens *tokens) {
    tokens_clear(tokens);
    base_free(tokens->at);
}

void api_choice_init(api_choice *c, const api_answer *a, const api_prompt *prompt) {
    const api_call *call = a->call;
    *c = (api_choice){.field = CHAT_CONTENT, .stop_string = -1, .stop_id = -1};
    if (call->kind == API_CHAT)
        c->output =
            chat_output_create(a->options->chat,
                               &(chat_output_options){.reasoning = a->options->reasoning_parser,
                                                      .skip_special = call->skip_special,
                                                      .calls = call->calls},
                               prompt->ids.data, prompt->ids.len);
    if (call->n_stops > 0)
        c->stop = token_stop_create((const char *const *)call->stops, call->stop_lens,
                                    call->n_stops, call->include_stop);
}

void api_choice_free(api_choice *c) {
    chat_output_free(c->output);
    token_stop_free(c->stop);
    api_tokens_free(&c->tokens);
    api_pieces_free(&c->pieces);
    for (int i = 0; i < c->n_calls; i++) {
        base_str_free(&c->calls[i].id);
        base_str_free(&c->calls[i].name);
    }
    base_free(c->calls);
}

void api_choice_clear(api_choice *c) {
    tokens_clear(&c->tokens);
    api_pieces_clear(&c->pieces);
}

// As in vLLM, what stops after calls says so, unless the request named the tool itself.
static void end_choice(api_choice *c, const api_answer *a, const char *reason) {
    bool stopped = strcmp(reason, "stop") == 0;
    c->ended = true;
    c->finish_reason = stopped && c->n_calls > 0 && !a->call->named_tool ? "tool_calls" : reason;
}

static void show(api_choice *c, const api_answer *a, chat_field field, const base_str *text) {
    bool hidden = field == CHAT_DROPPED || (field == CHAT_REASONING && !a->call->include_reasoning);
    if (text->len > 0 && !hidden)
        api_pieces_add(&c->pieces, field, -1, text->data, text->len);
}

// Stop strings are looked for in each field by itself, so what one holds back is given out when
// another goes on.
static void leave_field(api_choice *c, const api_answer *a) {
    base_str held = {0};
    if (c->stop != NULL)
        token_stop_end(c->stop, &held);
    show(c, a, c->field, &held);
    base_str_free(&held);
}

// ---------------------------------------------------------------------------------------------
// Tool calls. Stop strings are not looked for in their arguments: half a call is of no use.

// Whether the call that became known last is shown.
static bool last_is_shown(const api_choice *c) {
    return c->n_calls > 0 && c->n_seen == c->n_calls;
}

static void add_arguments(api_choice *c, const char *text, size_t len) {
    if (!last_is_shown(c))
        return;
    c->calls[c->n_calls - 1].n_bytes += len;
    api_pieces_add(&c->pieces, CHAT_ARGUMENTS, c->n_calls - 1, text, len);
}

// Without arguments it has an empty object of them.
static void end_call(api_choice *c) {
    if (last_is_shown(c) && c->calls[c->n_calls - 1].n_bytes == 0)
        add_arguments(c, "{}", 2);
}

static void begin_call(api_choice *c, const api_answer *a, const chat_output_call *call) {
    end_call(c);
    leave_field(c, a);
    c->n_seen++;
    if (a->call->one_call && c->n_calls == 1)
        return;
    if (c->n_calls == c->cap_calls) {
        c->cap_calls = c->cap_calls > 0 ? 2 * c->cap_calls : 2;
        c->calls = base_realloc(c->calls, (size_t)c->cap_calls * sizeof *c->calls);
    }
    api_known_call *known = &c->calls[c->n_calls++];
    *known = (api_known_call){0};
    base_str_add(&known->id, call->id.at, call->id.len);
    base_str_add(&known->name, call->name.at, call->name.len);
    add_arguments(c, "", 0);
}

static void begin_calls(api_choice *c, const api_answer *a) {
    while (c->n_seen < chat_output_n_calls(c->output)) {
        chat_output_call call = chat_output_get_call(c->output, c->n_seen);
        begin_call(c, a, &call);
    }
}

// ---------------------------------------------------------------------------------------------

// Takes text of a field. As in vLLM the first min_tokens tokens are not searched.
static void add_text(api_choice *c, const api_answer *a, chat_field field, const base_str *text) {
    if (text->len == 0 || field == CHAT_DROPPED)
        return;
    if (field == CHAT_ARGUMENTS) {
        add_arguments(c, text->data, text->len);
        return;
    }
    if (field != c->field)
        leave_field(c, a);
    c->field = field;
    if (c->stop == NULL || c->n_tokens <= a->call->params.min_tokens) {
        show(c, a, field, text);
        return;
    }
    base_str given = {0};
    c->stop_string = token_stop_push(c->stop, text->data, text->len, &given);
    show(c, a, field, &given);
    base_str_free(&given);
    if (c->stop_string >= 0)
        end_choice(c, a, "stop");
}

// Takes the text an id gave, and the call that it made known: arguments are that call's.
static void take_text(api_choice *c, const api_answer *a, chat_field field, const base_str *text) {
    if (c->output != NULL && field == CHAT_ARGUMENTS)
        begin_calls(c, a);
    add_text(c, a, field, text);
    if (c->output == NULL || c->ended)
        return;
    begin_calls(c, a);
    if (c->n_seen > 0 && chat_output_get_call(c->output, c->n_seen - 1).ended)
        end_call(c);
}

static bool contains(const int32_t *ids, int n, int32_t id) {
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static bool is_eos(const api_answer *a, int32_t id) {
    return !a->call->params.ignore_eos && contains(a->options->eos_ids, a->options->n_eos, id);
}

static bool is_stop_id(const api_answer *a, int32_t id) {
    return contains(a->call->params.stop_ids, a->call->params.n_stop_ids, id);
}

// Decodes an id into a->piece and says of which field that is. *thinking: the id is part of a
// thought.
static chat_field decode(api_choice *c, api_answer *a, int32_t id, bool *thinking) {
    const api_call *call = a->call;
    *thinking = false;
    base_str_clear(&a->piece);
    if (!call->include_stop && (is_eos(a, id) || is_stop_id(a, id)))
        return c->field; // the choice ends with it, and it is not shown
    if (c->output == NULL) {
        token_decode(&c->decoder, a->options->vocab, id, call->skip_special, &a->piece);
        return CHAT_CONTENT;
    }
    int before = chat_output_reasoning_tokens(c->output);
    chat_field field = chat_output_push(c->output, id, &a->piece);
    *thinking = chat_output_reasoning_tokens(c->output) > before;
    return field;
}

void api_choice_push(api_choice *c, api_answer *a, engine_event *event) {
    bool thinking;
    c->n_tokens++;
    chat_field field = decode(c, a, event->id, &thinking);
    take_text(c, a, field, &a->piece);
    if (a->keep_tokens && !(thinking && !a->call->include_reasoning))
        tokens_add(&c->tokens, event);
}

static const char *reason_of(const api_answer *a, engine_finish finish) {
    static const char *const reasons[] = {
        [ENGINE_FINISH_STOP] = "stop",
        [ENGINE_FINISH_LENGTH] = "length",
        [ENGINE_FINISH_REPETITION] = "repetition",
        [ENGINE_FINISH_ABORT] = "abort",
        [ENGINE_FINISH_ERROR] = "error",
    };
    if (a->call->discard_output && finish == ENGINE_FINISH_STOP)
        return "length"; // max_tokens was 0, whatever the token that nobody sees was
    return reasons[finish];
}

void api_choice_finish(api_choice *c, api_answer *a, const engine_event *event) {
    base_str_clear(&a->piece);
    chat_field field = CHAT_CONTENT;
    if (c->output != NULL)
        field = chat_output_end(c->output, &a->piece);
    else
        token_decode_end(&c->decoder, &a->piece);
    take_text(c, a, field, &a->piece);
    if (!c->ended) {
        leave_field(c, a);
        if (event->finish != ENGINE_FINISH_LENGTH)
            end_call(c);
        end_choice(c, a, reason_of(a, event->finish));
        if (event->finish == ENGINE_FINISH_STOP && !is_eos(a, event->stop_id) &&
            is_stop_id(a, event->stop_id))
            c->stop_id = event->stop_id;
    }
}
