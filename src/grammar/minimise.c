// The minimal automaton, by refining two partitions at once, one of states and one of transitions,
// and always going on with the smaller half (A. Valmari and P. Lehtinen, "Efficient minimization of
// DFAs with partial transition functions", 2008): time grows with transitions that exist.
#include "grammar/draft.h"

#include <string.h>

enum { MAX_TRANSITIONS = 1 << 20 };

typedef struct transitions {
    int n;
    int32_t *tails, *symbols, *heads; // [n] from, by, to
    int *first;                       // [n_states + 1] where a state's incoming ones begin
    int *incoming;                    // [n] transitions by head
} transitions;

static void transitions_free(transitions *t) {
    base_free(t->tails);
    base_free(t->symbols);
    base_free(t->heads);
    base_free(t->first);
    base_free(t->incoming);
}

static int transitions_list(transitions *t, const grammar_draft *d, base_err *err) {
    size_t width = (size_t)d->n_symbols, n = (size_t)d->n_states * width, count = 0;
    *t = (transitions){0}; // so that it can be freed, whatever comes
    for (size_t i = 0; i < n; i++)
        count += d->next[i] != GRAMMAR_DEAD;
    if (count > MAX_TRANSITIONS)
        return grammar_draft_too_large(err);
    t->n = (int)count;
    t->tails = base_alloc(count * sizeof *t->tails);
    t->symbols = base_alloc(count * sizeof *t->symbols);
    t->heads = base_alloc(count * sizeof *t->heads);
    t->first = base_calloc((size_t)d->n_states + 1, sizeof *t->first);
    t->incoming = base_alloc(count * sizeof *t->incoming);
    int at = 0;
    for (int s = 0; s < d->n_states; s++)
        for (size_t c = 0; c < width; c++) {
            int32_t to = d->next[(size_t)s * width + c];
            if (to == GRAMMAR_DEAD)
                continue;
            t->tails[at] = s;
            t->symbols[at] = (int32_t)c;
            t->heads[at++] = to;
            t->first[to]++;
        }
    for (int s = 0, total = 0; s <= d->n_states; s++) {
        total += t->first[s];
        t->first[s] = total; // its end, for now
    }
    for (int i = 0; i < t->n; i++)
        t->incoming[--t->first[t->heads[i]]] = i;
    return 0;
}

// ---------------------------------------------------------------------------------------------

enum { FROM_START = 1, TO_ACCEPTING = 2 };

static void walk_forward(const grammar_draft *d, uint8_t *seen, int32_t *stack) {
    size_t width = (size_t)d->n_symbols;
    int n = 0;
    seen[0] |= FROM_START;
    stack[n++] = 0;
    while (n > 0) {
        const int32_t *row = d->next + (size_t)stack[--n] * width;
        for (size_t c = 0; c < width; c++)
            if (row[c] != GRAMMAR_DEAD && !(seen[row[c]] & FROM_START)) {
                seen[row[c]] |= FROM_START;
                stack[n++] = row[c];
            }
    }
}

static void walk_backward(const grammar_draft *d, const transitions *t, uint8_t *seen,
                          int32_t *stack) {
    int n = 0;
    for (int s = 0; s < d->n_states; s++)
        if (d->accepts[s]) {
            seen[s] |= TO_ACCEPTING;
            stack[n++] = s;
        }
    while (n > 0) {
        int32_t s = stack[--n];
        for (int i = t->first[s]; i < t->first[s + 1]; i++) {
            int32_t from = t->tails[t->incoming[i]];
            if (!(seen[from] & TO_ACCEPTING)) {
                seen[from] |= TO_ACCEPTING;
                stack[n++] = from;
            }
        }
    }
}

// Keeps what is on a way from the start to an accepting state, in the same order. `t` has the
// transitions of `d`, before and after.
static int trim(grammar_draft *d, transitions *t, base_err *err) {
    size_t n = (size_t)d->n_states, width = (size_t)d->n_symbols;
    uint8_t *seen = base_calloc(n, 1);
    int32_t *names = base_alloc(n * sizeof *names); // at first a stack
    walk_forward(d, seen, names);
    walk_backward(d, t, seen, names);
    int kept = 0;
    for (size_t s = 0; s < n; s++)
        names[s] = seen[s] == (FROM_START | TO_ACCEPTING) ? kept++ : GRAMMAR_DEAD;
    if (names[0] == GRAMMAR_DEAD)
        kept = 0;
    for (size_t s = 0; s < n && kept > 0 && kept < d->n_states; s++) {
        if (names[s] == GRAMMAR_DEAD)
            continue;
        int32_t *row = d->next + (size_t)names[s] * width;
        for (size_t c = 0; c < width; c++) {
            int32_t to = d->next[s * width + c];
            row[c] = to == GRAMMAR_DEAD ? GRAMMAR_DEAD : names[to];
        }
        d->accepts[names[s]] = d->accepts[s];
    }
    base_free(names);
    base_free(seen);
    if (kept == d->n_states)
        return 0;
    d->n_states = kept;
    transitions_free(t);
    return transitions_list(t, d, err);
}

// ---------------------------------------------------------------------------------------------

// Sets of the numbers 0..n-1. The elements of a set lie together, the marked ones first.
typedef struct partition {
    int n_sets, n_touched;
    int *elements, *places; // [n] and where an element lies
    int *sets;              // [n] an element's set
    int *first, *past;      // [n] of a set in `elements`
    int *marked;            // [n] of a set
    int *touched;           // [n] sets with marked elements
} partition;

