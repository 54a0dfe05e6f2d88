// Sampling parameters that are numbers -> engine_params, and what follows from the length of
// prompts.
#include "api/read.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_N = 16384,
    MAX_PATTERN = 8192, // ids, of repetition_detection
    MAX_SALT = 1024,
    DEFAULT_COMPLETION = 16, // max_tokens of a completion that says nothing
};

static int read_reals(api_reading *r) {
    engine_params *p = &r->call->params;
    double ignored;
    const struct {
        const char *name;
        double low, high;
        float *value;
    } fields[] = {
        {"temperature", 0, 2, &p->temperature},
        {"top_p", 0, 1, &p->top_p},
        {"min_p", 0, 1, &p->min_p},
        {"presence_penalty", -2, 2, &p->presence},
        {"frequency_penalty", -2, 2, &p->frequency},
        {"repetition_penalty", 1e-6, 1e6, &p->repetition},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        double value = (double)*fields[i].value;
        int rc = api_field_real(&r->body, fields[i].name, fields[i].low, fields[i].high, &value);
        if (rc)
            return rc;
        *fields[i].value = (float)value;
    }
    if (p->top_p <= 0)
        return api_field_fail(&r->body, 400, "top_p", "must be more than 0");
    if (p->temperature < 1e-5f)
        p->temperature = 0;
    else if (p->temperature < 0.01f) // as vLLM
        p->temperature = 0.01f;
    return api_field_real(&r->body, "length_penalty", -1e300, 1e300, &ignored);
}

static int read_max_tokens(api_reading *r) {
    api_call *c = r->call;
    bool chat = c->kind == API_CHAT;
    static const char *const names[] = {"max_completion_tokens", "max_tokens"};
    for (size_t i = chat ? 0 : 1; i < 2; i++) {
        int64_t value = 0;
        int rc = api_field_int(&r->body, names[i], c->echo ? 0 : 1, INT64_MAX, &value);
        if (rc)
            return rc;
        if (r->max_tokens_field || !api_field_get(&r->body, names[i]))
            continue;
        r->max_tokens_field = names[i];
        r->max_tokens = value;
    }
    if (r->max_tokens_field && r->max_tokens == 0) {
        c->discard_output = true;
        r->max_tokens = 1;
    }
    return 0;
}

static int read_integers(api_reading *r) {
    engine_params *p = &r->call->params;
    int64_t n = 1, best_of = 0, top_k = p->top_k, seed = -1, min_tokens = 0;
    int64_t capacity = (int64_t)r->options->max_num_seqs + r->options->max_queue;
    int rc;
    if ((rc = api_field_int(&r->body, "n", 1, MAX_N, &n)) ||
        (rc = api_field_int(&r->body, "best_of", 1, INT64_MAX, &best_of)) ||
        (rc = api_field_int(&r->body, "top_k", -1, INT32_MAX, &top_k)) ||
        (rc = api_field_int(&r->body, "seed", INT64_MIN, INT64_MAX, &seed)) ||
        (rc = api_field_int(&r->body, "min_tokens", 0, INT32_MAX, &min_tokens)) ||
        (rc = api_field_bool(&r->body, "ignore_eos", &p->ignore_eos)))
        return rc;
    if (n > capacity)
        return api_field_fail(&r->body, 400, "n",
                              "%lld choices are more than the %lld that can run and wait",
                              (long long)n, (long long)capacity);
    if (n > 1 && p->temperature <= 0)
        return api_field_fail(&r->body, 400, "n", "must be 1 when temperature is 0, got %lld",
                              (long long)n);
    if (best_of > 1 && best_of != n)
        return api_field_fail(&r->body, 400, "best_of", "must be n; choosing is not supported");
    p->n = (int)n;
    p->top_k = (int)top_k;
    p->min_tokens = (int)min_tokens;
    p->has_seed = seed != -1 && api_field_get(&r->body, "seed") != NULL;
    p->seed = p->has_seed ? (uint64_t)seed : 0;
    return 0;
}

static int read_truncation(api_reading *r) {
    const char *side = NULL;
    size_t len;
    int rc;
    if ((rc = api_field_int(&r->body, "truncate_prompt_tokens", -1, r->options->max_model_len,
                            &r->truncate)) ||
        (rc = api_field_string(&r->body, "truncation_side", &side, &len)))
        return rc;
    if (r->truncate == 0 && api_field_get(&r->body, "truncate_prompt_tokens"))
        return api_field_fail(&r->body, 400, "truncate_prompt_tokens",
                              "must be -1 or at least 1, got 0");
    r->truncate_right = side && strcmp(side, "right") == 0;
    if (side && !r->truncate_right && strcmp(side, "left") != 0)
        return api_field_fail(&r->body, 400, "truncation_side", "must be left or right");
    return 0;
}

