// Requests with a body, from the body to the reply.
//
// A live request begins when its body is there. A worker, or the I/O thread itself when it is
// small and has no schemas, reads it; its prompts go to the engine, a ticket for each; events come
// back with the ticket they belong to and are turned into a reply, at once in a stream. It ends
// with the reply, or when the client is gone: then what the engine still works on is aborted.
#include "api/server.h"

#include "api/anthropic.h"
#include "api/responses.h"
#include "api/tokenize.h"
#include <stdio.h>
#include <string.h>

enum {
    INLINE_BYTES = 32 << 10, // longer bodies go to a worker
    LOGGED_CHARACTERS = 200, // of a prompt, with --enable-log-requests
};

struct api_live {
    api_lane *lane;
    http_exchange *x;
    api_job *job; // while a worker has the body
    char request_id[API_ID_BYTES];
    int64_t arrived_ns;
    api_call *call;
    api_answer *answer;
    api_ticket *tickets; // [n_tickets] of the call's prompts that the engine took
    int n_tickets;
    int64_t *token_ns; // [n_prompts * n] when a choice's last token came, 0: none yet
    base_str out;      // events to be sent
    bool touched;      // by the events of this wake
    struct api_live *next_touched;
    struct api_live *prev, *next; // in the lane's list
};

// ---------------------------------------------------------------------------------------------
// Begin and end

static api_live *live_create(api_server *s, http_exchange *x) {
    api_live *live = base_calloc(1, sizeof *live);
    live->lane = &s->lanes[http_thread(x)];
    live->x = x;
    live->arrived_ns = base_now_ns();
    api_request_id(x, live->request_id);
    live->next = live->lane->lives;
    if (live->next)
        live->next->prev = live;
    live->lane->lives = live;
    http_set_data(x, live);
    api_watch_request(s, 1);
    return live;
}

static void abort_tickets(api_live *live) {
    for (int i = 0; i < live->n_tickets; i++)
        if (live->tickets[i].n_left > 0)
            engine_thread_abort(live->lane->server->engine, live->tickets[i].id);
}

// The exchange has ended. What the engine still works on is left to run out its abort.
static void live_free(api_live *live) {
    api_server *s = live->lane->server;
    for (int i = 0; i < live->n_tickets; i++)
        api_lane_remove(live->lane, &live->tickets[i]);
    if (live->job)
        live->job->live = NULL;
    if (live->prev)
        live->prev->next = live->next;
    else
        live->lane->lives = live->next;
    if (live->next)
        live->next->prev = live->prev;
    api_answer_free(live->answer);
    api_call_free(live->call);
    base_free(live->tickets);
    base_free(live->token_ns);
    base_str_free(&live->out);
    base_free(live);
    api_watch_request(s, -1);
}

static void fail(api_live *live, const api_error *error) {
    abort_tickets(live);
    api_respond_error(live->lane->server, live->x, live->request_id, error, NULL);
    live_free(live);
}

void api_on_gone(void *arg, http_exchange *x) {
    (void)arg;
    api_live *live = http_data(x);
    if (!live)
        return;
    abort_tickets(live);
    live_free(live);
}

// ---------------------------------------------------------------------------------------------
// The body

void api_job_perform(api_job *job) {
    switch (job->what) {
    case API_WORK_COMPLETION:
    case API_WORK_CHAT:
        api_call_parse(&job->call, job->what == API_WORK_CHAT ? API_CHAT : API_COMPLETION,
                       job->options, job->text, job->len, job->request_id, &job->error);
        break;
    case API_WORK_MESSAGES:
        api_anthropic_parse(&job->call, job->options, job->text, job->len, job->request_id,
                            &job->error);
        break;
    case API_WORK_COUNT_TOKENS:
        api_anthropic_count(job->options, job->text, job->len, &job->reply, &job->error);
        break;
    case API_WORK_RESPONSES:
        api_responses_parse(&job->call, job->options, job->text, job->len, job->request_id,
                            &job->error);
        break;
    case API_WORK_TOKENIZE:
        api_tokenize(job->options, job->text, job->len, &job->reply, &job->error);
        break;
    case API_WORK_DETOKENIZE:
        api_detokenize(job->options, job->text, job->len, &job->reply, &job->error);
        break;
    }
    base_str_free(&job->body);
}

