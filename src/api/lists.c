// Parameters that are lists: stop strings, and ids that end, allow, ban or favour.
#include "api/read.h"

#include <stdio.h>

enum {
    MAX_STOPS = 64,
    MAX_STOP_BYTES = 65536, // of all stop strings
    MAX_STOP_IDS = 4096,
    MAX_BAD_WORDS = 1024,
    MAX_BAD_BYTES = 65536, // of all bad words
    MAX_BAD_IDS = 8192,    // and of their ids
};

// A field that is a list of strings, or where `alone` one string: calls `take` for each.
typedef int (*take_string)(api_reading *r, const char *name, const char *text, size_t len);

static int each_string(api_reading *r, const char *field, bool alone, size_t max, size_t max_bytes,
                       take_string take) {
    const json_t *v = api_field_get(&r->body, field);
    size_t bytes = 0, n = json_is_array(v) ? json_array_size(v) : 1;
    int rc = 0;
    if (!v)
        return 0;
    if (!json_is_array(v) && !(alone && json_is_string(v)))
        return api_field_fail_type(
            &r->body, field, alone ? "a string or a list of strings" : "a list of strings", v);
    if (n > max)
        return api_field_fail(&r->body, 400, field, "must be at most %zu strings, got %zu", max, n);
    for (size_t i = 0; i < n && !rc; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        char name[64];
        snprintf(name, sizeof name, json_is_array(v) ? "%s[%zu]" : "%s", field, i);
        if (!json_is_string(item))
            return api_field_fail_type(&r->body, name, "a string", item);
        if (json_string_length(item) == 0)
            return api_field_fail(&r->body, 400, name, "must not be empty");
        bytes += json_string_length(item);
        if (bytes > max_bytes)
            return api_field_fail(&r->body, 400, field, "must have at most %zu bytes in all",
                                  max_bytes);
        rc = take(r, name, json_string_value(item), json_string_length(item));
    }
    return rc;
}

static int take_stop(api_reading *r, const char *name, const char *text, size_t len) {
    (void)name;
    api_call *c = r->call;
    if (c->n_stops == 0) {
        c->stops = base_calloc(MAX_STOPS, sizeof *c->stops);
        c->stop_lens = base_calloc(MAX_STOPS, sizeof *c->stop_lens);
    }
    c->stop_lens[c->n_stops] = len;
    c->stops[c->n_stops++] = base_strndup(text, len);
    return 0;
}

static void add_bad_word(api_reading *r, const char *text, size_t len) {
    api_call *c = r->call;
    size_t before = c->lists.len;
    token_encode(r->options->vocab, text, len, TOKEN_ALLOW_SPECIAL, &c->lists);
    c->bad_word_lens[c->params.n_bad_words++] = (int)(c->lists.len - before);
}

// As the word begins a line and as it follows a space, because these are different tokens.
static int take_bad_word(api_reading *r, const char *name, const char *text, size_t len) {
    size_t spaces = 0;
    while (spaces < len && text[spaces] == ' ')
        spaces++;
    text += spaces;
    len -= spaces;
    if (len == 0)
        return api_field_fail(&r->body, 400, name, "must not be empty");
    base_str spaced = {0};
    base_str_adds(&spaced, " ");
    base_str_add(&spaced, text, len);
    add_bad_word(r, text, len);
    add_bad_word(r, spaced.data, spaced.len);
    base_str_free(&spaced);
    if (r->call->lists.len - r->bad_at > MAX_BAD_IDS)
        return api_field_fail(&r->body, 400, "bad_words", "must have at most %d tokens in all",
                              MAX_BAD_IDS / 2);
    return 0;
}

// In a chat that may make no calls, a tool call's markers could only be garbage.
static int read_bad_words(api_reading *r) {
    api_call *c = r->call;
    const json_t *words = api_field_get(&r->body, "bad_words");
    int n_markers = 0;
    const int32_t *markers = NULL;
    if (c->kind == API_CHAT && r->tools.choice == API_CHOICE_NONE)
        markers = chat_tool_markers(r->options->chat, &n_markers);
    size_t n = (words ? 2 * MAX_BAD_WORDS : 0) + (size_t)n_markers;
    c->bad_words = base_calloc(n, sizeof *c->bad_words);
    c->bad_word_lens = base_calloc(n, sizeof *c->bad_word_lens);
    r->bad_at = c->lists.len;
    int rc = each_string(r, "bad_words", false, MAX_BAD_WORDS, MAX_BAD_BYTES, take_bad_word);
    for (int i = 0; i < n_markers && !rc; i++) {
        base_ids_add(&c->lists, markers[i]);
        c->bad_word_lens[c->params.n_bad_words++] = 1;
    }
    return rc;
}

