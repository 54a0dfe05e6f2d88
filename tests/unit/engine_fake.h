// A backend for engine tests whose cache holds token ids instead of numbers.
//
// Each row writes its id where the block table says; each output reads the whole sequence back
// through the table and derives everything from what it finds. One wrong block, position or stale
// slot therefore changes the output, or aborts when a slot was never written. Beside it, the same
// function of a request alone: the outputs that are due whatever the scheduling.
#ifndef TESTS_ENGINE_FAKE_H
#define TESTS_ENGINE_FAKE_H

#include "engine/state.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifndef FAKE_VOCAB // a test may need another one
#define FAKE_VOCAB 97
#endif
enum { FAKE_EMPTY_SLOT = -1, FAKE_MOST_MORE = 4 };

// ---------------------------------------------------------------------------------------------
// The "model": functions of a list of ids

static inline uint64_t fake_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline uint64_t fake_hash(const int32_t *ids, int n) {
    uint64_t h = 1;
    for (int i = 0; i < n; i++)
        h = fake_mix(h ^ (uint64_t)ids[i]);
    return h;
}

static inline float fake_logprob(uint64_t hash, int32_t id) {
    return -(float)(fake_mix(hash ^ (uint64_t)id << 20) % 4096) / 64;
}

static inline bool fake_is_nan(uint64_t hash, int nan_every) {
    return nan_every > 0 && fake_mix(hash ^ 0x4e614e) % (uint64_t)nan_every == 0;
}

// What only a backend without a model does, each by chance once in so many outputs; 0: never.
typedef struct fake_moods {
    int later_every, end_every, more_every, hold_every;
} fake_moods;

static inline bool fake_mood(uint64_t hash, uint64_t which, int every) {
    return every > 0 && fake_mix(hash ^ which) % (uint64_t)every == 0;
}

static inline bool fake_ends(const fake_moods *m, uint64_t hash) {
    return fake_mood(hash, 0x656e64, m->end_every);
}

// LATERs in a row, then further ids with the first.
static inline int fake_n_later(const fake_moods *m, uint64_t hash) {
    return fake_mood(hash, 0x6c617465, m->later_every) ? 1 + (int)(hash % 2) : 0;
}

static inline int fake_n_more(const fake_moods *m, uint64_t hash) {
    return fake_mood(hash, 0x6d6f7265, m->more_every) ? 1 + (int)(hash % FAKE_MOST_MORE) : 0;
}

static inline int64_t fake_hold_ns(const fake_moods *m, uint64_t hash) {
    return fake_mood(hash, 0x686f6c64, m->hold_every) ? 1 + (int64_t)(hash % 100000) : 0;
}

// The first permitted id at or after a start that the ids, and unless greedy the key, decide. A
// bias of 100 decides alone.
static inline int32_t fake_pick(uint64_t hash, float temperature, uint64_t seed, uint32_t choice,
                                int32_t forced, const bool *permitted) {
    uint64_t key = temperature > 0 ? fake_mix(seed) ^ choice : 0;
    int32_t start = (int32_t)(fake_mix(hash ^ key) % FAKE_VOCAB);
    if (forced >= 0)
        start = forced;
    for (int32_t i = 0; i < FAKE_VOCAB; i++)
        if (permitted[(start + i) % FAKE_VOCAB])
            return (start + i) % FAKE_VOCAB;
    return -1;
}

// ---------------------------------------------------------------------------------------------
// The backend

typedef struct fake {
    backend base;
    model_config config;
    int nan_every; // 0: never
    fake_moods moods;
    int32_t *slots; // [n_blocks, block_size]
    int32_t *ids;   // [max_model_len + FAKE_MOST_MORE] a sequence read back, and what comes next
    backend_output_result *results, *more; // [max_outputs], [max_outputs, FAKE_MOST_MORE]
    int32_t *top_ids;                      // [max_outputs, 1 + FAKE_MOST_MORE, max_logprobs]
    float *top_logprobs;
    backend_plan plan;
    backend_sampling last_sampling;
    int n_steps, max_rows_seen;
    // A gate for thread tests: while closed, steps do not end.
    bool gated, inside;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} fake;

static inline void fake_check(bool good, const char *what) {
    if (good)
        return;
    base_error("fake backend: %s", what);
    abort();
}

