// A trie over byte strings: the longest one that starts at a place. Nodes are numbered breadth
// first, so the children of a node are consecutive and a node costs eight bytes.
#ifndef TOKEN_TRIE_H
#define TOKEN_TRIE_H

#include "base/base.h"
#include <stdint.h>

// What a step looks at lies side by side: the labels of the children are in their own nodes, one of
// which is looked at next.
typedef struct token_trie_node {
    uint32_t child;      // the first child; the last is before the next node's first
    uint32_t value : 24; // 1 + the value of the string that ends here, or 0
    uint32_t label : 8;  // the byte that leads here
} token_trie_node;

typedef struct token_trie {
    uint32_t n_nodes;
    token_trie_node *nodes; // [n_nodes + 1], the last only for its `child`
    uint32_t *pair;         // [256 * 256] the node behind the first two bytes, 0 if there is none
    int32_t single[256];    // the value of one-byte strings, or -1
} token_trie;

// Builds the trie of n > 0 non-empty strings: string i is bytes[offset[i]..offset[i + 1]) and has
// the value i. A string that occurs twice is an error, with both numbers in `twice`.
int token_trie_build(token_trie *trie, const char *bytes, const uint32_t *offset, int n,
                     int32_t twice[2], base_err *err);
void token_trie_free(token_trie *trie); // zeroed is fine

// The node behind byte c, or 0.
static inline uint32_t token_trie_step(const token_trie *trie, uint32_t node, uint8_t c) {
    uint32_t low = trie->nodes[node].child, high = trie->nodes[node + 1].child;
    while (high - low > 8) {
        uint32_t middle = (low + high) / 2;
        if (trie->nodes[middle].label <= c)
            low = middle;
        else
            high = middle;
    }
    for (; low < high; low++)
        if (trie->nodes[low].label == c)
            return low;
    return 0;
}

// The value of the longest string that [p, end) starts with and its length; -1 and 0 if none.
static inline int32_t token_trie_longest(const token_trie *trie, const unsigned char *p,
                                         const unsigned char *end, size_t *len) {
    *len = 0;
    if (p == end)
        return -1;
    int32_t best = trie->single[p[0]];
    *len = best >= 0;
    if (end - p < 2)
        return best;
    const unsigned char *at = p + 2;
    uint32_t node = trie->pair[p[0] << 8 | p[1]];
    while (node) {
        if (trie->nodes[node].value > 0) {
            best = (int32_t)trie->nodes[node].value - 1;
            *len = (size_t)(at - p);
        }
        if (at == end)
            break;
        node = token_trie_step(trie, node, *at++);
    }
    return best;
}

// The value of exactly [p, end), or -1.
static inline int32_t token_trie_find(const token_trie *trie, const unsigned char *p,
                                      const unsigned char *end) {
    size_t len;
    int32_t value = token_trie_longest(trie, p, end, &len);
    return len == (size_t)(end - p) ? value : -1;
}

#endif
