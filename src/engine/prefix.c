#include "engine/prefix.h"

#include <string.h>

void engine_prefix_init(engine_prefix *c, int32_t n_blocks, int block_size, uint64_t seed) {
    c->n_blocks = n_blocks;
    c->block_size = block_size;
    c->seed = seed;
    c->key_mask = UINT64_MAX;
    c->at = base_calloc((size_t)n_blocks, sizeof *c->at);
    c->ids = base_calloc((size_t)n_blocks * (size_t)block_size, sizeof *c->ids);
    c->n_buckets = 1;
    while (c->n_buckets < (uint32_t)n_blocks)
        c->n_buckets *= 2;
    c->buckets = base_calloc(c->n_buckets, sizeof *c->buckets);
    c->first = base_calloc(c->n_buckets, sizeof *c->first);
    c->evicted = base_calloc(c->n_buckets, sizeof *c->evicted);
    c->scratch =
        base_alloc(sizeof(XXH128_hash_t) + sizeof(uint64_t) + (size_t)block_size * sizeof *c->ids);
    engine_prefix_clear(c);
}

void engine_prefix_free(engine_prefix *c) {
    base_free(c->at);
    base_free(c->ids);
    base_free(c->buckets);
    base_free(c->first);
    base_free(c->evicted);
    base_free(c->scratch);
    memset(c, 0, sizeof *c);
}

static XXH128_hash_t key_of(engine_prefix *c, int32_t parent, const int32_t *ids, uint64_t salt) {
    unsigned char *p = c->scratch;
    if (parent == ENGINE_NO_BLOCK) {
        memcpy(p, &salt, sizeof salt);
        p += sizeof salt;
    } else {
        memcpy(p, &c->at[parent].key, sizeof c->at[parent].key);
        p += sizeof c->at[parent].key;
    }
    size_t bytes = (size_t)c->block_size * sizeof *ids;
    memcpy(p, ids, bytes);
    p += bytes;
    XXH128_hash_t key = XXH3_128bits_withSeed(c->scratch, (size_t)(p - c->scratch), c->seed);
    key.low64 &= c->key_mask;
    key.high64 &= c->key_mask;
    return key;
}

static int32_t *bucket_of(const engine_prefix *c, XXH128_hash_t key) {
    return &c->buckets[key.low64 & (c->n_buckets - 1)];
}

static int32_t lookup(const engine_prefix *c, XXH128_hash_t key) {
    int32_t block = *bucket_of(c, key);
    while (block != ENGINE_NO_BLOCK && !XXH128_isEqual(c->at[block].key, key))
        block = c->at[block].next;
    return block;
}

// Where the list of `block`'s siblings, itself among them, begins.
static int32_t *family_of(engine_prefix *c, int32_t parent, uint64_t salt) {
    if (parent != ENGINE_NO_BLOCK)
        return &c->at[parent].child;
    return &c->first[XXH3_64bits_withSeed(&salt, sizeof salt, c->seed) & (c->n_buckets - 1)];
}

static void family_join(engine_prefix *c, int32_t block) {
    engine_prefix_entry *entry = &c->at[block];
    int32_t *front = family_of(c, entry->parent, entry->salt);
    entry->newer = ENGINE_NO_BLOCK;
    entry->older = *front;
    if (*front != ENGINE_NO_BLOCK)
        c->at[*front].newer = block;
    *front = block;
}

static void family_leave(engine_prefix *c, int32_t block) {
    engine_prefix_entry *entry = &c->at[block];
    if (entry->newer != ENGINE_NO_BLOCK)
        c->at[entry->newer].older = entry->older;
    else
        *family_of(c, entry->parent, entry->salt) = entry->older;
    if (entry->older != ENGINE_NO_BLOCK)
        c->at[entry->older].newer = entry->newer;
}

void engine_prefix_use(engine_prefix *c, const int32_t *table, int n) {
    for (int i = 0; i < n; i++)
        if (c->at[table[i]].cached && c->at[table[i]].newer != ENGINE_NO_BLOCK) {
            family_leave(c, table[i]);
            family_join(c, table[i]);
        }
}

// One slot for each key: what is forgotten later takes the place of what was before.
static uint64_t *evicted_slot(const engine_prefix *c, XXH128_hash_t key) {
    return &c->evicted[key.high64 & (c->n_buckets - 1)];
}

