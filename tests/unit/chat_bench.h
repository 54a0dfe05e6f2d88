// What the cmocka tests of the chat format share: a vocabulary and its format.
#ifndef TESTS_UNIT_CHAT_BENCH_H
#define TESTS_UNIT_CHAT_BENCH_H

#include "chat_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static token_vocab *vocab;
static chat_format *format;

static inline int set_up(void **state) {
    (void)state;
    vocab = fixture_chat_vocab(NULL);
    format = fixture_chat_format(vocab);
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    chat_format_free(format);
    token_vocab_free(vocab);
    return 0;
}

// Names of control tokens stand for the tokens.
static inline base_ids encode(const char *s) {
    base_ids ids = {0};
    token_encode(vocab, s, strlen(s), TOKEN_ALLOW_SPECIAL, &ids);
    return ids;
}

#endif
