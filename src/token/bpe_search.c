// Merging by search: longest token first, one token shorter when it cannot follow the one before
// it, back when nothing can. merges.h says why the sequence found is the one that merging gives.
//
// The time is linear: the tokens up to a place are determined by the text up to there, so a place
// from which no token fits is marked and never tried again.
#include "token/vocab.h"
#include <string.h>

enum { FEW_BYTES = 1024, WORD = 64 };

void token_bpe_by_search(const token_vocab *vocab, const unsigned char *piece, size_t len,
                         base_ids *out) {
    const token_merges *m = &vocab->merges;
    uint64_t few[FEW_BYTES / WORD + 1], *dead = few; // a bit for each place, the end included
    size_t words = len / WORD + 1, base = out->len, at = 0, ignored;
    if (len > FEW_BYTES)
        dead = base_alloc(words * sizeof *dead);
    memset(dead, 0, words * sizeof *dead);
    int32_t id = token_trie_longest(&vocab->tokens, piece, piece + len, &ignored);
    for (;;) {
        size_t next = at + m->parts[id].length;
        if (!(dead[next / WORD] >> next % WORD & 1) &&
            (out->len == base || token_pair_stays(m, out->data[out->len - 1], id))) {
            base_ids_add(out, id);
            at = next;
            if (at == len)
                break;
            id = token_trie_longest(&vocab->tokens, piece + at, piece + len, &ignored);
            continue;
        }
        id = m->parts[id].shorter;
        while (id < 0) {
            dead[at / WORD] |= (uint64_t)1 << at % WORD;
            id = out->data[--out->len];
            at -= m->parts[id].length;
            id = m->parts[id].shorter;
        }
    }
    if (dead != few)
        base_free(dead);
}