static void partition_make(partition *p, int n) {
    size_t bytes = (size_t)n * sizeof(int);
    *p = (partition){.n_sets = n > 0};
    p->elements = base_alloc(bytes);
    p->places = base_alloc(bytes);
    p->sets = base_calloc((size_t)n, sizeof(int));
    p->first = base_calloc((size_t)n + 1, sizeof(int));
    p->past = base_calloc((size_t)n + 1, sizeof(int));
    p->marked = base_calloc((size_t)n + 1, sizeof(int));
    p->touched = base_alloc(bytes);
    for (int i = 0; i < n; i++)
        p->elements[i] = p->places[i] = i;
    p->past[0] = n;
}

static void partition_free(partition *p) {
    base_free(p->elements);
    base_free(p->places);
    base_free(p->sets);
    base_free(p->first);
    base_free(p->past);
    base_free(p->marked);
    base_free(p->touched);
}

static void partition_mark(partition *p, int element) {
    int set = p->sets[element], at = p->places[element], to = p->first[set] + p->marked[set];
    if (at < to)
        return; // marked already
    p->elements[at] = p->elements[to];
    p->places[p->elements[at]] = at;
    p->elements[to] = element;
    p->places[element] = to;
    if (p->marked[set]++ == 0)
        p->touched[p->n_touched++] = set;
}

// Marked elements leave the others of their set. The smaller part is the new set.
static void partition_split(partition *p) {
    while (p->n_touched > 0) {
        int set = p->touched[--p->n_touched], middle = p->first[set] + p->marked[set];
        int marked = p->marked[set];
        p->marked[set] = 0;
        if (middle == p->past[set])
            continue;
        int fresh = p->n_sets++;
        if (marked <= p->past[set] - middle) {
            p->first[fresh] = p->first[set];
            p->past[fresh] = p->first[set] = middle;
        } else {
            p->past[fresh] = p->past[set];
            p->first[fresh] = p->past[set] = middle;
        }
        for (int i = p->first[fresh]; i < p->past[fresh]; i++)
            p->sets[p->elements[i]] = fresh;
    }
}

// One set for each symbol.
static void partition_by_symbol(partition *p, const transitions *t, int n_symbols) {
    int *ends = base_calloc((size_t)n_symbols, sizeof *ends);
    for (int i = 0; i < t->n; i++)
        ends[t->symbols[i]]++;
    p->n_sets = 0;
    for (int c = 0, total = 0; c < n_symbols; c++) {
        if (ends[c] > 0) {
            p->first[p->n_sets] = total;
            p->past[p->n_sets++] = total + ends[c];
        }
        total += ends[c];
        ends[c] = total;
    }
    for (int i = 0; i < t->n; i++) {
        int at = --ends[t->symbols[i]];
        p->elements[at] = i;
        p->places[i] = at;
    }
    for (int set = 0; set < p->n_sets; set++)
        for (int i = p->first[set]; i < p->past[set]; i++)
            p->sets[p->elements[i]] = set;
    base_free(ends);
}

static void refine(partition *states, partition *cords, const transitions *t) {
    for (int cord = 0, block = 1; cord < cords->n_sets; cord++) {
        for (int i = cords->first[cord]; i < cords->past[cord]; i++)
            partition_mark(states, t->tails[cords->elements[i]]);
        partition_split(states);
        for (; block < states->n_sets; block++) {
            for (int i = states->first[block]; i < states->past[block]; i++) {
                int s = states->elements[i];
                for (int j = t->first[s]; j < t->first[s + 1]; j++)
                    partition_mark(cords, t->incoming[j]);
            }
            partition_split(cords);
        }
    }
}

// A state for each set, in the order of a walk from the start.
static void merge(grammar_draft *d, const partition *p) {
    size_t width = (size_t)d->n_symbols, n = (size_t)p->n_sets;
    int32_t *names = base_alloc(n * sizeof *names), *next = base_alloc(n * width * sizeof *next);
    int *queue = base_alloc(n * sizeof *queue);
    bool *accepts = base_alloc(n * sizeof *accepts);
    memset(names, 0xff, n * sizeof *names);
    int named = 0;
    queue[named] = p->sets[0];
    names[p->sets[0]] = named++;
    for (int at = 0; at < named; at++) {
        int state = p->elements[p->first[queue[at]]];
        accepts[at] = d->accepts[state];
        for (size_t c = 0; c < width; c++) {
            int32_t to = d->next[(size_t)state * width + c];
            if (to != GRAMMAR_DEAD) {
                int set = p->sets[to];
                if (names[set] == GRAMMAR_DEAD) {
                    queue[named] = set;
                    names[set] = named++;
                }
                to = names[set];
            }
            next[(size_t)at * width + c] = to;
        }
    }
    base_free(queue);
    base_free(names);
    base_free(d->next);
    base_free(d->accepts);
    d->next = next;
    d->accepts = accepts;
    d->n_states = d->cap_states = named;
}

int grammar_draft_minimise(grammar_draft *d, base_err *err) {
    if (d->n_states == 0)
        return 0;
    transitions t;
    int rc = transitions_list(&t, d, err);
    if (rc == 0)
        rc = trim(d, &t, err);
    if (rc != 0 || d->n_states == 0) {
        transitions_free(&t);
        return rc;
    }
    partition states, cords;
    partition_make(&states, d->n_states);
    partition_make(&cords, t.n);
    for (int s = 0; s < d->n_states; s++)
        if (d->accepts[s])
            partition_mark(&states, s);
    partition_split(&states);
    partition_by_symbol(&cords, &t, d->n_symbols);
    refine(&states, &cords, &t);
    merge(d, &states);
    partition_free(&cords);
    partition_free(&states);
    transitions_free(&t);
    return 0;
}
