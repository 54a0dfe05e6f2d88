// The merges behind a vocabulary: from which two tokens each token is made, and which neighbours
// stay unmerged.
//
// The vocabulary is a list of byte strings; merging joins the adjacent pair whose concatenation has
// the lowest rank (id). Whatever the vocabulary, merging inside a stretch that no merge crosses
// goes on as if the stretch were alone. Hence the result for a text is the one sequence of tokens
// in which every two neighbours, merged alone, stay as they are: token_pair_stays. And a token is
// only ever made from one pair, the last state of merging it alone: its halves.
//
// token_pair_stays further needs that halves come before their whole (single bytes count as first),
// because then merges happen in the order of ids. That is so in every vocabulary that was trained;
// `usable` says whether it is in this one.
#ifndef TOKEN_MERGES_H
#define TOKEN_MERGES_H

#include <stdbool.h>
#include <stdint.h>

enum { TOKEN_ID_BITS = 21 };

// What the search needs of a token, side by side.
typedef struct token_part {
    int32_t left, right; // the halves, -1 for single bytes
    int32_t shorter;     // the longest token that this one properly starts with, or -1
    uint32_t length;     // in bytes
} token_part;

typedef struct token_merges {
    bool usable;
    token_part *parts; // [ordinary]
    // The merges by their halves, open addressing: left, right, merge; 0 is free. Most look-ups
    // are for pairs that do not merge, and the table is too large for the fast caches: a bit for
    // each of 4 times as many hash values tells most of them at once.
    uint64_t *slots;  // [mask + 1]
    uint64_t *filter; // [(mask + 1) / 16]
    uint64_t mask;
} token_merges;

static inline uint64_t token_pair_hash(uint64_t key) {
    return key * 0x9e3779b97f4a7c15u >> 30;
}

// The token that `left` and `right` are the halves of, or -1.
static inline int32_t token_pair_find(const token_merges *m, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)left << TOKEN_ID_BITS | (uint64_t)right;
    uint64_t hash = token_pair_hash(key);
    if (!(m->filter[(hash >> 6) & (m->mask >> 4)] >> (hash & 63) & 1))
        return -1;
    for (uint64_t i = hash >> 2 & m->mask; m->slots[i]; i = (i + 1) & m->mask)
        if (m->slots[i] >> TOKEN_ID_BITS == key)
            return (int32_t)(m->slots[i] & ((1u << TOKEN_ID_BITS) - 1));
    return -1;
}

// Whether merging the bytes of `left` followed by those of `right` gives [left, right] again. Goes
// back in time: at each step the later of the two merges next to the border is undone, and the
// pieces then next to the border must not have had an earlier merge (or one of the same rank and
// further left) with each other.
static inline bool token_pair_stays(const token_merges *m, int32_t left, int32_t right) {
    int32_t before = INT32_MAX; // a merge across the border happens only if its id is below this
    for (;;) {
        int32_t merged = token_pair_find(m, left, right);
        if (merged >= 0 && merged < before)
            return false;
        int32_t inner_left = m->parts[left].right, inner_right = m->parts[right].left;
        if (inner_left >= 0 && (left > right || inner_right < 0)) {
            before = left;
            left = inner_left;
        } else if (inner_right >= 0) {
            before = right + 1;
            right = inner_right;
        } else {
            return true;
        }
    }
}

#endif
