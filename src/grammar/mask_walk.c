// Walks through tries: which tokens can a thread, or an automaton, take?
#include "grammar/language.h"
#include <string.h>

// Where the bytes down to a node have led: threads, or one scalar of which only the state changes.
typedef struct mask_level {
    size_t first; // of its threads in `frames`; of a lone scalar: the thread it began as
    int n;
    int32_t state;           // of a lone scalar
    const language_dfa *dfa; // of a lone scalar, else NULL
    int64_t most, count;     // of its code points, when their limit is near; most 0: it is not
    int32_t place;           // in its text, then
    match_mark mark;         // of the memory that is in use
} mask_level;

enum { MANY_IDS = 1 << 14 }; // more are not kept room for

mask_walker *mask_walker_create(const grammar_trie *t) {
    mask_walker *w = base_calloc(1, sizeof *w);
    w->trie = t;
    w->fewest = LANGUAGE_MANY;
    return w;
}

void mask_walker_free(mask_walker *w) {
    if (!w)
        return;
    match_arena_free(&w->arena);
    base_free(w->levels);
    base_free(w->states);
    base_free(w->frames);
    base_free(w->ids);
    base_free(w->near);
    base_free(w);
}

size_t mask_walker_bytes(const mask_walker *w) {
    size_t levels = w->levels ? w->trie->max_bytes + 1 : 0;
    return sizeof *w + levels * (sizeof(mask_level) + sizeof *w->states) +
           w->cap_frames * sizeof *w->frames + (w->cap_ids + w->cap_near) * sizeof *w->ids +
           match_arena_bytes(&w->arena);
}

static void reserve_ids(mask_walker *w, size_t n) {
    if (n <= w->cap_ids)
        return;
    w->cap_ids = n < 2 * w->cap_ids ? 2 * w->cap_ids : n;
    w->ids = base_realloc(w->ids, w->cap_ids * sizeof *w->ids);
}

void mask_walker_add_id(mask_walker *w, int32_t id) {
    reserve_ids(w, w->n_ids + 1);
    w->ids[w->n_ids++] = id;
}

void mask_walker_add_near(mask_walker *w, int32_t id, int64_t texts) {
    if (w->n_near == w->cap_near) {
        w->cap_near = 2 * w->cap_near + 64;
        w->near = base_realloc(w->near, w->cap_near * sizeof *w->near);
    }
    w->near[w->n_near++] = id;
    w->fewest = texts < w->fewest ? texts : w->fewest;
}

void mask_walker_trim(mask_walker *w) {
    if (w->cap_ids > MANY_IDS) {
        base_free(w->ids);
        w->ids = NULL;
        w->cap_ids = 0;
    }
    if (w->cap_near > MANY_IDS) {
        base_free(w->near);
        w->near = NULL;
        w->cap_near = 0;
    }
    w->n_ids = 0;
    w->n_near = 0;
    w->fewest = LANGUAGE_MANY;
}

static void make_levels(mask_walker *w) {
    if (w->levels)
        return;
    w->levels = base_alloc((w->trie->max_bytes + 1) * sizeof *w->levels);
    w->states = base_alloc((w->trie->max_bytes + 1) * sizeof *w->states);
}

// ---------------------------------------------------------------------------------------------

// What is looked at again and again is in local variables, which the compiler keeps in registers:
// whole vocabularies are walked here.
void mask_walk_dfa(mask_walker *w, const trie_part *part, const language_dfa *d, int32_t state) {
    const int32_t *next = d->dfa->next;
    const uint8_t *classes = d->dfa->classes;
    const int64_t *texts = d->texts;
    const trie_node *nodes = part->nodes;
    size_t n_classes = (size_t)d->dfa->n_classes;
    uint32_t n = part->n, i = 0;
    make_levels(w);
    reserve_ids(w, w->n_ids + (size_t)w->trie->n_ids + 1);
    int32_t *states = w->states, *ids = w->ids + w->n_ids;
    states[0] = state;
    while (i < n) {
        trie_node node = nodes[i];
        int32_t to = next[(size_t)states[node.depth] * n_classes + classes[node.byte]];
        w->n_nodes++;
        if (to < 0) {
            i = node.end;
            continue;
        }
        states[node.depth + 1] = to;
        i++;
        if (texts && texts[to] < LANGUAGE_FEW) {
            if (node.token >= 0)
                mask_walker_add_near(w, node.token, texts[to]);
            continue;
        }
        *ids = node.token;
        ids += node.token >= 0;
    }
    w->n_ids = (size_t)(ids - w->ids);
}

