// The ids that may follow a thread. Inside strings nearly all of them are known beforehand; only
// tokens that may end the string are walked.
#include "grammar/language.h"
#include <xxhash.h>

static void set_id(uint32_t *mask, size_t n_words, int32_t id) {
    if ((size_t)id / 32 < n_words)
        mask[id / 32] |= (uint32_t)1 << (id % 32);
}

static void add_set(uint32_t *mask, size_t n_words, const uint32_t *set) {
    for (size_t i = 0; i < n_words; i++)
        mask[i] |= set[i];
}

// ---------------------------------------------------------------------------------------------
// What stays inside

static void add_string(const grammar_trie *t, int64_t room, uint32_t *mask, size_t n_words) {
    if (room <= 0)
        return;
    add_set(mask, n_words, t->within[(room < TRIE_SHORT ? room : TRIE_SHORT) - 1]);
    for (int i = 0; i < t->within_long.n && t->within_long.at[i].n_points <= room; i++)
        set_id(mask, n_words, t->within_long.at[i].token);
}

static int32_t state_after(const grammar_trie *t, const language_dfa *d, int32_t state,
                           int32_t token) {
    size_t len;
    const char *bytes = token_bytes(t->vocab, token, &len);
    for (size_t i = 0; i < len && state >= 0; i++)
        state = grammar_dfa_step(d->dfa, state, (unsigned char)bytes[i]);
    return state;
}

static bool is_plain(const language_dfa *d, int32_t state) {
    return d->plain && d->plain[state] >= TRIE_SHORT;
}

// Plain tokens that are too long for the set of them, to be added to it.
static void walk_long(grammar_language *l, const language_dfa *d, int32_t state) {
    const grammar_trie *t = l->trie;
    for (int i = 0; i < t->plain_long.n; i++) {
        int32_t token = t->plain_long.at[i].token, to = state_after(t, d, state, token);
        if (to >= 0 && language_texts(d, to) < LANGUAGE_FEW)
            mask_walker_add_near(l->walker, token, language_texts(d, to));
        else if (to >= 0)
            mask_walker_add_id(l->walker, token);
    }
}

static mask_entry *remember(grammar_language *l, match_hash key, const uint32_t *base) {
    mask_walker *w = l->walker;
    mask_entry *e = mask_cache_add(l->cache, key, base, w->ids, w->n_ids, l->trie->n_words);
    mask_walker_trim(w);
    atomic_store_explicit(&l->changing_bytes, mask_cache_bytes(l->cache) + mask_walker_bytes(w),
                          memory_order_relaxed);
    return e;
}

// Tokens that an automaton takes whole, whatever is below it: those after which many texts are
// left, and the others.
typedef enum { FAR, NEAR } distance;

static match_hash inside_key(const language_dfa *d, int32_t state, distance which) {
    const uint64_t record[3] = {(uint64_t)(uintptr_t)d, (uint64_t)state, UINT64_MAX - which};
    XXH128_hash_t h = XXH3_128bits(record, sizeof record);
    return (match_hash){h.low64, h.high64};
}

// After plain tokens of at most TRIE_SHORT characters many texts are left, too.
static bool is_plain_far(const language_dfa *d, int32_t state) {
    return is_plain(d, state) && (!d->texts || d->plain[state] >= TRIE_SHORT + LANGUAGE_FREEDOM);
}

// Plain tokens are known by their lengths.
static bool is_short(const language_dfa *d, int32_t state) {
    return !d->texts && d->flags[state] & LANGUAGE_SHORT;
}

static const mask_entry *short_inside(grammar_language *l, const language_dfa *d, int32_t state) {
    int n = d->plain[state];
    mask_walk_dfa(l->walker, &l->trie->rest, d, state);
    mask_entry *e = remember(l, inside_key(d, state, FAR), n > 0 ? l->trie->plain : NULL);
    e->within = n > 0 ? l->trie->within[n - 1] : NULL;
    return e;
}

static const mask_entry *inside_of(grammar_language *l, const language_dfa *d, int32_t state,
                                   distance which) {
    const mask_entry *found = mask_cache_find(l->cache, inside_key(d, state, which));
    if (found)
        return found;
    mask_walker *w = l->walker;
    const uint32_t *base = NULL;
    if (is_short(d, state))
        return short_inside(l, d, state);
    if (is_plain_far(d, state)) {
        base = l->trie->plain;
        walk_long(l, d, state);
        mask_walk_dfa(w, &l->trie->rest, d, state);
    } else {
        mask_walk_dfa(w, &l->trie->all, d, state);
    }
    if (which == FAR && (!d->texts || mask_cache_find(l->cache, inside_key(d, state, NEAR))))
        return remember(l, inside_key(d, state, FAR), base);
    mask_entry *near = mask_cache_add(l->cache, inside_key(d, state, NEAR), NULL, w->near,
                                      w->n_near, l->trie->n_words);
    near->fewest = w->fewest;
    if (which == FAR)
        return remember(l, inside_key(d, state, FAR), base);
    mask_walker_trim(w);
    return near;
}

// ---------------------------------------------------------------------------------------------
// What is walked

typedef enum {
    WHOLE,    // every token
    CLOSING,  // what stays inside has been added
    REST,     // plain tokens are known to be allowed
    KEY,      // as CLOSING, and properties that are declared
    KEY_NEAR, // as KEY, and tokens after which too few keys may be left
} mask_way;

