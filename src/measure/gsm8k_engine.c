// An engine of this process is asked: ids in, text out, the scheduler makes the batches.
#include "measure/gsm8k_task.h"
#include <string.h>

typedef struct reading {
    int sample; // -1: free; its request's id is one more
    token_decoder decoder;
    token_stop *stop;
    base_str text;
    bool stopped; // by a stop string
} reading;

typedef struct running {
    measure_gsm8k *e;
    const measure_gsm8k_engine *where;
    reading *readers; // [n_readers]
    int n_readers, n_used;
    int next;       // of e->order
    int *reader_of; // [e->n] a sample's reader
} running;

// ---------------------------------------------------------------------------------------------
// Requests

static token_stop *make_stop(void) {
    size_t lens[GSM8K_STOPS];
    for (int i = 0; i < GSM8K_STOPS; i++)
        lens[i] = strlen(gsm8k_stops[i]);
    return token_stop_create(gsm8k_stops, lens, GSM8K_STOPS, false);
}

static void free_reader(running *r, reading *reader) {
    token_stop_free(reader->stop);
    base_str_free(&reader->text);
    *reader = (reading){.sample = -1};
    r->n_used--;
}

static void submit(running *r, int index, int sample) {
    gsm8k_sample *s = &r->e->samples[sample];
    engine_params params;
    engine_params_init(&params);
    params.max_tokens = r->e->options.max_tokens;
    params.temperature = 0.0f;
    params.has_seed = true;
    params.seed = r->e->options.seed;
    base_ids prompt = {0};
    token_encode(r->where->vocab, s->prompt.data, s->prompt.len, TOKEN_ALLOW_SPECIAL, &prompt);
    base_err err = {0};
    s->tries++;
    if (engine_submit(r->where->engine, (uint64_t)sample + 1, prompt.data, (int)prompt.len, &params,
                      &err) == ENGINE_ACCEPTED) {
        r->readers[index] = (reading){.sample = sample, .stop = make_stop()};
        r->reader_of[sample] = index;
        r->n_used++;
    } else {
        gsm8k_fail(r->e, sample, err.message);
    }
    base_ids_free(&prompt);
}

static void fill_readers(running *r) {
    for (int i = 0; i < r->n_readers; i++) {
        while (r->readers[i].sample < 0 && r->next < r->e->n && !gsm8k_interrupted(r->e))
            submit(r, i, r->e->order[r->next++]);
    }
}

// ---------------------------------------------------------------------------------------------
// Events

static bool ends_answer(const running *r, int32_t id) {
    for (int i = 0; i < r->where->n_eos; i++) {
        if (r->where->eos_ids[i] == id)
            return true;
    }
    return false;
}

static void add_text(reading *reader, const base_str *piece) {
    if (piece->len > 0)
        reader->stopped =
            token_stop_push(reader->stop, piece->data, piece->len, &reader->text) >= 0;
}

static void take_token(running *r, reading *reader, int32_t id) {
    if (reader->stopped || ends_answer(r, id))
        return;
    base_str piece = {0};
    token_decode(&reader->decoder, r->where->vocab, id, true, &piece);
    add_text(reader, &piece);
    if (reader->stopped)
        engine_abort(r->where->engine, (uint64_t)reader->sample + 1);
    base_str_free(&piece);
}

static void take_finish(running *r, reading *reader, const engine_event *event) {
    if (!reader->stopped) {
        base_str piece = {0};
        token_decode_end(&reader->decoder, &piece);
        add_text(reader, &piece);
        if (!reader->stopped)
            token_stop_end(reader->stop, &reader->text);
        base_str_free(&piece);
    }
    bool failed = event->finish == ENGINE_FINISH_ERROR && !reader->stopped;
    if (failed)
        gsm8k_fail(r->e, reader->sample, event->error != NULL ? event->error : "the model failed");
    else if (event->finish != ENGINE_FINISH_ABORT || reader->stopped)
        gsm8k_answer(r->e, reader->sample, reader->text.len > 0 ? reader->text.data : "",
                     reader->text.len);
    free_reader(r, reader);
}

static void take_event(running *r, engine_event *event) {
    reading *reader = &r->readers[r->reader_of[event->request - 1]];
    if (event->kind == ENGINE_EVENT_TOKEN)
        take_token(r, reader, event->id);
    else if (event->kind == ENGINE_EVENT_FINISH)
        take_finish(r, reader, event);
    engine_event_free(event);
}

static void abort_all(running *r) {
    for (int i = 0; i < r->n_readers; i++) {
        if (r->readers[i].sample >= 0)
            engine_abort(r->where->engine, (uint64_t)r->readers[i].sample + 1);
    }
}

void measure_gsm8k_ask_engine(measure_gsm8k *e, const measure_gsm8k_engine *where) {
    running r = {.e = e, .where = where, .n_readers = e->options.concurrent};
    r.readers = base_calloc((size_t)r.n_readers, sizeof *r.readers);
    r.reader_of = base_calloc((size_t)e->n, sizeof *r.reader_of);
    for (int i = 0; i < r.n_readers; i++)
        r.readers[i].sample = -1;
    gsm8k_begin(e, "Generating");
    fill_readers(&r);
    for (bool aborted = false; r.n_used > 0;) {
        if (gsm8k_interrupted(e) && !aborted) {
            abort_all(&r);
            aborted = true;
        }
        engine_step(where->engine);
        for (engine_event event; engine_next_event(where->engine, &event);)
            take_event(&r, &event);
        fill_readers(&r);
    }
    gsm8k_end(e);
    base_free(r.readers);
    base_free(r.reader_of);
}
