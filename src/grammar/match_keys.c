// Sets of hashed keys: a trie over the hash's bits, four at a time, whose nodes are copied on the
// way to a change.
#include "grammar/match_frame.h"
#include <string.h>

enum { FAN = 16, MAX_LEVEL = 32 };

typedef struct match_leaf {
    struct match_leaf *moved;
    match_hash hash;
    int64_t count;
} match_leaf;

typedef struct match_branch {
    struct match_branch *moved;
    uint16_t leaves, branches;                                 // which of the places hold what
    const void *at[] __attribute__((aligned(sizeof(void *)))); // in the order of the bits
} match_branch;

static unsigned place_of(match_hash h, int level) {
    uint64_t word = level < MAX_LEVEL / 2 ? h.a : h.b;
    return (unsigned)(word >> (level % (MAX_LEVEL / 2) * 4)) & (FAN - 1);
}

static int slot_of(const match_branch *b, unsigned place) {
    return __builtin_popcount((unsigned)(b->leaves | b->branches) & ((1u << place) - 1));
}

static int slots(const match_branch *b) {
    return __builtin_popcount((unsigned)(b->leaves | b->branches));
}

static bool same(match_hash a, match_hash b) {
    return a.a == b.a && a.b == b.b;
}

static const match_leaf *find(const match_keys *set, match_hash h) {
    const match_branch *b = set ? set->root : NULL;
    for (int level = 0; b; level++) {
        unsigned place = place_of(h, level);
        if (b->leaves >> place & 1) {
            const match_leaf *leaf = b->at[slot_of(b, place)];
            return same(leaf->hash, h) ? leaf : NULL;
        }
        b = b->branches >> place & 1 ? b->at[slot_of(b, place)] : NULL;
    }
    return NULL;
}

// A whole key is another thing than the beginning of a longer one.
static match_hash closed(match_hash key) {
    return match_hash_add(key, '"');
}

bool match_keys_has(const match_keys *set, match_hash key) {
    return find(set, closed(key)) != NULL;
}

int64_t match_keys_count(const match_keys *set, match_hash start) {
    const match_leaf *leaf = find(set, start);
    return leaf ? leaf->count : 0;
}

static match_branch *branch_with(const match_branch *from, int n, match_arena *arena) {
    match_branch *b = match_arena_alloc(arena, sizeof *b + (size_t)n * sizeof *b->at);
    *b = (match_branch){.leaves = from->leaves, .branches = from->branches};
    return b;
}

static const match_branch nothing;

// A copy of `from` that holds `what` at a place.
static match_branch *put(const match_branch *from, unsigned place, const void *what, bool leaf,
                         match_arena *arena) {
    int old = slots(from), slot = slot_of(from, place);
    bool there = (from->leaves | from->branches) >> place & 1;
    match_branch *b = branch_with(from, old + !there, arena);
    for (int i = 0; i < slot; i++)
        b->at[i] = from->at[i];
    b->at[slot] = what;
    for (int i = slot + there; i < old; i++)
        b->at[i + !there] = from->at[i];
    uint16_t bit = (uint16_t)(1u << place);
    b->leaves = (uint16_t)(leaf ? b->leaves | bit : b->leaves & ~bit);
    b->branches = (uint16_t)(leaf ? b->branches & ~bit : b->branches | bit);
    return b;
}

static const match_branch *add(const match_branch *b, match_leaf *leaf, int level,
                               match_arena *arena) {
    unsigned place = place_of(leaf->hash, level);
    if (b->branches >> place & 1) {
        const match_branch *below = add(b->at[slot_of(b, place)], leaf, level + 1, arena);
        return put(b, place, below, false, arena);
    }
    if (!(b->leaves >> place & 1))
        return put(b, place, leaf, true, arena);
    const match_leaf *other = b->at[slot_of(b, place)];
    if (same(other->hash, leaf->hash)) {
        leaf->count += other->count;
        return put(b, place, leaf, true, arena);
    }
    match_branch *below = put(&nothing, place_of(other->hash, level + 1), other, true,
                              arena); // they differ further on
    return put(b, place, add(below, leaf, level + 1, arena), false, arena);
}

static const match_branch *count_one(const match_branch *root, match_hash h, match_arena *arena) {
    match_leaf *leaf = match_arena_alloc(arena, sizeof *leaf);
    *leaf = (match_leaf){.hash = h, .count = 1};
    return add(root ? root : &nothing, leaf, 0, arena);
}

static void sum(match_hash *total, match_hash h) {
    total->a += h.a;
    total->b += h.b;
}

const match_keys *match_keys_add(const match_keys *set, match_hash key, const match_path *path,
                                 const grammar_trie *trie, match_arena *arena) {
    match_keys *made = match_arena_alloc(arena, sizeof *made);
    *made = set ? *set : (match_keys){0};
    made->moved = NULL;
    made->n++;
    made->root = count_one(made->root, closed(key), arena);
    for (const match_path *p = path; p; p = p->before)
        made->root = count_one(made->root, p->start, arena);
    sum(&made->sum, closed(key));
    if (trie_has_inner(trie, key))
        sum(&made->inner, closed(key));
    return made;
}

static const match_branch *move_branch(const match_branch *b, match_arena *to) {
    if (b->moved)
        return b->moved;
    match_branch *made = branch_with(b, slots(b), to);
    ((match_branch *)b)->moved = made;
    for (unsigned place = 0; place < FAN; place++) {
        int slot = slot_of(b, place);
        if (b->leaves >> place & 1) {
            match_leaf *leaf = (match_leaf *)b->at[slot];
            if (!leaf->moved) {
                leaf->moved = match_arena_alloc(to, sizeof *leaf);
                *leaf->moved = (match_leaf){.hash = leaf->hash, .count = leaf->count};
            }
            made->at[slot] = leaf->moved;
        } else if (b->branches >> place & 1) {
            made->at[slot] = move_branch(b->at[slot], to);
        }
    }
    return made;
}

const match_keys *match_keys_move(const match_keys *set, match_arena *to) {
    if (!set || set->moved)
        return set ? set->moved : NULL;
    match_keys *made = match_arena_alloc(to, sizeof *made);
    *made = *set;
    ((match_keys *)set)->moved = made;
    made->root = move_branch(set->root, to);
    return made;
}
