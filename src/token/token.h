// token: text <-> ids.
//
// Takes UTF-8 text (any bytes, in fact) and a tokenizer directory (tiktoken.model and
// tokenizer_config.json), gives token ids, and bytes back for ids, also piece by piece. It must
// never know about chats, templates or models.
//
// The rules are those of the Kimi tokenizer: text is cut every 400,000 code points and in runs of
// more than 25,000 (non-)whitespace code points, split by the eight-alternative pattern, and each
// piece is merged by byte-pair rank.
#ifndef TOKEN_TOKEN_H
#define TOKEN_TOKEN_H

#include "base/base.h"
#include <stdbool.h>

typedef struct token_vocab token_vocab; // immutable after loading; any number of threads may use it

// Loads DIR/tiktoken.model and DIR/tokenizer_config.json. Errors (BASE_ERR_MODEL) name file, line
// and field: bad base64, a rank missing or twice, an id over `max_ids`, a control token without
// name, a single byte that has no token.
int token_vocab_load(token_vocab **out, const char *dir, base_err *err);
void token_vocab_free(token_vocab *vocab); // NULL is fine

// Ids are [0, token_vocab_size): ordinary tokens first, then control tokens (named in
// tokenizer_config.json, or "<|reserved_token_ID|>").
int token_vocab_size(const token_vocab *vocab);
int token_vocab_ordinary(const token_vocab *vocab); // the number of ordinary tokens
// The bytes of an id (control tokens: their name); NULL and 0 for ids out of range.
const char *token_bytes(const token_vocab *vocab, int32_t id, size_t *len);
bool token_is_control(const token_vocab *vocab, int32_t id);
// As "special" in tokenizer_config.json: dropped by skip_special_tokens. Tool-call and think
// markers are control tokens but not special.
bool token_is_special(const token_vocab *vocab, int32_t id);
// The id of a control token by its exact name, or -1.
int32_t token_control_id(const token_vocab *vocab, const char *name);

enum {
    TOKEN_PLAIN = 0,         // names of control tokens in the text are ordinary text
    TOKEN_ALLOW_SPECIAL = 1, // names of control tokens in the text become control tokens
};

// Appends the ids of `text` to `out`. Linear time in `len` for any input. Bytes that are not UTF-8
// are encoded byte for byte (documented in docs/TOKENIZER.md), so decode(encode(x)) == x always.
void token_encode(const token_vocab *vocab, const char *text, size_t len, unsigned flags,
                  base_ids *out);

// A text in which control tokens are known beforehand: plain texts, in which none is looked for,
// and control tokens, in order. What stands between two control tokens is split as one text and has
// to be given at once. The cuts fall where they do in the whole text, in which a control token
// counts as the characters of its name; a cut inside a name moves the ones behind it, as in the
// reference, but the control token stays.
typedef struct token_encoder {
    size_t chars_left; // code points up to the next cut of the first kind
    size_t run;        // code points since the last change between whitespace and not, or cut
    unsigned kind;     // which of both they are
} token_encoder;       // zero-initialised is at the beginning of a text

void token_encode_text(token_encoder *encoder, const token_vocab *vocab, const char *text,
                       size_t len, base_ids *out);
void token_encode_control(token_encoder *encoder, const token_vocab *vocab, int32_t id,
                          base_ids *out);

// The longest run of bytes any id stands for; for sizing buffers.
size_t token_max_bytes(const token_vocab *vocab);

// Incremental decoding to valid UTF-8. Incomplete sequences are held back until complete; a byte
// that can no longer become part of a valid sequence is replaced by U+FFFD, one per maximal invalid
// subpart (the WHATWG rule, as Python's errors="replace"). Pieces put together equal the decoding
// of the whole.
typedef struct token_decoder {
    unsigned char held[4];
    int n_held;
} token_decoder; // zero-initialised is a fresh one

void token_decode(token_decoder *decoder, const token_vocab *vocab, int32_t id, bool skip_special,
                  base_str *out);
void token_decode_bytes(token_decoder *decoder, const void *bytes, size_t len, base_str *out);
void token_decode_end(token_decoder *decoder, base_str *out); // flushes what is held as U+FFFD

// Stop strings in decoded text. The last max(len) - 1 bytes are held back, never cutting a
// character, because they may be the beginning of one. Which stop string is found, and where, does
// not depend on how the text was cut into pieces: the one that is complete first, and of those that
// end together the longest.
typedef struct token_stop token_stop;

// Copies the `n` strings, none of them empty. `include`: text given out includes the one found.
token_stop *token_stop_create(const char *const *strings, const size_t *lens, int n, bool include);
void token_stop_free(token_stop *stop); // NULL is fine
// Takes a piece of valid UTF-8 and appends to `out` what can be shown. Returns the index of the
// stop string found, or -1; nothing may be pushed after one was found.
int token_stop_push(token_stop *stop, const char *text, size_t len, base_str *out);
void token_stop_end(token_stop *stop, base_str *out); // appends what is held

#endif
