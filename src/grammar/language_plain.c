// How many plain characters (see trie.h) an automaton is sure to
// take from a state, whichever they are: the shortest way to a dead end, found backwards from all
// dead ends at once. Texts of "any character" are known by it, and masks for them need no walk.
#include "grammar/language.h"

// A state of the automaton and how far in a character it is.
typedef enum { WHOLE, ONE, TWO, THREE, E0, E2, E2_80, ED, F0, F4, N_PARTS } part;

typedef struct range {
    uint8_t first, last, next;
} range;

enum { MAX_RANGES = 10 };

static const range ranges[N_PARTS][MAX_RANGES] = {
    [WHOLE] = {{0xc2, 0xdf, ONE},
               {0xe0, 0xe0, E0},
               {0xe1, 0xe1, TWO},
               {0xe2, 0xe2, E2},
               {0xe3, 0xec, TWO},
               {0xed, 0xed, ED},
               {0xee, 0xef, TWO},
               {0xf0, 0xf0, F0},
               {0xf1, 0xf3, THREE},
               {0xf4, 0xf4, F4}},
    [ONE] = {{0x80, 0xbf, WHOLE}},
    [TWO] = {{0x80, 0xbf, ONE}},
    [THREE] = {{0x80, 0xbf, TWO}},
    [E0] = {{0xa0, 0xbf, ONE}},
    [E2] = {{0x80, 0x80, E2_80}, {0x81, 0xbf, ONE}},
    [E2_80] = {{0x80, 0xa7, WHOLE}, {0xaa, 0xbf, WHOLE}},
    [ED] = {{0x80, 0x9f, ONE}},
    [F0] = {{0x90, 0xbf, TWO}},
    [F4] = {{0x80, 0x8f, TWO}},
};

// A step that a plain character may take: bytes of one class.
typedef struct move {
    uint8_t class, next;
} move;
typedef struct moves {
    move at[N_PARTS * 256];
    int first[N_PARTS + 1];
} moves;

static void add_moves(moves *m, int *n, const grammar_dfa *d, int from, range r) {
    bool there[256] = {false};
    for (int byte = r.first; byte <= r.last; byte++) {
        uint8_t class = d->classes[byte];
        if (there[class] || byte == '"' || byte == '\\')
            continue;
        there[class] = true;
        bool known = false;
        for (int i = m->first[from]; i < *n && !known; i++)
            known = m->at[i].class == class && m->at[i].next == r.next;
        if (!known)
            m->at[(*n)++] = (move){class, r.next};
    }
}

static void make_moves(moves *m, const grammar_dfa *d) {
    int n = 0;
    for (int from = 0; from < N_PARTS; from++) {
        m->first[from] = n;
        if (from == WHOLE)
            add_moves(m, &n, d, from, (range){0x20, 0x7f, WHOLE});
        for (int i = 0; i < MAX_RANGES && ranges[from][i].last; i++)
            add_moves(m, &n, d, from, ranges[from][i]);
    }
    m->first[N_PARTS] = n;
}

// ---------------------------------------------------------------------------------------------

typedef struct search {
    const grammar_dfa *d;
    const moves *m;
    uint16_t *length;       // [n_states * N_PARTS] LANGUAGE_FREE: not found
    uint32_t *first, *from; // the pairs that lead to pair i are from[first[i] .. first[i + 1])
    uint32_t *queue;
    bool *reached; // pairs that a text can come to
} search;

static int32_t target(const search *s, uint32_t pair, move m) {
    int32_t state =
        s->d->next[(size_t)(pair / N_PARTS) * (size_t)s->d->n_classes + (size_t)m.class];
    return state < 0 ? -1 : state * N_PARTS + m.next;
}

// Pairs that matter: whole characters of every state, and what comes of them.
static size_t reach(search *s, uint32_t n_pairs) {
    uint32_t n = 0;
    size_t edges = 0;
    for (uint32_t pair = 0; pair < n_pairs; pair += N_PARTS) {
        s->reached[pair] = true;
        s->queue[n++] = pair;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t pair = s->queue[i], p = pair % N_PARTS;
        for (int j = s->m->first[p]; j < s->m->first[p + 1]; j++) {
            int32_t to = target(s, pair, s->m->at[j]);
            if (to < 0)
                continue;
            edges++;
            s->first[to + 1]++;
            if (!s->reached[to]) {
                s->reached[to] = true;
                s->queue[n++] = (uint32_t)to;
            }
        }
    }
    return edges;
}

static void turn_round(search *s, uint32_t n_pairs, size_t edges) {
    for (uint32_t i = 0; i < n_pairs; i++)
        s->first[i + 1] += s->first[i];
    s->from = base_alloc((edges + 1) * sizeof *s->from);
    for (uint32_t pair = n_pairs; pair-- > 0;) {
        uint32_t p = pair % N_PARTS;
        for (int j = s->m->first[p]; s->reached[pair] && j < s->m->first[p + 1]; j++) {
            int32_t to = target(s, pair, s->m->at[j]);
            if (to >= 0)
                s->from[s->first[to]++] = pair;
        }
    }
    for (uint32_t i = n_pairs; i > 0; i--) // each has moved to where the next began
        s->first[i] = s->first[i - 1];
    s->first[0] = 0;
}

