// A program made ready for matching: what is known of its automata and objects beforehand, and the
// masks found so far. Shared by language*.c, match*.c and mask*.c.
#ifndef GRAMMAR_LANGUAGE_H
#define GRAMMAR_LANGUAGE_H

#include "grammar/match_frame.h"
#include <stdatomic.h>

// ---------------------------------------------------------------------------------------------
// Automata.

enum {
    LANGUAGE_ACCEPTS = 1,
    LANGUAGE_LAST = 2,   // accepts, and nothing can follow
    LANGUAGE_INSIDE = 4, // inside a JSON string (or a key), between two characters, always
    LANGUAGE_SHORT = 8,  // no more plain characters can come than are allowed whatever they are
};

enum { LANGUAGE_FREE = UINT16_MAX };
#define LANGUAGE_MANY INT64_MAX

typedef struct language_dfa {
    const grammar_dfa *dfa;
    uint8_t *flags;  // [n_states]
    uint16_t *plain; // [n_states] so many plain characters are allowed whatever they are
                     // (LANGUAGE_FREE: any number); NULL: not known
    int64_t *texts;  // [n_states] how many lead to an end, LANGUAGE_MANY: more than can be counted;
                     // NULL: it was not asked for, or is that for all states
    uint16_t *points; // [n_states * MATCH_TEXT_STATES] inside a string: the fewest code points that
                      // are still to begin until it ends; NULL: it was not asked for
    int64_t near_points; // the most of these, and of what one token can begin: a limit that leaves
                         // room for more does not matter
    bool loose; // of names: keys that begin inside a token do not come near their end of texts
} language_dfa;

enum {
    LANGUAGE_FEW = 1 << 30, // texts; more than keys of an object can ever use up
    LANGUAGE_FREEDOM = 5,   // plain characters, any of which may come, that make more than few
};

// As a value's automaton, or as that of keys.
typedef enum { LANGUAGE_TEXT, LANGUAGE_VALUE, LANGUAGE_NAMES } language_use;

// A copy of what is known; `budget` bounds the work of all automata of a language.
language_dfa *language_dfa_create(const grammar_dfa *dfa, language_use use, const grammar_trie *t,
                                  int64_t *budget);
void language_dfa_free(language_dfa *d); // NULL is fine
size_t language_dfa_bytes(const language_dfa *d);
// Fills `points`, once; the automaton is one of JSON strings.
void language_find_points(language_dfa *d, const grammar_trie *t);
// The keys of objects that do not restrict them.
grammar_dfa *language_any_key(const grammar_trie *t);
// For each state of `d` how many plain characters are safe [n_states]; NULL: too much work.
uint16_t *language_plain_lengths(const grammar_dfa *d, int64_t *budget);
// Finds the states that are LANGUAGE_SHORT among those that allow fewer than TRIE_SHORT.
void language_find_short(language_dfa *d, int64_t *budget);

static inline int64_t language_texts(const language_dfa *d, int32_t state) {
    return d->texts ? d->texts[state] : LANGUAGE_MANY;
}

// ---------------------------------------------------------------------------------------------
// Objects and choices.

typedef struct language_object {
    int n_words;          // of the sets of properties below
    uint64_t *required;   // [n_words]
    uint64_t *possible;   // [n_words] those that have a node
    int32_t *among_names; // [n + 1] how many properties below the i-th are keys of `names`
    const language_dfa *names;
    int32_t deepest; // of what its properties need
} language_object;

// The nodes a value may be, unions resolved: [first, first + sum) of `leaves`.
typedef struct language_choice {
    int32_t first, n_scalars, n_strings, n_objects, n_arrays;
} language_choice;

typedef struct mask_cache mask_cache;
typedef struct mask_walker mask_walker;

struct grammar_language {
    const grammar_trie *trie;
    grammar_program *program;
    language_choice *choices; // [n_nodes]
    int32_t *leaves;
    size_t n_leaves;
    int32_t *depths;           // [n_nodes] containers in each other that an instance needs at least
    int32_t *simplest;         // [n_nodes] of a union the leaf that needs the fewest
    int32_t max_depth;         // that may be open
    const language_dfa **dfas; // [n_nodes] of scalars; NULL for others
    language_object *objects;  // [n_nodes], zero but for objects
    language_dfa **values;     // [n_dfas] those made, by their use
    language_dfa **names;      // [n_dfas]
    grammar_dfa *any_key;
    language_dfa *any_key_known;
    mask_cache *cache;
    mask_walker *walker;
    size_t fixed_bytes;
    atomic_size_t changing_bytes;
    atomic_uint_fast64_t n_masks, n_found;
};

// Fills `depths`, `simplest` and `max_depth`; INT32_MAX: no instance. Needs `objects`.
void language_find_depths(grammar_language *l);
// Fills `choices` and `leaves`; needs `depths`.
void language_find_choices(grammar_language *l);

static inline bool language_fits(const grammar_language *l, int32_t node, int32_t depth) {
    return node >= 0 && l->depths[node] <= l->max_depth - depth;
}

// ---------------------------------------------------------------------------------------------
// Steps.

typedef struct match_context {
    const grammar_language *language;
    match_arena *arena;
} match_context;

// Writes at most `room` threads that follow when `byte` comes; returns how many. Further ones are
// left out.
int match_step(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
               int room);
// The same for an object's frame and for a key's.
int match_step_object(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
                      int room);
int match_step_key(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
                   int room);
// What several threads become together; `out` has room for MATCH_MAX_THREADS.
int match_step_all(match_context *c, const match_frame *threads, int n, unsigned char byte,
                   match_frame *out);