static inline void fake_write_rows(fake *f, const backend_seq *s) {
    int size = f->base.options.block_size;
    for (int i = 0; i < s->n_rows; i++) {
        int p = s->position + i;
        fake_check(p / size < s->n_blocks, "a row beyond the block table");
        f->slots[(int64_t)s->block_table[p / size] * size + p % size] =
            f->plan.ids[s->first_row + i];
    }
}

static inline void fake_read_back(fake *f, const backend_seq *s, int n) {
    int size = f->base.options.block_size;
    for (int p = 0; p < n; p++) {
        f->ids[p] = f->slots[(int64_t)s->block_table[p / size] * size + p % size];
        fake_check(f->ids[p] != FAKE_EMPTY_SLOT, "a slot that nobody wrote");
    }
}

static inline int32_t fake_sample(const backend_sampling *s, uint64_t hash, bool constrained) {
    bool permitted[FAKE_VOCAB];
    for (int i = 0; i < FAKE_VOCAB; i++)
        permitted[i] = !s->mask || s->mask[i / 32] >> (i % 32) & 1;
    for (int i = 0; i < s->n_banned && constrained; i++)
        permitted[s->banned[i]] = false;
    int32_t forced = -1;
    for (int i = 0; i < s->n_bias; i++)
        if (s->bias_values[i] == 100)
            forced = s->bias_ids[i];
    return fake_pick(hash, s->temperature, s->seed, s->choice, forced, permitted);
}

// `place`: 0 for the output's own result, 1 + i for its further ids.
static inline void fake_logprobs(fake *f, backend_output_result *r, int index, int place,
                                 uint64_t hash, int n_top) {
    int most = f->base.options.max_logprobs;
    int64_t at = ((int64_t)index * (1 + FAKE_MOST_MORE) + place) * most;
    r->logprob = fake_logprob(hash, r->id);
    r->rank = 1 + (int)(hash % 7);
    r->n_top = n_top;
    r->top_ids = &f->top_ids[at];
    r->top_logprobs = &f->top_logprobs[at];
    for (int i = 0; i < n_top; i++) {
        f->top_ids[at + i] = (int32_t)((hash + (uint64_t)i) % FAKE_VOCAB);
        f->top_logprobs[at + i] = fake_logprob(hash, f->top_ids[at + i]);
    }
}

// Bans are those of the first id, so they do not hold for further ones.
static inline void fake_more(fake *f, int index, int n, const backend_sampling *sampling) {
    backend_output_result *r = &f->results[index];
    backend_output_result *more = &f->more[(ptrdiff_t)index * FAKE_MOST_MORE];
    r->more = more;
    for (int i = 0; i < r->n_more; i++) {
        f->ids[n + i] = i > 0 ? more[i - 1].id : r->id;
        uint64_t hash = fake_hash(f->ids, n + i + 1);
        more[i] = (backend_output_result){.id = fake_sample(sampling, hash, false)};
        fake_logprobs(f, &more[i], index, 1 + i, hash, f->base.options.max_logprobs);
    }
}

static inline bool fake_sampled(fake *f, backend_output_result *r, const backend_sampling *s,
                                uint64_t hash) {
    f->last_sampling = *s;
    r->hold_ns = fake_hold_ns(&f->moods, hash);
    r->status = BACKEND_OUTPUT_LATER;
    if (s->n_later < fake_n_later(&f->moods, hash))
        return false;
    fake_check(s->n_later == fake_n_later(&f->moods, hash), "asked too often");
    r->status = BACKEND_OUTPUT_END;
    if (fake_ends(&f->moods, hash))
        return false;
    r->status = BACKEND_OUTPUT_EMPTY;
    r->id = fake_sample(s, hash, true);
    if (r->id < 0)
        return false;
    r->status = BACKEND_OUTPUT_OK;
    r->n_more = fake_n_more(&f->moods, hash);
    return true;
}