static int read_allowed(api_reading *r) {
    api_call *c = r->call;
    r->allowed_at = c->lists.len;
    int rc = api_field_ids(&r->body, "allowed_token_ids", r->options->vocab_size,
                           (size_t)r->options->vocab_size, &c->lists);
    c->params.n_allowed = (int)(c->lists.len - r->allowed_at);
    if (rc == 0 && c->params.n_allowed == 0 && api_field_get(&r->body, "allowed_token_ids"))
        rc = api_field_fail(&r->body, 400, "allowed_token_ids", "must not be empty");
    return rc;
}

// The id a key of logit_bias spells; only one spelling, so that no id can be there twice.
static bool key_id(const char *key, int vocab_size, int32_t *id) {
    int64_t value;
    if (key[0] < '0' || key[0] > '9' || (key[0] == '0' && key[1]) ||
        !base_parse_i64(key, 0, vocab_size - 1, &value))
        return false;
    *id = (int32_t)value;
    return true;
}

static int read_bias(api_reading *r) {
    api_call *c = r->call;
    api_object bias;
    int rc = api_field_object(&r->body, "logit_bias", &bias);
    r->bias_at = c->lists.len;
    if (rc || !bias.json)
        return rc;
    c->bias_values = base_calloc(json_object_size(bias.json), sizeof *c->bias_values);
    for (void *i = json_object_iter((json_t *)bias.json); i;
         i = json_object_iter_next((json_t *)bias.json, i)) {
        const json_t *value = json_object_iter_value(i);
        int32_t id;
        if (!key_id(json_object_iter_key(i), r->options->vocab_size, &id))
            return api_field_fail(&r->body, 400, "logit_bias",
                                  "key \"%.40s\" is no token id of the vocabulary of %d",
                                  json_object_iter_key(i), r->options->vocab_size);
        if (!json_is_number(value))
            return api_field_fail_type(&r->body, "logit_bias", "a number for each id", value);
        double bounded = json_number_value(value);
        bounded = bounded < -100 ? -100 : bounded > 100 ? 100 : bounded;
        c->bias_values[c->params.n_bias++] = (float)bounded;
        base_ids_add(&c->lists, id);
    }
    return 0;
}

static int read_stop_ids(api_reading *r) {
    api_call *c = r->call;
    r->stop_at = c->lists.len;
    int rc =
        api_field_ids(&r->body, "stop_token_ids", r->options->vocab_size, MAX_STOP_IDS, &c->lists);
    c->params.n_stop_ids = (int)(c->lists.len - r->stop_at);
    return rc;
}

static int read_stops(api_reading *r) {
    return each_string(r, "stop", true, MAX_STOPS, MAX_STOP_BYTES, take_stop);
}

int api_lists_read(api_reading *r) {
    int rc;
    if ((rc = read_stops(r)) || (rc = read_stop_ids(r)) || (rc = read_bias(r)) ||
        (rc = read_allowed(r)))
        return rc;
    return read_bad_words(r);
}

void api_lists_bind(api_reading *r) {
    api_call *c = r->call;
    engine_params *p = &c->params;
    const int32_t *ids = c->lists.data;
    p->stop_ids = p->n_stop_ids > 0 ? ids + r->stop_at : NULL;
    p->bias_ids = p->n_bias > 0 ? ids + r->bias_at : NULL;
    p->bias_values = c->bias_values;
    p->allowed_ids = p->n_allowed > 0 ? ids + r->allowed_at : NULL;
    size_t at = r->bad_at;
    for (int i = 0; i < p->n_bad_words; i++) {
        c->bad_words[i] = ids + at;
        at += (size_t)c->bad_word_lens[i];
    }
    p->bad_words = c->bad_words;
    p->bad_word_lens = c->bad_word_lens;
}
