// A finite set of byte strings: a trie whose equal subtrees are then made one.
#include "grammar/draft.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 1 << 20 };

typedef struct literal {
    const char *at;
    size_t len;
} literal;

typedef struct node {
    int child, sibling; // last child; the one before; -1: none
    int32_t name;       // its state
    unsigned char byte; // that leads to it
    bool accepts;
} node;

static int compare(const void *a, const void *b) {
    const literal *x = a, *y = b;
    size_t shorter = x->len < y->len ? x->len : y->len;
    int order = shorter == 0 ? 0 : memcmp(x->at, y->at, shorter);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

// In order, so that only the last child of a node can have a byte in common. Nodes come after their
// parents. `path` has the node of each prefix of the string before.
static int build_trie(node *nodes, const literal *sorted, size_t n, int *path) {
    int count = 1;
    nodes[0] = (node){.child = -1, .sibling = -1};
    path[0] = 0;
    const literal *before = NULL;
    for (size_t i = 0; i < n; i++) {
        const literal *now = &sorted[i];
        size_t common = 0;
        while (before != NULL && common < now->len && common < before->len &&
               now->at[common] == before->at[common])
            common++;
        for (size_t at = common; at < now->len; at++) {
            node *parent = &nodes[path[at]];
            nodes[count] =
                (node){.child = -1, .sibling = parent->child, .byte = (uint8_t)now->at[at]};
            parent->child = count;
            path[at + 1] = count++;
        }
        nodes[path[now->len]].accepts = true;
        before = now;
    }
    return count;
}

static bool is_same(const node *nodes, const node *a, const node *b) {
    if (a->accepts != b->accepts)
        return false;
    int x = a->child, y = b->child;
    while (x >= 0 && y >= 0 && nodes[x].byte == nodes[y].byte && nodes[x].name == nodes[y].name) {
        x = nodes[x].sibling;
        y = nodes[y].sibling;
    }
    return x < 0 && y < 0;
}

// Names nodes from the last to the first, hence children before parents; equal ones get the same
// name. `kept` [count] has the first node of each name. Returns the number of names.
static int name_nodes(node *nodes, int count, int *kept) {
    size_t n_slots = 16;
    while (n_slots < (size_t)count * 2)
        n_slots *= 2;
    int *slots = base_alloc(n_slots * sizeof *slots), names = 0;
    memset(slots, 0xff, n_slots * sizeof *slots);
    for (int i = count - 1; i >= 0; i--) {
        uint64_t hash = nodes[i].accepts;
        for (int c = nodes[i].child; c >= 0; c = nodes[c].sibling)
            hash = (hash ^ ((uint64_t)nodes[c].name << 8 | nodes[c].byte)) * 0x9e3779b97f4a7c15u +
                   (hash >> 32);
        size_t slot = (hash ^ hash >> 32) & (n_slots - 1);
        while (slots[slot] >= 0 && !is_same(nodes, &nodes[slots[slot]], &nodes[i]))
            slot = (slot + 1) & (n_slots - 1);
        if (slots[slot] < 0) {
            slots[slot] = i;
            kept[names] = i;
            nodes[i].name = names++;
        } else {
            nodes[i].name = nodes[slots[slot]].name;
        }
    }
    base_free(slots);
    return names;
}

// The root was named last and is to be first.
static int write_states(grammar_dfa **out, const node *nodes, const int *kept, int names,
                        base_err *err) {
    uint32_t traits[256] = {0};
    uint8_t symbols[256], bytes[256];
    for (int i = 0; i < names; i++)
        for (int c = nodes[kept[i]].child; c >= 0; c = nodes[c].sibling)
            traits[nodes[c].byte] = 1u + nodes[c].byte;
    grammar_draft draft;
    grammar_draft_start(&draft, grammar_symbols_make(symbols, traits, bytes));
    for (int i = 0; i < names; i++)
        if (grammar_draft_add(&draft) == GRAMMAR_DEAD) {
            grammar_draft_free(&draft);
            return grammar_draft_too_large(err);
        }
    for (int i = 0; i < names; i++) {
        int state = names - 1 - i;
        draft.accepts[state] = nodes[kept[i]].accepts;
        for (int c = nodes[kept[i]].child; c >= 0; c = nodes[c].sibling)
            draft.next[(size_t)state * (size_t)draft.n_symbols + symbols[nodes[c].byte]] =
                names - 1 - nodes[c].name;
    }
    return grammar_draft_finish(out, &draft, symbols, err);
}

int grammar_dfa_literals(grammar_dfa **out, const char *const *at, const size_t *lens, size_t n,
                         base_err *err) {
    *out = NULL;
    size_t total = 0, longest = 0;
    for (size_t i = 0; i < n && total <= MAX_BYTES; i++) {
        total = lens[i] > MAX_BYTES ? (size_t)MAX_BYTES + 1 : total + lens[i];
        longest = lens[i] > longest ? lens[i] : longest;
    }
    if (total > MAX_BYTES || n > MAX_BYTES)
        return base_fail(err, BASE_ERR_USAGE, "its values have more than %d bytes together",
                         MAX_BYTES);
    if (n == 0) {
        grammar_draft draft;
        grammar_draft_start(&draft, 1);
        return grammar_draft_finish(out, &draft, (const uint8_t[256]){0}, err);
    }
    literal *sorted = base_alloc(n * sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (literal){at[i], lens[i]};
    qsort(sorted, n, sizeof *sorted, compare);
    node *nodes = base_alloc((total + 1) * sizeof *nodes);
    int *path = base_alloc((longest + 1) * sizeof *path);
    int count = build_trie(nodes, sorted, n, path);
    int *kept = base_alloc((size_t)count * sizeof *kept), names = name_nodes(nodes, count, kept);
    int rc = names > GRAMMAR_MAX_STATES ? grammar_draft_too_large(err)
                                        : write_states(out, nodes, kept, names, err);
    base_free(kept);
    base_free(path);
    base_free(nodes);
    base_free(sorted);
    return rc;
}
