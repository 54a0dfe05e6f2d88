// Masks found so far: the least recently used are forgotten.
#include "grammar/language.h"
#include <string.h>

enum { N_BUCKETS = 1024, MAX_ENTRIES = 4096, MAX_BYTES = 8 << 20 };

struct mask_cache {
    mask_entry **buckets; // [N_BUCKETS] NULL while there is none
    mask_entry *oldest, *newest;
    size_t n, bytes;
};

mask_cache *mask_cache_create(void) {
    return base_calloc(1, sizeof(mask_cache));
}

static void unlink_use(mask_cache *c, mask_entry *e) {
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
}

static void link_newest(mask_cache *c, mask_entry *e) {
    e->older = c->newest;
    e->newer = NULL;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static mask_entry **slot_of(mask_cache *c, match_hash key) {
    mask_entry **slot = &c->buckets[key.b % N_BUCKETS];
    while (*slot && ((*slot)->key.a != key.a || (*slot)->key.b != key.b))
        slot = &(*slot)->next;
    return slot;
}

static void forget_oldest(mask_cache *c) {
    mask_entry *e = c->oldest;
    *slot_of(c, e->key) = e->next;
    unlink_use(c, e);
    c->n--;
    c->bytes -= e->bytes;
    base_free(e);
}

void mask_cache_free(mask_cache *c) {
    if (!c)
        return;
    while (c->oldest)
        forget_oldest(c);
    base_free(c->buckets);
    base_free(c);
}

size_t mask_cache_bytes(const mask_cache *c) {
    return sizeof *c + c->bytes + (c->buckets ? N_BUCKETS * sizeof(mask_entry *) : 0);
}

mask_entry *mask_cache_find(mask_cache *c, match_hash key) {
    mask_entry *e = c->buckets ? *slot_of(c, key) : NULL;
    if (e && e != c->newest) {
        unlink_use(c, e);
        link_newest(c, e);
    }
    return e;
}

static void fill(mask_entry *e, const int32_t *ids, size_t n_ids) {
    if (!e->dense) {
        for (size_t i = 0; i < n_ids; i++)
            e->at[i] = (uint32_t)ids[i];
        return;
    }
    memset(e->at, 0, e->n * sizeof *e->at);
    for (size_t i = 0; i < n_ids; i++)
        e->at[ids[i] / 32] |= (uint32_t)1 << (ids[i] % 32);
}

// An entry of n words, which are not filled.
static mask_entry *make_entry(mask_cache *c, match_hash key, size_t n) {
    if (!c->buckets)
        c->buckets = base_calloc(N_BUCKETS, sizeof(mask_entry *));
    while (c->n > 0 && (c->n >= MAX_ENTRIES || c->bytes >= MAX_BYTES))
        forget_oldest(c);
    mask_entry *e = base_alloc(sizeof *e + n * sizeof *e->at);
    *e = (mask_entry){
        .key = key, .n = n, .bytes = sizeof *e + n * sizeof *e->at, .fewest = LANGUAGE_MANY};
    mask_entry **slot = &c->buckets[key.b % N_BUCKETS];
    e->next = *slot;
    *slot = e;
    link_newest(c, e);
    c->n++;
    c->bytes += e->bytes;
    return e;
}

mask_entry *mask_cache_add(mask_cache *c, match_hash key, const uint32_t *base, const int32_t *ids,
                           size_t n_ids, size_t n_words) {
    mask_entry *e = make_entry(c, key, n_ids < n_words ? n_ids : n_words);
    e->base = base;
    e->dense = n_ids >= n_words;
    fill(e, ids, n_ids);
    return e;
}

mask_entry *mask_cache_add_words(mask_cache *c, match_hash key, const uint32_t *words, size_t n) {
    mask_entry *e = make_entry(c, key, n);
    memcpy(e->at, words, n * sizeof *words);
    return e;
}

static void add_set(uint32_t *mask, size_t n_words, const uint32_t *set) {
    for (size_t i = 0; i < n_words; i++)
        mask[i] |= set[i];
}

static void add_common(uint32_t *mask, size_t n_words, const uint32_t *a, const uint32_t *b) {
    for (size_t i = 0; i < n_words; i++)
        mask[i] |= a[i] & b[i];
}

void mask_entry_add(const mask_entry *e, uint32_t *mask, size_t n_words) {
    if (e->base && e->within)
        add_common(mask, n_words, e->base, e->within);
    else if (e->base)
        add_set(mask, n_words, e->base);
    if (e->dense)
        add_set(mask, n_words < e->n ? n_words : e->n, e->at);
    for (size_t i = 0; !e->dense && i < e->n; i++) {
        if (e->at[i] / 32 < n_words)
            mask[e->at[i] / 32] |= (uint32_t)1 << (e->at[i] % 32);
    }
}