static uint64_t evicted_mark(XXH128_hash_t key) {
    return key.low64 | 1; // never 0
}

static bool holds(const engine_prefix *c, int32_t block, int32_t parent, const int32_t *ids,
                  uint64_t salt) {
    const engine_prefix_entry *entry = &c->at[block];
    size_t size = (size_t)c->block_size;
    return entry->parent == parent && entry->salt == salt &&
           memcmp(&c->ids[(size_t)block * size], ids, size * sizeof *ids) == 0;
}

int engine_prefix_find(engine_prefix *c, const int32_t *ids, int max_blocks, uint64_t salt,
                       int32_t *table) {
    int32_t parent = ENGINE_NO_BLOCK;
    for (int i = 0; i < max_blocks; i++, ids += c->block_size) {
        int32_t block = lookup(c, key_of(c, parent, ids, salt));
        if (block == ENGINE_NO_BLOCK || !holds(c, block, parent, ids, salt))
            return i;
        table[i] = parent = block;
    }
    return max_blocks;
}

int32_t engine_prefix_add(engine_prefix *c, int32_t block, int32_t parent, const int32_t *ids,
                          uint64_t salt) {
    if (parent != ENGINE_NO_BLOCK && !c->at[parent].cached)
        return ENGINE_NO_BLOCK;
    XXH128_hash_t key = key_of(c, parent, ids, salt);
    int32_t known = lookup(c, key);
    if (known != ENGINE_NO_BLOCK)
        return holds(c, known, parent, ids, salt) ? known : ENGINE_NO_BLOCK;
    int32_t *bucket = bucket_of(c, key);
    c->at[block] = (engine_prefix_entry){.key = key,
                                         .salt = salt,
                                         .parent = parent,
                                         .next = *bucket,
                                         .child = ENGINE_NO_BLOCK,
                                         .cached = true};
    *bucket = block;
    family_join(c, block);
    size_t size = (size_t)c->block_size;
    memcpy(&c->ids[(size_t)block * size], ids, size * sizeof *ids);
    return block;
}

void engine_prefix_drop(engine_prefix *c, int32_t block) {
    engine_prefix_entry *entry = &c->at[block];
    if (!entry->cached)
        return;
    int32_t *link = bucket_of(c, entry->key);
    while (*link != block)
        link = &c->at[*link].next;
    *link = entry->next;
    family_leave(c, block);
    *evicted_slot(c, entry->key) = evicted_mark(entry->key);
    entry->cached = false;
}

// How far `ids` go along with the sibling that goes furthest; -1: there is none.
static int common_with_siblings(engine_prefix *c, int32_t parent, const int32_t *ids,
                                uint64_t salt) {
    enum { MOST_LOOKED_AT = 64 };
    int longest = -1;
    int32_t block = *family_of(c, parent, salt);
    for (int i = 0; i < MOST_LOOKED_AT && block != ENGINE_NO_BLOCK; i++) {
        const int32_t *other = &c->ids[(size_t)block * (size_t)c->block_size];
        int common = 0;
        while (common < c->block_size && other[common] == ids[common])
            common++;
        if (c->at[block].salt == salt && common > longest)
            longest = common;
        block = c->at[block].older;
    }
    return longest;
}

// That the very block was cached explains more than what its siblings are like. First blocks that
// share nothing are no sign of anything.
engine_miss engine_prefix_explain(engine_prefix *c, const int32_t *ids, uint64_t salt,
                                  int32_t parent, int n_found, int *miss_at) {
    *miss_at = n_found * c->block_size;
    ids += *miss_at;
    XXH128_hash_t key = key_of(c, parent, ids, salt);
    if (*evicted_slot(c, key) == evicted_mark(key))
        return ENGINE_MISS_EVICTED;
    int common = common_with_siblings(c, parent, ids, salt);
    if (common < (parent == ENGINE_NO_BLOCK ? 1 : 0))
        return ENGINE_MISS_NONE;
    *miss_at += common;
    return ENGINE_MISS_DIFFERS;
}

void engine_prefix_clear(engine_prefix *c) {
    for (int32_t i = 0; i < c->n_blocks; i++)
        c->at[i].cached = false;
    for (uint32_t i = 0; i < c->n_buckets; i++) {
        c->buckets[i] = c->first[i] = ENGINE_NO_BLOCK;
        c->evicted[i] = 0;
    }
}
