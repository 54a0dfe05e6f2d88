#include "grammar/cache.h"

#include <string.h>
#include <xxhash.h>

enum { FIRST_BUCKETS = 64 };
#define LIMIT_BYTES ((size_t)256 << 20)
#define LIMIT_USED_BYTES ((size_t)1 << 30)

void grammar_cache_init(grammar_cache *c) {
    *c = (grammar_cache){
        .limit = LIMIT_BYTES, .limit_used = LIMIT_USED_BYTES, .n_buckets = FIRST_BUCKETS};
    c->buckets = base_calloc(c->n_buckets, sizeof(grammar_cached *));
    pthread_mutex_init(&c->lock, NULL);
}

static void free_one(grammar_cached *one) {
    grammar_language_free(one->language);
    base_str_free(&one->key);
    base_str_free(&one->relaxed);
    base_free(one->field);
    base_free(one);
}

static void free_chain(grammar_cached *one) {
    while (one) {
        grammar_cached *next = one->chain;
        free_one(one);
        one = next;
    }
}

void grammar_cache_destroy(grammar_cache *c) {
    for (size_t i = 0; i < c->n_buckets; i++)
        free_chain(c->buckets[i]);
    base_free(c->buckets);
    pthread_mutex_destroy(&c->lock);
}

// ---------------------------------------------------------------------------------------------
// Under the lock

static grammar_cached **bucket_of(grammar_cache *c, uint64_t hash) {
    return &c->buckets[hash & (c->n_buckets - 1)];
}

static grammar_cached *look_up(grammar_cache *c, uint64_t hash, const base_str *key) {
    grammar_cached *one = *bucket_of(c, hash);
    while (one && (one->hash != hash || one->key.len != key->len ||
                   memcmp(one->key.data, key->data, key->len) != 0))
        one = one->chain;
    return one;
}

static void unlink_unused(grammar_cache *c, grammar_cached *one) {
    *(one->newer ? &one->newer->older : &c->newest) = one->older;
    *(one->older ? &one->older->newer : &c->oldest) = one->newer;
    one->newer = one->older = NULL;
    c->bytes_unused -= one->bytes;
}

static void link_unused(grammar_cache *c, grammar_cached *one) {
    one->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = one;
    c->newest = one;
    c->bytes_unused += one->bytes;
}

static void take(grammar_cache *c, grammar_cached *one) {
    if (one->refs++ == 0)
        unlink_unused(c, one);
}

// Takes out what must be forgotten; the caller frees it when the lock is gone.
static grammar_cached *shrink(grammar_cache *c) {
    grammar_cached *gone = NULL;
    while (c->bytes > c->limit && c->oldest) {
        grammar_cached *one = c->oldest, **at = bucket_of(c, one->hash);
        unlink_unused(c, one);
        while (*at != one)
            at = &(*at)->chain;
        *at = one->chain;
        c->n--;
        c->bytes -= one->bytes;
        one->chain = gone;
        gone = one;
    }
    return gone;
}

static void grow(grammar_cache *c) {
    size_t n_old = c->n_buckets;
    grammar_cached **old = c->buckets;
    c->n_buckets *= 2;
    c->buckets = base_calloc(c->n_buckets, sizeof(grammar_cached *));
    for (size_t i = 0; i < n_old; i++) {
        for (grammar_cached *one = old[i], *next; one; one = next) {
            grammar_cached **at = bucket_of(c, one->hash);
            next = one->chain;
            one->chain = *at;
            *at = one;
        }
    }
    base_free(old);
}

static void put(grammar_cache *c, grammar_cached *one) {
    if (c->n >= c->n_buckets)
        grow(c);
    grammar_cached **at = bucket_of(c, one->hash);
    one->chain = *at;
    *at = one;
    c->n++;
    c->bytes += one->bytes;
}

// ---------------------------------------------------------------------------------------------

grammar_cached *grammar_cache_find(grammar_cache *c, const base_str *key) {
    uint64_t hash = XXH3_64bits(key->data, key->len);
    pthread_mutex_lock(&c->lock);
    grammar_cached *one = look_up(c, hash, key);
    if (one)
        take(c, one);
    c->stats.languages++;
    c->stats.languages_found += one != NULL;
    pthread_mutex_unlock(&c->lock);
    return one;
}

static size_t bytes_of(const grammar_cached *one) {
    return sizeof *one + one->key.cap + one->relaxed.cap + grammar_language_bytes(one->language);
}

grammar_cached *grammar_cache_add(grammar_cache *c, base_str *key, grammar_language *language,
                                  base_str *relaxed, const char *field, base_err *err) {
    grammar_cached *one = base_alloc(sizeof *one), *surplus = NULL;
    *one = (grammar_cached){.hash = XXH3_64bits(key->data, key->len),
                            .key = *key,
                            .relaxed = *relaxed,
                            .field = base_strdup(field),
                            .language = language,
                            .refs = 1};
    *key = *relaxed = (base_str){0};
    one->bytes = one->bytes_told = one->bytes_made = bytes_of(one);
    pthread_mutex_lock(&c->lock);
    grammar_cached *other = look_up(c, one->hash, &one->key);
    if (other) {
        take(c, other);
        surplus = one;
        one = other;
    } else if (c->bytes - c->bytes_unused + one->bytes > c->limit_used) {
        surplus = one;
        one = NULL;
    } else {
        put(c, one);
        surplus = shrink(c);
    }
    pthread_mutex_unlock(&c->lock);
    free_chain(surplus);
    if (!one)
        base_fail(err, BASE_ERR_RESOURCE, "too many large constraints are in use");
    return one;
}

void grammar_cache_release(grammar_cache *c, grammar_cached *one) {
    if (!one)
        return;
    pthread_mutex_lock(&c->lock);
    if (--one->refs == 0)
        link_unused(c, one);
    grammar_cached *gone = shrink(c);
    pthread_mutex_unlock(&c->lock);
    free_chain(gone);
}

// The field is the server's own word; where a client's keyword contains it, it is replaced as well,
// which does no harm in a report.
void grammar_cached_report(const grammar_cached *one, const char *field, base_str *out) {
    if (!out || one->relaxed.len == 0)
        return;
    const char *at = one->relaxed.data, *end = at + one->relaxed.len;
    size_t len = strlen(one->field);
    if (out->len > 0)
        base_str_adds(out, ", ");
    while (at < end) {
        const char *next = len > 0 ? memmem(at, (size_t)(end - at), one->field, len) : NULL;
        base_str_add(out, at, (size_t)((next ? next : end) - at));
        if (next)
            base_str_adds(out, field);
        at = next ? next + len : end;
    }
}

void grammar_cache_count(grammar_cache *c, grammar_cached *one) {
    uint64_t masks, found;
    size_t bytes = bytes_of(one);
    grammar_language_counts(one->language, &masks, &found);
    pthread_mutex_lock(&c->lock);
    c->stats.masks += masks - one->masks_told;
    c->stats.masks_found += found - one->found_told;
    c->bytes += bytes - one->bytes_told; // modulo 2^64: they may shrink as well
    one->bytes += bytes - one->bytes_told;
    grammar_cached *gone = bytes > one->bytes_told ? shrink(c) : NULL;
    pthread_mutex_unlock(&c->lock);
    free_chain(gone);
    one->bytes_told = bytes;
    one->masks_told = masks;
    one->found_told = found;
}

void grammar_cache_get_stats(grammar_cache *c, grammar_stats *out) {
    pthread_mutex_lock(&c->lock);
    *out = c->stats;
    out->bytes = c->bytes;
    pthread_mutex_unlock(&c->lock);
}
