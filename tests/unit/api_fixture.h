// What reading requests needs, made in memory: a small vocabulary with Kimi's control tokens, its
// chat format, and options as a server has them.
#ifndef TESTS_API_FIXTURE_H
#define TESTS_API_FIXTURE_H

#include "api/call.h"
#include "model/synth.h"
#include "token/vocab.h"

enum { FIXTURE_VOCAB = 1024, FIXTURE_CONTEXT = 4096, FIXTURE_CAPACITY = 24 };

typedef struct api_fixture {
    token_vocab *vocab;
    chat_format *chat;
    api_options options;
} api_fixture;

static const char *const fixture_names[] = {"kimi", "moonshotai/Kimi-K2-Thinking"};

static inline int api_fixture_make(api_fixture *f, base_err *err) {
    synth_tokenizer files;
    *f = (api_fixture){0};
    int rc = synth_tokenizer_generate(&files, FIXTURE_VOCAB, err);
    if (rc)
        return rc;
    rc = token_vocab_make(&f->vocab, &(token_file){"ranks", files.model.data, files.model.len},
                          &(token_file){"config", files.config.data, files.config.len}, err);
    synth_tokenizer_free(&files);
    if (rc == 0)
        rc = chat_format_create(&f->chat, f->vocab, err);
    f->options = (api_options){
        .vocab = f->vocab,
        .chat = f->chat,
        .served_names = fixture_names,
        .n_served_names = 2,
        .defaults = {.temperature = 1, .top_p = 1, .repetition = 1},
        .max_model_len = FIXTURE_CONTEXT,
        .vocab_size = FIXTURE_VOCAB,
        .max_num_seqs = 8,
        .max_queue = FIXTURE_CAPACITY - 8,
        .max_logprobs = 20,
        .block_size = 16,
        .n_blocks = 1024,
    };
    return rc;
}

static inline void api_fixture_free(api_fixture *f) {
    chat_format_free(f->chat);
    token_vocab_free(f->vocab);
}

#endif
