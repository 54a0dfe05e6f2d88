// Any text, encoded and decoded, is itself: by the trained vocabulary of the fixture and by one
// whose merges are not in the order of ids. The first byte of the input is the flags.
#include "token_fixture.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// As the fixture's, but "abc" comes before the "ab" it is made of.
static token_vocab *untrained(base_err *err) {
    fixture_tokens *tokens = base_calloc(1, sizeof *tokens);
    fixture_add_bytes(tokens);
    const char *const more[] = {"abc", "ab", "aaa", "aa", "bca", "ca", " a", "  ", "xyz"};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        fixture_add(tokens, more[i], strlen(more[i]));
    token_vocab *vocab = fixture_load(tokens, err);
    base_str_free(&tokens->bytes);
    base_free(tokens);
    return vocab;
}

static void check(const token_vocab *vocab, const char *text, size_t len, unsigned flags) {
    base_ids ids = {0};
    size_t at = 0;
    token_encode(vocab, text, len, flags, &ids);
    for (size_t i = 0; i < ids.len; i++) {
        size_t n;
        const char *bytes = token_bytes(vocab, ids.data[i], &n);
        if (!bytes || n > len - at || memcmp(bytes, text + at, n) != 0)
            abort();
        if (flags == TOKEN_PLAIN && token_is_control(vocab, ids.data[i]))
            abort();
        at += n;
    }
    if (at != len)
        abort();
    base_ids_free(&ids);
}

// The two ways of merging agree.
static void check_merging(const token_vocab *vocab, const unsigned char *piece, size_t len) {
    base_ids by_rank = {0}, by_search = {0};
    token_bpe_by_rank(vocab, piece, len, &by_rank);
    token_bpe_by_search(vocab, piece, len, &by_search);
    if (by_rank.len != by_search.len ||
        memcmp(by_rank.data, by_search.data, by_rank.len * sizeof *by_rank.data) != 0)
        abort();
    base_ids_free(&by_rank);
    base_ids_free(&by_search);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static token_vocab *vocabs[2];
    base_err err;
    if (!vocabs[0] && (!(vocabs[0] = fixture_vocab(&err)) || !(vocabs[1] = untrained(&err))))
        abort();
    if (size == 0)
        return 0;
    unsigned flags = data[0] & 1 ? TOKEN_ALLOW_SPECIAL : TOKEN_PLAIN;
    for (int i = 0; i < 2; i++)
        check(vocabs[i], (const char *)data + 1, size - 1, flags);
    if (size > 1)
        check_merging(vocabs[0], data + 1, size - 1);
    return 0;
}
