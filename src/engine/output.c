// Handles the result of a step: computed ids are cached, sampled ids appended, ends found, events
// written.
#include "engine/state.h"

// ---------------------------------------------------------------------------------------------
// Ends

static void count_finish(engine_stats *stats, engine_finish finish) {
    switch (finish) {
    case ENGINE_FINISH_STOP:
        stats->finished_stop++;
        return;
    case ENGINE_FINISH_LENGTH:
        stats->finished_length++;
        return;
    case ENGINE_FINISH_REPETITION:
        stats->finished_repetition++;
        return;
    case ENGINE_FINISH_ABORT:
        stats->finished_abort++;
        return;
    case ENGINE_FINISH_ERROR:
        stats->finished_error++;
        return;
    }
}

static const char nothing_left[] = "no token id can be sampled: all are masked or banned";

static void push_finish(engine *e, const engine_seq *s, engine_finish finish, int32_t stop_id,
                        const char *error) {
    const engine_request *r = s->request;
    engine_event *event = engine_events_push(&e->events);
    int64_t now = base_now_ns();
    int64_t admitted = s->admitted_ns ? s->admitted_ns : now;
    int64_t first_token = s->first_token_ns ? s->first_token_ns : now;
    event->request = r->id;
    event->choice = s->choice;
    event->kind = ENGINE_EVENT_FINISH;
    event->finish = finish;
    event->stop_id = stop_id;
    event->error = error;
    event->by_request = error == nothing_left;
    event->n_prompt = r->n_prompt;
    event->n_output = s->n_ids > 0 ? s->n_ids - r->n_prompt : 0;
    event->n_cached = r->n_cached > 0 ? r->n_cached : 0;
    event->miss = r->miss;
    event->miss_at = r->miss_at;
    event->queued_ns = admitted - r->submitted_ns;
    event->prefill_ns = first_token - admitted;
    event->decode_ns = now - first_token;
}

static void unlink_request(engine *e, engine_request *r) {
    engine_request **link = &e->buckets[r->id & (e->n_buckets - 1)];
    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    r->next = e->dead;
    e->dead = r;
}

void engine_seq_finish(engine *e, engine_seq *s, engine_finish finish, int32_t stop_id,
                       const char *error) {
    engine_request *r = s->request;
    if (s->state == ENGINE_SEQ_RUNNING)
        engine_running_remove(e, s);
    else if (s->state == ENGINE_SEQ_WAITING)
        engine_waiting_remove(e, s);
    s->state = ENGINE_SEQ_FINISHED;
    push_finish(e, s, finish, stop_id, error);
    count_finish(&e->stats, finish);
    e->n_live--;
    if (--r->n_live == 0)
        unlink_request(e, r);
}

void engine_request_finish(engine *e, engine_request *r, engine_finish finish, const char *error) {
    for (int i = 0; i < r->n_choices; i++)
        if (r->seqs[i].state != ENGINE_SEQ_FINISHED)
            engine_seq_finish(e, &r->seqs[i], finish, -1, error);
}

// ---------------------------------------------------------------------------------------------
// Outputs

static const char no_memory[] = "out of memory for log-probabilities";

// False when memory for the list is out; a client chose its length.
static bool fill_logprobs(engine_event *event, int n_logprobs,
                          const backend_output_result *result) {
    int n_top = base_min_int(n_logprobs, result->n_top);
    event->logprob = result->logprob;
    event->rank = result->rank;
    if (n_top == 0)
        return true;
    event->top = base_try_alloc((size_t)n_top * sizeof *event->top);
    if (!event->top)
        return false;
    event->n_top = n_top;
    for (int i = 0; i < n_top; i++)
        event->top[i] = (engine_logprob){result->top_ids[i], result->top_logprobs[i]};
    return true;
}

static bool push_id(engine *e, const engine_seq *s, engine_event_kind kind, int position,
                    int n_logprobs, const backend_output_result *result) {
    engine_event *event = engine_events_push(&e->events);
    event->request = s->request->id;
    event->choice = s->choice;
    event->kind = kind;
    event->id = result->id;
    event->position = position;
    return n_logprobs < 0 || fill_logprobs(event, n_logprobs, result);
}

static void take_id(engine *e, engine_seq *s, const backend_output_result *result) {
    const engine_request *r = s->request;
    int32_t id = result->id;
    bool may_end = engine_seq_append(s, id);
    if (s->first_token_ns == 0)
        s->first_token_ns = base_now_ns();
    e->stats.generation_tokens++;
    bool repeats = engine_seq_repeats(s);
    if (!push_id(e, s, ENGINE_EVENT_TOKEN, s->n_ids - 1, r->n_logprobs, result))
        engine_request_finish(e, s->request, ENGINE_FINISH_ERROR, no_memory);
    else if (may_end && engine_request_stops_at(r, &e->limits.options, id))
        engine_seq_finish(e, s, ENGINE_FINISH_STOP, id, NULL);
    else if (s->n_ids == r->max_ids)
        engine_seq_finish(e, s, ENGINE_FINISH_LENGTH, -1, NULL);
    else if (repeats)
        engine_seq_finish(e, s, ENGINE_FINISH_REPETITION, -1, NULL);
}

