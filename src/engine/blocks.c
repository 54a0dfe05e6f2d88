#include "engine/blocks.h"

#include "base/base.h"

static void list_insert_after(engine_blocks *b, int32_t id, int32_t before) {
    engine_block *block = &b->at[id];
    block->prev = before;
    block->next = b->at[before].next;
    b->at[block->next].prev = id;
    b->at[before].next = id;
    b->n_free++;
}

static void list_remove(engine_blocks *b, int32_t id) {
    const engine_block *block = &b->at[id];
    b->at[block->prev].next = block->next;
    b->at[block->next].prev = block->prev;
    b->n_free--;
}

void engine_blocks_init(engine_blocks *b, int32_t n_blocks) {
    int32_t list = n_blocks;
    b->n_blocks = n_blocks;
    b->n_free = 0;
    b->at = base_calloc((size_t)n_blocks + 1, sizeof *b->at);
    b->at[list].prev = b->at[list].next = list;
    for (int32_t id = 0; id < n_blocks; id++)
        list_insert_after(b, id, b->at[list].prev);
}

void engine_blocks_free(engine_blocks *b) {
    base_free(b->at);
    b->at = NULL;
}

int32_t engine_blocks_take(engine_blocks *b) {
    int32_t id = b->at[b->n_blocks].next;
    list_remove(b, id);
    b->at[id].refs = 1;
    return id;
}

void engine_blocks_ref(engine_blocks *b, int32_t id) {
    if (b->at[id].refs++ == 0)
        list_remove(b, id);
}

void engine_blocks_unref(engine_blocks *b, int32_t id, bool keep) {
    if (--b->at[id].refs > 0)
        return;
    int32_t list = b->n_blocks;
    list_insert_after(b, id, keep ? b->at[list].prev : list);
}
