// The order of things in an answer: which event becomes which chunk, when choices end, and when the
// engine need not go on.
#include "api/anthropic.h"
#include "api/reply.h"
#include "api/responses.h"

static void init_source(api_source *s, const api_prompt *prompt) {
    s->tokens.at = base_calloc(prompt->ids.len + 1, sizeof *s->tokens.at);
    s->tokens.len = s->tokens.cap = prompt->ids.len;
    for (size_t i = 0; i < prompt->ids.len; i++)
        s->tokens.at[i].id = prompt->ids.data[i];
}

static const api_form completion = {.begin = api_chunk_begin_completion,
                                    .add = api_chunk_add_completion,
                                    .end = api_chunk_end,
                                    .body = api_body_completion};

static const api_form *const chats[] = {
    [API_OPENAI] = &(const api_form){.begin = api_chunk_begin_chat,
                                     .add = api_chunk_add_chat,
                                     .end = api_chunk_end,
                                     .body = api_body_chat},
    [API_ANTHROPIC] = &api_anthropic_form,
    [API_RESPONSES] = &(const api_form){.begin = api_responses_begin,
                                        .add = api_responses_add,
                                        .end = api_responses_end,
                                        .body = api_responses_body,
                                        .free = api_responses_free},
};

api_answer *api_answer_create(const api_options *o, const api_call *call) {
    api_answer *a = base_calloc(1, sizeof *a);
    int n = call->params.n;
    a->options = o;
    a->call = call;
    a->form = call->kind == API_CHAT ? chats[call->dialect] : &completion;
    a->n_choices = call->n_prompts * n;
    a->keep_tokens = call->logprobs || call->return_token_ids;
    a->choices = base_calloc((size_t)a->n_choices, sizeof *a->choices);
    a->sources = base_calloc((size_t)call->n_prompts, sizeof *a->sources);
    for (int i = 0; i < a->n_choices; i++)
        api_choice_init(&a->choices[i], a, &call->prompts[i / n]);
    for (int i = 0; i < call->n_prompts && call->prompt_logprobs; i++)
        init_source(&a->sources[i], &call->prompts[i]);
    api_reply_head(a);
    return a;
}

void api_answer_free(api_answer *a) {
    if (a == NULL)
        return;
    if (a->form->free)
        a->form->free(a);
    for (int i = 0; i < a->n_choices; i++)
        api_choice_free(&a->choices[i]);
    for (int i = 0; i < a->call->n_prompts; i++)
        api_tokens_free(&a->sources[i].tokens);
    base_free(a->choices);
    base_free(a->sources);
    base_free(a->keys);
    base_str_free(&a->head);
    base_str_free(&a->piece);
    base_free(a);
}

// ---------------------------------------------------------------------------------------------
// Events

static void set_pending(api_answer *a, api_choice *c, bool pending) {
    a->n_pending += pending - c->pending;
    c->pending = pending;
}

// A stream: writes what the choice has not shown yet.
static void show(api_answer *a, int index, base_str *out) {
    api_choice *c = &a->choices[index];
    if (!a->call->stream)
        return;
    a->form->add(a, index, out);
    api_choice_clear(c);
    c->begun = true;
    set_pending(a, c, false);
}

// As in vLLM the roles of all choices of a prompt come with its first output, not before.
static void begin(api_answer *a, int prompt, base_str *out) {
    api_source *s = &a->sources[prompt];
    if (a->call->stream && !s->begun)
        a->form->begin(a, prompt, out);
    s->begun = true;
}

static void take_prompt(api_answer *a, int prompt, engine_event *event) {
    api_tokens *tokens = &a->sources[prompt].tokens;
    if (event->position < 0 || (size_t)event->position >= tokens->len)
        return;
    api_token *t = &tokens->at[event->position];
    base_free(t->top);
    *t = (api_token){event->id, event->rank, event->logprob, event->n_top, event->top};
    event->top = NULL;
    event->n_top = 0;
}

