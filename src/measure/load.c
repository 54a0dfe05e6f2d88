#include "measure/load.h"
#include "measure/random.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// Arrivals

double measure_arrivals_rate(const measure_arrivals *a, int i, int n) {
    double progress = (double)i / base_max_int(n - 1, 1);
    switch (a->ramp) {
    case MEASURE_LINEAR:
        return a->ramp_start + (a->ramp_end - a->ramp_start) * progress;
    case MEASURE_EXPONENTIAL:
        return a->ramp_start * pow(a->ramp_end / a->ramp_start, progress);
    case MEASURE_STEADY:
        break;
    }
    return a->rate;
}

void measure_arrivals_draw(const measure_arrivals *a, int n, double *due) {
    measure_mt mt;
    measure_mt_seed_numpy(&mt, a->seed);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double rate = measure_arrivals_rate(a, i, n);
        if (isinf(rate))
            sum += 0;
        else if (isinf(a->burstiness))
            sum += 1.0 / rate;
        else
            sum += measure_mt_gamma(&mt, a->burstiness, 1.0 / (rate * a->burstiness));
        due[i] = sum;
    }
    // A drawn total is a few per cent off, and differently with each seed.
    if (a->ramp == MEASURE_STEADY && n > 0 && sum != 0) {
        double factor = n / a->rate / sum;
        for (int i = 0; i < n; i++)
            due[i] *= factor;
    }
}

// ---------------------------------------------------------------------------------------------
// Bodies

static void add_prompt(base_str *out, const measure_sample *sample, measure_api api) {
    if (sample->is_messages) {
        base_str_adds(out, ", \"messages\": ");
        base_str_add(out, sample->prompt, sample->prompt_bytes);
        if (sample->tools != NULL)
            base_str_printf(out, ", \"tools\": %s", sample->tools);
    } else if (api == MEASURE_CHAT) {
        base_str_adds(out, ", \"messages\": [{\"role\": \"user\", \"content\": "
                           "[{\"type\": \"text\", \"text\": ");
        base_json_add_string(out, sample->prompt, sample->prompt_bytes);
        base_str_adds(out, "}]}]");
    } else {
        base_str_adds(out, ", \"prompt\": ");
        base_json_add_string(out, sample->prompt, sample->prompt_bytes);
    }
}

static void add_member(base_str *out, const json_t *extra, const char *key, const char *value) {
    if (json_object_get(extra, key) == NULL)
        base_str_printf(out, ", \"%s\": %s", key, value);
}

void measure_body_make(base_str *out, const measure_sample *sample, const measure_load_options *o) {
    char number[24];
    base_str_adds(out, "{\"model\": ");
    base_json_add_string(out, o->model, strlen(o->model));
    add_prompt(out, sample, o->api);
    snprintf(number, sizeof number, "%d", sample->output_len);
    if (o->api == MEASURE_CHAT) {
        add_member(out, o->extra, "max_completion_tokens", number);
    } else {
        add_member(out, o->extra, "repetition_penalty", "1.0");
        add_member(out, o->extra, "max_tokens", number);
        snprintf(number, sizeof number, "%d", o->logprobs);
        add_member(out, o->extra, "logprobs", o->logprobs >= 0 ? number : "null");
    }
    add_member(out, o->extra, "stream", "true");
    add_member(out, o->extra, "stream_options", "{\"include_usage\": true}");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)o->extra, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        base_str_adds(out, ", ");
        base_json_add_string(out, key, strlen(key));
        base_str_printf(out, ": %s", text != NULL ? text : "null");
        free(text);
    }
    base_str_adds(out, "}");
}

// ---------------------------------------------------------------------------------------------
// The run

typedef struct load load;

typedef struct one {
    load *l;
    measure_stream stream;
    int next_turn;   // the sample that waits for this one; -1: none
    bool waits_turn; // for the turn before
    int next;        // in the queue; -1: the last
} one;

struct load {
    measure_client *client;
    const measure_samples *samples;
    const measure_load_options *o;
    measure_reply *replies;
    one *ones;             // [n]
    int n_due;             // whose time has come
    int queue, queue_last; // due and waiting for room; -1: none
    int running, done, most;
    base_str body, id;
};

static bool interrupted(const load *l) {
    return l->o->interrupted != NULL && *l->o->interrupted;
}

static void take_data(void *arg, const char *data, size_t len, int64_t at_ns) {
    one *r = arg;
    measure_stream_push(&r->stream, data, len, at_ns);
}

static void start_queued(load *l);

static void enqueue(load *l, int i) {
    l->ones[i].next = -1;
    if (l->queue < 0)
        l->queue = i;
    else
        l->ones[l->queue_last].next = i;
    l->queue_last = i;
}

