// Loading a vocabulary and asking it questions.
#include "token/vocab.h"
#include <string.h>

// The trie of the ordinary tokens; every single byte must be one of them.
static int build_tokens(token_vocab *vocab, base_err *err) {
    int32_t twice[2];
    int code =
        token_trie_build(&vocab->tokens, vocab->bytes, vocab->offset, vocab->ordinary, twice, err);
    if (code)
        return code;
    for (int byte = 0; byte < 256; byte++)
        if (vocab->tokens.single[byte] < 0)
            return base_fail(err, BASE_ERR_MODEL, "the single byte 0x%02x has no token", byte);
    return token_merges_build(vocab, err);
}

static int build_names(token_vocab *vocab, base_err *err) {
    int32_t twice[2];
    int code = token_trie_build(&vocab->names, vocab->bytes, vocab->offset + vocab->ordinary,
                                vocab->size - vocab->ordinary, twice, err);
    if (code == BASE_ERR_MODEL)
        return base_fail(err, code, "added_tokens_decoder: ids %d and %d have the same content",
                         vocab->ordinary + twice[0], vocab->ordinary + twice[1]);
    for (int32_t id = vocab->ordinary; id < vocab->size && !code; id++)
        vocab->begins[(unsigned char)vocab->bytes[vocab->offset[id]]] = true;
    return code;
}

static int fill(token_vocab *vocab, const token_file *ranks, const token_file *config,
                base_err *err) {
    base_str bytes = {0};
    int code = token_ranks_read(vocab, &bytes, ranks, err);
    if (code)
        base_fail_prefix(err, "%s", ranks->name);
    else if ((code = token_control_read(vocab, &bytes, config, err)))
        base_fail_prefix(err, "%s", config->name);
    vocab->bytes = bytes.data;
    if (code)
        return code;
    if (build_tokens(vocab, err))
        return base_fail_prefix(err, "%s", ranks->name);
    if (build_names(vocab, err))
        return base_fail_prefix(err, "%s", config->name);
    for (int32_t id = 0; id < vocab->size; id++)
        if (token_length(vocab, id) > vocab->max_bytes)
            vocab->max_bytes = token_length(vocab, id);
    return 0;
}

int token_vocab_make(token_vocab **out, const token_file *ranks, const token_file *config,
                     base_err *err) {
    token_vocab *vocab = base_calloc(1, sizeof *vocab);
    int code = fill(vocab, ranks, config, err);
    if (code) {
        token_vocab_free(vocab);
        vocab = NULL;
    }
    *out = vocab;
    return code;
}

int token_vocab_load(token_vocab **out, const char *dir, base_err *err) {
    *out = NULL;
    base_str ranks = {0}, config = {0};
    char *ranks_path = base_path_join(dir, "tiktoken.model");
    char *config_path = base_path_join(dir, "tokenizer_config.json");
    int code = base_file_read(ranks_path, TOKEN_MAX_FILE, BASE_ERR_MODEL, &ranks, err);
    if (!code)
        code = base_file_read(config_path, TOKEN_MAX_CONFIG, BASE_ERR_MODEL, &config, err);
    if (!code)
        code = token_vocab_make(out, &(token_file){ranks_path, ranks.data, ranks.len},
                                &(token_file){config_path, config.data, config.len}, err);
    base_str_free(&ranks);
    base_str_free(&config);
    base_free(ranks_path);
    base_free(config_path);
    return code;
}

void token_vocab_free(token_vocab *vocab) {
    if (!vocab)
        return;
    token_trie_free(&vocab->tokens);
    token_trie_free(&vocab->names);
    token_merges_free(&vocab->merges);
    base_free(vocab->bytes);
    base_free(vocab->offset);
    base_free(vocab->special);
    base_free(vocab);
}

int token_vocab_size(const token_vocab *vocab) {
    return vocab->size;
}

int token_vocab_ordinary(const token_vocab *vocab) {
    return vocab->ordinary;
}

const char *token_bytes(const token_vocab *vocab, int32_t id, size_t *len) {
    *len = 0;
    if (id < 0 || id >= vocab->size)
        return NULL;
    *len = token_length(vocab, id);
    return vocab->bytes + vocab->offset[id];
}

bool token_is_control(const token_vocab *vocab, int32_t id) {
    return id >= vocab->ordinary && id < vocab->size;
}

bool token_is_special(const token_vocab *vocab, int32_t id) {
    return token_is_control(vocab, id) && vocab->special[id - vocab->ordinary];
}

int32_t token_control_id(const token_vocab *vocab, const char *name) {
    const unsigned char *p = (const unsigned char *)name;
    int32_t index = token_trie_find(&vocab->names, p, p + strlen(name));
    return index < 0 ? -1 : vocab->ordinary + index;
}

size_t token_max_bytes(const token_vocab *vocab) {
    return vocab->max_bytes;
}
