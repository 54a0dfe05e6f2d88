// An engine on the fake backend, and asking it something: what engine tests begin with.
#ifndef TESTS_ENGINE_BENCH_H
#define TESTS_ENGINE_BENCH_H

#include "engine_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { EOS = 11, BLOCK = 4, LONGEST = 400 };

typedef struct bench {
    engine_options options;
    fake *fake;
    engine *engine;
} bench;

static inline engine_options default_options(void) {
    return (engine_options){.max_num_seqs = 4,
                            .max_num_batched_tokens = 64,
                            .max_model_len = LONGEST,
                            .max_queue = 8,
                            .block_size = BLOCK,
                            .n_blocks = 200,
                            .prefix_caching = true,
                            .max_logprobs = 5,
                            .vocab_size = FAKE_VOCAB,
                            .n_eos = 1,
                            .eos_ids = {EOS}};
}

static inline bench bench_open(engine_options options) {
    bench b = {.options = options, .fake = fake_open(&options, 0)};
    b.engine = engine_create(&b.fake->base, &b.options);
    return b;
}

static inline void bench_close(bench *b) {
    check_engine(b->engine, b->fake);
    engine_destroy(b->engine);
    backend_close(&b->fake->base);
}

// Ids that depend on the position and `kind`, never EOS.
static inline void fill_prompt(int32_t *prompt, int n, int kind) {
    for (int i = 0; i < n; i++)
        prompt[i] = 20 + (int32_t)(fake_mix((uint64_t)(kind * 1000 + i)) % 70);
}

static inline engine_params greedy(int max_tokens) {
    engine_params p;
    engine_params_init(&p);
    p.temperature = 0;
    p.max_tokens = max_tokens;
    p.ignore_eos = true;
    return p;
}

static inline void submit(bench *b, uint64_t id, const int32_t *prompt, int n_prompt,
                          const engine_params *p) {
    base_err err;
    if (engine_submit(b->engine, id, prompt, n_prompt, p, &err) != ENGINE_ACCEPTED)
        fail_msg("%s", err.message);
}

typedef struct answer {
    int32_t ids[LONGEST];
    int n;
    engine_event end;
    int n_ends;
} answer;

// Runs until nothing is left; answers of request `id`, choices [0, n).
static inline void finish_choices(bench *b, uint64_t id, answer *a, int n) {
    memset(a, 0, (size_t)n * sizeof *a);
    while (checked_step(b->engine, b->fake)) {
    }
    engine_event v;
    while (engine_next_event(b->engine, &v)) {
        if (v.request == id && v.kind == ENGINE_EVENT_TOKEN)
            a[v.choice].ids[a[v.choice].n++] = v.id;
        if (v.request == id && v.kind == ENGINE_EVENT_FINISH) {
            a[v.choice].end = v;
            a[v.choice].n_ends++;
        }
        engine_event_free(&v);
    }
    for (int i = 0; i < n; i++) {
        assert_int_equal(a[i].n_ends, 1);
        assert_int_equal(a[i].end.n_output, a[i].n);
    }
}

static inline answer finish(bench *b, uint64_t id) {
    answer a;
    finish_choices(b, id, &a, 1);
    return a;
}

static inline answer ask(bench *b, const int32_t *prompt, int n_prompt, const engine_params *p) {
    submit(b, 1, prompt, n_prompt, p);
    return finish(b, 1);
}

static inline void assert_expected(bench *b, const answer *a, const int32_t *prompt, int n_prompt,
                                   const engine_params *p, int choice) {
    fake_expected x =
        fake_expect(&b->options, b->engine->limits.max_ids, 0, prompt, n_prompt, p, choice);
    assert_int_equal(a->n, x.n_output);
    assert_memory_equal(a->ids, x.output, (size_t)x.n_output * sizeof *x.output);
    assert_int_equal(a->end.finish, x.finish);
    free(x.output);
}

#endif
