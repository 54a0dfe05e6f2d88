// The prefix cache: which full block holds the ids that follow a given chain of blocks.
//
// A cached block is found by key = XXH3-128(key of its parent, its ids; in a first block the salt),
// seeded per process. The key only finds: a hit also needs equal ids, the same parent block and the
// same salt, so a collision, even a forged one, cannot share anything.
//
// With C a cached block and P its parent (the block before it in its chain), always:
//   P is cached, and refs[P] >= refs[C], as whoever holds C holds P before it in its table
//   refs[P] = 0  =>  C stands before P in the list of free blocks
// The second holds because tables are released from their end. Together: a block is evicted after
// all its children, so a parent's block number identifies the whole chain before it.
//
// For those who wonder why a prompt was not found, the cache also knows each block's children, and
// remembers the keys of blocks that it has forgotten, as many as there are blocks. Both are kept
// apart by salt: the former by comparison, the latter as the salt is part of the key.
#ifndef ENGINE_PREFIX_H
#define ENGINE_PREFIX_H

#include "engine/engine.h"
#include <xxhash.h>

enum { ENGINE_NO_BLOCK = -1 };

typedef struct engine_prefix_entry {
    XXH128_hash_t key;
    uint64_t salt;
    int32_t parent;       // ENGINE_NO_BLOCK: first of its chain
    int32_t next;         // in its bucket
    int32_t child;        // of its children the one used last
    int32_t newer, older; // among its parent's children, or its salt's first blocks
    bool cached;
} engine_prefix_entry;

typedef struct engine_prefix {
    int32_t n_blocks, block_size;
    uint64_t seed;
    uint64_t key_mask;       // all ones; tests shorten keys to force collisions
    engine_prefix_entry *at; // [n_blocks]
    int32_t *ids;            // [n_blocks, block_size] token ids of cached blocks
    uint32_t n_buckets;      // a power of two
    int32_t *buckets;        // [n_buckets] first block of each, or ENGINE_NO_BLOCK
    int32_t *first;          // [n_buckets] of the first blocks of chains the one used last, by salt
    uint64_t *evicted;       // [n_buckets] keys of forgotten blocks; 0: none
    unsigned char *scratch;  // what is hashed: [16 + 8 + block_size * 4] bytes
} engine_prefix;

void engine_prefix_init(engine_prefix *c, int32_t n_blocks, int block_size, uint64_t seed);
void engine_prefix_free(engine_prefix *c);

// Writes the longest cached chain for ids[0, max_blocks * block_size) to `table` and returns its
// length in blocks. Takes no references.
int engine_prefix_find(engine_prefix *c, const int32_t *ids, int max_blocks, uint64_t salt,
                       int32_t *table);
// Caches `block`, full of `ids` [block_size], as the child of `parent`. Returns the block that
// stands for this content from now on: `block`, or one that was cached before and that the caller
// must use instead (equal content: the chain before it and the ids are equal). ENGINE_NO_BLOCK when
// the chain cannot go on: the parent is not cached, or the key is another content's.
int32_t engine_prefix_add(engine_prefix *c, int32_t block, int32_t parent, const int32_t *ids,
                          uint64_t salt);
// Forgets a block that is about to be overwritten. Nothing happens if it is not cached.
void engine_prefix_drop(engine_prefix *c, int32_t block);
// Why engine_prefix_find found but `n_found` blocks of `ids`, which go on for one more at least,
// and the position of the first id that differs, or else the first not found. Looks at a bounded
// number of blocks, those used last. `parent`: the last one found, or ENGINE_NO_BLOCK.
engine_miss engine_prefix_explain(engine_prefix *c, const int32_t *ids, uint64_t salt,
                                  int32_t parent, int n_found, int *miss_at);
// Marks a chain as used: engine_prefix_explain compares with the chains used last.
void engine_prefix_use(engine_prefix *c, const int32_t *table, int n);
// Forgets all, and that it was ever cached.
void engine_prefix_clear(engine_prefix *c);

#endif