static bool has(http_slice body, const char *text) {
    return memmem(body.at, body.len, text, strlen(text)) != NULL;
}

// Reading a short body takes no time unless a schema or a pattern comes with it: those may take a
// tenth of a second. A name written with escapes may be one of theirs.
static bool is_quick(http_slice body) {
    if (body.len == 0)
        return true;
    return body.len <= INLINE_BYTES && !has(body, "tools\"") && !has(body, "format\"") &&
           !has(body, "structured_outputs\"") && !has(body, "\\u");
}

void api_serve(api_server *s, http_exchange *x, api_work what) {
    api_live *live = live_create(s, x);
    api_job *job = base_calloc(1, sizeof *job);
    http_slice body = http_body(x);
    job->options = &s->options;
    job->what = what;
    if (what == API_WORK_RESPONSES) // whoever knows its id may go on with what it remembers
        api_secret_id(x, job->request_id);
    else
        memcpy(job->request_id, live->request_id, sizeof job->request_id);
    if (is_quick(body)) {
        job->text = body.at;
        job->len = body.len;
        api_job_perform(job);
        api_serve_continue(live, job);
        return;
    }
    job->body = http_take_body(x);
    job->text = job->body.data;
    job->len = job->body.len;
    job->live = live;
    job->done = api_lane_job_done;
    job->done_arg = live->lane;
    live->job = job;
    if (api_pool_add(s->pool, job))
        return;
    api_error error;
    api_fail(&error, 429, "", "Too many long requests wait to be read. Try again later.");
    error.retry_after_s = 1;
    live->job = NULL;
    api_job_free(job);
    fail(live, &error);
}

// ---------------------------------------------------------------------------------------------
// Into the engine

// The bytes of the first so many characters.
static size_t first_characters(const base_str *text, int n) {
    size_t at = 0;
    bool valid;
    for (int i = 0; i < n && at < text->len; i++)
        at += base_utf8_next(text->data + at, text->len - at, &valid);
    return at;
}

static void log_request(const api_live *live) {
    const api_call *c = live->call;
    const engine_params *p = &c->params;
    const base_str *text = &c->prompts[0].text;
    base_info("Received request %s: prompts: %d, prompt tokens: %zu, params: n=%d, "
              "max_tokens=%d, temperature=%g, top_p=%g, top_k=%d, min_p=%g, seed=%lld, "
              "presence_penalty=%g, frequency_penalty=%g, repetition_penalty=%g, stream=%s, "
              "prompt: '%.*s'",
              c->id, c->n_prompts, c->prompts[0].ids.len, p->n, p->max_tokens,
              (double)p->temperature, (double)p->top_p, p->top_k, (double)p->min_p,
              p->has_seed ? (long long)p->seed : -1LL, (double)p->presence, (double)p->frequency,
              (double)p->repetition, c->stream ? "true" : "false",
              (int)first_characters(text, LOGGED_CHARACTERS), text->len > 0 ? text->data : "");
}

static int refused(api_live *live, engine_submit_status status, const base_err *err,
                   api_error *error) {
    api_server *s = live->lane->server;
    if (status == ENGINE_INVALID)
        return api_fail_field(error, err);
    int n_waiting = live->call->n_prompts * live->call->params.n;
    api_fail(error, 429, "", "The server is at its limit: %s. Try again later.", err->message);
    error->retry_after_s = api_watch_retry_after(s, n_waiting);
    return error->status;
}

