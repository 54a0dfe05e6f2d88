// What is refused at the door, with the parameter's name in the API before the colon.
#include "engine/request.h"

#include <math.h>

void engine_params_init(engine_params *p) {
    *p = (engine_params){.n = 1,
                         .max_tokens = 16,
                         .temperature = 1,
                         .top_p = 1,
                         .repetition = 1,
                         .n_logprobs = -1,
                         .n_prompt_logprobs = -1,
                         .script = -1};
}

int engine_options_check(const engine_options *o, base_err *err) {
    int max_outputs = o->max_outputs == 0 ? o->max_num_seqs : o->max_outputs;
    const struct {
        const char *name;
        int64_t value, low, high;
    } fields[] = {
        {"max_num_seqs", o->max_num_seqs, 1, 1 << 20},
        {"max_num_batched_tokens", o->max_num_batched_tokens, o->max_num_seqs, 1 << 24},
        {"max_outputs", max_outputs, o->max_num_seqs, 1 << 24},
        {"max_model_len", o->max_model_len, 2, 1 << 30},
        {"max_queue", o->max_queue, 0, 1 << 24},
        {"block_size", o->block_size, 1, 1 << 16},
        {"n_blocks", o->n_blocks, 1, INT32_MAX - 1},
        {"vocab_size", o->vocab_size, 1, 1 << 30},
        {"max_logprobs", o->max_logprobs, -1, o->vocab_size},
        {"n_eos", o->n_eos, 0, MODEL_MAX_EOS},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value < fields[i].low || fields[i].value > fields[i].high)
            return base_fail(err, BASE_ERR_USAGE, "%s: %lld is not in [%lld, %lld]", fields[i].name,
                             (long long)fields[i].value, (long long)fields[i].low,
                             (long long)fields[i].high);
    for (int i = 0; i < o->n_eos; i++)
        if (o->eos_ids[i] < 0 || o->eos_ids[i] >= o->vocab_size)
            return base_fail(err, BASE_ERR_USAGE, "eos_ids: %d is not in the vocabulary of %d",
                             o->eos_ids[i], o->vocab_size);
    return 0;
}

void engine_limits_init(engine_limits *l, const engine_options *options) {
    l->options = *options;
    engine_options *o = &l->options;
    if (o->max_outputs == 0)
        o->max_outputs = o->max_num_seqs;
    l->max_logprobs = o->max_logprobs < 0 ? o->vocab_size : o->max_logprobs;
    l->capacity = (int64_t)o->max_num_seqs + o->max_queue;
    // The last id of a sequence is never computed, so it needs no place in a block. A sequence that
    // is alone can then always go on: the pool holds the longest one.
    int64_t pool_ids = o->n_blocks * o->block_size + 1;
    l->max_ids = pool_ids < o->max_model_len ? (int)pool_ids : o->max_model_len;
}

static int check_real(const char *name, double value, double low, double high, base_err *err) {
    if (isfinite(value) && value >= low && value <= high)
        return 0;
    return base_fail(err, BASE_ERR_USAGE, "%s: must be in [%g, %g], got %g", name, low, high,
                     value);
}

static int check_int(const char *name, int64_t value, int64_t low, int64_t high, base_err *err) {
    if (value >= low && value <= high)
        return 0;
    return base_fail(err, BASE_ERR_USAGE, "%s: must be in [%lld, %lld], got %lld", name,
                     (long long)low, (long long)high, (long long)value);
}

static int check_ids(const char *name, const int32_t *ids, int n, int vocab_size, base_err *err) {
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab_size)
            return base_fail(err, BASE_ERR_USAGE, "%s: token id %d is not in [0, %d)", name, ids[i],
                             vocab_size);
    return 0;
}

static int check_prompt(const engine_limits *l, const int32_t *prompt, int n_prompt,
                        base_err *err) {
    if (n_prompt <= 0)
        return base_fail(err, BASE_ERR_USAGE, "prompt: must not be empty");
    if (n_prompt >= l->max_ids)
        return base_fail(err, BASE_ERR_USAGE,
                         "prompt: the model's maximum context length is %d tokens, one of them at "
                         "least for the output, but the request has %d input tokens. Please reduce "
                         "the length of the input",
                         l->max_ids, n_prompt);
    return check_ids("prompt", prompt, n_prompt, l->options.vocab_size, err);
}

