// Threads, frames and the arena they live in; see match.h for the idea.
//
// A thread is one way to read the bytes so far: its top frame by value, the frames below it linked
// and never changed, so that threads, earlier places and the walks of masks share them.
#ifndef GRAMMAR_MATCH_FRAME_H
#define GRAMMAR_MATCH_FRAME_H

#include "grammar/grammar.h"
#include "grammar/trie.h"

enum {
    MATCH_MAX_THREADS = 128, // readings kept open; further ones are given up, which forbids texts
                             // but never allows a wrong one, nor leaves none
    MATCH_MAX_DEPTH = 256,   // containers in each other, unless a schema asks for more
};

// ---------------------------------------------------------------------------------------------
// Memory that grows by bumping, goes back to a mark, and is compacted by copying what lives.

typedef struct match_chunk {
    struct match_chunk *next; // the one used after this, kept when the arena goes back
    size_t cap, used;
    _Alignas(16) char at[];
} match_chunk;

typedef struct match_arena {
    match_chunk *first, *now;
    size_t taken; // bytes handed out
} match_arena;

typedef struct match_mark {
    match_chunk *now;
    size_t used, taken;
} match_mark;

void *match_arena_alloc(match_arena *a, size_t bytes); // not zeroed
match_mark match_arena_mark(const match_arena *a);
void match_arena_reset(match_arena *a, match_mark mark);
void match_arena_free(match_arena *a); // leaves it empty and valid
size_t match_arena_bytes(const match_arena *a);

// ---------------------------------------------------------------------------------------------
// Frames. Everything in an arena begins with where it was moved to when it was compacted.

typedef struct match_link match_link;

// The properties seen, where they do not fit in a word.
typedef struct match_bits {
    struct match_bits *moved;
    size_t n;
    uint64_t at[];
} match_bits;

// The beginnings of a key of which only finitely many may come, the longest first.
typedef struct match_path {
    struct match_path *moved;
    const struct match_path *before;
    match_hash start;
} match_path;

typedef enum {
    MATCH_END, // below the root; `count` bytes of the suffix are written
    MATCH_SCALAR,
    MATCH_STRING,
    MATCH_OBJECT,
    MATCH_ARRAY,
    MATCH_KEY, // of the object below it
} match_kind;

typedef enum {
    MATCH_AFTER, // a value is complete: , or an end
    MATCH_FIRST, // behind an opening bracket; of END: nothing is written yet
    MATCH_NEXT,  // behind a comma
    MATCH_COLON, // of an object: a key is complete
    MATCH_VALUE, // of an object: behind a colon
} match_phase;

typedef struct match_frame {
    match_link *below;
    uint8_t kind, phase;
    uint16_t space; // bytes of white space since the last JSON token
    int32_t depth;  // containers up to here
    int32_t node;
    int32_t state; // SCALAR: of its automaton; STRING: of the text; KEY: of other names, or -1
    int64_t count; // STRING, and SCALAR with a limit: code points begun; OBJECT: properties; ARRAY:
                   // items
    union {
        struct {
            uint64_t seen;                   // properties, when there are at most 64;
            const match_bits *many;          // else here, NULL: none
            const struct match_keys *others; // keys seen of other properties; NULL: none
            int32_t missing;                 // required ones not seen
            int32_t value;                   // node of the property that is being written
        } object;
        struct {
            match_hash hash;        // of the key so far
            const match_path *path; // its beginnings of which finitely many keys may come
            int32_t low, high;      // the properties that begin so
            int32_t len;            // bytes so far
            int32_t zero;
        } key;
        int32_t place;                     // SCALAR with a limit: of its text, as a STRING's state
        const struct match_suffix *suffix; // END
        uint64_t any[5];
    } u;
} match_frame;

struct match_link {
    match_link *moved;
    match_frame frame;
    match_hash hash; // of this frame and those below, as masks know them; a == 0: not made yet
};

typedef struct match_suffix {
    char *bytes; // [len]
    size_t len;
    match_hash hash;
} match_suffix;

// ---------------------------------------------------------------------------------------------
// Sets of keys that are never changed: adding makes a new one that shares most of the old.

typedef struct match_keys {
    struct match_keys *moved;
    const struct match_branch *root;
    int64_t n;
    match_hash sum;   // of all keys
    match_hash inner; // of those that can lie inside one token
} match_keys;

bool match_keys_has(const match_keys *set, match_hash key); // NULL: the empty set
// How many keys begin so, if `start` was on the path of each.
int64_t match_keys_count(const match_keys *set, match_hash start);
const match_keys *match_keys_add(const match_keys *set, match_hash key, const match_path *path,
                                 const grammar_trie *trie, match_arena *arena);
const match_keys *match_keys_move(const match_keys *set, match_arena *to);

#endif