static void take_end(void *arg, const measure_end *end) {
    one *r = arg;
    load *l = r->l;
    measure_reply *reply = r->stream.reply;
    measure_stream_end(&r->stream, end);
    if (!l->o->keep_texts && reply->output_tokens > 0)
        base_str_free(&reply->text);
    l->running--;
    l->done++;
    if (r->next_turn >= 0) {
        l->ones[r->next_turn].waits_turn = false;
        if (r->next_turn < l->n_due)
            enqueue(l, r->next_turn);
    }
    start_queued(l);
    if (l->o->progress != NULL)
        l->o->progress(l->o->progress_arg, l->done);
}

static void start(load *l, int i) {
    one *r = &l->ones[i];
    base_str_clear(&l->body);
    measure_body_make(&l->body, &l->samples->at[i], l->o);
    base_str_clear(&l->id);
    base_str_printf(&l->id, "%s%d", l->o->id_prefix, i);
    r->stream = (measure_stream){.reply = &l->replies[i], .compat_2025 = l->o->compat_2025};
    l->running++;
    const measure_request request = {
        .path = l->o->endpoint,
        .body = l->body.data,
        .len = l->body.len,
        .request_id = l->id.data,
        .on_data = take_data,
        .on_end = take_end,
        .arg = r,
    };
    l->replies[i].start_ns = base_now_ns();
    measure_client_start(l->client, &request);
}

static void start_queued(load *l) {
    while (l->queue >= 0 && l->running < l->most && !interrupted(l)) {
        int i = l->queue;
        l->queue = l->ones[i].next;
        start(l, i);
    }
}

// Samples of one conversation are found by its number, in their order.
static void link_turns(load *l) {
    const measure_samples *s = l->samples;
    int n_conversations = 0;
    for (int i = 0; i < s->n; i++)
        n_conversations = base_max_int(n_conversations, s->at[i].conversation + 1);
    int *last = base_alloc((size_t)(n_conversations + 1) * sizeof *last);
    for (int i = 0; i < n_conversations; i++)
        last[i] = -1;
    for (int i = 0; i < s->n; i++) {
        int c = s->at[i].conversation;
        l->ones[i] = (one){.l = l, .next_turn = -1, .next = -1};
        if (c < 0)
            continue;
        if (last[c] >= 0) {
            l->ones[last[c]].next_turn = i;
            l->ones[i].waits_turn = true;
        }
        last[c] = i;
    }
    base_free(last);
}

// What is due goes out one by one, each at once: what the later ones cost is not in the times of
// the earlier ones.
static void send_due(load *l, const double *due, int64_t start_ns) {
    while (l->n_due < l->samples->n && !interrupted(l)) {
        int i = l->n_due;
        int64_t due_ns = start_ns + (int64_t)(due[i] * 1e9);
        if (due_ns > base_now_ns())
            return;
        l->replies[i].due_ns = due_ns;
        l->n_due++;
        if (l->ones[i].waits_turn)
            continue;
        enqueue(l, i);
        start_queued(l);
        measure_client_run(l->client, base_now_ns());
    }
}

enum { BEAT_NS = 10000000 };

// Works until the next request is due or the next beat.
static void work(load *l, int64_t next_due_ns, measure_lateness *late) {
    int64_t beat_ns = base_now_ns() + BEAT_NS;
    bool due_first = next_due_ns != 0 && next_due_ns < beat_ns;
    measure_client_run(l->client, due_first ? next_due_ns : beat_ns);
    double ms = (double)(base_now_ns() - beat_ns) * 1e-6;
    if (due_first || ms < 0) // the latter: a signal
        return;
    late->mean_ms += (ms - late->mean_ms) / ++late->n;
    late->most_ms = ms > late->most_ms ? ms : late->most_ms;
}

double measure_load_run(measure_client *client, const measure_samples *samples,
                        const measure_load_options *options, measure_reply *replies) {
    int n = samples->n;
    load l = {.client = client,
              .samples = samples,
              .o = options,
              .replies = replies,
              .queue = -1,
              .most = options->max_concurrency > 0 ? options->max_concurrency : n};
    l.ones = base_calloc((size_t)n + 1, sizeof *l.ones);
    double *due = base_calloc((size_t)n + 1, sizeof *due);
    for (int i = 0; i < n; i++)
        replies[i] = (measure_reply){.prompt_tokens = -1, .output_tokens = -1};
    measure_lateness late = {0};
    link_turns(&l);
    measure_arrivals_draw(&options->arrivals, n, due);
    int64_t start_ns = base_now_ns();
    while (l.done < n && !interrupted(&l)) {
        send_due(&l, due, start_ns);
        int64_t next = l.n_due < n ? start_ns + (int64_t)(due[l.n_due] * 1e9) : 0;
        if (l.done < n && !interrupted(&l))
            work(&l, next, &late);
    }
    if (options->late != NULL)
        *options->late = late;
    double seconds = (double)(base_now_ns() - start_ns) * 1e-9;
    for (int i = 0; i < n; i++)
        measure_stream_drop(&l.ones[i].stream); // what an interrupt left
    base_str_free(&l.body);
    base_str_free(&l.id);
    base_free(due);
    base_free(l.ones);
    return seconds;
}