static inline void fake_output(fake *f, const backend_seq *s, int index) {
    const backend_output *o = &f->plan.outputs[index];
    backend_output_result *r = &f->results[index];
    int n = s->position + (o->row - s->first_row) + 1;
    fake_read_back(f, s, n);
    uint64_t hash = fake_hash(f->ids, n);
    *r = (backend_output_result){.status = BACKEND_OUTPUT_OK, .id = o->target};
    if (fake_is_nan(hash, f->nan_every)) {
        r->status = BACKEND_OUTPUT_NAN;
        return;
    }
    if (o->sample) {
        fake_check(o->sample->n_history == n, "the history has another length");
        fake_check(memcmp(o->sample->history, f->ids, (size_t)n * sizeof *f->ids) == 0,
                   "the history has other ids");
        if (!fake_sampled(f, r, o->sample, hash))
            return;
        fake_more(f, index, n, o->sample);
    }
    fake_logprobs(f, r, index, 0, hash, o->n_logprobs > 0 ? o->n_logprobs : 0);
}

static inline void fake_submit(backend *b, const backend_plan *plan) {
    fake *f = (fake *)b;
    f->plan = *plan;
    f->n_steps++;
    if (plan->n_rows > f->max_rows_seen)
        f->max_rows_seen = plan->n_rows;
}

static inline void fake_pass_gate(fake *f) {
    pthread_mutex_lock(&f->lock);
    f->inside = true;
    pthread_cond_broadcast(&f->changed);
    while (f->gated)
        pthread_cond_wait(&f->changed, &f->lock);
    f->inside = false;
    pthread_mutex_unlock(&f->lock);
}

