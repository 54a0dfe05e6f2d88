// How many code points a string of an automaton must still have, at least: what its limit is held
// against. A state may be met between two characters and inside an escape, so both count together.
#include "grammar/language.h"

typedef struct edge {
    uint32_t from, to; // pairs
    bool point;        // a code point begins
} edge;

typedef struct search {
    const grammar_dfa *dfa;
    const match_text *text;
    bool *seen;     // [n_pairs]
    uint32_t *open; // [n_pairs] pairs met; then those of the same number of points
    uint32_t n_open;
    edge *edges; // [n_edges]
    size_t n_edges, cap_edges;
    uint16_t *points; // [n_pairs]
} search;

static void meet(search *s, uint32_t pair) {
    if (!s->seen[pair])
        s->open[s->n_open++] = pair;
    s->seen[pair] = true;
}

static void add_edge(search *s, edge e) {
    if (s->n_edges == s->cap_edges) {
        s->cap_edges = s->cap_edges == 0 ? 1024 : 2 * s->cap_edges;
        s->edges = base_realloc(s->edges, s->cap_edges * sizeof *s->edges);
    }
    s->edges[s->n_edges++] = e;
    meet(s, e.to);
}

static void follow(search *s, uint32_t pair) {
    int32_t state = (int32_t)(pair / MATCH_TEXT_STATES),
            place = (int32_t)(pair % MATCH_TEXT_STATES);
    int class_before = -1, place_before = -1;
    for (int byte = 0; byte < 256; byte++) {
        int next = s->text->next[place][byte], class = s->dfa->classes[byte];
        int32_t to = grammar_dfa_step(s->dfa, state, (unsigned char)byte);
        if (to < 0 || (class == class_before && next == place_before))
            continue;
        class_before = class;
        place_before = next;
        if (next == MATCH_TEXT_CLOSE)
            s->points[pair] = 0;
        else if (next >= 0)
            add_edge(s, (edge){pair, (uint32_t)to * MATCH_TEXT_STATES + (uint32_t)next,
                               place == MATCH_TEXT_IN});
    }
}

// The edges that lead to pair i become those of [first[i], first[i + 1]).
static uint32_t *sort_edges(search *s, size_t n_pairs) {
    uint32_t *first = base_calloc(n_pairs + 2, sizeof *first);
    edge *sorted = base_alloc((s->n_edges + 1) * sizeof *sorted);
    for (size_t i = 0; i < s->n_edges; i++)
        first[s->edges[i].to + 2]++;
    for (size_t i = 2; i < n_pairs + 2; i++)
        first[i] += first[i - 1];
    for (size_t i = 0; i < s->n_edges; i++)
        sorted[first[s->edges[i].to + 1]++] = s->edges[i];
    base_free(s->edges);
    s->edges = sorted;
    return first;
}

// Backwards from the ends; what costs nothing is followed before the next number begins.
static int spread(search *s, size_t n_pairs) {
    uint32_t *first = sort_edges(s, n_pairs);
    uint32_t *later = base_alloc((s->n_edges + n_pairs + 1) * sizeof *later), n_later = 0, n = 0;
    uint32_t *now = base_alloc((s->n_edges + n_pairs + 1) * sizeof *now);
    int points = 0;
    for (size_t i = 0; i < n_pairs; i++) {
        if (s->points[i] == 0)
            now[n++] = (uint32_t)i;
    }
    for (; n > 0 && points < UINT16_MAX - 1; points++) {
        for (uint32_t i = 0; i < n; i++) {
            if (s->points[now[i]] < points)
                continue;
            for (uint32_t j = first[now[i]]; j < first[now[i] + 1]; j++) {
                const edge *e = &s->edges[j];
                if (s->points[e->from] <= points + e->point)
                    continue;
                s->points[e->from] = (uint16_t)(points + e->point);
                *(e->point ? &later[n_later++] : &now[n++]) = e->from;
            }
        }
        uint32_t *swap = now;
        now = later;
        later = swap;
        n = n_later;
        n_later = 0;
    }
    base_free(first);
    base_free(now);
    base_free(later);
    return points;
}

static bool takes(const grammar_dfa *d, int32_t state, const char *bytes, size_t len) {
    for (size_t i = 0; i < len && state >= 0; i++)
        state = grammar_dfa_step(d, state, (unsigned char)bytes[i]);
    return state >= 0;
}

// The bytes of the longest token that lies inside of such a string, or touches one, at most.
static size_t longest_token(const grammar_dfa *d, const grammar_trie *t) {
    size_t least = t->quoted_bytes > TRIE_SHORT ? t->quoted_bytes : TRIE_SHORT;
    for (int i = 0; i < t->n_tall; i++) {
        size_t len;
        const char *bytes = token_bytes(t->vocab, t->tall[i], &len);
        if (len <= least)
            break;
        for (int32_t state = 0; state < d->n_states; state++)
            if (takes(d, state, bytes, len))
                return len;
    }
    return least;
}

void language_find_points(language_dfa *d, const grammar_trie *t) {
    size_t n_pairs = (size_t)d->dfa->n_states * MATCH_TEXT_STATES;
    int32_t begin = d->dfa->n_states > 0 ? grammar_dfa_step(d->dfa, 0, '"') : GRAMMAR_DEAD;
    if (d->points != NULL || begin < 0)
        return;
    search s = {.dfa = d->dfa,
                .text = &t->lenient_text,
                .seen = base_calloc(n_pairs, sizeof *s.seen),
                .open = base_alloc(n_pairs * sizeof *s.open),
                .points = base_alloc(n_pairs * sizeof *s.points)};
    for (size_t i = 0; i < n_pairs; i++)
        s.points[i] = UINT16_MAX;
    meet(&s, (uint32_t)begin * MATCH_TEXT_STATES + MATCH_TEXT_IN);
    for (uint32_t i = 0; i < s.n_open; i++)
        follow(&s, s.open[i]);
    d->near_points = spread(&s, n_pairs) + (int64_t)longest_token(d->dfa, t);
    d->points = s.points;
    base_free(s.seen);
    base_free(s.open);
    base_free(s.edges);
}
