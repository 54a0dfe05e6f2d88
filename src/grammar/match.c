// Matchers: the threads after each of the last pushes.
#include "grammar/language.h"
#include <string.h>

enum { N_PLACES = GRAMMAR_MAX_ROLLBACK + 1, COMPACT_AT_LEAST = 1 << 15 };

typedef struct place {
    match_frame *threads; // [n] in the arena
    int n;
} place;

struct grammar_matcher {
    grammar_language *language;
    match_suffix suffix;
    match_arena arena;
    size_t compact_at;      // bytes taken
    place places[N_PLACES]; // a ring
    int now, n_before;      // the place that counts; how many before it are kept
};

static const place *place_now(const grammar_matcher *m) {
    return &m->places[m->now];
}

static void set_place(grammar_matcher *m, place *p, const match_frame *threads, int n) {
    p->n = n;
    p->threads = match_arena_alloc(&m->arena, (size_t)n * sizeof *threads);
    memcpy(p->threads, threads, (size_t)n * sizeof *threads);
}

// The root is waited for; an automaton without JSON around it has begun, and may be empty.
static void begin(grammar_matcher *m) {
    grammar_language *l = m->language;
    match_context c = {l, &m->arena};
    match_frame t;
    memset(&t, 0, sizeof t);
    t.kind = MATCH_END;
    t.phase = l->program->json ? MATCH_FIRST : MATCH_AFTER;
    t.node = GRAMMAR_NO_NODE;
    t.u.suffix = &m->suffix;
    const language_dfa *d = l->dfas[l->program->root];
    if (!l->program->json && !(d->dfa->n_states > 0 && d->flags[0] & LANGUAGE_LAST)) {
        match_link *end = match_push_link(&c, &t);
        memset(&t, 0, sizeof t);
        t.below = end;
        t.kind = MATCH_SCALAR;
        t.node = l->program->root;
    }
    set_place(m, &m->places[0], &t, 1);
}

grammar_matcher *grammar_matcher_create(grammar_language *l, const char *suffix,
                                        size_t suffix_len) {
    grammar_matcher *m = base_calloc(1, sizeof *m);
    m->language = l;
    m->suffix.bytes = base_alloc(suffix_len + 1);
    memcpy(m->suffix.bytes, suffix, suffix_len);
    m->suffix.len = suffix_len;
    m->suffix.hash = match_hash_start();
    for (size_t i = 0; i < suffix_len; i++)
        m->suffix.hash = match_hash_add(m->suffix.hash, (unsigned char)suffix[i]);
    m->compact_at = COMPACT_AT_LEAST;
    begin(m);
    return m;
}

void grammar_matcher_free(grammar_matcher *m) {
    if (!m)
        return;
    match_arena_free(&m->arena);
    base_free(m->suffix.bytes);
    base_free(m);
}

size_t match_bytes(const grammar_matcher *m) {
    return sizeof *m + match_arena_bytes(&m->arena);
}

// ---------------------------------------------------------------------------------------------
// Compaction: what the places still hold is copied, each thing once.

static const match_path *move_path(const match_path *path, match_arena *to) {
    const match_path *first = NULL, **slot = &first;
    for (; path; path = path->before) {
        if (path->moved) {
            *slot = path->moved;
            break;
        }
        match_path *made = match_arena_alloc(to, sizeof *made);
        *made = *path;
        ((match_path *)path)->moved = made;
        *slot = made;
        slot = &made->before;
    }
    return first;
}

static const match_bits *move_bits(const match_bits *bits, match_arena *to) {
    if (!bits || bits->moved)
        return bits ? bits->moved : NULL;
    size_t size = sizeof *bits + bits->n * sizeof bits->at[0];
    match_bits *made = match_arena_alloc(to, size);
    memcpy(made, bits, size);
    ((match_bits *)bits)->moved = made;
    return made;
}

// All that a frame refers to but what is below it.
static void move_frame(match_frame *f, match_arena *to) {
    if (f->kind == MATCH_OBJECT) {
        f->u.object.many = move_bits(f->u.object.many, to);
        f->u.object.others = match_keys_move(f->u.object.others, to);
    } else if (f->kind == MATCH_KEY) {
        f->u.key.path = move_path(f->u.key.path, to);
    }
}

static match_link *move_links(match_link *link, match_arena *to) {
    match_link *first = NULL, **slot = &first;
    for (; link; link = link->frame.below) {
        if (link->moved) {
            *slot = link->moved;
            break;
        }
        match_link *made = match_arena_alloc(to, sizeof *made);
        *made = *link;
        link->moved = made;
        move_frame(&made->frame, to);
        *slot = made;
        slot = &made->frame.below;
    }
    return first;
}