static inline void fake_set_gate(fake *f, bool gated) {
    pthread_mutex_lock(&f->lock);
    f->gated = gated;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

// Until a step is at the gate.
static inline void fake_wait_inside(fake *f) {
    pthread_mutex_lock(&f->lock);
    while (!f->inside)
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static inline void fake_wait(backend *b, backend_result *result) {
    fake *f = (fake *)b;
    fake_pass_gate(f);
    for (int i = 0; i < f->plan.n_seqs; i++)
        fake_write_rows(f, &f->plan.seqs[i]);
    for (int i = 0, o = 0; i < f->plan.n_seqs; i++) {
        const backend_seq *s = &f->plan.seqs[i];
        for (; o < f->plan.n_outputs && f->plan.outputs[o].row < s->first_row + s->n_rows; o++)
            fake_output(f, s, o);
    }
    *result = (backend_result){f->plan.n_outputs, f->results};
}

static inline void fake_close(backend *b) {
    fake *f = (fake *)b;
    free(f->slots);
    free(f->ids);
    free(f->results);
    free(f->more);
    free(f->top_ids);
    free(f->top_logprobs);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

// A backend that fits the engine's options.
static inline fake *fake_open(const engine_options *o, int nan_every) {
    static const backend_ops ops = {.close = fake_close, .submit = fake_submit, .wait = fake_wait};
    fake *f = calloc(1, sizeof *f);
    size_t max_outputs = (size_t)(o->max_outputs ? o->max_outputs : o->max_num_seqs);
    size_t max_logprobs = (size_t)(o->max_logprobs < 0 ? o->vocab_size : o->max_logprobs);
    f->base.ops = &ops;
    f->config.vocab_size = o->vocab_size;
    f->base.config = &f->config;
    f->base.options = (backend_options){.block_size = o->block_size,
                                        .n_blocks = o->n_blocks,
                                        .max_rows = o->max_num_batched_tokens,
                                        .max_seqs = o->max_num_seqs,
                                        .max_outputs = (int)max_outputs,
                                        .max_logprobs = (int)max_logprobs,
                                        .max_model_len = o->max_model_len};
    f->nan_every = nan_every;
    size_t n_slots = (size_t)o->n_blocks * (size_t)o->block_size;
    f->slots = malloc(n_slots * sizeof *f->slots);
    for (size_t i = 0; i < n_slots; i++)
        f->slots[i] = FAKE_EMPTY_SLOT;
    f->ids = calloc((size_t)o->max_model_len + FAKE_MOST_MORE, sizeof *f->ids);
    f->results = calloc(max_outputs, sizeof *f->results);
    f->more = calloc(max_outputs * FAKE_MOST_MORE, sizeof *f->more);
    size_t n_tops = max_outputs * (1 + FAKE_MOST_MORE) * max_logprobs + 1;
    f->top_ids = calloc(n_tops, sizeof *f->top_ids);
    f->top_logprobs = calloc(n_tops, sizeof *f->top_logprobs);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    return f;
}

// ---------------------------------------------------------------------------------------------
// What a request must give, by the parameters alone

typedef struct fake_expected {
    int32_t *output; // malloc'd, [n_output]
    int n_output;
    engine_finish finish;
    int32_t stop_id;
    bool nan;
} fake_expected;

static inline bool fake_in(int32_t id, const int32_t *ids, int n) {
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static inline void fake_permit(bool *permitted, const engine_options *o, const engine_params *p,
                               const int32_t *output, int n_output, bool constrained) {
    for (int i = 0; i < FAKE_VOCAB; i++) {
        permitted[i] = p->n_allowed == 0 || fake_in(i, p->allowed_ids, p->n_allowed);
        if (constrained && n_output < p->min_tokens &&
            (fake_in(i, o->eos_ids, o->n_eos) || fake_in(i, p->stop_ids, p->n_stop_ids)))
            permitted[i] = false;
    }
    for (int i = 0; i < p->n_bad_words && constrained; i++) {
        int before = p->bad_word_lens[i] - 1;
        bool matches = before <= n_output;
        for (int j = 0; matches && j < before; j++)
            matches = output[n_output - before + j] == p->bad_words[i][j];
        if (matches)
            permitted[p->bad_words[i][before]] = false;
    }
}

// Whether the output ends in min_count equal patterns of an allowed size, pattern by pattern.
static inline bool fake_repeats(const engine_repetition *r, const int32_t *output, int n) {
    for (int size = r->min_pattern > 0 ? r->min_pattern : 1; size <= r->max_pattern; size++) {
        const int32_t *last = output + n - size;
        int count = 1;
        while ((int64_t)size * (count + 1) <= n &&
               memcmp(last, last - (ptrdiff_t)size * count, (size_t)size * sizeof *last) == 0)
            count++;
        if (size <= n && count >= r->min_count)
            return true;
    }
    return false;
}

static inline fake_expected fake_expect_moody(const engine_options *o, int max_ids, int nan_every,
                                              const fake_moods *moods, const int32_t *prompt,
                                              int n_prompt, const engine_params *p, int choice) {
    fake_expected x = {.stop_id = -1};
    int32_t *ids = malloc((size_t)max_ids * sizeof *ids);
    memcpy(ids, prompt, (size_t)n_prompt * sizeof *ids);
    x.output = malloc((size_t)max_ids * sizeof *ids);
    int32_t forced = -1;
    for (int i = 0; i < p->n_bias; i++)
        if (p->bias_values[i] >= 100)
            forced = p->bias_ids[i];
    for (int n = n_prompt, n_more = 0;; n_more--) {
        uint64_t hash = fake_hash(ids, n);
        bool permitted[FAKE_VOCAB], asked = n_more == 0;
        fake_permit(permitted, o, p, x.output, x.n_output, asked);
        int32_t id = fake_pick(hash, p->temperature, p->seed, (uint32_t)choice, forced, permitted);
        x.nan = asked && fake_is_nan(hash, nan_every);
        x.finish = ENGINE_FINISH_LENGTH;
        if (asked && !x.nan && fake_ends(moods, hash))
            break;
        if (asked)
            n_more = 1 + fake_n_more(moods, hash);
        x.finish = ENGINE_FINISH_ERROR;
        if (x.nan || id < 0)
            break;
        ids[n++] = x.output[x.n_output++] = id;
        x.finish = ENGINE_FINISH_STOP;
        x.stop_id = id;
        if (x.n_output >= p->min_tokens && ((!p->ignore_eos && fake_in(id, o->eos_ids, o->n_eos)) ||
                                            fake_in(id, p->stop_ids, p->n_stop_ids)))
            break;
        x.finish = ENGINE_FINISH_LENGTH;
        x.stop_id = -1;
        if (x.n_output == p->max_tokens || n == max_ids)
            break;
        x.finish = ENGINE_FINISH_REPETITION;
        if (x.n_output >= p->min_tokens &&
            fake_repeats(&p->repetition_detection, x.output, x.n_output))
            break;
    }
    free(ids);
    return x;
}

static inline fake_expected fake_expect(const engine_options *o, int max_ids, int nan_every,
                                        const int32_t *prompt, int n_prompt, const engine_params *p,
                                        int choice) {
    static const fake_moods none = {0};
    return fake_expect_moody(o, max_ids, nan_every, &none, prompt, n_prompt, p, choice);
}

#endif