// Begins a value of `node`; `below` is what comes after it.
int match_begin(match_context *c, const match_frame *below, int32_t node, unsigned char byte,
                match_frame *out, int room);
match_link *match_push_link(match_context *c, const match_frame *frame);
// Drops threads that are the same as an earlier one; returns how many are left.
int match_unite(match_frame *threads, int n);
bool match_same(const match_frame *a, const match_frame *b);

static inline bool match_is_space(unsigned char byte) {
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

// Whether one more byte of white space may come between the tokens of a container.
static inline bool match_has_space(const grammar_program *p, const match_frame *t) {
    int64_t most = p->max_whitespace + (int64_t)p->whitespace_of_level * t->depth;
    return t->space < (most < UINT16_MAX ? most : UINT16_MAX);
}

// How many more may come / must come, `most` and above being all the same.
static inline int64_t match_room(int64_t max, int64_t count, int64_t most) {
    return max < 0 || max - count > most ? most : max - count;
}

static inline int64_t match_need(int64_t min, int64_t count, int64_t most) {
    return min <= count ? 0 : (min - count > most ? most : min - count);
}

// Whether the limit of a scalar's code points is so near that a token may come to it.
static inline bool match_is_near(const grammar_language *l, const match_frame *t) {
    int64_t most = l->program->nodes[t->node].most;
    return most > 0 && most - t->count <= l->dfas[t->node]->near_points;
}

// The byte that led to `state`, which does not end the string, is counted. False: it cannot be
// ended within the limit any more.
static inline bool match_count(const grammar_language *l, const language_dfa *d, int64_t most,
                               int32_t state, unsigned char byte, int32_t *place, int64_t *count) {
    int next = l->trie->lenient_text.next[*place][byte];
    *count += *place == MATCH_TEXT_IN;
    *place = next;
    return next >= 0 &&
           *count + d->points[(size_t)state * MATCH_TEXT_STATES + (size_t)next] <= most;
}

// The bytes that may come next, and perhaps some that may not: what walks need not even try.
void match_first_bytes(const grammar_language *l, const match_frame *t, bool first[256]);

// What a matcher takes, for tests: it must not grow with the text.
size_t match_bytes(const grammar_matcher *m);

// What a mask depends on: equal hashes, equal masks.
match_hash match_thread_hash(const grammar_language *l, const match_frame *t);

// ---------------------------------------------------------------------------------------------
// Masks.

// Ids that are allowed in a situation: those of a set that all know, if any, and some more.
typedef struct mask_entry {
    match_hash key;
    struct mask_entry *next;          // with a hash alike
    struct mask_entry *older, *newer; // by use
    const uint32_t *base;             // [n_words] or NULL
    const uint32_t *within;           // [n_words] what counts of `base`; NULL: all
    size_t n, bytes;
    bool dense;     // `at` is a set of n words, else a list of n ids
    int64_t fewest; // texts that are left after one of the ids, at least
    uint32_t at[];
} mask_entry;

mask_cache *mask_cache_create(void);
void mask_cache_free(mask_cache *c); // NULL is fine
size_t mask_cache_bytes(const mask_cache *c);
mask_entry *mask_cache_find(mask_cache *c, match_hash key);
// Copies the ids, and forgets what was not used for longest when there is too much. The entry stays
// until the next one is added.
mask_entry *mask_cache_add(mask_cache *c, match_hash key, const uint32_t *base, const int32_t *ids,
                           size_t n_ids, size_t n_words);
// Words that mean something else: `at` of the entry.
mask_entry *mask_cache_add_words(mask_cache *c, match_hash key, const uint32_t *words, size_t n);
void mask_entry_add(const mask_entry *e, uint32_t *mask, size_t n_words);

// Ids found by walking tries.
struct mask_walker {
    const grammar_trie *trie;
    struct mask_level *levels; // [max_bytes + 1]
    int32_t *states;           // [max_bytes + 1]
    match_frame *frames;       // [cap_frames] the threads of all levels
    size_t cap_frames;
    match_arena arena;
    int32_t *ids; // [cap_ids] those found since the last trim
    size_t n_ids, cap_ids;
    int32_t *near; // [cap_near] of an automaton those after which few texts are left
    size_t n_near, cap_near;
    int64_t fewest;   // after one of these
    uint64_t n_nodes; // looked at so far
};

mask_walker *mask_walker_create(const grammar_trie *t);
void mask_walker_free(mask_walker *w); // NULL is fine
size_t mask_walker_bytes(const mask_walker *w);
void mask_walker_add_id(mask_walker *w, int32_t id);
void mask_walker_add_near(mask_walker *w, int32_t id, int64_t texts);
void mask_walker_trim(mask_walker *w); // forgets the ids
// Adds the ids of a trie that a thread can take.
void mask_walk_thread(grammar_language *l, const trie_part *part, const match_frame *t);
// The same for an automaton alone.
void mask_walk_dfa(mask_walker *w, const trie_part *part, const language_dfa *d, int32_t state);
// Whether a key's thread can take all of a token, which does not end the key.
bool mask_follows_key(grammar_language *l, const match_frame *t, int32_t token);

// Adds the ids that stay inside a string of an automaton that has room for so many code points.
void mask_add_counted(grammar_language *l, const language_dfa *d, int32_t state, int64_t room,
                      uint32_t *mask, size_t n_words);
// Adds the ids that may follow one thread; n_words at most those of the trie.
void mask_add_thread(grammar_language *l, const match_frame *t, uint32_t *mask, size_t n_words);

#endif
