// From classes of code points to bytes. What follows a lead byte depends only on where each class
// leads, so states inside a character are shared by all places that lead alike. Between characters
// the automaton is minimal already, and inside one nothing else can be equal: so is the result.
#include "grammar/regex.h"

#include <string.h>

enum { MAX_RUNS = 1 << 21, MAX_VISITS = 1 << 24 };

typedef struct run {
    unsigned char low, high;
    int32_t to;
} run;

typedef struct runs {
    run *at;
    int n, cap;
} runs;

static void runs_add(runs *r, int low, int high, int32_t to) {
    if (r->at == NULL || r->n == r->cap) {
        r->cap = r->cap == 0 ? 64 : r->cap * 2;
        r->at = base_realloc(r->at, (size_t)r->cap * sizeof *r->at);
    }
    r->at[r->n++] = (run){(unsigned char)low, (unsigned char)high, to};
}

// Appends a byte that is the next after `high`, to a list that began at `begin`.
static void runs_extend(runs *r, int begin, int low, int high, int32_t to) {
    run *last = r->n > begin ? &r->at[r->n - 1] : NULL;
    if (last != NULL && last->to == to && last->high + 1 == low)
        last->high = (unsigned char)high;
    else
        runs_add(r, low, high, to);
}

// A tree that reads a code point's bytes: runs lead to nodes, at its leaves (~class) to classes.
typedef struct tree {
    const regex_alphabet *alphabet;
    runs runs;
    int *begins, *ends; // [n] of a node in `runs`
    int n, cap;
    int *whole[4]; // [depth][class] the node all of whose leaves are of one class; -1: none yet
} tree;

static int find_class(const regex_alphabet *a, uint32_t first, uint32_t last, int *range) {
    int low = 0, high = a->n_ranges - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (a->first[middle] <= first)
            low = middle;
        else
            high = middle - 1;
    }
    *range = low;
    bool one = low + 1 == a->n_ranges || a->first[low + 1] > last;
    return one ? a->classes[low] : -2;
}

static int tree_add(tree *t, const runs *list) {
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 64 : t->cap * 2;
        t->begins = base_realloc(t->begins, (size_t)t->cap * sizeof *t->begins);
        t->ends = base_realloc(t->ends, (size_t)t->cap * sizeof *t->ends);
    }
    t->begins[t->n] = t->runs.n;
    for (int i = 0; i < list->n; i++)
        runs_add(&t->runs, list->at[i].low, list->at[i].high, list->at[i].to);
    t->ends[t->n] = t->runs.n;
    return t->n++;
}

enum { NOTHING = INT32_MIN };

// The code points from `base` on that `depth` more bytes tell apart, but for those below `least`
// (which would have a shorter form) and surrogates. A leaf at depth 0; NOTHING: none.
static int32_t tree_node(tree *t, uint32_t base, int depth, uint32_t least) {
    uint32_t size = 1u << (6 * depth);
    int range, class = base > REGEX_MAX_CODE_POINT || base + size <= least
                           ? -1
                           : find_class(t->alphabet, base, base + size - 1, &range);
    bool whole = class >= 0 && base >= least && base + size - 1 <= REGEX_MAX_CODE_POINT;
    if (class == -1)
        return NOTHING;
    if (depth == 0)
        return ~class;
    if (whole && t->whole[depth][class] >= 0)
        return t->whole[depth][class];
    runs list = {0};
    for (int b = 0; b < 64; b++) {
        int32_t to = tree_node(t, base + ((uint32_t)b << (6 * (depth - 1))), depth - 1, least);
        if (to != NOTHING)
            runs_extend(&list, 0, 0x80 + b, 0x80 + b, to);
    }
    int node = list.n > 0 ? tree_add(t, &list) : NOTHING;
    base_free(list.at);
    if (whole)
        t->whole[depth][class] = node;
    return node;
}

