// Any tokenizer files are refused or usable. The input is tiktoken.model, a zero byte and
// tokenizer_config.json; a byte 0x01 stands for the fixture's lines of the 256 single bytes, which
// a fuzzer would hardly find.
#include "token_fixture.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expand(base_str *out, const uint8_t *data, size_t size) {
    static base_str bytes;
    if (!bytes.data) {
        fixture_tokens *tokens = base_calloc(1, sizeof *tokens);
        fixture_add_bytes(tokens);
        fixture_write_ranks(&bytes, tokens);
        base_str_free(&tokens->bytes);
        base_free(tokens);
    }
    for (size_t i = 0; i < size; i++) {
        if (data[i] == 1 && out->len < 100000)
            base_str_add(out, bytes.data, bytes.len);
        else
            base_str_add(out, data + i, 1);
    }
}

// Whatever the vocabulary is, the input's own bytes come back.
static void use(const token_vocab *vocab, const uint8_t *data, size_t size) {
    size_t at = 0;
    base_ids ids = {0};
    token_encode(vocab, (const char *)data, size, TOKEN_ALLOW_SPECIAL, &ids);
    for (size_t i = 0; i < ids.len; i++) {
        size_t n;
        const char *bytes = token_bytes(vocab, ids.data[i], &n);
        if (!bytes || n > token_max_bytes(vocab) || n > size - at ||
            memcmp(bytes, data + at, n) != 0)
            abort();
        at += n;
    }
    if (at != size)
        abort();
    base_ids_free(&ids);
}

// The two ways of merging agree, where both can be used.
static void merge(const token_vocab *vocab, const uint8_t *data, size_t size) {
    if (!vocab->merges.usable || size == 0)
        return;
    base_ids by_rank = {0}, by_search = {0};
    token_bpe_by_rank(vocab, data, size, &by_rank);
    token_bpe_by_search(vocab, data, size, &by_search);
    if (by_rank.len != by_search.len ||
        memcmp(by_rank.data, by_search.data, by_rank.len * sizeof *by_rank.data) != 0)
        abort();
    base_ids_free(&by_rank);
    base_ids_free(&by_search);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t ranks_len = end ? (size_t)(end - data) : size;
    base_str ranks = {0};
    expand(&ranks, data, ranks_len);
    token_file config = {"config", end ? (const char *)end + 1 : "",
                         end ? size - ranks_len - 1 : 0};
    token_vocab *vocab;
    base_err err = {0};
    int code = token_vocab_make(
        &vocab, &(token_file){"ranks", ranks.data ? ranks.data : "", ranks.len}, &config, &err);
    if (code ? vocab || code != BASE_ERR_MODEL || !err.message[0] : !vocab)
        abort();
    if (vocab) {
        use(vocab, data, size);
        merge(vocab, data, size);
    }
    token_vocab_free(vocab);
    base_str_free(&ranks);
    return 0;
}
