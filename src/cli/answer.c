#include "cli/answer.h"
#include <string.h>

void cli_answer_init(cli_answer *a, const cli_answer_options *options) {
    *a = (cli_answer){.options = *options};
    a->choices = base_calloc((size_t)options->n, sizeof *a->choices);
    size_t *lens = base_calloc((size_t)options->n_stops + 1, sizeof *lens);
    for (int i = 0; i < options->n_stops; i++)
        lens[i] = strlen(options->stops[i]);
    for (int i = 0; i < options->n; i++) {
        a->choices[i].stop = token_stop_create(options->stops, lens, options->n_stops, false);
        a->choices[i].stop_string = -1;
        a->choices[i].stop_id = -1;
    }
    base_free(lens);
}

static void tokens_free(cli_answer_tokens *tokens) {
    for (int i = 0; i < tokens->n; i++)
        base_free(tokens->at[i].top);
    base_free(tokens->at);
}

void cli_answer_free(cli_answer *a) {
    for (int i = 0; i < a->options.n; i++) {
        tokens_free(&a->choices[i].tokens);
        base_str_free(&a->choices[i].text);
        token_stop_free(a->choices[i].stop);
    }
    tokens_free(&a->prompt);
    base_free(a->choices);
}

// Takes over the event's list of most likely ids.
static void tokens_add(cli_answer_tokens *tokens, engine_event *event) {
    if (tokens->n == tokens->cap) {
        tokens->cap = tokens->cap > 0 ? 2 * tokens->cap : 64;
        tokens->at = base_realloc(tokens->at, (size_t)tokens->cap * sizeof *tokens->at);
    }
    tokens->at[tokens->n++] = (cli_answer_token){.id = event->id,
                                                 .logprob = event->logprob,
                                                 .rank = event->rank,
                                                 .n_top = event->n_top,
                                                 .top = event->top};
    event->top = NULL;
    event->n_top = 0;
}

static bool ends_answer(const cli_answer_options *o, int32_t id) {
    for (int i = 0; i < o->n_stop_ids; i++) {
        if (o->stop_ids[i] == id)
            return true;
    }
    for (int i = 0; i < o->n_eos; i++) {
        if (o->eos_ids[i] == id)
            return true;
    }
    return false;
}

// Decoded text goes through the stop strings; what comes out is shown.
static void add_text(cli_answer *a, int index, const base_str *piece, bool end) {
    cli_answer_choice *c = &a->choices[index];
    size_t before = c->text.len;
    if (piece->len > 0)
        c->stop_string = token_stop_push(c->stop, piece->data, piece->len, &c->text);
    if (c->stop_string >= 0) {
        c->finish_reason = "stop";
        c->done = true;
    } else if (end) {
        token_stop_end(c->stop, &c->text);
    }
    if (c->text.len > before && a->options.show != NULL)
        a->options.show(a->options.arg, index, c->text.data + before, c->text.len - before);
}

static void take_token(cli_answer *a, engine_event *event) {
    cli_answer_choice *c = &a->choices[event->choice];
    if (c->done)
        return; // beyond a stop string: neither shown nor counted
    a->last_ns = base_now_ns();
    if (a->first_ns == 0)
        a->first_ns = a->last_ns;
    a->n_tokens++;
    tokens_add(&c->tokens, event);
    if (ends_answer(&a->options, event->id))
        return; // its FINISH follows
    base_str piece = {0};
    token_decode(&c->decoder, a->options.vocab, event->id, true, &piece);
    add_text(a, event->choice, &piece, false);
    a->n_done += c->done;
    base_str_free(&piece);
}

static void take_finish(cli_answer *a, const engine_event *event) {
    static const char *const reasons[] = {
        [ENGINE_FINISH_STOP] = "stop",
        [ENGINE_FINISH_LENGTH] = "length",
        [ENGINE_FINISH_REPETITION] = "repetition",
        [ENGINE_FINISH_ABORT] = "abort",
        [ENGINE_FINISH_ERROR] = "error",
    };
    cli_answer_choice *c = &a->choices[event->choice];
    c->finished = true;
    a->n_finished++;
    c->n_cached = event->n_cached;
    if (c->done)
        return;
    base_str piece = {0};
    token_decode_end(&c->decoder, &piece);
    add_text(a, event->choice, &piece, true);
    base_str_free(&piece);
    if (!c->done) {
        c->finish_reason = reasons[event->finish];
        c->stop_id = event->finish == ENGINE_FINISH_STOP ? event->stop_id : -1;
        c->error = event->error;
        c->done = true;
    }
    a->n_done++;
}

void cli_answer_take(cli_answer *a, engine_event *event) {
    switch (event->kind) {
    case ENGINE_EVENT_PROMPT:
        tokens_add(&a->prompt, event);
        break;
    case ENGINE_EVENT_TOKEN:
        take_token(a, event);
        break;
    case ENGINE_EVENT_FINISH:
        take_finish(a, event);
        break;
    }
    engine_event_free(event);
}
