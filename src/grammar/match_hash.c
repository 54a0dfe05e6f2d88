// What a mask depends on, as a hash: counters only as far as one token can move them, keys seen
// only as far as one token can meet them again.
#include "grammar/language.h"
#include <string.h>
#include <xxhash.h>

typedef struct record {
    uint64_t at[12];
    int n;
} record;

static void note(record *r, uint64_t value) {
    r->at[r->n++] = value;
}

static void note_hash(record *r, match_hash h) {
    note(r, h.a);
    note(r, h.b);
}

static void note_bounds(record *r, int64_t min, int64_t max, int64_t count, int64_t far) {
    note(r, (uint64_t)match_need(min, count, far));
    note(r, (uint64_t)match_room(max, count, far));
}

static void note_object(const grammar_language *l, record *r, const match_frame *t, int64_t far) {
    const grammar_node *node = &l->program->nodes[t->node];
    const language_object *known = &l->objects[t->node];
    const match_keys *others = t->u.object.others;
    note_bounds(r, node->u.object.min, -1, t->count, far);
    note(r, (uint64_t)match_room(node->u.object.max, t->count + t->u.object.missing, far));
    if (node->u.object.n <= 64)
        note(r, t->u.object.seen);
    else
        note(r, t->u.object.many
                    ? XXH3_64bits(t->u.object.many->at, t->u.object.many->n * sizeof(uint64_t))
                    : 0);
    if (others)
        note_hash(r, known->names->loose ? others->inner : others->sum);
    else
        note_hash(r, (match_hash){0, 0});
    note(r, (uint64_t)t->u.object.value);
}

static void note_key(const grammar_language *l, record *r, const match_frame *t) {
    const language_object *known = &l->objects[t->node];
    const match_keys *others = t->below ? t->below->frame.u.object.others : NULL;
    note(r, (uint64_t)(uint32_t)t->u.key.low << 32 | (uint32_t)t->u.key.high);
    note(r, (uint64_t)t->u.key.len);
    if (t->state < 0)
        return;
    if (others || !known->names->loose || trie_has_inner_start(l->trie, t->u.key.hash))
        note_hash(r, t->u.key.hash);
    if (others)
        note_hash(r, others->sum);
}

static void note_array(const grammar_language *l, record *r, const match_frame *t, int64_t far) {
    const grammar_node *node = &l->program->nodes[t->node];
    int64_t n_prefix = node->u.array.n_prefix;
    note(r, (uint64_t)(t->count < n_prefix ? t->count : n_prefix));
    note_bounds(r, node->u.array.min, node->u.array.max, t->count, far);
}

static match_hash hash_frame(const grammar_language *l, const match_frame *t, match_hash below) {
    record r = {.n = 0};
    int64_t far = (int64_t)l->trie->max_bytes + 1;
    note(&r, (uint64_t)t->kind << 32 | (uint64_t)t->phase << 16 | t->space);
    note_hash(&r, below);
    switch ((match_kind)t->kind) {
    case MATCH_END:
        note(&r, (uint64_t)t->count);
        note_hash(&r, t->u.suffix->hash);
        break;
    case MATCH_SCALAR:
        note(&r, (uint64_t)(uintptr_t)l->dfas[t->node]);
        note(&r, (uint64_t)t->state);
        if (match_is_near(l, t)) {
            note(&r, (uint64_t)t->u.place);
            note(&r, (uint64_t)(l->program->nodes[t->node].most - t->count));
        }
        break;
    case MATCH_STRING:
        note(&r, (uint64_t)t->state);
        note_bounds(&r, l->program->nodes[t->node].u.string.min,
                    l->program->nodes[t->node].u.string.max, t->count, far);
        break;
    case MATCH_OBJECT:
        note(&r, (uint64_t)t->node);
        note_object(l, &r, t, far);
        break;
    case MATCH_ARRAY:
        note(&r, (uint64_t)t->node);
        note_array(l, &r, t, far);
        break;
    case MATCH_KEY:
        note(&r, (uint64_t)t->node << 32 | (uint32_t)t->state);
        note_key(l, &r, t);
        break;
    }
    XXH128_hash_t h = XXH3_128bits(r.at, (size_t)r.n * sizeof r.at[0]);
    return (match_hash){h.low64 | 1, h.high64}; // 0 says that there is none yet
}

match_hash match_thread_hash(const grammar_language *l, const match_frame *t) {
    match_link *open[64]; // links without a hash, the top one first
    match_hash h = {0, 0};
    for (;;) { // deep stacks are hashed in several runs, from below
        int n = 0;
        match_link *link = t->below;
        for (; link && link->hash.a == 0; link = link->frame.below)
            open[n++ % 64] = link;
        h = link ? link->hash : (match_hash){0, 0};
        int run = n < 64 ? n : 64;
        for (int i = 1; i <= run; i++) {
            match_link *top = open[(n - i) % 64];
            h = hash_frame(l, &top->frame, h);
            top->hash = h;
        }
        if (n <= 64)
            return hash_frame(l, t, h);
    }
}
