// What is known of an automaton beforehand, so that masks need not walk it byte by byte.
#include "grammar/language.h"
#include <string.h>

// ---------------------------------------------------------------------------------------------
// Where in a JSON string a state is: states are followed along with those of the text.

enum { BEFORE = MATCH_TEXT_STATES, OUTSIDE, N_PLACES };

static int place_after(const match_text *text, int place, unsigned char byte) {
    if (place == BEFORE)
        return byte == '"' ? MATCH_TEXT_IN : OUTSIDE;
    if (place == OUTSIDE)
        return OUTSIDE;
    int next = text->next[place][byte];
    return next < 0 ? OUTSIDE : next;
}

// Where each class of bytes leads from each place: a bit for each place.
typedef struct ways {
    uint32_t to[256][N_PLACES];
} ways;

static ways *find_ways(const grammar_dfa *d, const match_text *text) {
    ways *w = base_calloc(1, sizeof *w);
    for (int byte = 0; byte < 256; byte++)
        for (int place = 0; place < N_PLACES; place++)
            w->to[d->classes[byte]][place] |= (uint32_t)1
                                              << place_after(text, place, (unsigned char)byte);
    return w;
}

typedef struct marking {
    const grammar_dfa *dfa;
    const ways *ways;
    uint32_t *places, *done; // [n_states] a bit for each place; what has been followed of them
    int32_t *waiting;        // states of which something has not; each at most once
    int n_waiting;
} marking;

static void reach(marking *m, int32_t state, uint32_t places) {
    bool waits = m->places[state] != m->done[state];
    m->places[state] |= places;
    if (!waits && m->places[state] != m->done[state])
        m->waiting[m->n_waiting++] = state;
}

static void follow(marking *m, int32_t state) {
    uint32_t fresh = m->places[state] & ~m->done[state];
    m->done[state] = m->places[state];
    for (; fresh; fresh &= fresh - 1)
        for (int class = 0; class < m->dfa->n_classes; class ++) {
            int32_t next = m->dfa->next[(size_t)state * (size_t)m->dfa->n_classes + (size_t) class];
            if (next >= 0)
                reach(m, next, m->ways->to[class][__builtin_ctz(fresh)]);
        }
}

static void mark_inside(language_dfa *d, const match_text *text, int start, int64_t *budget) {
    size_t n = (size_t)d->dfa->n_states;
    if (n == 0 || (*budget -= (int64_t)n * d->dfa->n_classes) < 0)
        return;
    ways *known = find_ways(d->dfa, text);
    marking m = {.dfa = d->dfa,
                 .ways = known,
                 .places = base_calloc(n, sizeof *m.places),
                 .done = base_calloc(n, sizeof *m.done),
                 .waiting = base_alloc(n * sizeof *m.waiting)};
    reach(&m, 0, (uint32_t)1 << start);
    while (m.n_waiting > 0)
        follow(&m, m.waiting[--m.n_waiting]);
    for (size_t i = 0; i < n; i++)
        d->flags[i] |= m.places[i] == (uint32_t)1 << MATCH_TEXT_IN ? LANGUAGE_INSIDE : 0;
    base_free(m.waiting);
    base_free(m.done);
    base_free(m.places);
    base_free(known);
}

// ---------------------------------------------------------------------------------------------
// How many texts lead from a state to an end.

typedef struct counting {
    const grammar_dfa *dfa;
    int64_t *texts;
    uint8_t *colour; // 0: not seen, 1: open, 2: done
    int32_t sizes[256];
    struct visit {
        int32_t state, class;
    } * open;
} counting;

static int64_t add_texts(int64_t sum, int64_t texts, int32_t times) {
    int64_t product;
    if (texts == LANGUAGE_MANY || __builtin_mul_overflow(texts, (int64_t)times, &product) ||
        __builtin_add_overflow(sum, product, &sum))
        return LANGUAGE_MANY;
    return sum;
}

// Depth first; whatever comes back to a state that is open has no end of texts.
static void count_from(counting *c, int32_t start) {
    int n_open = 0;
    c->open[n_open++] = (struct visit){start, 0};
    c->colour[start] = 1;
    while (n_open > 0) {
        struct visit *v = &c->open[n_open - 1];
        int32_t class = v->class;
        if (class == 0)
            c->texts[v->state] = c->dfa->accepts[v->state];
        if (class == c->dfa->n_classes) {
            c->colour[v->state] = 2;
            n_open--;
            continue;
        }
        int32_t next = c->dfa->next[(size_t)v->state * (size_t)c->dfa->n_classes + (size_t) class];
        if (next >= 0 && c->colour[next] == 0) {
            c->colour[next] = 1;
            c->open[n_open++] = (struct visit){next, 0};
            continue; // `class` is looked at again when `next` is done
        }
        int64_t texts = next < 0 ? 0 : (c->colour[next] == 1 ? LANGUAGE_MANY : c->texts[next]);
        int64_t sum = c->texts[v->state];
        if (sum != LANGUAGE_MANY && next >= 0)
            c->texts[v->state] = add_texts(sum, texts, c->sizes[class]);
        v->class ++;
    }
}

