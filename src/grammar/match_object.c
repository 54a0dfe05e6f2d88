// Objects: properties in any order, each once; and their keys, byte by byte.
//
// A key may only be begun, and go on, while a property that is allowed can still come of it. So
// whoever wants to know counts: the properties that begin so and are not seen, and, of other keys,
// how many texts the automaton of names still has against how many of them are taken.
#include "grammar/language.h"
#include <string.h>

typedef struct view {
    const grammar_language *language;
    const match_frame *frame; // of the object
    const grammar_node *node;
    const language_object *known;
} view;

static view view_of(const grammar_language *l, const match_frame *object) {
    return (view){l, object, &l->program->nodes[object->node], &l->objects[object->node]};
}

// Whether a property that is not required still leaves room for those that are.
static bool has_room(const view *v) {
    int64_t max = v->node->u.object.max;
    return max < 0 || v->frame->count + v->frame->u.object.missing < max;
}

static uint64_t seen_word(const view *v, int word) {
    if (v->node->u.object.n <= 64)
        return v->frame->u.object.seen;
    return v->frame->u.object.many ? v->frame->u.object.many->at[word] : 0;
}

static bool has_bit(const uint64_t *set, int i) {
    return set[i / 64] >> (i % 64) & 1;
}

// Of properties [low, high) those in a word that may come now.
static uint64_t open_word(const view *v, int word, int low, int high) {
    uint64_t bits = (has_room(v) ? v->known->possible : v->known->required)[word];
    bits &= ~seen_word(v, word);
    if (low > word * 64)
        bits &= ~(uint64_t)0 << (low - word * 64);
    if (high < word * 64 + 64)
        bits &= ~(~(uint64_t)0 << (high - word * 64));
    if (v->frame->depth + v->known->deepest <= v->language->max_depth)
        return bits;
    uint64_t fitting = 0;
    for (uint64_t left = bits; left; left &= left - 1) {
        int i = word * 64 + __builtin_ctzll(left);
        if (language_fits(v->language, v->node->u.object.properties[i].node, v->frame->depth))
            fitting |= left & -left;
    }
    return fitting;
}

static bool any_open(const view *v, int low, int high) {
    for (int word = low / 64; word * 64 < high; word++) {
        if (open_word(v, word, low, high))
            return true;
    }
    return false;
}

static bool is_open(const view *v, int i) {
    return open_word(v, i / 64, i, i + 1) != 0;
}

static bool others_allowed(const view *v) {
    return v->known->names && has_room(v) &&
           language_fits(v->language, v->node->u.object.additional, v->frame->depth);
}

// Whether another key can come of `state`: `taken` of those that begin so are there already, and
// properties [low, high) are no other keys.
static bool others_left(const view *v, int32_t state, int low, int high, int64_t taken) {
    int64_t texts = language_texts(v->known->names, state);
    if (texts == LANGUAGE_MANY)
        return true;
    return texts > v->known->among_names[high] - v->known->among_names[low] + taken;
}

static bool others_can_begin(const view *v) {
    const match_keys *others = v->frame->u.object.others;
    return others_allowed(v) && v->known->names->dfa->n_states > 0 &&
           others_left(v, 0, 0, v->node->u.object.n, others ? others->n : 0);
}

static bool key_can_begin(const view *v) {
    return any_open(v, 0, v->node->u.object.n) || others_can_begin(v);
}

// ---------------------------------------------------------------------------------------------

static int begin_key(match_context *c, const view *v, match_frame *out) {
    bool others = others_can_begin(v);
    if (!others && !any_open(v, 0, v->node->u.object.n))
        return 0;
    match_link *below = match_push_link(c, v->frame);
    below->frame.phase = MATCH_NEXT; // how the key was come to does not matter any more
    below->frame.space = 0;
    memset(out, 0, sizeof *out);
    out->below = below;
    out->kind = MATCH_KEY;
    out->depth = v->frame->depth;
    out->node = v->frame->node;
    out->state = others ? 0 : GRAMMAR_DEAD;
    out->u.key.high = v->node->u.object.n;
    if (others)
        out->u.key.hash = match_hash_start();
    return 1;
}

static int go_on(const match_frame *t, match_phase phase, match_frame *out) {
    *out = *t;
    out->phase = (uint8_t)phase;
    out->space = 0;
    return 1;
}