// The node of a character's first byte is the last one.
static void tree_make(tree *t, const regex_alphabet *a) {
    *t = (tree){.alphabet = a};
    for (int depth = 1; depth < 4; depth++) {
        t->whole[depth] = base_alloc((size_t)a->n_classes * sizeof(int));
        memset(t->whole[depth], 0xff, (size_t)a->n_classes * sizeof(int));
    }
    runs root = {0};
    for (int b = 0; b < 0xf5; b++) {
        int depth = b < 0x80 ? 0 : b < 0xe0 ? 1 : b < 0xf0 ? 2 : 3;
        if (b >= 0x80 && b < 0xc2)
            continue;
        uint32_t bits = depth == 0 ? (uint32_t)b : (uint32_t)b & (0x3fu >> depth);
        uint32_t least = depth == 2 ? 0x800 : depth == 3 ? 0x10000 : 0;
        int32_t to = tree_node(t, bits << (6 * depth), depth, least);
        if (to != NOTHING)
            runs_extend(&root, 0, b, b, to);
    }
    tree_add(t, &root);
    base_free(root.at);
}

static void tree_free(tree *t) {
    base_free(t->runs.at);
    base_free(t->begins);
    base_free(t->ends);
    for (int depth = 1; depth < 4; depth++)
        base_free(t->whole[depth]);
}

// ---------------------------------------------------------------------------------------------

typedef struct lowering {
    const tree *tree;
    const grammar_draft *draft;
    runs runs;
    int *begins; // [n_states + 1] in `runs`
    int n_states, cap_states;
    int *lead_begins, *lead_ends; // [draft states] in `leads`
    runs leads;
    int32_t *slots; // a hash table of states inside a character
    size_t n_slots;
    int32_t *memo, *memo_of; // [nodes] of the tree: what it came to, and for which state
    int64_t visits;
    bool full;
} lowering;

static uint64_t hash_runs(const run *at, int n) {
    uint64_t hash = (uint64_t)n;
    for (int i = 0; i < n; i++)
        hash = (hash ^ ((uint64_t)(uint32_t)at[i].to << 16 | at[i].low << 8 | at[i].high)) *
                   0x9e3779b97f4a7c15u +
               (hash >> 31);
    return hash ^ hash >> 32;
}

static bool same_runs(const run *a, const run *b, int n) {
    for (int i = 0; i < n; i++)
        if (a[i].low != b[i].low || a[i].high != b[i].high || a[i].to != b[i].to)
            return false;
    return true;
}

static void grow_slots(lowering *l) {
    base_free(l->slots);
    l->n_slots = l->n_slots == 0 ? 256 : l->n_slots * 2;
    l->slots = base_alloc(l->n_slots * sizeof *l->slots);
    memset(l->slots, 0xff, l->n_slots * sizeof *l->slots);
    for (int32_t s = 0; s < l->n_states; s++) {
        size_t slot = hash_runs(l->runs.at + l->begins[s], l->begins[s + 1] - l->begins[s]) &
                      (l->n_slots - 1);
        while (l->slots[slot] != GRAMMAR_DEAD)
            slot = (slot + 1) & (l->n_slots - 1);
        l->slots[slot] = s;
    }
}

// The state whose runs are `list`. States inside characters come after those of the draft.
static int32_t inner_state(lowering *l, const runs *list) {
    size_t slot = hash_runs(list->at, list->n) & (l->n_slots - 1);
    for (; l->slots[slot] != GRAMMAR_DEAD; slot = (slot + 1) & (l->n_slots - 1)) {
        int32_t s = l->slots[slot];
        if (l->begins[s + 1] - l->begins[s] == list->n &&
            same_runs(l->runs.at + l->begins[s], list->at, list->n))
            return l->draft->n_states + s;
    }
    if (l->draft->n_states + l->n_states >= GRAMMAR_MAX_STATES || l->runs.n > MAX_RUNS) {
        l->full = true;
        return GRAMMAR_DEAD;
    }
    if (l->n_states + 2 > l->cap_states) {
        l->cap_states = l->cap_states == 0 ? 64 : l->cap_states * 2;
        l->begins = base_realloc(l->begins, (size_t)l->cap_states * sizeof *l->begins);
    }
    int32_t s = l->n_states++;
    l->begins[s] = l->runs.n;
    for (int i = 0; i < list->n; i++)
        runs_add(&l->runs, list->at[i].low, list->at[i].high, list->at[i].to);
    l->begins[s + 1] = l->runs.n;
    l->slots[slot] = s;
    if ((size_t)s * 2 > l->n_slots)
        grow_slots(l);
    return l->draft->n_states + s;
}

static int32_t lower(lowering *l, int32_t state, int32_t node);

