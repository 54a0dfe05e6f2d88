// Playing scripts through a real engine: what tests of the replay backend begin with.
#ifndef TESTS_REPLAY_PLAYER_H
#define TESTS_REPLAY_PLAYER_H

#include "engine/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { VOCAB = 1000, EOS = 9, MOST_IDS = 300, MOST_REQUESTS = 64 };
static const int64_t ms = 1000000;

typedef struct player {
    backend *backend;
    engine *engine;
} player;

static const model_config config = {.vocab_size = VOCAB};

static inline engine_options small_options(void) {
    return (engine_options){.max_num_seqs = 8,
                            .max_num_batched_tokens = 64,
                            .max_model_len = 400,
                            .max_queue = MOST_REQUESTS,
                            .block_size = 8,
                            .n_blocks = 400,
                            .prefix_caching = true,
                            .max_logprobs = 5,
                            .vocab_size = VOCAB,
                            .n_eos = 1,
                            .eos_ids = {EOS}};
}

static inline backend_options backend_options_of(const engine_options *o) {
    return (backend_options){.numerics = BACKEND_EXACT,
                             .threads = 1,
                             .block_size = o->block_size,
                             .n_blocks = o->n_blocks,
                             .interleave = 1,
                             .max_rows = o->max_num_batched_tokens,
                             .max_seqs = o->max_num_seqs,
                             .max_outputs = o->max_num_seqs,
                             .max_logprobs = o->max_logprobs,
                             .max_model_len = o->max_model_len};
}

static inline player player_open(engine_options o, const backend_script *scripts, int n_scripts) {
    player p;
    base_err err = {0};
    backend_options options = backend_options_of(&o);
    if (backend_open_replay(&p.backend, scripts, n_scripts, &config, &options, &err) != 0)
        fail_msg("%s", err.message);
    p.engine = engine_create(p.backend, &o);
    return p;
}

static inline void player_close(player *p) {
    engine_stats stats;
    engine_get_stats(p->engine, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.blocks_free, stats.blocks_total);
    engine_destroy(p->engine);
    backend_close(p->backend);
}

static inline engine_params play_params(int script, int max_tokens) {
    engine_params p;
    engine_params_init(&p);
    p.script = script;
    p.max_tokens = max_tokens;
    return p;
}

// Ids from `first` on, never EOS.
static inline void count_up(int32_t *ids, int n, int first) {
    for (int i = 0; i < n; i++)
        ids[i] = first + i;
}

static inline void submit(player *p, uint64_t id, int n_prompt, int first,
                          const engine_params *params) {
    int32_t prompt[MOST_IDS];
    base_err err = {0};
    count_up(prompt, n_prompt, first);
    if (engine_submit(p->engine, id, prompt, n_prompt, params, &err) != ENGINE_ACCEPTED)
        fail_msg("%s", err.message);
}

typedef struct answer {
    int32_t ids[MOST_IDS];
    int n;
    engine_event end;
    bool ended;
} answer;

// Takes what there is; answers of request 1 + i, or of choice i of request 1.
static inline int take(player *p, answer *a, bool choices) {
    engine_event v;
    int n_tokens = 0;
    while (engine_next_event(p->engine, &v)) {
        answer *to = &a[choices ? (size_t)v.choice : v.request - 1];
        assert_false(to->ended);
        if (v.kind == ENGINE_EVENT_TOKEN) {
            to->ids[to->n++] = v.id;
            n_tokens++;
        } else if (v.kind == ENGINE_EVENT_FINISH) {
            to->ended = true;
            to->end = v;
            assert_int_equal(v.n_output, to->n);
        }
        engine_event_free(&v);
    }
    return n_tokens;
}

static inline void finish(player *p, answer *a, bool choices) {
    while (engine_step(p->engine))
        take(p, a, choices);
}

static inline answer ask(player *p, int n_prompt, const engine_params *params) {
    answer a = {0};
    submit(p, 1, n_prompt, 100, params);
    finish(p, &a, false);
    assert_true(a.ended);
    return a;
}

static inline void assert_ids(const answer *a, const int32_t *ids, int n, engine_finish end) {
    assert_int_equal(a->n, n);
    assert_memory_equal(a->ids, ids, (size_t)n * sizeof *ids);
    assert_int_equal(a->end.finish, end);
}

#endif
