#include "grammar/schema.h"

#include <string.h>
#include <xxhash.h>

typedef struct schema_entry {
    uint64_t hash;
    size_t at, len; // in `keys`
    int32_t value;
} schema_entry;

static schema_entry *find(const schema_map *m, const void *key, size_t len, uint64_t hash) {
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        schema_entry *e = &m->entries[i];
        if (e->value < 0)
            return e;
        if (e->hash == hash && e->len == len &&
            (len == 0 || memcmp(m->keys.data + e->at, key, len) == 0))
            return e;
    }
}

int32_t schema_map_get(const schema_map *m, const void *key, size_t len) {
    return m->cap == 0 ? -1 : find(m, key, len, XXH3_64bits(key, len))->value;
}

static void grow(schema_map *m) {
    schema_entry *old = m->entries;
    size_t n = m->cap;
    m->cap = n == 0 ? 16 : n * 2;
    m->entries = base_alloc(m->cap * sizeof *m->entries);
    for (size_t i = 0; i < m->cap; i++)
        m->entries[i].value = -1;
    for (size_t i = 0; i < n; i++)
        if (old[i].value >= 0)
            *find(m, m->keys.data + old[i].at, old[i].len, old[i].hash) = old[i];
    base_free(old);
}

void schema_map_put(schema_map *m, const void *key, size_t len, int32_t value) {
    if (2 * (m->n + 1) > m->cap)
        grow(m);
    uint64_t hash = XXH3_64bits(key, len);
    schema_entry *e = find(m, key, len, hash);
    if (e->value < 0) {
        *e = (schema_entry){hash, m->keys.len, len, value};
        base_str_add(&m->keys, key, len);
        m->n++;
    }
    e->value = value;
}

void schema_map_free(schema_map *m) {
    base_free(m->entries);
    base_str_free(&m->keys);
    *m = (schema_map){0};
}

// Where `x` is, or would be.
static size_t position(const schema_set *v, int32_t x) {
    size_t low = 0, high = v->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v->data[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool schema_set_has(const schema_set *v, int32_t x) {
    size_t at = position(v, x);
    return at < v->len && v->data[at] == x;
}

bool schema_set_insert(schema_set *v, int32_t x) {
    size_t at = position(v, x);
    if (at < v->len && v->data[at] == x)
        return false;
    base_ids_add(v, x);
    memmove(v->data + at + 1, v->data + at, (v->len - 1 - at) * sizeof *v->data);
    v->data[at] = x;
    return true;
}
