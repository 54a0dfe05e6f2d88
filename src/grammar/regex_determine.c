// Trees -> automata over classes of code points: first one that may be in many states at once, then
// one whose states are the sets of those. Both the states and the work are bounded.
#include "grammar/regex.h"

#include <string.h>

enum { MAX_NFA_STATES = 65536, MAX_EMITS = 262144, MAX_WORK = 5000000, ANY_CLASS = -1 };

typedef enum {
    TAKE,     // a character of `set`, then `a`
    FORK,     // `a` or `b`
    AT_START, // only before the first character
    AT_END,   // only after the last
    ACCEPT,   // here, at the end of the text
    ALL,      // whatever comes
} nfa_kind;

typedef struct nfa_state {
    nfa_kind kind;
    int set, a, b;
} nfa_state;

typedef struct nfa {
    const regex_tree *tree;
    nfa_state *states; // [n]
    int n, cap;
    int emits;
    bool full;
} nfa;

static int nfa_add(nfa *m, nfa_kind kind, int set, int a, int b) {
    if (m->n == MAX_NFA_STATES) {
        m->full = true;
        return 0;
    }
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 64 : m->cap * 2;
        m->states = base_realloc(m->states, (size_t)m->cap * sizeof *m->states);
    }
    m->states[m->n] = (nfa_state){.kind = kind, .set = set, .a = a, .b = b};
    return m->n++;
}

static int emit(nfa *m, int node, int then);

static int emit_repeat(nfa *m, const regex_node *node, int then) {
    int entry = then;
    if (node->max == REGEX_NO_LIMIT) {
        entry = nfa_add(m, FORK, 0, 0, then);
        int body = emit(m, node->child, entry);
        m->states[entry].a = body;
    }
    for (int64_t i = node->min; i < node->max && !m->full; i++)
        entry = nfa_add(m, FORK, 0, emit(m, node->child, entry), then);
    for (int64_t i = 0; i < node->min && !m->full; i++)
        entry = emit(m, node->child, entry);
    return entry;
}

// What matches the node and goes on with state `then`; returns where it begins. A sequence is
// emitted from its end, so its children are put on a stack first.
static int emit_sequence(nfa *m, const regex_node *node, int then) {
    base_ids children = {0};
    for (int child = node->child; child >= 0; child = m->tree->nodes[child].sibling)
        base_ids_add(&children, child);
    for (size_t i = children.len; i > 0 && !m->full; i--)
        then = emit(m, children.data[i - 1], then);
    base_ids_free(&children);
    return then;
}

// As deep as the tree, whose depth is bounded.
static int emit(nfa *m, int at, int then) {
    const regex_node *node = &m->tree->nodes[at];
    if (++m->emits > MAX_EMITS)
        m->full = true;
    if (m->full)
        return 0;
    switch (node->kind) {
    case REGEX_EMPTY:
        return then;
    case REGEX_CHARACTER:
        return nfa_add(m, TAKE, node->set, then, 0);
    case REGEX_START:
        return nfa_add(m, AT_START, 0, then, 0);
    case REGEX_END:
        return nfa_add(m, AT_END, 0, then, 0);
    case REGEX_SEQUENCE:
        return emit_sequence(m, node, then);
    case REGEX_REPEAT:
        return emit_repeat(m, node, then);
    case REGEX_CHOICE:
        break;
    }
    int entry = emit(m, node->child, then);
    for (int child = m->tree->nodes[node->child].sibling; child >= 0 && !m->full;
         child = m->tree->nodes[child].sibling)
        entry = nfa_add(m, FORK, 0, entry, emit(m, child, then));
    return entry;
}

// ---------------------------------------------------------------------------------------------

typedef struct determiner {
    const nfa *nfa;
    const regex_alphabet *alphabet;
    grammar_draft *draft;
    int64_t work;
    int *stack;               // [2 n] state * 2 + whether the end has been passed
    uint32_t *seen, seen_now; // [2 n] as in `stack`: in which search it was seen last
    int32_t *found;           // [n] the states of a search that take characters
    int n_found;
    bool accepts;   // what a search found out
    int32_t *items; // all sets, one after the other
    size_t n_items, cap_items;
    size_t *begins; // [draft states + 1]
    int cap_begins;
    int32_t *slots; // a hash table of sets
    size_t n_slots;
    int *heads;           // [n_classes] of lists of states that follow; -1: none
    int *links, *targets; // the lists
    int n_links, cap_links;
} determiner;

static void push(determiner *d, int *n, int state, int ended) {
    int key = state * 2 + ended;
    if (d->seen[key] == d->seen_now)
        return;
    d->seen[key] = d->seen_now;
    d->stack[(*n)++] = key;
}