// The same server with the same requests in the same order gives the same answers.
static uint64_t draw_seed(api_server *s) {
    uint64_t seed = s->options.seed, n = atomic_fetch_add(&s->n_seeds_drawn, 1);
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)n, (uint32_t)(n >> 32), 0, 0};
    base_rng_block block = base_rng_philox(key, counter);
    return (uint64_t)block.v[0] << 32 | block.v[1];
}

static int submit(api_live *live, api_error *error) {
    api_server *s = live->lane->server;
    const api_call *call = live->call;
    engine_params params = call->params;
    live->tickets = base_calloc((size_t)call->n_prompts, sizeof *live->tickets);
    live->token_ns =
        base_calloc((size_t)call->n_prompts * (size_t)params.n, sizeof *live->token_ns);
    for (int i = 0; i < call->n_prompts; i++) {
        const api_prompt *prompt = &call->prompts[i];
        api_ticket *ticket = &live->tickets[i];
        base_err err;
        *ticket = (api_ticket){.live = live, .prompt = i, .n_left = params.n};
        params.script = prompt->script;
        if (s->options.has_seed && !call->params.has_seed) {
            params.has_seed = true;
            params.seed = draw_seed(s);
        }
        api_lane_add(live->lane, ticket);
        api_watch_submit(s, params.n);
        engine_submit_status status = engine_thread_submit(s->engine, ticket->id, prompt->ids.data,
                                                           (int)prompt->ids.len, &params, &err);
        if (status != ENGINE_ACCEPTED) {
            api_watch_refused(s, params.n);
            api_lane_remove(live->lane, ticket);
            return refused(live, status, &err, error);
        }
        live->n_tickets = i + 1;
    }
    return 0;
}

// Agents send the same tools with each request, so this is not said of every one.
static void report_relaxed(api_live *live) {
    enum { EVERY_S = 10, SHOWN = 400 };
    api_server *s = live->lane->server;
    const base_str *relaxed = &live->call->relaxed;
    if (relaxed->len == 0)
        return;
    int n = 1;
    for (const char *at = relaxed->data; (at = strstr(at, ", ")) != NULL; at++)
        n++;
    base_metric_add(s->metrics.relaxed, n);
    int64_t now = base_now_ns(), last = atomic_load(&s->relaxed_logged_ns);
    if ((last != 0 && now - last < EVERY_S * INT64_C(1000000000)) ||
        !atomic_compare_exchange_strong(&s->relaxed_logged_ns, &last, now))
        return;
    char shown[SHOWN];
    snprintf(shown, sizeof shown, "%s", relaxed->data);
    base_text_clean(shown);
    base_warn("Request %s: calls are not held to %d keywords of its tools' schemas: %s",
              live->call->id, n, shown);
}

static void start_answer(api_live *live, api_call *call) {
    api_server *s = live->lane->server;
    api_error error;
    live->call = call;
    if (s->options.log_requests)
        log_request(live);
    report_relaxed(live);
    if (api_check_ready(s, &error) || submit(live, &error)) {
        fail(live, &error);
        return;
    }
    live->answer = api_answer_create(&s->options, call);
    if (call->stream)
        api_stream_start(s, live->x, live->request_id);
}

void api_serve_continue(api_live *live, api_job *job) {
    api_call *call = job->call;
    job->call = NULL;
    live->job = NULL;
    if (job->error.status) {
        fail(live, &job->error);
    } else if (call) {
        start_answer(live, call);
    } else {
        api_respond_json(live->lane->server, live->x, live->request_id, &job->reply);
        live_free(live);
    }
    api_job_free(job);
}

// ---------------------------------------------------------------------------------------------
// Out of the engine

static double seconds(int64_t ns) {
    return (double)ns * 1e-9;
}