// NULL: there are many from every state.
static int64_t *count_texts(const grammar_dfa *dfa) {
    size_t n = (size_t)dfa->n_states;
    counting c = {.dfa = dfa,
                  .texts = base_alloc((n + 1) * sizeof *c.texts),
                  .colour = base_calloc(n + 1, 1),
                  .open = base_alloc((n + 1) * sizeof *c.open)};
    for (int byte = 0; byte < 256; byte++)
        c.sizes[dfa->classes[byte]]++;
    bool many = true;
    for (int32_t i = 0; i < dfa->n_states; i++) {
        if (c.colour[i] == 0)
            count_from(&c, i);
        many = many && c.texts[i] == LANGUAGE_MANY;
    }
    base_free(c.colour);
    base_free(c.open);
    if (many && n > 0) {
        base_free(c.texts);
        return NULL;
    }
    return c.texts;
}

// What follows a quote in a token may be the beginning of a key.
static bool is_loose(const language_dfa *d, const grammar_trie *t) {
    for (int i = 0; i < t->n_quoted; i++) {
        size_t len;
        const char *at = token_bytes(t->vocab, t->quoted[i], &len);
        for (size_t j = 0; j < len; j++) {
            int32_t state = at[j] == '"' ? 0 : GRAMMAR_DEAD;
            for (size_t k = j + 1; k < len && state >= 0; k++) {
                state = grammar_dfa_step(d->dfa, state, (unsigned char)at[k]);
                if (state >= 0 && d->texts[state] < LANGUAGE_FEW)
                    return false;
            }
        }
    }
    return true;
}

// ---------------------------------------------------------------------------------------------

static bool has_next(const grammar_dfa *dfa, int32_t state) {
    const int32_t *next = dfa->next + (size_t)state * (size_t)dfa->n_classes;
    for (int i = 0; i < dfa->n_classes; i++) {
        if (next[i] >= 0)
            return true;
    }
    return false;
}

language_dfa *language_dfa_create(const grammar_dfa *dfa, language_use use, const grammar_trie *t,
                                  int64_t *budget) {
    language_dfa *d = base_calloc(1, sizeof *d);
    d->dfa = dfa;
    d->flags = base_calloc((size_t)dfa->n_states + 1, 1);
    for (int32_t i = 0; i < dfa->n_states; i++) {
        if (dfa->accepts[i])
            d->flags[i] = (uint8_t)(LANGUAGE_ACCEPTS | (has_next(dfa, i) ? 0 : LANGUAGE_LAST));
    }
    if (use == LANGUAGE_NAMES)
        d->texts = count_texts(dfa);
    d->loose = !d->texts || (dfa->n_states > 0 && is_loose(d, t));
    if (use == LANGUAGE_VALUE)
        mark_inside(d, &t->lenient_text, BEFORE, budget);
    if (use == LANGUAGE_NAMES)
        mark_inside(d, &t->lenient_text, MATCH_TEXT_IN, budget);
    d->plain = language_plain_lengths(dfa, budget);
    language_find_short(d, budget);
    return d;
}

void language_dfa_free(language_dfa *d) {
    if (!d)
        return;
    base_free(d->flags);
    base_free(d->plain);
    base_free(d->texts);
    base_free(d->points);
    base_free(d);
}

size_t language_dfa_bytes(const language_dfa *d) {
    size_t n = (size_t)d->dfa->n_states;
    return sizeof *d + n + (d->plain ? n * sizeof *d->plain : 0) +
           (d->texts ? n * sizeof *d->texts : 0) +
           (d->points ? n * MATCH_TEXT_STATES * sizeof *d->points : 0);
}

grammar_dfa *language_any_key(const grammar_trie *t) {
    grammar_dfa *d = base_calloc(1, sizeof *d);
    d->n_states = MATCH_TEXT_STATES;
    d->n_classes = 256;
    d->next = base_alloc(MATCH_TEXT_STATES * 256 * sizeof *d->next);
    d->accepts = base_calloc(MATCH_TEXT_STATES, sizeof *d->accepts);
    d->distance = base_calloc(MATCH_TEXT_STATES, sizeof *d->distance);
    d->accepts[MATCH_TEXT_IN] = true;
    for (int i = 0; i < 256; i++)
        d->classes[i] = (uint8_t)i;
    for (int state = 0; state < MATCH_TEXT_STATES; state++)
        for (int byte = 0; byte < 256; byte++) {
            int next = t->key_text.next[state][byte];
            d->next[state * 256 + byte] = next < 0 ? GRAMMAR_DEAD : next;
        }
    return d;
}
