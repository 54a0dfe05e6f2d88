// One byte on: what a thread becomes. Objects and their keys are in match_object.c.
#include "grammar/language.h"
#include <string.h>

match_link *match_push_link(match_context *c, const match_frame *frame) {
    match_link *link = match_arena_alloc(c->arena, sizeof *link);
    *link = (match_link){.frame = *frame};
    return link;
}

static int keep(const match_frame *t, match_frame *out, int room) {
    if (room <= 0)
        return 0;
    *out = *t;
    return 1;
}

// A value is complete: what was below it goes on.
static int finish(const match_frame *t, match_frame *out, int room) {
    return keep(&t->below->frame, out, room);
}

static int spaced(const match_context *c, const match_frame *t, match_frame *out, int room) {
    if (!match_has_space(c->language->program, t) || !keep(t, out, room))
        return 0;
    out->space++;
    return 1;
}

// ---------------------------------------------------------------------------------------------
// Values

typedef struct beginning {
    match_context *context;
    const match_frame *below;
    match_link *link; // of `below`, once it is needed
} beginning;

static match_frame frame_on(beginning *b, match_kind kind, int32_t node) {
    if (!b->link)
        b->link = match_push_link(b->context, b->below);
    match_frame f;
    memset(&f, 0, sizeof f); // padding too: frames are compared as bytes
    f.below = b->link;
    f.kind = (uint8_t)kind;
    f.depth = b->below->depth;
    f.node = node;
    return f;
}

static int begin_scalar(beginning *b, int32_t node, unsigned char byte, match_frame *out,
                        int room) {
    const language_dfa *d = b->context->language->dfas[node];
    int32_t state = d->dfa->n_states ? grammar_dfa_step(d->dfa, 0, byte) : GRAMMAR_DEAD;
    if (state < 0)
        return 0;
    if (d->flags[state] & LANGUAGE_LAST)
        return keep(b->below, out, room);
    match_frame f = frame_on(b, MATCH_SCALAR, node);
    f.state = state;
    return keep(&f, out, room);
}

static int begin_container(beginning *b, match_kind kind, int32_t node, match_frame *out,
                           int room) {
    const grammar_language *l = b->context->language;
    if (!language_fits(l, node, b->below->depth))
        return 0;
    match_frame f = frame_on(b, kind, node);
    f.phase = MATCH_FIRST;
    f.depth++;
    if (kind == MATCH_OBJECT)
        f.u.object.missing = l->program->nodes[node].u.object.n_required;
    return keep(&f, out, room);
}

int match_begin(match_context *c, const match_frame *below, int32_t node, unsigned char byte,
                match_frame *out, int room) {
    const language_choice *choice = &c->language->choices[node];
    const int32_t *at = c->language->leaves + choice->first;
    beginning b = {.context = c, .below = below};
    int n = 0;
    for (int i = 0; i < choice->n_scalars && n < room; i++)
        n += begin_scalar(&b, at[i], byte, out + n, room - n);
    at += choice->n_scalars;
    for (int i = 0; i < choice->n_strings && n < room && byte == '"'; i++) {
        match_frame f = frame_on(&b, MATCH_STRING, at[i]);
        n += keep(&f, out + n, room - n);
    }
    at += choice->n_strings;
    for (int i = 0; i < choice->n_objects && n < room && byte == '{'; i++)
        n += begin_container(&b, MATCH_OBJECT, at[i], out + n, room - n);
    at += choice->n_objects;
    for (int i = 0; i < choice->n_arrays && n < room && byte == '['; i++)
        n += begin_container(&b, MATCH_ARRAY, at[i], out + n, room - n);
    return n;
}

// ---------------------------------------------------------------------------------------------
// Each kind of frame

static int step_end(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
                    int room) {
    if (t->phase == MATCH_FIRST) {
        match_frame after = *t;
        after.phase = MATCH_AFTER;
        return match_begin(c, &after, c->language->program->root, byte, out, room);
    }
    const match_suffix *suffix = t->u.suffix;
    if ((size_t)t->count >= suffix->len || (unsigned char)suffix->bytes[t->count] != byte ||
        !keep(t, out, room))
        return 0;
    out->count++;
    return 1;
}