// ---------------------------------------------------------------------------------------------

typedef struct walk {
    grammar_language *l;
    mask_walker *w;
    match_context context;
} walk;

static void reserve_frames(mask_walker *w, size_t n) {
    if (n <= w->cap_frames)
        return;
    w->cap_frames = n < 2 * w->cap_frames ? 2 * w->cap_frames : n;
    w->frames = base_realloc(w->frames, w->cap_frames * sizeof *w->frames);
}

// A level of one scalar needs no threads made until something else than its state changes.
static void enter(walk *k, mask_level *at, size_t first, int n) {
    const match_frame *t = &k->w->frames[first];
    bool lone = n == 1 && t->kind == MATCH_SCALAR;
    bool near = lone && match_is_near(k->l, t);
    *at = (mask_level){.first = first,
                       .n = n,
                       .state = lone ? t->state : 0,
                       .dfa = lone ? k->l->dfas[t->node] : NULL,
                       .most = near ? k->l->program->nodes[t->node].most : 0,
                       .count = near ? t->count : 0,
                       .place = near ? t->u.place : 0,
                       .mark = match_arena_mark(&k->w->arena)};
}

static bool step_threads(walk *k, const mask_level *at, mask_level *to, unsigned char byte) {
    mask_walker *w = k->w;
    size_t first = at->first + (size_t)at->n;
    match_arena_reset(&w->arena, at->mark);
    reserve_frames(w, first + MATCH_MAX_THREADS);
    const match_frame *threads = &w->frames[at->first];
    match_frame scalar;
    if (at->dfa) {
        scalar = *threads;
        scalar.state = at->state;
        threads = &scalar;
    }
    int n = match_step_all(&k->context, threads, at->n, byte, &w->frames[first]);
    if (n > 0)
        enter(k, to, first, n);
    return n > 0;
}

// What may come behind a complete scalar in a container; scalars' own bytes are never looked up.
static bool may_follow(const match_frame *below, unsigned char byte) {
    if (below->kind == MATCH_END)
        return true;
    return match_is_space(byte) || byte == ',' || byte == ']' || byte == '}';
}

static bool step_scalar(walk *k, const mask_level *at, mask_level *to, unsigned char byte) {
    const language_dfa *d = at->dfa;
    int32_t state = grammar_dfa_step(d->dfa, at->state, byte);
    if ((d->flags[at->state] & LANGUAGE_ACCEPTS &&
         may_follow(&k->w->frames[at->first].below->frame, byte)) ||
        (state >= 0 && d->flags[state] & LANGUAGE_LAST))
        return step_threads(k, at, to, byte);
    if (state < 0)
        return false;
    *to = *at;
    to->state = state;
    return at->most == 0 || match_count(k->l, d, at->most, state, byte, &to->place, &to->count);
}

void mask_walk_thread(grammar_language *l, const trie_part *part, const match_frame *t) {
    mask_walker *w = l->walker;
    bool first[256];
    match_first_bytes(l, t, first);
    walk k = {l, w, {l, &w->arena}};
    make_levels(w);
    reserve_frames(w, 1);
    w->frames[0] = *t;
    match_arena_reset(&w->arena, (match_mark){0});
    enter(&k, &w->levels[0], 0, 1);
    for (uint32_t i = 0; i < part->n;) {
        const trie_node *node = &part->nodes[i];
        const mask_level *at = &w->levels[node->depth];
        mask_level *to = &w->levels[node->depth + 1];
        w->n_nodes++;
        if ((node->depth == 0 && !first[node->byte]) ||
            !(at->dfa ? step_scalar(&k, at, to, node->byte)
                      : step_threads(&k, at, to, node->byte))) {
            i = node->end;
            continue;
        }
        if (node->token >= 0)
            mask_walker_add_id(w, node->token);
        i++;
    }
}

bool mask_follows_key(grammar_language *l, const match_frame *t, int32_t token) {
    match_context c = {l, &l->walker->arena};
    match_frame at[2] = {*t};
    size_t len;
    const char *bytes = token_bytes(l->trie->vocab, token, &len);
    match_arena_reset(c.arena, (match_mark){0});
    for (size_t i = 0; i < len; i++)
        if (match_step_key(&c, &at[i % 2], (unsigned char)bytes[i], &at[(i + 1) % 2], 1) == 0)
            return false;
    return true;
}
