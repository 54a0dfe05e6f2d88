// Text to ids: cuts, control tokens on request, the pattern, and byte pairs for what is not a token
// as a whole.
#include "token/split.h"
#include "token/vocab.h"

void token_bpe(const token_vocab *vocab, const unsigned char *piece, size_t len, base_ids *out) {
    size_t longest;
    int32_t id = token_trie_longest(&vocab->tokens, piece, piece + len, &longest);
    if (longest == len)
        base_ids_add(out, id);
    else if (vocab->merges.usable)
        token_bpe_by_search(vocab, piece, len, out);
    else
        token_bpe_by_rank(vocab, piece, len, out);
}

static void encode_plain(const token_vocab *vocab, const unsigned char *p, const unsigned char *end,
                         base_ids *out) {
    while (p < end) {
        const unsigned char *piece = p;
        p = token_split(p, end);
        token_bpe(vocab, piece, (size_t)(p - piece), out);
    }
}

// What stands between two control tokens is split as if it were alone.
static void encode_with_controls(const token_vocab *vocab, const unsigned char *p,
                                 const unsigned char *end, base_ids *out) {
    const unsigned char *plain = p;
    while (p < end) {
        size_t len = 0;
        int32_t index = vocab->begins[*p] ? token_trie_longest(&vocab->names, p, end, &len) : -1;
        if (index < 0) {
            p++;
            continue;
        }
        encode_plain(vocab, plain, p, out);
        base_ids_add(out, vocab->ordinary + index);
        p += len;
        plain = p;
    }
    encode_plain(vocab, plain, end, out);
}

void token_encode(const token_vocab *vocab, const char *text, size_t len, unsigned flags,
                  base_ids *out) {
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    token_encoder encoder = {0};
    while (p < end) {
        // The cuts come first, so a name that lies across one is not seen: as in the reference.
        const unsigned char *part = p;
        p = len > TOKEN_MAX_RUN ? token_cut(&encoder, p, end) : end; // most texts have none
        if (flags & TOKEN_ALLOW_SPECIAL)
            encode_with_controls(vocab, part, p, out);
        else
            encode_plain(vocab, part, p, out);
    }
}

void token_encode_text(token_encoder *encoder, const token_vocab *vocab, const char *text,
                       size_t len, base_ids *out) {
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    while (p < end) {
        const unsigned char *part = p;
        p = token_cut(encoder, p, end);
        encode_plain(vocab, part, p, out);
    }
}

void token_encode_control(token_encoder *encoder, const token_vocab *vocab, int32_t id,
                          base_ids *out) {
    const unsigned char *p = (const unsigned char *)vocab->bytes + vocab->offset[id];
    const unsigned char *end = p + token_length(vocab, id);
    while (p < end)
        p = token_cut(encoder, p, end); // only counted: there is nothing to cut
    base_ids_add(out, id);
}