static void take_token(api_answer *a, int prompt, int index, engine_event *event, base_str *out) {
    api_choice *c = &a->choices[index];
    if (c->ended || a->error.status != 0 || a->call->discard_output)
        return;
    if (c->pending)
        show(a, index, out);
    begin(a, prompt, out);
    api_choice_push(c, a, event);
    set_pending(a, c, a->call->stream);
    if (c->ended) {
        a->sources[prompt].n_ended++;
        show(a, index, out);
    }
}

static void take_usage(api_answer *a, int prompt, const engine_event *event) {
    api_source *s = &a->sources[prompt];
    api_timing *t = &a->timing;
    s->n_cached = base_max_int(s->n_cached, event->n_cached); // all its choices say the same
    s->miss = event->miss;
    s->miss_at = event->miss_at;
    if (event->queued_ns + event->prefill_ns + event->decode_ns >=
        t->queued_ns + t->prefill_ns + t->decode_ns)
        *t = (api_timing){event->queued_ns, event->prefill_ns, event->decode_ns};
}

static void take_finish(api_answer *a, int prompt, int index, const engine_event *event,
                        base_str *out) {
    api_choice *c = &a->choices[index];
    api_source *s = &a->sources[prompt];
    a->n_finished++;
    s->n_finished++;
    take_usage(a, prompt, event);
    if (c->ended || a->error.status != 0)
        return;
    if (event->finish == ENGINE_FINISH_ERROR) {
        api_fail(&a->error, event->by_request ? 400 : 500, "", "%s",
                 event->error != NULL ? event->error : "unknown error");
        return;
    }
    begin(a, prompt, out);
    api_choice_finish(c, a, event);
    s->n_ended++;
    show(a, index, out);
}

bool api_answer_take(api_answer *a, int prompt, engine_event *event, base_str *out) {
    int n = a->call->params.n, index = prompt * n + event->choice;
    api_source *s = &a->sources[prompt];
    switch (event->kind) {
    case ENGINE_EVENT_PROMPT:
        take_prompt(a, prompt, event);
        break;
    case ENGINE_EVENT_TOKEN:
        take_token(a, prompt, index, event, out);
        break;
    case ENGINE_EVENT_FINISH:
        take_finish(a, prompt, index, event, out);
        break;
    }
    engine_event_free(event);
    bool over = s->n_ended == n || a->error.status != 0;
    bool abort = over && s->n_finished < n && !s->aborted;
    s->aborted |= abort;
    return abort;
}

void api_answer_flush(api_answer *a, base_str *out) {
    for (int i = 0; i < a->n_choices && a->n_pending > 0; i++)
        if (a->choices[i].pending)
            show(a, i, out);
}

// ---------------------------------------------------------------------------------------------
// The end

bool api_answer_done(const api_answer *a) {
    return a->n_finished == a->n_choices;
}

const api_error *api_answer_error(const api_answer *a) {
    return a->error.status != 0 ? &a->error : NULL;
}

void api_answer_fail(api_answer *a, const api_error *error) {
    a->error = *error;
}

void api_answer_finish(api_answer *a, base_str *out) {
    if (a->call->stream) {
        api_answer_flush(a, out);
        a->form->end(a, out);
    } else if (a->error.status != 0) {
        api_error_print(&a->error, out);
    } else {
        a->form->body(a, out);
    }
}

api_answer_numbers api_answer_get_numbers(const api_answer *a) {
    api_answer_numbers numbers = {0};
    for (int i = 0; i < a->call->n_prompts; i++) {
        numbers.n_prompt_tokens += (int)a->call->prompts[i].ids.len;
        numbers.n_cached_tokens += a->sources[i].n_cached;
    }
    for (int i = 0; i < a->n_choices; i++) {
        const api_choice *c = &a->choices[i];
        numbers.n_output_tokens += c->n_tokens;
        if (c->output)
            numbers.n_dropped_calls += chat_output_n_dropped(c->output);
    }
    return numbers;
}