static int read_repetition(api_reading *r) {
    engine_repetition *out = &r->call->params.repetition_detection;
    api_object o;
    int64_t max_pattern = 0, min_pattern = 0, min_count = 0;
    int rc;
    if ((rc = api_field_object(&r->body, "repetition_detection", &o)) || !o.json)
        return rc;
    if ((rc = api_field_int(&o, "max_pattern_size", 0, MAX_PATTERN, &max_pattern)) ||
        (rc = api_field_int(&o, "min_pattern_size", 0, max_pattern, &min_pattern)) ||
        (rc = api_field_int(&o, "min_count", 0, INT32_MAX, &min_count)))
        return rc;
    if (max_pattern > 0 && min_count < 2)
        return api_field_fail(&o, 400, "min_count", "must be at least 2, got %lld",
                              (long long)min_count);
    *out = (engine_repetition){(int)max_pattern, (int)min_pattern, (int)min_count};
    return 0;
}

// Salts keep the cached prompts of tenants apart, so two must not be made to meet.
static int read_salt(api_reading *r) {
    const char *salt = NULL;
    size_t len;
    int rc = api_field_string(&r->body, "cache_salt", &salt, &len);
    if (rc || !salt)
        return rc;
    if (len == 0 || len > MAX_SALT)
        return api_field_fail(&r->body, 400, "cache_salt", "must have from 1 to %d bytes, got %zu",
                              MAX_SALT, len);
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)salt, len, digest);
    uint64_t value;
    memcpy(&value, digest, sizeof value);
    r->call->params.cache_salt = value != 0 ? value : 1; // 0 is no salt
    return 0;
}

int api_params_read(api_reading *r) {
    const api_defaults *d = &r->options->defaults;
    engine_params *p = &r->call->params;
    int rc;
    p->temperature = d->temperature;
    p->top_p = d->top_p;
    p->top_k = d->top_k;
    p->min_p = d->min_p;
    p->repetition = d->repetition;
    p->presence = d->presence;
    p->frequency = d->frequency;
    if ((rc = read_reals(r)) || (rc = read_max_tokens(r)) || (rc = read_integers(r)) ||
        (rc = read_truncation(r)) || (rc = read_repetition(r)))
        return rc;
    return read_salt(r);
}

int api_fail_context(const api_options *o, api_error *error, const char *param, size_t count,
                     const char *unit) {
    return api_fail(error, 400, param,
                    "This model's maximum context length is %d tokens, but the input has %zu %s, "
                    "which leaves no room for output. Please reduce the length of the input. "
                    "(parameter=input_%s, value=%zu)",
                    o->max_model_len, count, unit, unit, count);
}

int api_params_fit(api_reading *r) {
    const api_options *o = r->options;
    api_call *c = r->call;
    size_t longest = 0;
    for (int i = 0; i < c->n_prompts; i++)
        longest = c->prompts[i].ids.len > longest ? c->prompts[i].ids.len : longest;
    if (longest >= (size_t)o->max_model_len)
        return api_fail_context(o, r->body.error, c->kind == API_CHAT ? "messages" : "prompt",
                                longest, "tokens");
    int64_t room = o->max_model_len - (int64_t)longest;
    if (r->max_tokens_field && r->max_tokens > room)
        return api_fail(r->body.error, 400, r->max_tokens_field,
                        "This model's maximum context length is %d tokens, but the input has %zu "
                        "tokens and %s asks for %lld more. Please reduce the length of the input "
                        "or %s. (parameter=input_tokens, value=%zu)",
                        o->max_model_len, longest, r->max_tokens_field, (long long)r->max_tokens,
                        r->max_tokens_field, longest);
    // What a completion is given unasked may reach beyond the context: the engine ends there.
    int64_t max = c->kind == API_CHAT ? room : DEFAULT_COMPLETION;
    if (r->max_tokens_field)
        max = r->max_tokens;
    if (o->defaults.max_tokens > 0 && max > o->defaults.max_tokens)
        max = o->defaults.max_tokens;
    if (c->params.min_tokens > max)
        return api_field_fail(&r->body, 400, "min_tokens",
                              "must be at most max_tokens, which is %lld, got %d", (long long)max,
                              c->params.min_tokens);
    c->params.max_tokens = (int)max;
    return 0;
}