static int step_scalar(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
                       int room) {
    const language_dfa *d = c->language->dfas[t->node];
    int n = 0;
    int32_t state = grammar_dfa_step(d->dfa, t->state, byte);
    if (state >= 0 && d->flags[state] & LANGUAGE_LAST) {
        n += finish(t, out, room);
    } else if (state >= 0 && keep(t, out, room)) {
        int64_t most = c->language->program->nodes[t->node].most;
        out->state = state;
        n = most == 0 || match_count(c->language, d, most, state, byte, &out->u.place, &out->count);
    }
    if (d->flags[t->state] & LANGUAGE_ACCEPTS)
        n += match_step(c, &t->below->frame, byte, out + n, room - n);
    return n;
}

static int step_string(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
                       int room) {
    const grammar_node *node = &c->language->program->nodes[t->node];
    int state = c->language->trie->value_text.next[t->state][byte];
    if (state == MATCH_TEXT_CLOSE)
        return t->count >= node->u.string.min ? finish(t, out, room) : 0;
    bool begins = t->state == MATCH_TEXT_IN;
    if (state == MATCH_TEXT_DEAD ||
        (begins && node->u.string.max >= 0 && t->count >= node->u.string.max) ||
        !keep(t, out, room))
        return 0;
    out->state = state;
    out->count += begins;
    return 1;
}

static int32_t item_node(const grammar_node *array, int64_t i) {
    return i < array->u.array.n_prefix ? array->u.array.prefix[i] : array->u.array.items;
}

static bool more_items(const grammar_language *l, const match_frame *t, const grammar_node *array) {
    return (array->u.array.max < 0 || t->count < array->u.array.max) &&
           language_fits(l, item_node(array, t->count), t->depth);
}

static int step_array(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
                      int room) {
    const grammar_node *array = &c->language->program->nodes[t->node];
    if (match_is_space(byte))
        return spaced(c, t, out, room);
    if (byte == ']' && t->phase != MATCH_NEXT)
        return t->count >= array->u.array.min ? finish(t, out, room) : 0;
    if (!more_items(c->language, t, array))
        return 0;
    match_frame f = *t;
    f.space = 0;
    if (t->phase == MATCH_AFTER) {
        f.phase = MATCH_NEXT;
        return byte == ',' ? keep(&f, out, room) : 0;
    }
    f.phase = MATCH_AFTER;
    f.count++;
    return match_begin(c, &f, item_node(array, t->count), byte, out, room);
}

int match_step(match_context *c, const match_frame *t, unsigned char byte, match_frame *out,
               int room) {
    switch ((match_kind)t->kind) {
    case MATCH_END:
        return step_end(c, t, byte, out, room);
    case MATCH_SCALAR:
        return step_scalar(c, t, byte, out, room);
    case MATCH_STRING:
        return step_string(c, t, byte, out, room);
    case MATCH_ARRAY:
        return step_array(c, t, byte, out, room);
    case MATCH_OBJECT:
        return match_step_object(c, t, byte, out, room);
    case MATCH_KEY:
        return match_step_key(c, t, byte, out, room);
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Equal threads

// Different links may hold the same: then their frames are the same all the way down.
bool match_same(const match_frame *a, const match_frame *b) {
    for (;;) {
        if (a->kind != b->kind || a->node != b->node || a->state != b->state ||
            a->phase != b->phase || a->space != b->space || a->depth != b->depth ||
            a->count != b->count || memcmp(a->u.any, b->u.any, sizeof a->u.any) != 0)
            return false;
        if (a->below == b->below)
            return true;
        if (!a->below || !b->below)
            return false;
        a = &a->below->frame;
        b = &b->below->frame;
    }
}

int match_unite(match_frame *threads, int n) {
    int kept = n > 0;
    for (int i = 1; i < n; i++) {
        int j = 0;
        while (j < kept && !match_same(&threads[j], &threads[i]))
            j++;
        if (j == kept)
            threads[kept++] = threads[i];
    }
    return kept;
}