int match_step_object(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
                      int room) {
    view v = view_of(c->language, t);
    if (room <= 0)
        return 0;
    if (match_is_space(byte)) {
        if (!match_has_space(c->language->program, t))
            return 0;
        *out = *t;
        out->space++;
        return 1;
    }
    switch ((match_phase)t->phase) {
    case MATCH_FIRST:
    case MATCH_AFTER:
        if (byte == '}' && t->u.object.missing == 0 && t->count >= v.node->u.object.min) {
            *out = t->below->frame;
            return 1;
        }
        if (t->phase == MATCH_AFTER)
            return byte == ',' && key_can_begin(&v) ? go_on(t, MATCH_NEXT, out) : 0;
        return byte == '"' ? begin_key(c, &v, out) : 0;
    case MATCH_NEXT:
        return byte == '"' ? begin_key(c, &v, out) : 0;
    case MATCH_COLON:
        return byte == ':' ? go_on(t, MATCH_VALUE, out) : 0;
    case MATCH_VALUE:
        break;
    }
    match_frame after = *t;
    after.phase = MATCH_AFTER;
    after.space = 0;
    after.u.object.value = 0;
    return match_begin(c, &after, t->u.object.value, byte, out, room);
}

// ---------------------------------------------------------------------------------------------
// Keys

static void see(match_context *c, const view *v, match_frame *out, int i) {
    if (v->node->u.object.n <= 64) {
        out->u.object.seen |= (uint64_t)1 << i;
        return;
    }
    size_t n = (size_t)v->known->n_words;
    match_bits *bits = match_arena_alloc(c->arena, sizeof *bits + n * sizeof bits->at[0]);
    *bits = (match_bits){.n = n};
    for (int word = 0; word < (int)n; word++)
        bits->at[word] = seen_word(v, word);
    bits->at[i / 64] |= (uint64_t)1 << (i % 64);
    out->u.object.many = bits;
}

static int close_property(match_context *c, const view *v, int i, match_frame *out) {
    if (!is_open(v, i))
        return 0;
    *out = *v->frame;
    see(c, v, out, i);
    out->phase = MATCH_COLON;
    out->space = 0;
    out->count++;
    out->u.object.missing -= has_bit(v->known->required, i);
    out->u.object.value = v->node->u.object.properties[i].node;
    return 1;
}

static int close_other(match_context *c, const view *v, const match_frame *t, match_frame *out) {
    const match_keys *others = v->frame->u.object.others;
    if (match_keys_has(others, t->u.key.hash))
        return 0;
    *out = *v->frame;
    out->phase = MATCH_COLON;
    out->space = 0;
    out->count++;
    out->u.object.value = v->node->u.object.additional;
    out->u.object.others =
        match_keys_add(others, t->u.key.hash, t->u.key.path, c->language->trie, c->arena);
    return 1;
}

// The first of properties [low, high), which agree in `len` bytes, whose next byte is not below
// `byte`; one that ends there comes before all.
static int bound(const grammar_property *at, int low, int high, int len, int byte) {
    while (low < high) {
        int middle = low + (high - low) / 2;
        bool below = at[middle].key_len == (size_t)len || (unsigned char)at[middle].key[len] < byte;
        if (below)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void follow_other(match_context *c, const view *v, unsigned char byte, match_frame *out) {
    const language_dfa *names = v->known->names;
    const match_keys *others = v->frame->u.object.others;
    int32_t state = grammar_dfa_step(names->dfa, out->state, byte);
    out->state = state;
    if (state < 0)
        return;
    out->u.key.hash = match_hash_add(out->u.key.hash, byte);
    if (language_texts(names, state) == LANGUAGE_MANY)
        return;
    int64_t taken = match_keys_count(others, out->u.key.hash);
    if (!others_left(v, state, out->u.key.low, out->u.key.high, taken)) {
        out->state = GRAMMAR_DEAD;
        return;
    }
    match_path *path = match_arena_alloc(c->arena, sizeof *path);
    *path = (match_path){.before = out->u.key.path, .start = out->u.key.hash};
    out->u.key.path = path;
}

static int continue_key(match_context *c, const view *v, const match_frame *t, unsigned char byte,
                        match_frame *out) {
    const grammar_property *properties = v->node->u.object.properties;
    int low = t->u.key.low, high = t->u.key.high, len = t->u.key.len;
    *out = *t;
    low = bound(properties, low, high, len, byte);
    high = bound(properties, low, high, len, byte + 1);
    out->u.key.low = low < high ? low : 0;
    out->u.key.high = low < high ? high : 0;
    out->u.key.len = low < high ? len + 1 : 0;
    if (out->state >= 0)
        follow_other(c, v, byte, out);
    if (out->state >= 0)
        return 1;
    memset(&out->u.key.hash, 0, sizeof out->u.key.hash);
    out->u.key.path = NULL;
    return any_open(v, low, high);
}

int match_step_key(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
                   int room) {
    view v = view_of(c->language, &t->below->frame);
    if (room <= 0)
        return 0;
    if (byte == '"') {
        int i = t->u.key.low;
        if (i < t->u.key.high && v.node->u.object.properties[i].key_len == (size_t)t->u.key.len)
            return close_property(c, &v, i, out);
        if (t->state >= 0 && v.known->names->flags[t->state] & LANGUAGE_ACCEPTS)
            return close_other(c, &v, t, out);
    }
    return continue_key(c, &v, t, byte, out);
}
