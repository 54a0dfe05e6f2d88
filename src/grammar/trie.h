// The inside of a vocabulary's trie, shared by the files that make masks.
//
// Most of what may come next inside a string is known beforehand: every token that is nothing but
// string. So the tokens lie in three tries (all, those that are not plain text, those that can end
// a string) and the plain ones in sets.
#ifndef GRAMMAR_TRIE_H
#define GRAMMAR_TRIE_H

#include "grammar/match.h"

// ---------------------------------------------------------------------------------------------
// The inside of JSON strings, byte by byte.

enum {
    MATCH_TEXT_STATES = 24,
    MATCH_TEXT_PLAIN = 8, // states below are those of plain text, without escapes
    MATCH_TEXT_IN = 0,    // between two characters
    MATCH_TEXT_DEAD = -1,
    MATCH_TEXT_CLOSE = -2, // the quote that ends the string
};

typedef struct match_text {
    int16_t next[MATCH_TEXT_STATES][256];
} match_text;

// Values: any escape but \u0000, which too many readers refuse; surrogates in pairs.
void match_text_value(match_text *t);
// Any escape: where strings end that an automaton spells as it likes.
void match_text_lenient(match_text *t);
// Keys: escapes only where JSON needs them, one spelling for each character.
void match_text_key(match_text *t);

// A key in the course of being written, known by a hash: it need never be stored. (Should two keys
// collide, the second one is refused: nothing wrong is let through.)
typedef struct match_hash {
    uint64_t a, b;
} match_hash;

static inline match_hash match_hash_start(void) {
    return (match_hash){0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu};
}

static inline match_hash match_hash_add(match_hash h, unsigned char byte) {
    h.a = (h.a ^ byte) * 0x9e3779b97f4a7c15u;
    h.a ^= h.a >> 32;
    h.b = (h.b + byte + 1) * 0xc2b2ae3d27d4eb4fu;
    h.b ^= h.b >> 29;
    return h;
}

// ---------------------------------------------------------------------------------------------
// Tries and sets.

enum { TRIE_SHORT = 16 }; // code points of tokens that sets by length go up to

// Depth first; a node's children follow it.
typedef struct trie_node {
    uint32_t end;  // the node behind this one's subtree
    int32_t token; // that ends here, or -1
    uint16_t depth;
    uint8_t byte;
} trie_node;

typedef struct trie_part {
    trie_node *nodes; // [n]
    uint32_t n;
} trie_part;

// Tokens too long for the sets, the shorter ones first.
typedef struct trie_long {
    int32_t token, n_points;
} trie_long;
typedef struct trie_longs {
    trie_long *at; // [n]
    int n;
} trie_longs;

struct grammar_trie {
    const token_vocab *vocab;
    int n_ids;
    size_t n_words;   // of a set
    size_t max_bytes; // of the longest token
    trie_part all, rest, closing;
    uint32_t *within[TRIE_SHORT]; // [n_words] tokens inside a value's string that begin at most
                                  // i + 1 code points; the last may be cut
    trie_longs within_long;
    uint32_t *plain; // [n_words] at most TRIE_SHORT whole characters, none of them a quote, a
                     // backslash, a control or one of U+2028 and U+2029, which '.' does not match
    trie_longs plain_long;
    uint32_t *key;            // [n_words] tokens inside a key
    match_hash *inner;        // [n_inner] keys that lie wholly inside a token, ascending
    match_hash *inner_starts; // [n_inner_starts] and their beginnings
    size_t n_inner, n_inner_starts;
    int32_t *quoted; // [n_quoted] tokens with a quote in them
    int n_quoted;
    size_t quoted_bytes; // of the longest of these
    int32_t *tall; // [n_tall] the other tokens of more than TRIE_SHORT bytes, the longest first
    int n_tall;
    size_t bytes;
    match_text value_text, key_text, lenient_text;
};

// Whether a token can hold the whole key / the rest of a key that begins so.
bool trie_has_inner(const grammar_trie *t, match_hash key);
bool trie_has_inner_start(const grammar_trie *t, match_hash start);

#endif
