// A server is asked, as lm-eval's local-completions asks: no stream, several questions at once, and
// again after a second where that failed.
#include "measure/gsm8k_task.h"
#include <stdio.h>
#include <string.h>

enum { MAX_TRIES = 3, MAX_REPLY_BYTES = 16 << 20, LEAST_FAILED_IN_ROW = 8 };
static const int64_t wait_ns = 1000000000; // lm-eval's waits grow from there only after three tries

typedef struct asking asking;

// The body of a reply, as it comes.
typedef struct body {
    base_str bytes;
    bool too_long;
} body;

// One request, of at most `concurrent` at a time.
typedef struct slot {
    asking *a;
    int sample; // -1: free
    body reply;
} slot;

// A question that is to be asked again.
typedef struct again {
    int sample;
    int64_t due_ns;
} again;

struct asking {
    measure_gsm8k *e;
    measure_client *client;
    char *model;
    slot *slots; // [n_slots]
    int n_slots, n_used;
    int next;     // of e->order
    again *again; // [n_again], a queue from first_again on: all wait equally long
    int first_again, n_again;
    int tries_in_row, failed_in_row; // without an answer between them: tries, and questions
};

// ---------------------------------------------------------------------------------------------
// Requests

// The fields in lm-eval's order.
static void write_request(const asking *a, const gsm8k_sample *s, base_str *out) {
    const measure_gsm8k_options *o = &a->e->options;
    base_str_adds(out, "{\"prompt\": ");
    base_json_add_string(out, s->prompt.data, s->prompt.len);
    base_str_adds(out, ", \"model\": ");
    base_json_add_string(out, a->model, strlen(a->model));
    base_str_printf(out, ", \"max_tokens\": %d, \"temperature\": 0.0, \"stop\": [", o->max_tokens);
    for (int i = 0; i < GSM8K_STOPS; i++) {
        base_str_adds(out, i > 0 ? ", " : "");
        base_json_add_string(out, gsm8k_stops[i], strlen(gsm8k_stops[i]));
    }
    base_str_printf(out, "], \"seed\": %llu}", (unsigned long long)o->seed);
}

static void add_bytes(body *b, const char *data, size_t len) {
    b->too_long = b->too_long || len > MAX_REPLY_BYTES - b->bytes.len;
    if (!b->too_long)
        base_str_add(&b->bytes, data, len);
}

static void take_reply(void *arg, const char *data, size_t len, int64_t at_ns) {
    (void)at_ns;
    slot *s = arg;
    add_bytes(&s->reply, data, len);
}

static void take_end(void *arg, const measure_end *end);

static void ask(asking *a, slot *s, int sample) {
    gsm8k_sample *asked = &a->e->samples[sample];
    base_str text = {0};
    write_request(a, asked, &text);
    s->sample = sample;
    a->n_used++;
    asked->tries++;
    measure_client_start(a->client, &(measure_request){.path = "/v1/completions",
                                                       .body = text.data,
                                                       .len = text.len,
                                                       .on_data = take_reply,
                                                       .on_end = take_end,
                                                       .arg = s});
    base_str_free(&text);
}

static int most_in_row(const asking *a) {
    return a->n_slots > LEAST_FAILED_IN_ROW ? a->n_slots : LEAST_FAILED_IN_ROW;
}

static bool given_up(const asking *a) {
    return a->failed_in_row >= most_in_row(a);
}

// A server that seems to be away is asked nothing new, until it is clear whether it comes back.
static bool holds_back(const asking *a) {
    return a->tries_in_row >= most_in_row(a) && (a->n_used > 0 || a->first_again < a->n_again);
}

// The next question to ask; -1: none at the moment.
static int take_next(asking *a) {
    if (given_up(a) || gsm8k_interrupted(a->e))
        return -1;
    if (a->first_again < a->n_again && a->again[a->first_again].due_ns <= base_now_ns())
        return a->again[a->first_again++].sample;
    return a->next < a->e->n && !holds_back(a) ? a->e->order[a->next++] : -1;
}

