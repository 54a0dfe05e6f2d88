#include "measure/offline.h"

typedef struct run {
    const measure_offline_options *o;
    const measure_offline_request *requests;
    int n;
    int next; // not yet submitted
    int alive, done;
    int *choices_left;       // [n] of each request
    token_decoder *decoders; // [n * choices]; NULL: ids are enough
    base_str text;           // scratch
    base_ids ids;
    measure_offline_result *out;
} run;

static void set_params(engine_params *p, const run *r, int i) {
    engine_params_init(p);
    p->n = r->o->n;
    p->max_tokens = r->requests[i].output_len;
    p->ignore_eos = true;
    p->has_seed = true;
    p->seed = r->o->seed + (uint64_t)i;
}

// Hands over requests until the engine has enough of them.
static int submit_some(run *r, base_err *err) {
    while (r->next < r->n) {
        const measure_offline_request *request = &r->requests[r->next];
        const int32_t *ids = request->ids;
        int n_ids = request->n_ids;
        if (request->text != NULL) {
            r->ids.len = 0;
            token_encode(r->o->vocab, request->text, request->text_bytes, TOKEN_ALLOW_SPECIAL,
                         &r->ids);
            ids = r->ids.data;
            n_ids = (int)r->ids.len;
        }
        engine_params params;
        set_params(&params, r, r->next);
        engine_submit_status status =
            engine_submit(r->o->engine, (uint64_t)r->next, ids, n_ids, &params, err);
        if (status == ENGINE_BUSY && r->alive > 0)
            return 0;
        if (status != ENGINE_ACCEPTED)
            return base_fail_prefix(err, "request %d of %d tokens", r->next, n_ids);
        r->out->prompt_tokens += n_ids;
        r->choices_left[r->next++] = r->o->n;
        r->alive++;
    }
    return 0;
}

static int take_event(run *r, const engine_event *e, base_err *err) {
    if (e->kind == ENGINE_EVENT_TOKEN) {
        r->out->output_tokens++;
        if (r->decoders != NULL) {
            base_str_clear(&r->text);
            token_decode(&r->decoders[e->request * (uint64_t)r->o->n + (uint64_t)e->choice],
                         r->o->vocab, e->id, true, &r->text);
        }
    }
    if (e->kind != ENGINE_EVENT_FINISH)
        return 0;
    if (e->finish == ENGINE_FINISH_ERROR)
        return base_fail(err, BASE_ERR_RANK, "request %llu: %s", (unsigned long long)e->request,
                         e->error);
    if (--r->choices_left[e->request] == 0) {
        r->alive--;
        r->done++;
        if (r->o->on_done != NULL && !r->out->stopped)
            r->o->on_done(r->o->arg, r->done);
    }
    return 0;
}

static void abort_all(run *r) {
    for (int i = 0; i < r->next; i++) {
        if (r->choices_left[i] > 0)
            engine_abort(r->o->engine, (uint64_t)i);
    }
    r->next = r->n;
}

// After an error the engine is emptied too, so that the caller can go on with it.
static int step_all(run *r, base_err *err) {
    int rc = 0;
    bool aborted = false;
    while (r->alive > 0 || r->next < r->n) {
        bool stop = r->o->stop != NULL && *r->o->stop;
        if (rc == 0 && !stop)
            rc = submit_some(r, err);
        if ((rc != 0 || stop) && !aborted) {
            r->out->stopped = stop;
            abort_all(r);
            aborted = true;
        }
        engine_step(r->o->engine);
        for (engine_event e; engine_next_event(r->o->engine, &e);) {
            int event_rc = take_event(r, &e, rc == 0 ? err : NULL);
            engine_event_free(&e);
            if (event_rc != 0) {
                rc = event_rc;
                r->alive -= --r->choices_left[e.request] == 0;
            }
        }
    }
    return rc;
}

int measure_offline_run(measure_offline_result *out, const measure_offline_request *requests, int n,
                        const measure_offline_options *options, base_err *err) {
    *out = (measure_offline_result){0};
    const size_t choices = (size_t)n * (size_t)options->n;
    run r = {.o = options, .requests = requests, .n = n, .out = out};
    r.choices_left = base_try_calloc((size_t)n + 1, sizeof *r.choices_left);
    if (options->detokenize)
        r.decoders = base_try_calloc(choices + 1, sizeof *r.decoders);
    int rc = 0;
    if (r.choices_left == NULL || (options->detokenize && r.decoders == NULL)) {
        rc = base_fail(err, BASE_ERR_RESOURCE, "out of memory for %d requests", n);
    } else {
        backend_stats before, after;
        backend_get_stats(options->backend, &before);
        const double start = base_now_s();
        rc = step_all(&r, err);
        out->seconds = base_now_s() - start;
        backend_get_stats(options->backend, &after);
        out->weight_bytes = after.weight_bytes_read - before.weight_bytes_read;
        out->step_seconds = after.seconds - before.seconds;
    }
    base_free(r.choices_left);
    base_free(r.decoders);
    base_str_free(&r.text);
    base_ids_free(&r.ids);
    return rc;
}
