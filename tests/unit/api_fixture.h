// What reading requests needs, made in memory: a small vocabulary with Kimi's control tokens, its
// chat format, and options as a server has them.
#ifndef TESTS_API_FIXTURE_H
#define TESTS_API_FIXTURE_H

#include "api/call.h"
#include "chat_fixture.h"
#include "engine/request.h"

enum { FIXTURE_CONTEXT = 4096, FIXTURE_CAPACITY = 24 };

typedef struct api_fixture {
    token_vocab *vocab;
    chat_format *chat;
    grammar_vocab *grammar;
    api_options options;
} api_fixture;

static const char *const fixture_names[] = {"kimi", "moonshotai/Kimi-K2-Thinking"};

static inline grammar_vocab *api_fixture_grammar(const token_vocab *vocab,
                                                 const chat_format *chat) {
    int32_t think[2], calls[5];
    chat_control_ids(chat, think, calls);
    const grammar_tokens tokens = {.think = think[0],
                                   .think_end = think[1],
                                   .section_begin = calls[0],
                                   .section_end = calls[1],
                                   .call_begin = calls[2],
                                   .call_argument = calls[3],
                                   .call_end = calls[4],
                                   .n_ends = 1,
                                   .ends = {token_control_id(vocab, "<|im_end|>")}};
    return grammar_vocab_create(vocab, &tokens);
}

static inline void api_fixture_make(api_fixture *f) {
    f->vocab = fixture_chat_vocab(NULL);
    f->chat = fixture_chat_format(f->vocab);
    f->grammar = api_fixture_grammar(f->vocab, f->chat);
    f->options = (api_options){
        .vocab = f->vocab,
        .chat = f->chat,
        .reasoning_parser = true,
        .tool_parser = true,
        .enforce_tools = true,
        .grammar = f->grammar,
        .served_names = fixture_names,
        .n_served_names = 2,
        .defaults = {.temperature = 1, .top_p = 1, .repetition = 1},
        .max_model_len = FIXTURE_CONTEXT,
        .vocab_size = token_vocab_size(f->vocab),
        .max_num_seqs = 8,
        .max_queue = FIXTURE_CAPACITY - 8,
        .max_logprobs = 20,
        .block_size = 16,
        .n_blocks = 1024,
    };
}

static inline void api_fixture_free(api_fixture *f) {
    grammar_vocab_free(f->grammar);
    chat_format_free(f->chat);
    token_vocab_free(f->vocab);
}

// Whether the engine would take each of a call's prompts.
static inline int api_fixture_admit(const api_options *o, const api_call *c, base_err *err) {
    engine_limits limits;
    const engine_options options = {.max_num_seqs = o->max_num_seqs,
                                    .max_num_batched_tokens = 512,
                                    .max_model_len = o->max_model_len,
                                    .max_queue = o->max_queue,
                                    .block_size = o->block_size,
                                    .n_blocks = o->n_blocks,
                                    .max_logprobs = o->max_logprobs,
                                    .vocab_size = o->vocab_size};
    engine_limits_init(&limits, &options);
    int rc = 0;
    for (int i = 0; i < c->n_prompts && rc == 0; i++)
        rc = engine_params_check(&limits, c->prompts[i].ids.data, (int)c->prompts[i].ids.len,
                                 &c->params, err);
    return rc;
}

#endif
