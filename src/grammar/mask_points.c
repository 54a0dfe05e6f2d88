// Tokens that stay inside a string whose code points are counted, near the limit: for each state of
// its automaton how many more code points each token must have room for. What a token begins and
// what the string then still needs only grows on the way, so its end alone decides.
#include "grammar/language.h"
#include <xxhash.h>

// The room that tokens need, if at most TRIE_SHORT, is kept less one in the bits of N_PLANES sets;
// that of others is in a list behind them.
enum { N_PLANES = 4 };
_Static_assert(1 << N_PLANES == TRIE_SHORT, "all rooms that are short");

typedef struct rooms {
    const grammar_trie *trie;
    uint32_t *words; // [n] of the entry: those that are short, their planes, pairs of id and room
    size_t n, cap;
} rooms;

static void note_room(rooms *r, int32_t id, int64_t room) {
    size_t n_words = r->trie->n_words, word = (size_t)id / 32;
    uint32_t bit = (uint32_t)1 << (id % 32);
    if (room > TRIE_SHORT) {
        if (r->n + 2 > r->cap) {
            r->cap = 2 * r->cap + 2;
            r->words = base_realloc(r->words, r->cap * sizeof *r->words);
        }
        r->words[r->n++] = (uint32_t)id;
        r->words[r->n++] = (uint32_t)room;
        return;
    }
    r->words[word] |= bit;
    for (size_t plane = 0; plane < N_PLANES; plane++)
        if ((room - 1) >> plane & 1)
            r->words[(plane + 1) * n_words + word] |= bit;
}

typedef struct counted {
    int32_t state;
    int32_t place, begun;
} counted;

// Tokens that end the string are left out.
static void find_rooms(rooms *r, const language_dfa *d, int32_t state, uint64_t *n_nodes) {
    const trie_part *part = &r->trie->all;
    const match_text *text = &r->trie->lenient_text;
    counted *at = base_alloc((r->trie->max_bytes + 1) * sizeof *at);
    at[0] = (counted){state, MATCH_TEXT_IN, 0};
    for (uint32_t i = 0; i < part->n; ++*n_nodes) {
        trie_node node = part->nodes[i];
        const counted *from = &at[node.depth];
        int32_t to = grammar_dfa_step(d->dfa, from->state, node.byte);
        int32_t place = text->next[from->place][node.byte];
        if (to < 0 || place < 0) {
            i = node.end;
            continue;
        }
        at[node.depth + 1] = (counted){to, place, from->begun + (from->place == MATCH_TEXT_IN)};
        if (node.token >= 0)
            note_room(r, node.token,
                      at[node.depth + 1].begun +
                          (int64_t)d->points[(size_t)to * MATCH_TEXT_STATES + (size_t)place]);
        i++;
    }
    base_free(at);
}

static const mask_entry *rooms_of(grammar_language *l, const language_dfa *d, int32_t state) {
    const uint64_t record[3] = {(uint64_t)(uintptr_t)d, (uint64_t)state, UINT64_MAX / 2};
    XXH128_hash_t h = XXH3_128bits(record, sizeof record);
    match_hash key = {h.low64, h.high64};
    const mask_entry *found = mask_cache_find(l->cache, key);
    if (found)
        return found;
    size_t n = (N_PLANES + 1) * l->trie->n_words;
    rooms r = {.trie = l->trie, .words = base_calloc(n + 1, sizeof *r.words), .n = n, .cap = n};
    find_rooms(&r, d, state, &l->walker->n_nodes);
    found = mask_cache_add_words(l->cache, key, r.words, r.n);
    base_free(r.words);
    return found;
}

// Tokens whose room, less one, is at most `most`, bit by bit from the highest.
static void add_short(const uint32_t *words, size_t stride, unsigned most, uint32_t *mask,
                      size_t n_words) {
    for (size_t i = 0; i < n_words; i++) {
        uint32_t less = 0, same = words[i];
        for (size_t plane = N_PLANES; plane-- > 0;) {
            uint32_t bits = words[(plane + 1) * stride + i];
            uint32_t wanted = most >> plane & 1 ? UINT32_MAX : 0;
            less |= same & wanted & ~bits;
            same &= ~(bits ^ wanted);
        }
        mask[i] |= less | same;
    }
}

void mask_add_counted(grammar_language *l, const language_dfa *d, int32_t state, int64_t room,
                      uint32_t *mask, size_t n_words) {
    if (room <= 0)
        return;
    const mask_entry *e = rooms_of(l, d, state);
    size_t stride = l->trie->n_words;
    add_short(e->at, stride, room < TRIE_SHORT ? (unsigned)room - 1 : TRIE_SHORT - 1, mask,
              n_words < stride ? n_words : stride);
    for (size_t i = (N_PLANES + 1) * stride; i < e->n; i += 2)
        if (e->at[i + 1] <= room && e->at[i] / 32 < n_words)
            mask[e->at[i] / 32] |= (uint32_t)1 << (e->at[i] % 32);
}