// What can be reached from the states on the stack without a character. Once "whatever comes" is
// among it nothing else matters.
static void close_set(determiner *d, int n, bool at_start) {
    const nfa_state *states = d->nfa->states;
    d->n_found = 0;
    d->accepts = false;
    while (n > 0) {
        int key = d->stack[--n], ended = key & 1;
        const nfa_state *s = &states[key >> 1];
        d->work++;
        switch (s->kind) {
        case TAKE:
            if (!ended)
                d->found[d->n_found++] = key >> 1;
            break;
        case FORK:
            push(d, &n, s->b, ended);
            push(d, &n, s->a, ended);
            break;
        case AT_START:
            if (at_start)
                push(d, &n, s->a, ended);
            break;
        case AT_END:
            push(d, &n, s->a, 1);
            break;
        case ACCEPT:
            d->accepts = true;
            break;
        case ALL:
            d->accepts = true;
            if (!ended) {
                d->found[0] = key >> 1;
                d->n_found = 1;
                return;
            }
        }
    }
}

// Whatever the order, which depends on how a set was come by.
static uint64_t hash_set(const int32_t *items, size_t n) {
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++) {
        uint64_t item = ((uint64_t)items[i] + 1) * 0x9e3779b97f4a7c15u;
        hash += (item ^ item >> 29) * 0xbf58476d1ce4e5b9u;
    }
    return hash ^ hash >> 32;
}

// Whether a state stands for the set that was found: as large, and all its items were met. (The
// state of "whatever comes" is alone though others were met.)
static bool is_set(const determiner *d, int32_t state) {
    const int32_t *items = d->items + d->begins[state];
    size_t n = d->begins[state + 1] - d->begins[state];
    if (n != (size_t)d->n_found || d->draft->accepts[state] != d->accepts)
        return false;
    if (n == 1)
        return items[0] == d->found[0];
    for (size_t i = 0; i < n; i++)
        if (d->seen[items[i] * 2] != d->seen_now)
            return false;
    return true;
}

static size_t slot_of_hash(const determiner *d, uint64_t hash) {
    return (size_t)hash & (d->n_slots - 1);
}

static void grow_slots(determiner *d) {
    base_free(d->slots);
    d->n_slots = d->n_slots == 0 ? 256 : d->n_slots * 2;
    d->slots = base_alloc(d->n_slots * sizeof *d->slots);
    memset(d->slots, 0xff, d->n_slots * sizeof *d->slots);
    for (int32_t s = 1; s < d->draft->n_states; s++) { // the start is like no other: ^ holds there
        size_t slot =
            slot_of_hash(d, hash_set(d->items + d->begins[s], d->begins[s + 1] - d->begins[s]));
        while (d->slots[slot] != GRAMMAR_DEAD)
            slot = (slot + 1) & (d->n_slots - 1);
        d->slots[slot] = s;
    }
}

// A new state for the set that was found.
static int32_t add_set(determiner *d) {
    int32_t state = grammar_draft_add(d->draft);
    if (state == GRAMMAR_DEAD)
        return state;
    if (state + 2 > d->cap_begins) {
        d->cap_begins *= 2;
        d->begins = base_realloc(d->begins, (size_t)d->cap_begins * sizeof *d->begins);
    }
    size_t n = (size_t)d->n_found;
    if (d->n_items + n > d->cap_items) {
        d->cap_items = (d->n_items + n) * 2;
        d->items = base_realloc(d->items, d->cap_items * sizeof *d->items);
    }
    if (n > 0)
        memcpy(d->items + d->n_items, d->found, n * sizeof *d->items);
    d->begins[state] = d->n_items;
    d->n_items += n;
    d->begins[state + 1] = d->n_items;
    d->draft->accepts[state] = d->accepts;
    return state;
}

static int32_t state_of_set(determiner *d) {
    if (d->n_found == 0 && !d->accepts)
        return GRAMMAR_DEAD;
    d->work += d->n_found;
    size_t slot = slot_of_hash(d, hash_set(d->found, (size_t)d->n_found));
    for (; d->slots[slot] != GRAMMAR_DEAD; slot = (slot + 1) & (d->n_slots - 1))
        if (is_set(d, d->slots[slot]))
            return d->slots[slot];
    int32_t state = d->draft->n_states < GRAMMAR_MAX_STATES ? add_set(d) : GRAMMAR_DEAD;
    if (state == GRAMMAR_DEAD) {
        d->work = MAX_WORK + 1;
        return state;
    }
    d->slots[slot] = state;
    if ((size_t)state * 2 > d->n_slots)
        grow_slots(d);
    return state;
}