// From one due time to the next, so that steps which come late do not add up; but who is very late
// starts anew instead of hurrying.
static void hold(const engine *e, engine_seq *s, int64_t hold_ns) {
    static const int64_t catch_up_ns = 1000000000;
    bool in_time = s->due_ns > 0 && e->now_ns - s->due_ns < catch_up_ns;
    if (hold_ns > 0)
        s->due_ns = (in_time ? s->due_ns : e->now_ns) + hold_ns;
}

static void handle_sampled(engine *e, engine_seq *s, const backend_output_result *result) {
    if (result->status == BACKEND_OUTPUT_EMPTY) {
        engine_seq_finish(e, s, ENGINE_FINISH_ERROR, -1, nothing_left);
        return;
    }
    if (result->status == BACKEND_OUTPUT_END) {
        engine_seq_finish(e, s, ENGINE_FINISH_LENGTH, -1, NULL);
        return;
    }
    hold(e, s, result->hold_ns);
    s->sampling.n_later += 1;
    if (result->status == BACKEND_OUTPUT_LATER)
        return;
    s->sampling.n_later = 0;
    take_id(e, s, result);
    for (int i = 0; i < result->n_more && s->state == ENGINE_SEQ_RUNNING; i++)
        take_id(e, s, &result->more[i]);
}

static void handle_prompt_output(engine *e, engine_seq *s, const backend_output_result *result) {
    int position = s->owed++;
    if (!push_id(e, s, ENGINE_EVENT_PROMPT, position, s->request->n_prompt_logprobs, result))
        engine_request_finish(e, s->request, ENGINE_FINISH_ERROR, no_memory);
}

// Nobody knows where the bad numbers came from: a cached block may hold them, so the cache is
// emptied. Sequences that run go on and are judged by their own logits.
static void handle_nan(engine *e, engine_request *r) {
    e->stats.nan_guard++;
    engine_prefix_clear(&e->prefix);
    engine_request_finish(e, r, ENGINE_FINISH_ERROR,
                          "the model computed logits that are not finite");
}

// ---------------------------------------------------------------------------------------------
// The step's result

// Offers blocks that have become full to the prefix cache. Where equal content is cached already,
// that block takes the place of ours: so a cached block's parent is always in its holder's table.
static void cache_blocks(engine *e, engine_seq *s) {
    int size = e->limits.options.block_size;
    if (!e->limits.options.prefix_caching)
        return;
    for (; !s->unhashable && s->n_hashed < s->n_computed / size; s->n_hashed++) {
        int i = s->n_hashed;
        int32_t own = s->table[i];
        int32_t block =
            engine_prefix_add(&e->prefix, own, i > 0 ? s->table[i - 1] : ENGINE_NO_BLOCK,
                              &s->ids[(int64_t)i * size], s->request->salt);
        if (block == ENGINE_NO_BLOCK) {
            s->unhashable = true;
            return;
        }
        if (block == own)
            continue;
        engine_blocks_ref(&e->blocks, block);
        engine_blocks_unref(&e->blocks, own, false);
        s->table[i] = block;
    }
}

static void handle_seq(engine *e, engine_seq *s, int n_rows, const backend_output *outputs,
                       const backend_output_result *results, int n_outputs) {
    engine_request *r = s->request;
    for (int i = 0; i < n_outputs; i++)
        if (results[i].status == BACKEND_OUTPUT_NAN || (int64_t)e->stats.steps == e->nan_at_step) {
            handle_nan(e, r);
            return;
        }
    // Then the last row is planned, and counted, once more.
    bool later = n_outputs > 0 && results[n_outputs - 1].status == BACKEND_OUTPUT_LATER;
    e->stats.tokens_computed -= later;
    s->n_computed += n_rows - later;
    cache_blocks(e, s);
    if (!r->prompt_done && s->n_computed >= r->n_prompt) {
        r->prompt_done = true;
        e->stats.prompt_tokens += (uint64_t)r->n_prompt;
        engine_choice_start(e, r, 1);
    }
    for (int i = 0; i < n_outputs && s->state == ENGINE_SEQ_RUNNING; i++)
        if (outputs[i].sample)
            handle_sampled(e, s, &results[i]);
        else
            handle_prompt_output(e, s, &results[i]);
}

void engine_plan_handle(engine *e, const backend_result *result) {
    const backend_plan *p = &e->plan;
    e->stats.steps++;
    e->stats.tokens_computed += (uint64_t)p->n_rows;
    for (int i = 0, first = 0, end = 0; i < p->n_seqs; i++, first = end) {
        const backend_seq *rows = &p->seqs[i];
        while (end < p->n_outputs && p->outputs[end].row < rows->first_row + rows->n_rows)
            end++;
        // Not running any more: the request ended by an earlier sequence of this step.
        if (e->planned[i]->state == ENGINE_SEQ_RUNNING)
            handle_seq(e, e->planned[i], rows->n_rows, &p->outputs[first], &result->outputs[first],
                       end - first);
    }
    engine_bury_dead(e);
}
