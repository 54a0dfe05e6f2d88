// Small vocabularies for the tests of the tokenizer, made in memory: the 256 bytes in an order of
// their own, then tokens trained on a text, the plain way.
#ifndef TESTS_TOKEN_FIXTURE_H
#define TESTS_TOKEN_FIXTURE_H

#include "token/vocab.h"
#include <string.h>

static const char fixture_text[] =
    "The quick brown fox didn't see the other FOX; it's 12345 steps, they're 67890 apart.\n\n"
    "def getUserName(self):\n        return self.name.lower()  # \xe2\x86\x92 name\n"
    "{\"key\":\"value\",\"list\":[1,2,3],\"nested\":{\"the\":null}}\r\n"
    "aaaaaaaaaaaaaaaaaaaa                    ---------- =========="
    "\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad\xe6\x96\x87\xe5\xad\x97\xe4\xb8\xad\xe5\xad\x97 "
    "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xd0\xbf\xd1\x80\xd0\xb8 "
    "\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x81 the then them there theme\n\n";

static const char fixture_config[] = "{\"added_tokens_decoder\": {"
                                     "\"%d\": {\"content\": \"[BOS]\", \"special\": true},"
                                     "\"%d\": {\"content\": \"<|im_end|>\", \"special\": true},"
                                     "\"%d\": {\"content\": \"<think>\", \"special\": false},"
                                     "\"%d\": {\"content\": \"<|im_end|>x\", \"special\": false}},"
                                     "\"model_max_length\": 1000000000000000019884624838656}";

// A list of tokens, as bytes and their ends.
typedef struct fixture_tokens {
    base_str bytes;
    size_t end[2048];
    int count;
} fixture_tokens;

static inline void fixture_add(fixture_tokens *tokens, const void *bytes, size_t len) {
    base_str_add(&tokens->bytes, bytes, len);
    tokens->end[tokens->count++] = tokens->bytes.len;
}

static inline const char *fixture_token(const fixture_tokens *tokens, int id, size_t *len) {
    size_t start = id ? tokens->end[id - 1] : 0;
    *len = tokens->end[id] - start;
    return tokens->bytes.data + start;
}

static inline void fixture_add_bytes(fixture_tokens *tokens) {
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)(i * 77 + 33); // odd factor: each byte once
        fixture_add(tokens, &byte, 1);
    }
}

// Joins every adjacent (left, right) of ids[0..n) to `merged`; returns the new n.
static inline size_t fixture_join(int *ids, size_t n, int left, int right, int merged) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        bool pair = i + 1 < n && ids[i] == left && ids[i + 1] == right;
        ids[m++] = pair ? merged : ids[i];
        i += pair;
    }
    return m;
}

// Adds tokens by joining the most frequent pair of the text, until none occurs twice.
static inline void fixture_train(fixture_tokens *tokens, const char *text, size_t len, int limit) {
    int *ids = base_alloc(len * sizeof *ids);
    for (size_t i = 0; i < len; i++)
        for (int id = 0; id < 256; id++)
            if (tokens->bytes.data[id] == text[i])
                ids[i] = id;
    size_t n = len;
    while (tokens->count < limit) {
        size_t best = 0, best_count = 1;
        for (size_t i = 0; i + 1 < n; i++) {
            size_t count = 0;
            for (size_t j = 0; j + 1 < n; j++)
                count += ids[i] == ids[j] && ids[i + 1] == ids[j + 1];
            if (count > best_count) {
                best = i;
                best_count = count;
            }
        }
        if (best_count < 2)
            break;
        base_str joined = {0};
        size_t left_len, right_len;
        int left = ids[best], right = ids[best + 1];
        const char *bytes = fixture_token(tokens, left, &left_len);
        base_str_add(&joined, bytes, left_len);
        bytes = fixture_token(tokens, right, &right_len);
        base_str_add(&joined, bytes, right_len);
        n = fixture_join(ids, n, left, right, tokens->count);
        fixture_add(tokens, joined.data, joined.len);
        base_str_free(&joined);
    }
    base_free(ids);
}

static inline void fixture_base64(base_str *out, const char *bytes, size_t len) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)(uint8_t)bytes[i] << 16;
        group |= i + 1 < len ? (uint32_t)(uint8_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < len ? (uint32_t)(uint8_t)bytes[i + 2] : 0;
        base_str_printf(out, "%c%c%c%c", digits[group >> 18], digits[group >> 12 & 63],
                        i + 1 < len ? digits[group >> 6 & 63] : '=',
                        i + 2 < len ? digits[group & 63] : '=');
    }
}

// The text of tiktoken.model.
static inline void fixture_write_ranks(base_str *out, const fixture_tokens *tokens) {
    for (int id = 0; id < tokens->count; id++) {
        size_t len;
        const char *bytes = fixture_token(tokens, id, &len);
        fixture_base64(out, bytes, len);
        base_str_printf(out, " %d\n", id);
    }
}

// The text of tokenizer_config.json, with the ids behind `ordinary`.
static inline void fixture_write_config(base_str *out, int ordinary) {
    base_str_printf(out, fixture_config, ordinary, ordinary + 2, ordinary + 3, ordinary + 9);
}

static inline token_vocab *fixture_load(const fixture_tokens *tokens, base_err *err) {
    base_str ranks = {0}, config = {0};
    token_vocab *vocab;
    fixture_write_ranks(&ranks, tokens);
    fixture_write_config(&config, tokens->count);
    token_vocab_make(&vocab, &(token_file){"ranks", ranks.data, ranks.len},
                     &(token_file){"config", config.data, config.len}, err);
    base_str_free(&ranks);
    base_str_free(&config);
    return vocab;
}

// The vocabulary trained on fixture_text.
static inline token_vocab *fixture_vocab(base_err *err) {
    fixture_tokens *tokens = base_calloc(1, sizeof *tokens);
    fixture_add_bytes(tokens);
    fixture_train(tokens, fixture_text, sizeof fixture_text - 1, 512);
    token_vocab *vocab = fixture_load(tokens, err);
    base_str_free(&tokens->bytes);
    base_free(tokens);
    return vocab;
}

#endif