// A character that cannot be finished counts as not begun: lengths grow with its first byte.
static void spread(search *s, uint32_t n_pairs) {
    uint32_t head = 0, n = 0;
    for (uint32_t pair = 0; pair < n_pairs; pair++) {
        uint32_t p = pair % N_PARTS;
        bool dead = false;
        for (int j = s->m->first[p]; s->reached[pair] && j < s->m->first[p + 1] && !dead; j++)
            dead = target(s, pair, s->m->at[j]) < 0;
        if (dead) {
            s->length[pair] = 0;
            s->queue[n++] = pair;
        }
    }
    // Steps within a character cost nothing: they are done before the next length begins.
    uint32_t *later = base_alloc((n_pairs + 1) * sizeof *later), n_later = 0;
    for (uint16_t length = 0; n > 0 && length + 1 < LANGUAGE_FREE; length++) {
        for (head = 0; head < n; head++) {
            uint32_t pair = s->queue[head];
            for (uint32_t i = s->first[pair]; i < s->first[pair + 1]; i++) {
                uint32_t from = s->from[i];
                if (s->length[from] != LANGUAGE_FREE)
                    continue;
                bool whole = pair % N_PARTS == WHOLE;
                s->length[from] = (uint16_t)(length + whole);
                if (whole)
                    later[n_later++] = from;
                else
                    s->queue[n++] = from;
            }
        }
        uint32_t *swap = s->queue;
        s->queue = later;
        later = swap;
        n = n_later;
        n_later = 0;
    }
    base_free(later);
}

uint16_t *language_plain_lengths(const grammar_dfa *d, int64_t *budget) {
    if (d->n_states == 0)
        return NULL;
    moves *m = base_calloc(1, sizeof *m);
    make_moves(m, d);
    *budget -= (int64_t)d->n_states * (m->first[N_PARTS] + 4 * N_PARTS);
    if (*budget < 0) {
        base_free(m);
        return NULL;
    }
    uint32_t n_pairs = (uint32_t)d->n_states * N_PARTS;
    search s = {.d = d,
                .m = m,
                .length = base_alloc(n_pairs * sizeof *s.length),
                .first = base_calloc((size_t)n_pairs + 2, sizeof *s.first),
                .queue = base_alloc(((size_t)n_pairs + 1) * sizeof *s.queue),
                .reached = base_calloc(n_pairs, sizeof *s.reached)};
    for (uint32_t i = 0; i < n_pairs; i++)
        s.length[i] = LANGUAGE_FREE;
    turn_round(&s, n_pairs, reach(&s, n_pairs));
    spread(&s, n_pairs);
    uint16_t *out = base_alloc((size_t)d->n_states * sizeof *out);
    for (int32_t i = 0; i < d->n_states; i++)
        out[i] = s.length[(uint32_t)i * N_PARTS];
    base_free(s.reached);
    base_free(s.queue);
    base_free(s.from);
    base_free(s.first);
    base_free(s.length);
    base_free(m);
    return out;
}

// ---------------------------------------------------------------------------------------------
// The most plain characters that a state can take: depth first, at most TRIE_SHORT.

typedef struct longest {
    const grammar_dfa *dfa;
    uint8_t cost[256]; // of classes: whether a character may begin
    bool plain[256];   // of classes: whether a byte of a plain character is in it
    uint8_t *most;     // [n_states]
    enum { UNSEEN, OPEN, DONE } * colour;
    struct visit {
        int32_t state, class;
    } * open;
} longest;

static void find_classes(longest *f) {
    for (int byte = 0x20; byte < 256; byte++) {
        uint8_t class = f->dfa->classes[byte];
        if (byte == '"' || byte == '\\')
            continue;
        f->plain[class] = true;
        if (byte < 0x80 || byte >= 0xc0)
            f->cost[class] = 1;
    }
}

// What comes back to a state that is open has no end.
static void find_longest(longest *f, int32_t start) {
    int n_open = 0;
    f->open[n_open++] = (struct visit){start, 0};
    f->colour[start] = OPEN;
    while (n_open > 0) {
        struct visit *v = &f->open[n_open - 1];
        int32_t class = v->class;
        if (class == f->dfa->n_classes) {
            f->colour[v->state] = DONE;
            n_open--;
            continue;
        }
        int32_t next = f->dfa->next[(size_t)v->state * (size_t)f->dfa->n_classes + (size_t) class];
        if (next >= 0 && f->plain[class] && f->colour[next] == UNSEEN) {
            f->colour[next] = OPEN;
            f->open[n_open++] = (struct visit){next, 0};
            continue; // `class` is looked at again when `next` is done
        }
        v->class ++;
        if (next < 0 || !f->plain[class])
            continue;
        int most = f->colour[next] == OPEN ? TRIE_SHORT : f->most[next] + f->cost[class];
        if (most > f->most[v->state])
            f->most[v->state] = (uint8_t)base_min_int(most, TRIE_SHORT);
    }
}

void language_find_short(language_dfa *d, int64_t *budget) {
    size_t n = (size_t)d->dfa->n_states;
    if (!d->plain || (*budget -= (int64_t)n * d->dfa->n_classes) < 0)
        return;
    longest f = {.dfa = d->dfa,
                 .most = base_calloc(n, sizeof *f.most),
                 .colour = base_calloc(n, sizeof *f.colour),
                 .open = base_alloc(n * sizeof *f.open)};
    find_classes(&f);
    for (int32_t state = 0; state < d->dfa->n_states; state++) {
        if (f.colour[state] == UNSEEN)
            find_longest(&f, state);
        if (d->plain[state] < TRIE_SHORT && f.most[state] <= d->plain[state])
            d->flags[state] |= LANGUAGE_SHORT;
    }
    base_free(f.most);
    base_free(f.colour);
    base_free(f.open);
}
