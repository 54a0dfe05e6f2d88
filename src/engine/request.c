#include "engine/request.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

// False when memory is out; nothing to copy is fine and leaves *out NULL.
static bool copy(void *out, const void *from, int count, size_t size) {
    if (count == 0)
        return true;
    void *p = base_try_alloc((size_t)count * size);
    if (p)
        memcpy(p, from, (size_t)count * size);
    memcpy(out, &p, sizeof p);
    return p != NULL;
}

static int compare_ids(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static bool copy_bad_words(engine_request *r, const engine_params *p) {
    int n_ids = 0;
    for (int i = 0; i < p->n_bad_words; i++)
        n_ids += p->bad_word_lens[i];
    if (n_ids == 0)
        return true;
    r->n_bad_words = p->n_bad_words;
    r->bad_ids = base_try_alloc((size_t)n_ids * sizeof *r->bad_ids);
    r->bad_ends = base_try_alloc((size_t)p->n_bad_words * sizeof *r->bad_ends);
    if (!r->bad_ids || !r->bad_ends)
        return false;
    for (int i = 0, end = 0; i < p->n_bad_words; i++) {
        size_t len = (size_t)p->bad_word_lens[i];
        memcpy(&r->bad_ids[end], p->bad_words[i], len * sizeof *r->bad_ids);
        r->bad_ends[i] = end += p->bad_word_lens[i];
    }
    return true;
}

static bool copy_lists(engine_request *r, const engine_params *p) {
    if (!copy(&r->stop_ids, p->stop_ids, p->n_stop_ids, sizeof *r->stop_ids) ||
        !copy(&r->bias_ids, p->bias_ids, p->n_bias, sizeof *r->bias_ids) ||
        !copy(&r->bias_values, p->bias_values, p->n_bias, sizeof *r->bias_values) ||
        !copy_bad_words(r, p))
        return false;
    r->n_stop_ids = p->n_stop_ids;
    if (r->n_stop_ids > 0)
        qsort(r->stop_ids, (size_t)r->n_stop_ids, sizeof *r->stop_ids, compare_ids);
    for (int i = 0; i < p->n_bias; i++) {
        float v = r->bias_values[i];
        r->bias_values[i] = v > 100 ? 100 : v < -100 ? -100 : v;
    }
    if (p->n_allowed == 0)
        return true;
    r->mask = base_try_calloc((size_t)r->n_mask_words, sizeof *r->mask);
    for (int i = 0; r->mask && i < p->n_allowed; i++)
        r->mask[p->allowed_ids[i] / 32] |= 1u << (p->allowed_ids[i] % 32);
    return r->mask != NULL;
}

// Without a seed of the client's, results cannot be foreseen nor repeated.
static uint64_t random_seed(uint64_t id) {
    uint64_t seed;
    while (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
    }
    return seed ^ id * 0x9e3779b97f4a7c15u;
}

static backend_sampling sampling_of(const engine_request *r, const engine_params *p) {
    backend_sampling s = {.temperature = p->temperature,
                          .top_p = p->top_p,
                          .min_p = p->min_p,
                          .top_k = p->top_k > 0 ? p->top_k : 0,
                          .presence = p->presence,
                          .frequency = p->frequency,
                          .repetition = p->repetition,
                          .seed = p->has_seed ? p->seed : random_seed(r->id),
                          .n_prompt = r->n_prompt,
                          .script = p->script,
                          .n_bias = p->n_bias,
                          .bias_ids = r->bias_ids,
                          .bias_values = r->bias_values,
                          .mask = r->mask};
    if (s.temperature < ENGINE_GREEDY_BELOW) {
        s.temperature = s.min_p = 0;
        s.top_p = 1;
        s.top_k = 0;
    } else if (s.temperature < ENGINE_MIN_TEMPERATURE) {
        s.temperature = ENGINE_MIN_TEMPERATURE;
    }
    return s;
}

// All memory the request will ever need. Most of it is address space only: choices that end early
// never touch the rest of their arrays.
static bool create_seqs(engine_request *r, const engine_limits *l, const engine_params *p) {
    size_t n = (size_t)r->n_choices, block_size = (size_t)l->options.block_size;
    size_t max_ids = (size_t)r->max_ids;
    size_t max_blocks = (max_ids + block_size - 1) / block_size;
    size_t max_banned = (size_t)r->max_banned;
    r->seqs = base_try_calloc(n, sizeof *r->seqs);
    r->ids = base_try_alloc(n * max_ids * sizeof *r->ids);
    r->tables = base_try_alloc(n * max_blocks * sizeof *r->tables);
    r->banned = max_banned ? base_try_alloc(n * max_banned * sizeof *r->banned) : NULL;
    size_t max_pattern = (size_t)r->repetition.max_pattern;
    r->runs = max_pattern ? base_try_calloc(n * max_pattern, sizeof *r->runs) : NULL;
    if (!r->seqs || !r->ids || !r->tables || (max_banned && !r->banned) ||
        (max_pattern && !r->runs))
        return false;
    backend_sampling sampling = sampling_of(r, p);
    for (size_t i = 0; i < n; i++) {
        engine_seq *s = &r->seqs[i];
        s->request = r;
        s->choice = (int)i;
        s->ids = r->ids + i * max_ids;
        s->table = r->tables + i * max_blocks;
        s->banned = max_banned ? r->banned + i * max_banned : NULL;
        s->runs = max_pattern ? r->runs + i * max_pattern : NULL;
        s->owed = i == 0 && r->n_prompt_logprobs >= 0 ? 1 : r->n_prompt;
        s->sampling = sampling;
        s->sampling.choice = (uint32_t)i;
        s->sampling.history = s->ids;
        s->sampling.banned = s->banned;
    }
    return true;
}

// Last of all, as the states of a request that was never accepted would be freed beside those that
// the engine's thread uses.
static bool create_constraints(engine_request *r, grammar *g) {
    if (!g)
        return true;
    r->masks = base_try_alloc((size_t)r->n_choices * (size_t)r->n_mask_words * sizeof *r->masks);
    for (int i = 0; r->masks && i < r->n_choices; i++) {
        engine_seq *s = &r->seqs[i];
        s->mask = r->masks + (size_t)i * (size_t)r->n_mask_words;
        s->constraint = grammar_state_create(g);
        if (!s->constraint)
            return false;
    }
    return r->masks != NULL;
}

engine_request *engine_request_create(const engine_limits *l, uint64_t id, const int32_t *prompt,
                                      int n_prompt, const engine_params *p) {
    engine_request *r = base_try_calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->id = id;
    r->submitted_ns = base_now_ns();
    r->n_prompt = n_prompt;
    r->n_choices = r->n_live = p->n;
    r->max_ids = p->max_tokens < l->max_ids - n_prompt ? n_prompt + p->max_tokens : l->max_ids;
    r->min_output = p->min_tokens;
    r->n_logprobs = p->n_logprobs;
    r->n_prompt_logprobs = p->n_prompt_logprobs;
    r->ignore_eos = p->ignore_eos;
    r->salt = p->cache_salt;
    r->repetition = p->repetition_detection;
    r->n_cached = -1;
    r->n_mask_words = (l->options.vocab_size + 31) / 32;
    r->max_banned = (p->min_tokens > 0 ? l->options.n_eos + p->n_stop_ids : 0) + p->n_bad_words;
    if (!copy_lists(r, p) || !create_seqs(r, l, p) || !create_constraints(r, p->grammar)) {
        engine_request_free(r);
        return NULL;
    }
    memcpy(r->seqs[0].ids, prompt, (size_t)n_prompt * sizeof *prompt);
    r->seqs[0].n_ids = n_prompt;
    return r;
}

void engine_request_free(engine_request *r) {
    if (!r)
        return;
    base_free(r->stop_ids);
    base_free(r->bad_ids);
    base_free(r->bad_ends);
    base_free(r->bias_ids);
    base_free(r->bias_values);
    base_free(r->mask);
    for (int i = 0; r->seqs && i < r->n_choices; i++)
        grammar_state_free(r->seqs[i].constraint);
    base_free(r->masks);
    base_free(r->seqs);
    base_free(r->ids);
    base_free(r->tables);
    base_free(r->banned);
    base_free(r->runs);
    base_free(r);
}

bool engine_request_stops_at(const engine_request *r, const engine_options *o, int32_t id) {
    for (int i = 0; i < o->n_eos && !r->ignore_eos; i++)
        if (o->eos_ids[i] == id)
            return true;
    return r->n_stop_ids > 0 &&
           bsearch(&id, r->stop_ids, (size_t)r->n_stop_ids, sizeof id, compare_ids) != NULL;
}

// An output ends in `count` times a pattern of `size` ids exactly when each of its last
// size * (count - 1) ids equals the one `size` before it. Those runs are counted as the ids come,
// so that an id costs max_pattern comparisons whatever the output looks like.
bool engine_seq_repeats(engine_seq *s) {
    const engine_request *r = s->request;
    int n_output = s->n_ids - r->n_prompt;
    const int32_t *last = &s->ids[s->n_ids - 1];
    bool repeats = false;
    for (int size = 1; size <= r->repetition.max_pattern && size < n_output; size++) {
        int *run = &s->runs[size - 1];
        *run = last[0] == last[-size] ? *run + 1 : 0;
        if (size >= r->repetition.min_pattern &&
            *run >= (int64_t)size * (r->repetition.min_count - 1))
            repeats = true;
    }
    return repeats && n_output >= r->min_output;
}

// Whether nothing may come but an end, however short the output is.
static bool is_complete(const engine_seq *s) {
    return s->constraint && grammar_state_must_end(s->constraint);
}

bool engine_seq_append(engine_seq *s, int32_t id) {
    const engine_request *r = s->request;
    bool may_end = s->n_ids + 1 - r->n_prompt >= r->min_output || is_complete(s);
    s->ids[s->n_ids++] = id;
    if (s->constraint)
        grammar_state_advance(s->constraint, id); // a script's id may be none of those allowed
    return may_end;
}

static void prepare_mask(engine_seq *s, int n_ids) {
    const engine_request *r = s->request;
    bool constrained = s->constraint && grammar_state_mask(s->constraint, s->mask, n_ids);
    s->sampling.mask = constrained ? s->mask : r->mask;
    for (int i = 0; constrained && r->mask && i < r->n_mask_words; i++)
        s->mask[i] &= r->mask[i];
}

void engine_seq_prepare(engine_seq *s, const engine_options *o) {
    const engine_request *r = s->request;
    int n_output = s->n_ids - r->n_prompt;
    int n = 0;
    if (n_output < r->min_output && !is_complete(s)) {
        for (int i = 0; i < o->n_eos; i++)
            s->banned[n++] = o->eos_ids[i];
        for (int i = 0; i < r->n_stop_ids; i++)
            s->banned[n++] = r->stop_ids[i];
    }
    for (int i = 0, start = 0; i < r->n_bad_words; start = r->bad_ends[i++]) {
        int before = r->bad_ends[i] - start - 1;
        if (before <= n_output && memcmp(&r->bad_ids[start], s->ids + s->n_ids - before,
                                         (size_t)before * sizeof *s->ids) == 0)
            s->banned[n++] = r->bad_ids[r->bad_ends[i] - 1];
    }
    prepare_mask(s, o->vocab_size);
    s->sampling.n_banned = n;
    s->sampling.n_history = s->n_ids;
}
