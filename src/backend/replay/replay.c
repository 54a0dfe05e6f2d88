// Plays scripts instead of a model.
//
// Nothing is known of sequences: an output says by the length of its history which id comes, and by
// n_later whether the time before the first one is over. A chunk's ids come with the hold that ends
// when the next chunk is due.
#include "backend/internal.h"
#include <stdlib.h>

static const int64_t MAX_NS = 1000000000000000;

typedef struct script {
    backend_output_result *ids; // [n_ids] each as a result: made once, for all who play it
    int n_ids;
    int *ends;           // [n_ends] of the chunks that are listed
    int n_ends, further; // how many ids those beyond have
    int64_t prefill_ns, step_ns;
} script;

typedef struct replay {
    backend base;
    script *scripts; // [n_scripts]
    int n_scripts;
    const backend_plan *plan;
    backend_output_result *results; // [max_outputs]
} replay;

// ---------------------------------------------------------------------------------------------
// Playing

// Certain, and so the only one among the most likely: all others have no probability at all.
static backend_output_result sure(int32_t id) {
    return (backend_output_result){.status = BACKEND_OUTPUT_OK, .id = id, .rank = 1, .n_top = 1};
}

// To be called where the result stays.
static void point_top(backend_output_result *r) {
    r->top_ids = &r->id;
    r->top_logprobs = &r->logprob;
}

// The end of the chunk that id `i` is in.
static int chunk_end(const script *s, int i) {
    int low = 0, high = s->n_ends;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (s->ends[middle] > i)
            high = middle;
        else
            low = middle + 1;
    }
    if (low < s->n_ends)
        return s->ends[low];
    int begin = s->n_ends > 0 ? s->ends[s->n_ends - 1] : 0;
    int64_t end = begin + ((int64_t)(i - begin) / s->further + 1) * s->further;
    return end < s->n_ids ? (int)end : s->n_ids;
}

static backend_output_result play(const replay *p, const backend_sampling *sampling) {
    if (sampling->script < 0 || sampling->script >= p->n_scripts) {
        base_error("a sequence plays script %d of %d", sampling->script, p->n_scripts);
        abort();
    }
    const script *s = &p->scripts[sampling->script];
    int i = sampling->n_history - sampling->n_prompt;
    int64_t before_first = s->step_ns + (sampling->choice == 0 ? s->prefill_ns : 0);
    if (i == 0 && sampling->n_later == 0 && before_first > 0)
        return (backend_output_result){.status = BACKEND_OUTPUT_LATER, .hold_ns = before_first};
    if (i >= s->n_ids)
        return (backend_output_result){.status = BACKEND_OUTPUT_END};
    int end = chunk_end(s, i);
    backend_output_result r = s->ids[i];
    r.n_more = end - i - 1;
    r.more = s->ids + i + 1;
    r.hold_ns = end < s->n_ids ? s->step_ns : 0;
    return r;
}

static void replay_submit(backend *b, const backend_plan *plan) {
    ((replay *)b)->plan = plan;
}

static void replay_wait(backend *b, backend_result *result) {
    replay *p = (replay *)b;
    for (int i = 0; i < p->plan->n_outputs; i++) {
        const backend_output *o = &p->plan->outputs[i];
        p->results[i] = o->sample ? play(p, o->sample) : sure(o->target);
        point_top(&p->results[i]);
        if (o->n_logprobs <= 0)
            p->results[i].n_top = 0;
    }
    *result = (backend_result){p->plan->n_outputs, p->results};
}

static void replay_get_stats(const backend *b, backend_stats *out) {
    (void)b;
    *out = (backend_stats){0};
}

static const char *replay_describe(const backend *b) {
    (void)b;
    return "replay";
}

// ---------------------------------------------------------------------------------------------
// Opening

static void replay_close(backend *b) {
    replay *p = (replay *)b;
    for (int i = 0; i < p->n_scripts; i++) {
        base_free(p->scripts[i].ids);
        base_free(p->scripts[i].ends);
    }
    base_free(p->scripts);
    base_free(p->results);
    base_free(p);
}

static int check_time(int64_t ns, int index, const char *name, base_err *err) {
    if (ns >= 0 && ns <= MAX_NS)
        return 0;
    return base_fail(err, BASE_ERR_USAGE, "script %d: %s: %lld is not in [0, %lld]", index, name,
                     (long long)ns, (long long)MAX_NS);
}

static int check_script(const backend_script *s, int index, int vocab_size, base_err *err) {
    if (s->n_ids < 0 || s->n_chunks < 0)
        return base_fail(err, BASE_ERR_USAGE, "script %d: %d ids, %d chunks", index, s->n_ids,
                         s->n_chunks);
    for (int i = 0; i < s->n_ids; i++)
        if (s->ids[i] < 0 || s->ids[i] >= vocab_size)
            return base_fail(err, BASE_ERR_USAGE, "script %d: token id %d is not in [0, %d)", index,
                             s->ids[i], vocab_size);
    for (int i = 0; i < s->n_chunks; i++)
        if (s->chunks[i] < 1)
            return base_fail(err, BASE_ERR_USAGE, "script %d: a chunk of %d ids", index,
                             s->chunks[i]);
    int rc = check_time(s->prefill_ns, index, "prefill_ns", err);
    return rc != 0 ? rc : check_time(s->step_ns, index, "step_ns", err);
}

static void copy_script(script *out, const backend_script *s) {
    *out = (script){.n_ids = s->n_ids,
                    .further = s->n_chunks > 0 ? s->chunks[s->n_chunks - 1] : 1,
                    .prefill_ns = s->prefill_ns,
                    .step_ns = s->step_ns};
    out->ids = base_calloc((size_t)s->n_ids + 1, sizeof *out->ids);
    for (int i = 0; i < s->n_ids; i++) {
        out->ids[i] = sure(s->ids[i]);
        point_top(&out->ids[i]);
    }
    out->ends = base_calloc((size_t)s->n_chunks + 1, sizeof *out->ends);
    for (int end = 0; out->n_ends < s->n_chunks && end < s->n_ids; out->n_ends++) {
        int chunk = s->chunks[out->n_ends];
        end = chunk < s->n_ids - end ? end + chunk : s->n_ids;
        out->ends[out->n_ends] = end;
    }
}

int backend_replay_open(backend **out, const backend_script *scripts, int n_scripts,
                        const model_config *config, const backend_options *options, base_err *err) {
    static const backend_ops ops = {.close = replay_close,
                                    .submit = replay_submit,
                                    .wait = replay_wait,
                                    .get_stats = replay_get_stats,
                                    .describe = replay_describe};
    for (int i = 0; i < n_scripts; i++) {
        int rc = check_script(&scripts[i], i, config->vocab_size, err);
        if (rc != 0)
            return rc;
    }
    replay *p = base_calloc(1, sizeof *p);
    p->base.ops = &ops;
    p->n_scripts = n_scripts;
    p->scripts = base_calloc((size_t)n_scripts + 1, sizeof *p->scripts);
    for (int i = 0; i < n_scripts; i++)
        copy_script(&p->scripts[i], &scripts[i]);
    p->results = base_calloc((size_t)options->max_outputs, sizeof *p->results);
    *out = &p->base;
    return 0;
}