static int check_sampling(const engine_params *p, base_err *err) {
    int rc = 0;
    if ((rc = check_real("temperature", p->temperature, 0, 2, err)) ||
        (rc = check_real("top_p", p->top_p, 0, 1, err)) ||
        (rc = check_real("min_p", p->min_p, 0, 1, err)) ||
        (rc = check_int("top_k", p->top_k, -1, INT32_MAX, err)) ||
        (rc = check_real("presence_penalty", p->presence, -2, 2, err)) ||
        (rc = check_real("frequency_penalty", p->frequency, -2, 2, err)) ||
        // Anything beyond would take finite logits out of float's range.
        (rc = check_real("repetition_penalty", p->repetition, 1e-6, 1e6, err)))
        return rc;
    if (p->top_p <= 0)
        return base_fail(err, BASE_ERR_USAGE, "top_p: must be in (0, 1], got %g", (double)p->top_p);
    return 0;
}

static int check_repetition(const engine_repetition *r, base_err *err) {
    int rc = check_int("repetition_detection.max_pattern_size", r->max_pattern, 0,
                       ENGINE_MAX_PATTERN, err);
    if (rc || r->max_pattern == 0)
        return rc;
    if ((rc = check_int("repetition_detection.min_pattern_size", r->min_pattern, 0, r->max_pattern,
                        err)))
        return rc;
    return check_int("repetition_detection.min_count", r->min_count, 2, INT32_MAX, err);
}

static int check_bad_words(const engine_limits *l, const engine_params *p, base_err *err) {
    int rc = check_int("bad_words", p->n_bad_words, 0, ENGINE_MAX_BAD_WORD_IDS, err);
    int n_ids = 0;
    for (int i = 0; i < p->n_bad_words && !rc; i++) {
        rc = check_int("bad_words", p->bad_word_lens[i], 1, ENGINE_MAX_BAD_WORD_IDS - n_ids, err);
        if (!rc)
            rc = check_ids("bad_words", p->bad_words[i], p->bad_word_lens[i], l->options.vocab_size,
                           err);
        n_ids += p->bad_word_lens[i];
    }
    return rc;
}

static int check_lists(const engine_limits *l, const engine_params *p, base_err *err) {
    int vocab = l->options.vocab_size;
    int rc = 0;
    if ((rc = check_int("stop_token_ids", p->n_stop_ids, 0, ENGINE_MAX_STOP_IDS, err)) ||
        (rc = check_ids("stop_token_ids", p->stop_ids, p->n_stop_ids, vocab, err)) ||
        (rc = check_int("logit_bias", p->n_bias, 0, vocab, err)) ||
        (rc = check_ids("logit_bias", p->bias_ids, p->n_bias, vocab, err)) ||
        (rc = check_int("allowed_token_ids", p->n_allowed, 0, vocab, err)) ||
        (rc = check_ids("allowed_token_ids", p->allowed_ids, p->n_allowed, vocab, err)))
        return rc;
    if (p->allowed_ids && p->n_allowed == 0)
        return base_fail(err, BASE_ERR_USAGE, "allowed_token_ids: must not be empty");
    for (int i = 0; i < p->n_bias; i++)
        if (!isfinite(p->bias_values[i]))
            return base_fail(err, BASE_ERR_USAGE,
                             "logit_bias: the bias of token id %d is not "
                             "finite",
                             p->bias_ids[i]);
    return check_bad_words(l, p, err);
}

int engine_params_check(const engine_limits *l, const int32_t *prompt, int n_prompt,
                        const engine_params *p, base_err *err) {
    int rc = 0;
    if ((rc = check_int("n", p->n, 1, ENGINE_MAX_N, err)) ||
        (rc = check_int("max_tokens", p->max_tokens, 1, INT32_MAX, err)) ||
        (rc = check_int("min_tokens", p->min_tokens, 0, p->max_tokens, err)) ||
        (rc = check_int("logprobs", p->n_logprobs, -1, l->max_logprobs, err)) ||
        (rc = check_int("prompt_logprobs", p->n_prompt_logprobs, -1, l->max_logprobs, err)) ||
        (rc = check_sampling(p, err)) || (rc = check_repetition(&p->repetition_detection, err)) ||
        (rc = check_lists(l, p, err)) || (rc = check_prompt(l, prompt, n_prompt, err)))
        return rc;
    if (p->n > l->capacity)
        return base_fail(err, BASE_ERR_USAGE,
                         "n: %d choices are more than the %lld that can run "
                         "and wait",
                         p->n, (long long)l->capacity);
    if (p->n > 1 && p->temperature < ENGINE_GREEDY_BELOW)
        return base_fail(err, BASE_ERR_USAGE, "n: must be 1 when temperature is 0, got %d", p->n);
    return 0;
}
