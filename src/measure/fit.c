#include "measure/fit.h"
#include <string.h>

enum { MAX_REPLY = 256 << 20 };

typedef struct fit {
    measure_client *client;
    const char *model;
    const volatile sig_atomic_t *interrupted;
    base_str body, reply;
    int status; // -1: not there yet
} fit;

static bool is_interrupted(const fit *f) {
    return f->interrupted != NULL && *f->interrupted;
}

static void take_data(void *arg, const char *data, size_t len, int64_t at_ns) {
    (void)at_ns;
    fit *f = arg;
    if (f->reply.len + len <= MAX_REPLY)
        base_str_add(&f->reply, data, len);
}

static void take_end(void *arg, const measure_end *end) {
    fit *f = arg;
    f->status = end->error[0] == '\0' ? end->status : 0;
}

// Posts the body; NULL when there is no good reply.
static json_t *post(fit *f, const char *path) {
    const measure_request request = {.path = path,
                                     .body = f->body.data,
                                     .len = f->body.len,
                                     .on_data = take_data,
                                     .on_end = take_end,
                                     .arg = f};
    base_str_clear(&f->reply);
    f->status = -1;
    measure_client_start(f->client, &request);
    while (f->status < 0 && !is_interrupted(f))
        measure_client_run(f->client, 0);
    if (f->status != 200)
        return NULL;
    return base_json_parse_nul(f->reply.data, f->reply.len, path, BASE_ERR_RESOURCE, NULL);
}

static void begin_body(fit *f) {
    base_str_clear(&f->body);
    base_str_adds(&f->body, "{\"model\": ");
    base_json_add_string(&f->body, f->model, strlen(f->model));
}

// The ids the server finds in a prompt: a list, or NULL.
static json_t *tokenize(fit *f, const measure_sample *sample) {
    begin_body(f);
    base_str_adds(&f->body, ", \"prompt\": ");
    base_json_add_string(&f->body, sample->prompt, sample->prompt_bytes);
    base_str_adds(&f->body, ", \"add_special_tokens\": false}");
    json_t *reply = post(f, "/tokenize");
    json_t *ids = json_incref(json_object_get(reply, "tokens"));
    json_decref(reply);
    if (json_is_array(ids))
        return ids;
    json_decref(ids);
    return NULL;
}

// The text of the first `n` ids becomes the prompt; false if the server does not tell it.
static bool cut(fit *f, measure_sample *sample, const json_t *ids, size_t n) {
    begin_body(f);
    base_str_adds(&f->body, ", \"tokens\": [");
    for (size_t i = 0; i < n; i++)
        base_str_printf(&f->body, "%s%lld", i > 0 ? ", " : "",
                        (long long)json_integer_value(json_array_get(ids, i)));
    base_str_adds(&f->body, "]}");
    json_t *reply = post(f, "/detokenize");
    const json_t *text = json_object_get(reply, "prompt");
    bool good = json_is_string(text);
    if (good) {
        base_free(sample->prompt);
        sample->prompt_bytes = json_string_length(text);
        sample->prompt = base_alloc(sample->prompt_bytes + 1); // it may have NUL in it
        memcpy(sample->prompt, json_string_value(text), sample->prompt_bytes + 1);
    }
    json_decref(reply);
    return good;
}

// False if the server does not answer.
static bool fit_one(fit *f, measure_sample *sample) {
    json_t *ids = tokenize(f, sample);
    size_t wanted = (size_t)sample->prompt_len;
    bool good = ids != NULL;
    if (good && json_array_size(ids) > wanted)
        good = cut(f, sample, ids, wanted);
    json_decref(ids);
    return good;
}

static void fit_all(fit *f, measure_samples *samples) {
    int n_left = 0;
    for (int i = 0; i < samples->n && !is_interrupted(f); i++)
        n_left += !fit_one(f, &samples->at[i]);
    if (n_left > 0 && !is_interrupted(f))
        base_warn("%d prompts keep their length, because the server gave no answer", n_left);
}

void measure_samples_fit(measure_samples *samples, measure_client *client, const char *model,
                         const volatile sig_atomic_t *interrupted) {
    fit f = {.client = client, .model = model, .interrupted = interrupted};
    json_t *ids = samples->n > 0 ? tokenize(&f, &samples->at[0]) : NULL;
    int expected = samples->n > 0 ? samples->at[0].prompt_len : 0;
    if (ids == NULL && !is_interrupted(&f)) {
        base_warn("/tokenize unavailable (HTTP %d): whether the server counts prompts as this "
                  "tokenizer does is not known",
                  f.status);
    } else if (ids != NULL && (int)json_array_size(ids) != expected) {
        base_warn("tokenizer mismatch (server=%zu, expected=%d), re-aligning prompts",
                  json_array_size(ids), expected);
        fit_all(&f, samples);
    }
    json_decref(ids);
    base_str_free(&f.body);
    base_str_free(&f.reply);
}
