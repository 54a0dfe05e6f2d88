// The pool of cache blocks: reference counts, and the list of the blocks nobody refers to.
//
// With refs[b] the count and LIST the list of free blocks, at every moment between two calls:
//   refs[b]  = number of block-table entries, over all sequences, that are b
//   b in LIST <=> refs[b] = 0
//   n_free   = |LIST|,  n_free + |{b : refs[b] > 0}| = n_blocks
// LIST is in order of eviction. A free block may still hold a cached prefix (prefix.h) until it is
// taken; such blocks are released to the tail, worthless ones to the head.
#ifndef ENGINE_BLOCKS_H
#define ENGINE_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct engine_block {
    int32_t refs;
    int32_t prev, next; // in LIST
} engine_block;

typedef struct engine_blocks {
    int32_t n_blocks;
    int32_t n_free;
    engine_block *at; // [n_blocks + 1]; the last one is LIST's head and tail
} engine_blocks;

void engine_blocks_init(engine_blocks *b, int32_t n_blocks);
void engine_blocks_free(engine_blocks *b);

// Takes the head of LIST, with one reference. There must be one.
int32_t engine_blocks_take(engine_blocks *b);
// One more reference; revives a free block.
void engine_blocks_ref(engine_blocks *b, int32_t id);
// One reference less. The last one puts the block on LIST: at the tail if it is worth keeping.
void engine_blocks_unref(engine_blocks *b, int32_t id, bool keep);

#endif
