// What the tests of the chat format share: a small vocabulary with Kimi's control tokens.
#ifndef TESTS_CHAT_FIXTURE_H
#define TESTS_CHAT_FIXTURE_H

#include "chat/chat.h"
#include "model/synth.h"
#include "token/vocab.h"
#include <string.h>

// `without` is a piece of tokenizer_config.json to misspell, or NULL. Aborts on errors.
static inline token_vocab *fixture_chat_vocab(const char *without) {
    synth_tokenizer made;
    token_vocab *vocab;
    base_err err;
    if (synth_tokenizer_generate(&made, 1024, &err))
        abort();
    char *found = without ? strstr(made.config.data, without) : NULL;
    if (without && !found)
        abort();
    if (found)
        found[strlen(without) / 2] = '~';
    if (token_vocab_make(&vocab, &(token_file){"ranks", made.model.data, made.model.len},
                         &(token_file){"config", made.config.data, made.config.len}, &err))
        abort();
    synth_tokenizer_free(&made);
    return vocab;
}

static inline chat_format *fixture_chat_format(const token_vocab *vocab) {
    chat_format *format;
    base_err err;
    if (chat_format_create(&format, vocab, &err))
        abort();
    return format;
}

static inline chat_slice fixture_slice(const char *text) {
    return (chat_slice){text, text ? strlen(text) : 0};
}

// ---------------------------------------------------------------------------------------------
// The output's rules, over the whole: find where the thought ends, decode both sides.

typedef struct fixture_split {
    base_str field[CHAT_N_FIELDS];
    int n_reasoning;
} fixture_split;

static inline bool fixture_is(const token_vocab *vocab, int32_t id, const char *const *names) {
    while (*names && token_control_id(vocab, *names) != id)
        names++;
    return *names;
}

static inline void fixture_decode(const token_vocab *vocab, bool raw, bool skip_special,
                                  const int32_t *ids, size_t n, base_str *out) {
    static const char *const hidden[] = {"<think>",
                                         "</think>",
                                         "<|tool_calls_section_begin|>",
                                         "<|tool_calls_section_end|>",
                                         "<|tool_call_begin|>",
                                         "<|tool_call_argument_begin|>",
                                         "<|tool_call_end|>",
                                         NULL};
    base_str bytes = {0};
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *at = token_bytes(vocab, ids[i], &len);
        if ((raw || !fixture_is(vocab, ids[i], hidden)) &&
            !(skip_special && token_is_special(vocab, ids[i])))
            base_str_add(&bytes, at, len);
    }
    token_decoder decoder = {0};
    token_decode_bytes(&decoder, bytes.data, bytes.len, out);
    token_decode_end(&decoder, out);
    base_str_free(&bytes);
}

// `thinking`: the output begins in a thought.
static inline void fixture_split_output(fixture_split *s, const token_vocab *vocab, bool thinking,
                                        const chat_output_options *options, const int32_t *ids,
                                        size_t n) {
    static const char *const ends[] = {"</think>", "<|tool_calls_section_begin|>",
                                       "<|tool_call_begin|>", NULL};
    static const char *const counted[] = {"</think>", NULL};
    size_t end = 0;
    *s = (fixture_split){0};
    if (options->reasoning && thinking) {
        while (end < n && !fixture_is(vocab, ids[end], ends))
            end++;
        s->n_reasoning = (int)end + (end < n && fixture_is(vocab, ids[end], counted));
    }
    fixture_decode(vocab, !options->reasoning, options->skip_special, ids, end,
                   &s->field[CHAT_REASONING]);
    fixture_decode(vocab, !options->reasoning, options->skip_special, ids + end, n - end,
                   &s->field[CHAT_CONTENT]);
}

static inline void fixture_split_free(fixture_split *s) {
    for (int i = 0; i < CHAT_N_FIELDS; i++)
        base_str_free(&s->field[i]);
}

// The same through the automaton, id by id. Returns false if a piece was not valid UTF-8, which
// would be a character cut in two.
static inline bool fixture_push_output(fixture_split *s, const chat_format *format,
                                       const chat_output_options *options, const int32_t *prompt,
                                       size_t n_prompt, const int32_t *ids, size_t n) {
    chat_output *o = chat_output_create(format, options, prompt, n_prompt);
    base_str piece = {0};
    bool good = true;
    *s = (fixture_split){0};
    for (size_t i = 0; i <= n; i++) {
        base_str_clear(&piece);
        chat_field field = i < n ? chat_output_push(o, ids[i], &piece) : chat_output_end(o, &piece);
        base_str_add(&s->field[field], piece.data, piece.len);
        for (size_t at = 0, len; good && at < piece.len; at += len)
            len = base_utf8_next(piece.data + at, piece.len - at, &good);
    }
    s->n_reasoning = chat_output_reasoning_tokens(o);
    chat_output_free(o);
    base_str_free(&piece);
    return good;
}

static inline bool fixture_split_equal(const fixture_split *a, const fixture_split *b) {
    bool same = a->n_reasoning == b->n_reasoning;
    for (int i = 0; i < CHAT_N_FIELDS; i++)
        same = same && a->field[i].len == b->field[i].len &&
               (a->field[i].len == 0 ||
                memcmp(a->field[i].data, b->field[i].data, a->field[i].len) == 0);
    return same;
}

#endif