static void lower_runs(lowering *l, int32_t state, int node, runs *list) {
    int begin = list->n;
    for (int i = l->tree->begins[node]; i < l->tree->ends[node] && !l->full; i++) {
        const run *r = &l->tree->runs.at[i];
        int32_t to = lower(l, state, r->to);
        if (to != GRAMMAR_DEAD)
            runs_extend(list, begin, r->low, r->high, to);
        if (++l->visits > MAX_VISITS || list->n > MAX_RUNS)
            l->full = true;
    }
}

// Where a node leads from a state; no deeper than a character has bytes.
static int32_t lower(lowering *l, int32_t state, int32_t node) {
    if (node < 0)
        return l->draft->next[(size_t)state * (size_t)l->draft->n_symbols + (size_t)~node];
    if (l->memo_of[node] == state)
        return l->memo[node];
    runs list = {0};
    lower_runs(l, state, node, &list);
    int32_t to = list.n > 0 ? inner_state(l, &list) : GRAMMAR_DEAD;
    base_free(list.at);
    l->memo_of[node] = state;
    l->memo[node] = to;
    return to;
}

static void lower_all(lowering *l) {
    size_t nodes = (size_t)l->tree->n, n = (size_t)l->draft->n_states;
    l->memo = base_alloc(nodes * sizeof *l->memo);
    l->memo_of = base_alloc(nodes * sizeof *l->memo_of);
    memset(l->memo_of, 0xff, nodes * sizeof *l->memo_of);
    l->lead_begins = base_calloc(n, sizeof *l->lead_begins);
    l->lead_ends = base_calloc(n, sizeof *l->lead_ends);
    grow_slots(l);
    for (int32_t s = 0; s < l->draft->n_states && !l->full; s++) {
        l->lead_begins[s] = l->leads.n;
        lower_runs(l, s, l->tree->n - 1, &l->leads);
        l->lead_ends[s] = l->leads.n;
    }
}

static void note_ends(const runs *r, uint32_t traits[256]) {
    for (int i = 0; i < r->n; i++) {
        traits[r->at[i].low] = 1;
        if (r->at[i].high < 0xff)
            traits[r->at[i].high + 1] = 1;
    }
}

static void write_runs(grammar_draft *d, int32_t state, const runs *list, int begin, int end,
                       const uint8_t symbols[256]) {
    for (int i = begin; i < end; i++)
        for (int c = symbols[list->at[i].low]; c <= symbols[list->at[i].high]; c++)
            d->next[(size_t)state * (size_t)d->n_symbols + (size_t)c] = list->at[i].to;
}

// Symbols are the intervals of bytes that no run cuts, in order.
static int write_states(grammar_dfa **out, const lowering *l, base_err *err) {
    uint32_t traits[256] = {0};
    uint8_t symbols[256], bytes[256];
    note_ends(&l->runs, traits);
    note_ends(&l->leads, traits);
    for (int b = 1; b < 256; b++)
        traits[b] += traits[b - 1];
    grammar_draft draft;
    grammar_draft_start(&draft, grammar_symbols_make(symbols, traits, bytes));
    int n = l->draft->n_states;
    for (int i = 0; i < n + l->n_states; i++)
        if (grammar_draft_add(&draft) == GRAMMAR_DEAD) {
            grammar_draft_free(&draft);
            return grammar_draft_too_large(err);
        }
    for (int32_t s = 0; s < n; s++) {
        draft.accepts[s] = l->draft->accepts[s];
        write_runs(&draft, s, &l->leads, l->lead_begins[s], l->lead_ends[s], symbols);
    }
    for (int32_t s = 0; s < l->n_states; s++)
        write_runs(&draft, n + s, &l->runs, l->begins[s], l->begins[s + 1], symbols);
    return grammar_draft_finish(out, &draft, symbols, err);
}

int regex_to_bytes(grammar_dfa **out, grammar_draft *d, const regex_alphabet *a, base_err *err) {
    tree t;
    tree_make(&t, a);
    lowering l = {.tree = &t, .draft = d};
    lower_all(&l);
    int rc = l.full ? grammar_draft_too_large(err) : write_states(out, &l, err);
    base_free(l.runs.at);
    base_free(l.begins);
    base_free(l.lead_begins);
    base_free(l.lead_ends);
    base_free(l.leads.at);
    base_free(l.slots);
    base_free(l.memo);
    base_free(l.memo_of);
    tree_free(&t);
    grammar_draft_free(d);
    return rc;
}