static void fill_slots(asking *a) {
    for (int i = 0, sample; i < a->n_slots && a->n_used < a->n_slots; i++) {
        if (a->slots[i].sample >= 0)
            continue;
        if ((sample = take_next(a)) < 0)
            return;
        ask(a, &a->slots[i], sample);
    }
}

// ---------------------------------------------------------------------------------------------
// Replies

// The parsed body. Unlike elsewhere a NUL in a string is fine: a model may well write one.
static json_t *parse_body(const body *b) {
    return b->bytes.len > 0
               ? json_loadb(b->bytes.data, b->bytes.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL)
               : NULL;
}

// The message of OpenAI's error object, or of others'.
static void describe_status(const body *b, int status, base_str *out) {
    json_t *reply = parse_body(b);
    const json_t *error = json_object_get(reply, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    if (message == NULL)
        message = json_string_value(json_object_get(reply, "message"));
    base_str_printf(out, "HTTP %d%s%.300s", status, message != NULL ? ": " : "",
                    message != NULL ? message : "");
    json_decref(reply);
}

// choices[].text of index 0, as lm-eval reads it; NULL: the reply has none, and `why` says what is
// wrong. Borrowed from `reply`.
static const json_t *find_text(const json_t *reply, const char **why) {
    const json_t *choices = json_object_get(reply, "choices"), *choice, *text = NULL;
    size_t i;
    json_array_foreach(choices, i, choice) {
        const json_t *index = json_object_get(choice, "index");
        if (json_is_integer(index) && json_integer_value(index) == 0)
            text = json_object_get(choice, "text");
    }
    if (reply == NULL)
        *why = "the reply is no JSON";
    else if (text == NULL)
        *why = "the reply has no choices[0].text";
    else if (!json_is_string(text) && !json_is_null(text))
        *why = "choices[0].text is no string";
    else
        return text;
    return NULL;
}

// False: the reply is none, and `why` says so.
static bool read_reply(asking *a, const slot *s, const measure_end *end, base_str *why) {
    const char *wrong = NULL;
    if (s->reply.too_long)
        wrong = "the reply is longer than 16 MiB";
    else if (end->status == 0 || end->error[0] != '\0')
        wrong = end->error[0] != '\0' ? end->error : "no reply";
    else if (end->status < 200 || end->status > 299)
        describe_status(&s->reply, end->status, why);
    if (wrong == NULL && why->len == 0) {
        json_t *reply = parse_body(&s->reply);
        const json_t *text = find_text(reply, &wrong);
        if (text != NULL && json_is_string(text))
            gsm8k_answer(a->e, s->sample, json_string_value(text), json_string_length(text));
        else if (text != NULL)
            gsm8k_answer(a->e, s->sample, MEASURE_GSM8K_NO_ANSWER, strlen(MEASURE_GSM8K_NO_ANSWER));
        json_decref(reply);
    }
    if (wrong != NULL)
        base_str_adds(why, wrong);
    return why->len == 0;
}

static void take_failure(asking *a, int i, const char *why) {
    gsm8k_sample *s = &a->e->samples[i];
    a->tries_in_row++;
    if (s->tries >= MAX_TRIES) {
        gsm8k_fail(a->e, i, why);
        a->failed_in_row++;
        return;
    }
    base_free(s->error);
    s->error = base_strdup(why);
    a->again[a->n_again++] = (again){i, base_now_ns() + wait_ns};
}

static void take_end(void *arg, const measure_end *end) {
    slot *s = arg;
    asking *a = s->a;
    base_str why = {0};
    if (read_reply(a, s, end, &why))
        a->tries_in_row = a->failed_in_row = 0;
    else
        take_failure(a, s->sample, why.data);
    base_str_free(&why);
    base_str_clear(&s->reply.bytes);
    s->reply.too_long = false;
    s->sample = -1;
    a->n_used--;
    fill_slots(a);
}

// ---------------------------------------------------------------------------------------------
// The model's name

typedef struct first_model {
    body reply;
    bool done;
    int status;
    char error[200];
} first_model;

static void take_models(void *arg, const char *data, size_t len, int64_t at_ns) {
    (void)at_ns;
    first_model *m = arg;
    add_bytes(&m->reply, data, len);
}

static void take_models_end(void *arg, const measure_end *end) {
    first_model *m = arg;
    m->done = true;
    m->status = end->status;
    snprintf(m->error, sizeof m->error, "%s", end->error);
}

// GET /v1/models: data[0].id. The caller frees it; NULL with `err` filled.
static char *ask_first_model(const asking *a, const char *url, base_err *err) {
    first_model m = {0};
    measure_client_start(a->client, &(measure_request){.path = "/v1/models",
                                                       .on_data = take_models,
                                                       .on_end = take_models_end,
                                                       .arg = &m});
    while (!m.done && !gsm8k_interrupted(a->e))
        measure_client_run(a->client, 0);
    json_t *reply = parse_body(&m.reply);
    const json_t *first = json_array_get(json_object_get(reply, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    char *name = m.status == 200 && id != NULL ? base_strdup(id) : NULL;
    if (name == NULL && m.error[0] != '\0')
        base_fail(err, BASE_ERR_RESOURCE, "%s: %s", url, m.error);
    else if (name == NULL)
        base_fail(err, BASE_ERR_RESOURCE, "%s: /v1/models names no model (HTTP %d)", url, m.status);
    json_decref(reply);
    base_str_free(&m.reply.bytes);
    return name;
}

// ---------------------------------------------------------------------------------------------

// The rest has failed: it was not asked, or not again.
static void fail_the_rest(asking *a) {
    char why[160];
    snprintf(why, sizeof why, "not asked, as %d questions before it failed one after the other",
             a->failed_in_row);
    for (int i = 0; i < a->e->n; i++) {
        const gsm8k_sample *s = &a->e->samples[i];
        if (s->state == GSM8K_OPEN)
            gsm8k_fail(a->e, i, s->error != NULL ? s->error : why);
    }
}

static void ask_all(asking *a) {
    measure_gsm8k *e = a->e;
    gsm8k_begin(e, "Requesting API");
    while (!gsm8k_interrupted(e) && e->n_answered + e->n_failed < e->n) {
        fill_slots(a);
        bool waiting = a->first_again < a->n_again && !given_up(a);
        if (a->n_used == 0 && !waiting)
            break;
        // Slots that become free are filled by the callbacks meanwhile.
        measure_client_run(a->client, waiting ? a->again[a->first_again].due_ns : 0);
    }
    if (given_up(a))
        fail_the_rest(a);
    gsm8k_end(e);
}

int measure_gsm8k_ask_server(measure_gsm8k *e, const measure_client_options *where,
                             const char *name, base_err *err) {
    asking a = {.e = e, .n_slots = e->options.concurrent};
    int rc = measure_client_create(&a.client, where, err);
    if (rc != 0)
        return rc;
    a.model = name != NULL ? base_strdup(name) : ask_first_model(&a, where->base_url, err);
    if (a.model == NULL) {
        measure_client_free(a.client); // with what an interrupt left running
        return BASE_ERR_RESOURCE;
    }
    if (a.n_slots > e->n)
        a.n_slots = e->n;
    a.slots = base_calloc((size_t)a.n_slots, sizeof *a.slots);
    for (int i = 0; i < a.n_slots; i++)
        a.slots[i] = (slot){.a = &a, .sample = -1};
    a.again = base_calloc((size_t)e->n * MAX_TRIES, sizeof *a.again);
    ask_all(&a);
    measure_client_free(a.client);
    for (int i = 0; i < a.n_slots; i++)
        base_str_free(&a.slots[i].reply.bytes);
    base_free(a.slots);
    base_free(a.again);
    base_free(a.model);
    return 0;
}