static void compact(grammar_matcher *m) {
    match_arena old = m->arena;
    m->arena = (match_arena){0};
    for (int back = 0; back <= m->n_before; back++) {
        place *p = &m->places[(m->now + N_PLACES - back) % N_PLACES];
        set_place(m, p, p->threads, p->n);
        for (int i = 0; i < p->n; i++) {
            move_frame(&p->threads[i], &m->arena);
            p->threads[i].below = move_links(p->threads[i].below, &m->arena);
        }
    }
    match_arena_free(&old);
    m->compact_at = 3 * m->arena.taken;
    m->compact_at = m->compact_at < COMPACT_AT_LEAST ? COMPACT_AT_LEAST : m->compact_at;
}

// ---------------------------------------------------------------------------------------------

int match_step_all(match_context *c, const match_frame *threads, int n, unsigned char byte,
                   match_frame *out) {
    int n_out = 0;
    for (int i = 0; i < n; i++)
        n_out += match_step(c, &threads[i], byte, out + n_out, MATCH_MAX_THREADS - n_out);
    return n_out > 1 ? match_unite(out, n_out) : n_out;
}

// What one thread becomes; the result is in one of the two arrays, whose number is returned.
static int follow(match_context *c, const match_frame *t, const char *bytes, size_t len,
                  match_frame out[2][MATCH_MAX_THREADS], int *n) {
    int at = 0;
    out[0][0] = *t;
    *n = 1;
    for (size_t i = 0; i<len && * n> 0; i++, at = !at)
        *n = match_step_all(c, out[at], *n, (unsigned char)bytes[i], out[!at]);
    return at;
}

// Each thread goes its way alone, within its own limits, as masks take it to do.
bool grammar_matcher_push(grammar_matcher *m, const char *bytes, size_t len) {
    match_context c = {m->language, &m->arena};
    match_mark mark = match_arena_mark(&m->arena);
    const place *now = place_now(m);
    match_frame out[2][MATCH_MAX_THREADS], all[2 * MATCH_MAX_THREADS];
    int n_all = 0;
    for (int i = 0; i < now->n && n_all < MATCH_MAX_THREADS; i++) {
        int n, which = follow(&c, &now->threads[i], bytes, len, out, &n);
        memcpy(all + n_all, out[which], (size_t)n * sizeof all[0]);
        n_all = match_unite(all, n_all + n);
    }
    if (n_all == 0) {
        match_arena_reset(&m->arena, mark);
        return false;
    }
    m->now = (m->now + 1) % N_PLACES;
    m->n_before += m->n_before < GRAMMAR_MAX_ROLLBACK;
    set_place(m, &m->places[m->now], all, base_min_int(n_all, MATCH_MAX_THREADS));
    if (m->arena.taken > m->compact_at)
        compact(m);
    return true;
}

void grammar_matcher_rollback(grammar_matcher *m, int n) {
    n = base_min_int(n, m->n_before);
    m->now = (m->now + N_PLACES - n) % N_PLACES;
    m->n_before -= n;
}

// ---------------------------------------------------------------------------------------------

static bool ended(const match_frame *t) {
    return t->kind == MATCH_END && t->phase == MATCH_AFTER && (size_t)t->count == t->u.suffix->len;
}

bool grammar_matcher_may_end(const grammar_matcher *m) {
    const place *p = place_now(m);
    for (int i = 0; i < p->n; i++) {
        const match_frame *t = &p->threads[i];
        if (ended(t) || (t->kind == MATCH_SCALAR && ended(&t->below->frame) &&
                         m->language->dfas[t->node]->flags[t->state] & LANGUAGE_ACCEPTS))
            return true;
    }
    return false;
}

// Scalars that nothing can follow are never kept as such.
bool grammar_matcher_must_end(const grammar_matcher *m) {
    const place *p = place_now(m);
    for (int i = 0; i < p->n; i++) {
        if (!ended(&p->threads[i]))
            return false;
    }
    return true;
}

void grammar_matcher_mask(grammar_matcher *m, uint32_t *mask, int n_ids) {
    const place *p = place_now(m);
    size_t n_words = ((size_t)n_ids + 31) / 32;
    memset(mask, 0, n_words * sizeof *mask);
    n_words = n_words < m->language->trie->n_words ? n_words : m->language->trie->n_words;
    for (int i = 0; i < p->n; i++)
        mask_add_thread(m->language, &p->threads[i], mask, n_words);
}
