// Compiled languages by what they were made of, so that a tool list sent again with every turn
// costs a comparison. Those that nobody uses are forgotten, the least recently used first, while
// all together take more than the limit.
//
// Any thread may find, add and release. What a language finds out while it is walked (masks) it
// finds out in the one thread that uses states; so its size is told to the cache by that thread.
#ifndef GRAMMAR_CACHE_H
#define GRAMMAR_CACHE_H

#include "grammar/grammar.h"
#include "grammar/match.h"
#include <pthread.h>

typedef struct grammar_cached grammar_cached;
struct grammar_cached {
    // Fixed when it is added.
    uint64_t hash;
    base_str key;
    base_str relaxed; // as grammar_compile reports it,
    char *field;      // of this field
    grammar_language *language;
    size_t bytes_made; // by then
    // Guarded by the cache's lock.
    int refs;
    size_t bytes;
    grammar_cached *chain;         // of the same bucket
    grammar_cached *newer, *older; // among those that nobody uses
    // Of the thread that uses states: what the cache knows of.
    size_t bytes_told;
    uint64_t masks_told, found_told;
};

typedef struct grammar_cache {
    pthread_mutex_t lock;     // guards all below
    size_t limit;             // bytes beyond which unused languages are forgotten
    size_t limit_used;        // bytes of used ones beyond which no other is added
    grammar_cached **buckets; // [n_buckets] a power of two
    size_t n_buckets, n;
    grammar_cached *newest, *oldest; // of those that nobody uses
    size_t bytes, bytes_unused;
    grammar_stats stats; // but `bytes`
} grammar_cache;

void grammar_cache_init(grammar_cache *c);
void grammar_cache_destroy(grammar_cache *c); // nothing may be in use

// The language of this key, to be released; NULL: not there.
grammar_cached *grammar_cache_find(grammar_cache *c, const base_str *key);
// Adds a language; takes `key`, `relaxed` and `language` over, also on error, when it returns NULL
// (BASE_ERR_RESOURCE). Where another thread was faster, its language is returned.
grammar_cached *grammar_cache_add(grammar_cache *c, base_str *key, grammar_language *language,
                                  base_str *relaxed, const char *field, base_err *err);
void grammar_cache_release(grammar_cache *c, grammar_cached *one); // NULL is fine
// Appends what was relaxed, as it reads for another field. `out` may be NULL.
void grammar_cached_report(const grammar_cached *one, const char *field, base_str *out);

// In the thread that uses states, after each mask: how many and how large they are by now.
void grammar_cache_count(grammar_cache *c, grammar_cached *one);
void grammar_cache_get_stats(grammar_cache *c, grammar_stats *out);

#endif