static void link_class(determiner *d, int class, int target) {
    if (d->n_links == d->cap_links) {
        d->cap_links *= 2;
        d->links = base_realloc(d->links, (size_t)d->cap_links * sizeof *d->links);
        d->targets = base_realloc(d->targets, (size_t)d->cap_links * sizeof *d->targets);
    }
    d->targets[d->n_links] = target;
    d->links[d->n_links] = d->heads[class];
    d->heads[class] = d->n_links++;
    d->work++;
}

// For each class, the states that follow those of a set.
static void link_followers(determiner *d, int32_t state) {
    const regex_alphabet *a = d->alphabet;
    d->n_links = 0;
    memset(d->heads, 0xff, (size_t)a->n_classes * sizeof *d->heads);
    for (size_t i = d->begins[state]; i < d->begins[state + 1] && d->work <= MAX_WORK; i++) {
        const nfa_state *s = &d->nfa->states[d->items[i]];
        if (s->set == ANY_CLASS)
            for (int class = 0; class < a->n_classes; class ++)
                link_class(d, class, s->a);
        else
            for (int j = a->begins[s->set]; j < a->begins[s->set + 1]; j++)
                link_class(d, a->members[j], s->a);
    }
}

static void determine(determiner *d, int entry) {
    int n = 0;
    d->seen_now = 1;
    push(d, &n, entry, 0);
    close_set(d, n, true);
    add_set(d);
    grow_slots(d);
    int n_classes = d->alphabet->n_classes;
    for (int32_t s = 0; s < d->draft->n_states && d->work <= MAX_WORK; s++) {
        link_followers(d, s);
        for (int class = 0; class < n_classes && d->work <= MAX_WORK; class ++) {
            if (d->heads[class] < 0)
                continue;
            n = 0;
            d->seen_now++;
            for (int i = d->heads[class]; i >= 0; i = d->links[i])
                push(d, &n, d->targets[i], 0);
            close_set(d, n, false);
            int32_t to = state_of_set(d);
            d->draft->next[(size_t)s * (size_t)n_classes + (size_t) class] = to;
        }
    }
}

static int run(grammar_draft *out, const nfa *m, int entry, const regex_alphabet *a,
               base_err *err) {
    size_t n = (size_t)m->n;
    determiner d = {.nfa = m, .alphabet = a, .draft = out, .cap_begins = 64, .cap_links = 64};
    d.stack = base_alloc(2 * n * sizeof *d.stack);
    d.seen = base_calloc(2 * n, sizeof *d.seen);
    d.found = base_alloc(n * sizeof *d.found);
    d.cap_items = 64;
    d.items = base_alloc(d.cap_items * sizeof *d.items);
    d.begins = base_alloc((size_t)d.cap_begins * sizeof *d.begins);
    d.links = base_alloc((size_t)d.cap_links * sizeof *d.links);
    d.targets = base_alloc((size_t)d.cap_links * sizeof *d.targets);
    d.heads = base_alloc((size_t)a->n_classes * sizeof *d.heads);
    grammar_draft_start(out, a->n_classes);
    determine(&d, entry);
    base_free(d.stack);
    base_free(d.seen);
    base_free(d.found);
    base_free(d.items);
    base_free(d.begins);
    base_free(d.slots);
    base_free(d.heads);
    base_free(d.links);
    base_free(d.targets);
    int rc = d.work > MAX_WORK ? base_fail(err, BASE_ERR_USAGE,
                                           "a regular expression whose automaton is too large")
                               : grammar_draft_minimise(out, err);
    if (rc != 0)
        grammar_draft_free(out);
    return rc;
}

int regex_determine(grammar_draft *out, const regex_tree *t, const regex_alphabet *a, bool search,
                    base_err *err) {
    nfa m = {.tree = t};
    int end = nfa_add(&m, search ? ALL : ACCEPT, ANY_CLASS, 0, 0);
    m.states[end].a = end;
    int entry = emit(&m, t->root, end);
    if (search) { // anything may come before
        int fork = nfa_add(&m, FORK, 0, entry, 0);
        int any = nfa_add(&m, TAKE, ANY_CLASS, fork, 0);
        if (!m.full)
            m.states[fork].b = any;
        entry = fork;
    }
    int rc = m.full ? base_fail(err, BASE_ERR_USAGE, "a regular expression that repeats too much")
                    : run(out, &m, entry, a, err);
    base_free(m.states);
    return rc;
}