// Of tokens that one step gave together, only the first has waited.
static void measure_token(api_live *live, const api_ticket *ticket, const api_event *e) {
    const api_metrics *m = &live->lane->server->metrics;
    int64_t *last = &live->token_ns[ticket->prompt * live->call->params.n + e->event.choice];
    if (*last == 0)
        base_metric_observe(m->first_token, seconds(e->at_ns - live->arrived_ns));
    else if (e->at_ns > *last)
        base_metric_observe(m->token_gap, seconds(e->at_ns - *last));
    *last = e->at_ns;
}

static void measure_finish(api_live *live, const api_ticket *ticket, const api_event *e) {
    const api_metrics *m = &live->lane->server->metrics;
    const engine_event *event = &e->event;
    bool by_string = event->finish == ENGINE_FINISH_ABORT && ticket->ended;
    base_metric_add(m->finished[by_string ? ENGINE_FINISH_STOP : event->finish], 1);
    if (event->finish == ENGINE_FINISH_ERROR ||
        (event->finish == ENGINE_FINISH_ABORT && !by_string))
        return;
    base_metric_observe(m->request_time, seconds(e->at_ns - live->arrived_ns));
    base_metric_observe(m->queue_time, seconds(event->queued_ns));
    base_metric_observe(m->prefill_time, seconds(event->prefill_ns));
    base_metric_observe(m->decode_time, seconds(event->decode_ns));
    base_metric_observe(m->prompt_length, event->n_prompt);
    base_metric_observe(m->output_length, event->n_output);
}

void api_serve_take(api_ticket *ticket, api_event *e) {
    api_live *live = ticket->live;
    api_lane *l = live->lane;
    if (e->event.kind == ENGINE_EVENT_TOKEN)
        measure_token(live, ticket, e);
    if (e->event.kind == ENGINE_EVENT_FINISH) {
        measure_finish(live, ticket, e);
        ticket->n_left--;
    }
    if (!live->touched) {
        live->touched = true;
        live->next_touched = l->touched;
        l->touched = live;
    }
    if (api_answer_take(live->answer, ticket->prompt, &e->event, &live->out)) {
        ticket->ended = !api_answer_error(live->answer);
        engine_thread_abort(l->server->engine, ticket->id);
    }
}

static void end_stream(api_live *live) {
    api_answer_finish(live->answer, &live->out);
    http_stream_send(live->x, live->out.data, live->out.len);
    http_stream_end(live->x);
    live_free(live);
}

static void finish(api_live *live) {
    api_server *s = live->lane->server;
    const api_error *error = api_answer_error(live->answer);
    base_metric_add(s->metrics.dropped_calls, api_answer_get_numbers(live->answer).n_dropped_calls);
    if (live->call->stream) {
        end_stream(live);
    } else if (error) {
        fail(live, error);
    } else {
        api_answer_finish(live->answer, &live->out);
        api_respond_json(s, live->x, live->request_id, &live->out);
        live_free(live);
    }
}

static void flush(api_live *live) {
    live->touched = false;
    api_answer_flush(live->answer, &live->out);
    if (api_answer_done(live->answer)) {
        finish(live);
        return;
    }
    if (api_answer_error(live->answer))
        abort_tickets(live);
    if (live->out.len > 0)
        http_stream_send(live->x, live->out.data, live->out.len);
    base_str_clear(&live->out);
}

void api_serve_flush(api_lane *l) {
    while (l->touched) {
        api_live *live = l->touched;
        l->touched = live->next_touched;
        flush(live);
    }
}

// ---------------------------------------------------------------------------------------------
// The server stops

static void break_stream(api_live *live, const api_error *error) {
    abort_tickets(live);
    api_answer_fail(live->answer, error);
    end_stream(live);
}

void api_serve_end_all(api_lane *l) {
    api_error error;
    api_check_open(l->server, &error); // it is not
    while (l->lives) {
        api_live *live = l->lives;
        if (live->answer && live->call->stream)
            break_stream(live, &error);
        else
            fail(live, &error);
    }
}
