// The inside of a vocabulary, shared by the files of this room.
#ifndef TOKEN_VOCAB_H
#define TOKEN_VOCAB_H

#include "token/merges.h"
#include "token/token.h"
#include "token/trie.h"

enum {
    TOKEN_MAX_IDS = 1 << 20,    // ordinary tokens a file may have
    TOKEN_MAX_LENGTH = 1024,    // bytes of one token or name; the longest known has 256
    TOKEN_MAX_FILE = 32 << 20,  // bytes of tiktoken.model, ten times what is known
    TOKEN_MAX_CONFIG = 4 << 20, // bytes of tokenizer_config.json
    TOKEN_MIN_CONTROL = 256,    // control tokens there always are
    TOKEN_MAX_CONTROL = 4096,   // control tokens a file may have
};

struct token_vocab {
    int ordinary, size;
    char *bytes;      // of all ids, one behind the other, control tokens by their names
    uint32_t *offset; // [size + 1]
    bool *special;    // [size - ordinary]
    size_t max_bytes;
    token_trie tokens; // the ordinary tokens
    token_trie names;  // the names of control tokens; values count from `ordinary`
    bool begins[256];  // the bytes that names begin with
    token_merges merges;
};

static inline size_t token_length(const token_vocab *vocab, int32_t id) {
    return vocab->offset[id + 1] - vocab->offset[id];
}

// A file in memory; the name is for messages.
typedef struct token_file {
    const char *name;
    const char *data;
    size_t len;
} token_file;

// token_vocab_load, once the files are read.
int token_vocab_make(token_vocab **out, const token_file *ranks, const token_file *config,
                     base_err *err);
// Reads tiktoken.model: `ordinary`, and bytes and offset so far.
int token_ranks_read(token_vocab *vocab, base_str *bytes, const token_file *file, base_err *err);
// Reads tokenizer_config.json: `size`, `special`, and the names into bytes and offset.
int token_control_read(token_vocab *vocab, base_str *bytes, const token_file *file, base_err *err);

// Fills `merges`; everything about the ordinary tokens is there.
int token_merges_build(token_vocab *vocab, base_err *err);
void token_merges_free(token_merges *merges);

// Appends the ids of one piece, len > 0: what merging the adjacent pair of lowest rank, leftmost
// first, gives. token_bpe_by_rank does just that; token_bpe_by_search gives the same faster, but
// only if merges are usable.
void token_bpe(const token_vocab *vocab, const unsigned char *piece, size_t len, base_ids *out);
void token_bpe_by_rank(const token_vocab *vocab, const unsigned char *piece, size_t len,
                       base_ids *out);
void token_bpe_by_search(const token_vocab *vocab, const unsigned char *piece, size_t len,
                         base_ids *out);

#endif