static mask_way way_of_scalar(grammar_language *l, const match_frame *t, uint32_t *mask,
                              size_t n_words) {
    const language_dfa *d = l->dfas[t->node];
    bool inside = d->flags[t->state] & LANGUAGE_INSIDE;
    if (match_is_near(l, t) && !inside)
        return WHOLE;
    if (match_is_near(l, t)) {
        mask_add_counted(l, d, t->state, l->program->nodes[t->node].most - t->count, mask, n_words);
        return CLOSING;
    }
    if (inside) {
        mask_entry_add(inside_of(l, d, t->state, FAR), mask, n_words);
        return CLOSING;
    }
    return is_plain(d, t->state) ? REST : WHOLE;
}

static mask_way way_of_string(grammar_language *l, const match_frame *t, uint32_t *mask,
                              size_t n_words) {
    int64_t max = l->program->nodes[t->node].u.string.max;
    if (t->state != MATCH_TEXT_IN)
        return WHOLE;
    add_string(l->trie, match_room(max, t->count, INT64_MAX), mask, n_words);
    return CLOSING;
}

// So many of the texts that begin as a key does are no other keys any more, at most.
static int64_t used_texts(const grammar_language *l, const match_frame *t) {
    const int32_t *among_names = l->objects[t->node].among_names;
    const match_keys *others = t->below->frame.u.object.others;
    int64_t taken = others ? others->n : 0;
    if (others && t->u.key.path)
        taken = match_keys_count(others, t->u.key.hash);
    return among_names[t->u.key.high] - among_names[t->u.key.low] + taken;
}

static mask_way way_of_key(grammar_language *l, const match_frame *t, uint32_t *mask,
                           size_t n_words) {
    const language_object *known = &l->objects[t->node];
    if (t->state < 0)
        return WHOLE;
    if (known->names == l->any_key_known) {
        if (t->state != MATCH_TEXT_IN)
            return WHOLE;
        add_set(mask, n_words, l->trie->key);
        return CLOSING;
    }
    if (!(known->names->flags[t->state] & LANGUAGE_INSIDE))
        return WHOLE;
    mask_entry_add(inside_of(l, known->names, t->state, FAR), mask, n_words);
    if (!known->names->texts)
        return KEY;
    const mask_entry *near = inside_of(l, known->names, t->state, NEAR);
    if (near->fewest <= used_texts(l, t))
        return KEY_NEAR;
    mask_entry_add(near, mask, n_words);
    return KEY;
}

// A key read as that of a declared property alone.
static match_frame declared_only(const match_frame *t) {
    match_frame f = *t;
    f.state = GRAMMAR_DEAD;
    f.u.key.hash = (match_hash){0, 0};
    f.u.key.path = NULL;
    return f;
}

static void add_key_near(grammar_language *l, const match_frame *t, int64_t used, int32_t id) {
    const language_dfa *names = l->objects[t->node].names;
    int32_t to = state_after(l->trie, names, t->state, id);
    if (language_texts(names, to) > used || mask_follows_key(l, t, id))
        mask_walker_add_id(l->walker, id);
}

// Those after which too few keys may be left.
static void walk_key_near(grammar_language *l, const match_frame *t) {
    const mask_entry *near = inside_of(l, l->objects[t->node].names, t->state, NEAR);
    int64_t used = used_texts(l, t);
    for (size_t i = 0; i < near->n; i++) {
        if (!near->dense)
            add_key_near(l, t, used, (int32_t)near->at[i]);
        for (uint32_t left = near->dense ? near->at[i] : 0; left; left &= left - 1)
            add_key_near(l, t, used, (int32_t)i * 32 + __builtin_ctz(left));
    }
}

static const mask_entry *walk(grammar_language *l, const match_frame *t, mask_way way,
                              match_hash key) {
    const uint32_t *base = NULL;
    switch (way) {
    case WHOLE:
        mask_walk_thread(l, &l->trie->all, t);
        break;
    case REST:
        base = l->trie->plain;
        walk_long(l, l->dfas[t->node], t->state);
        mask_walk_thread(l, &l->trie->rest, t);
        break;
    case KEY_NEAR:
        walk_key_near(l, t);
        // fall through
    case KEY:
        if (t->u.key.low < t->u.key.high) {
            match_frame declared = declared_only(t);
            mask_walk_thread(l, &l->trie->all, &declared);
        }
        mask_walk_thread(l, &l->trie->closing, t);
        break;
    case CLOSING:
        mask_walk_thread(l, &l->trie->closing, t);
        break;
    }
    return remember(l, key, base);
}

void mask_add_thread(grammar_language *l, const match_frame *t, uint32_t *mask, size_t n_words) {
    mask_way way = WHOLE;
    if (t->kind == MATCH_SCALAR)
        way = way_of_scalar(l, t, mask, n_words);
    else if (t->kind == MATCH_STRING)
        way = way_of_string(l, t, mask, n_words);
    else if (t->kind == MATCH_KEY)
        way = way_of_key(l, t, mask, n_words);
    match_hash key = match_thread_hash(l, t);
    const mask_entry *e = mask_cache_find(l->cache, key);
    atomic_fetch_add_explicit(&l->n_masks, 1, memory_order_relaxed);
    if (e)
        atomic_fetch_add_explicit(&l->n_found, 1, memory_order_relaxed);
    else
        e = walk(l, t, way, key);
    mask_entry_add(e, mask, n_words);
}
