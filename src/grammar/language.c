// Programs made ready for matching.
#include "grammar/language.h"
#include <stdlib.h>
#include <string.h>

// Work on automata for speed alone; beyond it masks are walked byte by byte.
enum { DFA_BUDGET = 8 << 20 };
// Work on unions of unions; beyond it a union is read in one way only.
enum { UNION_BUDGET = 1 << 20 };

// ---------------------------------------------------------------------------------------------
// Automata, each looked at once for each use

typedef struct numbered {
    const grammar_dfa *dfa;
    int index;
} numbered;

static int compare_numbered(const void *left, const void *right) {
    uintptr_t a = (uintptr_t)((const numbered *)left)->dfa;
    uintptr_t b = (uintptr_t)((const numbered *)right)->dfa;
    return a < b ? -1 : a > b;
}

static numbered *number_dfas(const grammar_program *p) {
    size_t n = (size_t)p->n_dfas;
    numbered *at = base_alloc((n + 1) * sizeof *at);
    for (size_t i = 0; i < n; i++)
        at[i] = (numbered){p->dfas[i], (int)i};
    if (n > 1)
        qsort(at, n, sizeof *at, compare_numbered);
    return at;
}

typedef struct making {
    grammar_language *l;
    numbered *dfas;
    int64_t budget;
} making;

static language_dfa *known_dfa(making *m, const grammar_dfa *dfa, language_use use) {
    const numbered *found = bsearch(&(numbered){.dfa = dfa}, m->dfas, (size_t)m->l->program->n_dfas,
                                    sizeof *m->dfas, compare_numbered);
    language_dfa **slot = (use == LANGUAGE_NAMES ? m->l->names : m->l->values) + found->index;
    if (!*slot)
        *slot = language_dfa_create(dfa, use, m->l->trie, &m->budget);
    return *slot;
}

static void make_scalar(making *m, int32_t i) {
    const grammar_node *node = &m->l->program->nodes[i];
    language_dfa *d =
        known_dfa(m, node->u.dfa, m->l->program->json ? LANGUAGE_VALUE : LANGUAGE_TEXT);
    if (node->most > 0)
        language_find_points(d, m->l->trie);
    m->l->dfas[i] = d;
}

// ---------------------------------------------------------------------------------------------
// Objects

static void make_object(making *m, int32_t i) {
    const grammar_node *node = &m->l->program->nodes[i];
    language_object *o = &m->l->objects[i];
    int n = node->u.object.n;
    o->n_words = n / 64 + 1;
    o->required = base_calloc((size_t)o->n_words, sizeof *o->required);
    o->possible = base_calloc((size_t)o->n_words, sizeof *o->possible);
    o->among_names = base_calloc((size_t)n + 1, sizeof *o->among_names);
    if (node->u.object.additional >= 0)
        o->names = node->u.object.names ? known_dfa(m, node->u.object.names, LANGUAGE_NAMES)
                                        : m->l->any_key_known;
    for (int j = 0; j < n; j++) {
        const grammar_property *p = &node->u.object.properties[j];
        uint64_t bit = (uint64_t)1 << (j % 64);
        o->required[j / 64] |= p->required ? bit : 0;
        o->possible[j / 64] |= p->node >= 0 ? bit : 0;
        bool among = o->names && o->names->dfa->n_states > 0 &&
                     grammar_dfa_matches(o->names->dfa, p->key, p->key_len);
        o->among_names[j + 1] = o->among_names[j] + among;
    }
}

// What has no instance cannot come; how deep the others go.
static void limit_object(grammar_language *l, int32_t i) {
    const grammar_node *node = &l->program->nodes[i];
    language_object *o = &l->objects[i];
    for (int j = 0; j < node->u.object.n; j++) {
        int32_t child = node->u.object.properties[j].node;
        if (child < 0)
            continue;
        if (l->depths[child] == INT32_MAX)
            o->possible[j / 64] &= ~((uint64_t)1 << (j % 64));
        else if (l->depths[child] > o->deepest)
            o->deepest = l->depths[child];
    }
}

// ---------------------------------------------------------------------------------------------
// Unions

typedef struct flattening {
    grammar_language *l;
    int32_t *stamp; // [n_nodes] the union a node was last met in
    int32_t *open;  // [n_nodes]
    size_t cap;
    int64_t budget;
} flattening;

static void add_leaf(flattening *f, int32_t node) {
    if (f->l->n_leaves == f->cap) {
        f->cap = 2 * f->cap + 64;
        f->l->leaves = base_realloc(f->l->leaves, f->cap * sizeof *f->l->leaves);
    }
    f->l->leaves[f->l->n_leaves++] = node;
}

// Pushes children so that they are popped in their order.
static int push_children(flattening *f, const grammar_node *node, int32_t stamp, int n_open) {
    f->budget -= node->u.any.n + 1;
    for (int i = node->u.any.n - 1; i >= 0; i--) {
        int32_t child = node->u.any.at[i];
        if (child < 0 || f->stamp[child] == stamp || f->l->depths[child] == INT32_MAX)
            continue;
        f->stamp[child] = stamp;
        f->open[n_open++] = child;
    }
    return n_open;
}

static int kind_order(grammar_kind kind) {
    return kind == GRAMMAR_SCALAR ? 0 : kind == GRAMMAR_STRING ? 1 : kind == GRAMMAR_OBJECT ? 2 : 3;
}

// Leaves by kind, each kind in the order of the program.
static void sort_leaves(flattening *f, language_choice *choice) {
    const grammar_node *nodes = f->l->program->nodes;
    int32_t *at = f->l->leaves + choice->first;
    size_t n = f->l->n_leaves - (size_t)choice->first, done = 0;
    int32_t *counts[] = {&choice->n_scalars, &choice->n_strings, &choice->n_objects,
                         &choice->n_arrays};
    memcpy(f->open, at, n * sizeof *at);
    for (int order = 0; order < 4; order++) {
        size_t before = done;
        for (size_t i = 0; i < n; i++) {
            if (kind_order(nodes[f->open[i]].kind) == order)
                at[done++] = f->open[i];
        }
        *counts[order] = (int32_t)(done - before);
    }
}

static void flatten(flattening *f, int32_t i) {
    const grammar_node *nodes = f->l->program->nodes;
    language_choice *choice = &f->l->choices[i];
    choice->first = (int32_t)f->l->n_leaves;
    int n_open = 1;
    f->open[0] = f->budget > 0 ? i : f->l->simplest[i];
    f->stamp[i] = i;
    while (n_open > 0) {
        int32_t node = f->open[--n_open];
        if (nodes[node].kind == GRAMMAR_UNION)
            n_open = push_children(f, &nodes[node], i, n_open);
        else
            add_leaf(f, node);
    }
    sort_leaves(f, choice);
}

void language_find_choices(grammar_language *l) {
    size_t n = (size_t)l->program->n_nodes;
    flattening f = {.l = l,
                    .budget = UNION_BUDGET,
                    .stamp = base_alloc((n + 1) * sizeof *f.stamp),
                    .open = base_alloc((n + 1) * sizeof *f.open)};
    for (size_t i = 0; i < n; i++)
        f.stamp[i] = -1;
    for (size_t i = 0; i < n; i++)
        flatten(&f, (int32_t)i);
    base_free(f.stamp);
    base_free(f.open);
}

// ---------------------------------------------------------------------------------------------

static size_t program_bytes(const grammar_program *p) {
    size_t bytes = sizeof *p + (size_t)p->cap_nodes * sizeof *p->nodes;
    for (int i = 0; i < p->n_dfas; i++) {
        const grammar_dfa *d = p->dfas[i];
        bytes += sizeof *d + (size_t)d->n_states * ((size_t)d->n_classes * sizeof *d->next +
                                                    sizeof *d->accepts + sizeof *d->distance);
    }
    for (int i = 0; i < p->n_nodes; i++) {
        const grammar_node *node = &p->nodes[i];
        if (node->kind == GRAMMAR_OBJECT)
            for (int j = 0; j < node->u.object.n; j++)
                bytes += sizeof(grammar_property) + node->u.object.properties[j].key_len + 16;
        if (node->kind == GRAMMAR_ARRAY)
            bytes += (size_t)node->u.array.n_prefix * sizeof(int32_t);
        if (node->kind == GRAMMAR_UNION)
            bytes += (size_t)node->u.any.n * sizeof(int32_t);
    }
    return bytes;
}

static size_t count_bytes(const grammar_language *l) {
    size_t n = (size_t)l->program->n_nodes;
    size_t bytes = sizeof *l + program_bytes(l->program) + l->n_leaves * sizeof *l->leaves +
                   n * (sizeof *l->choices + sizeof *l->depths + sizeof *l->simplest +
                        sizeof *l->dfas + sizeof *l->objects);
    for (size_t i = 0; i < n; i++) {
        if (l->program->nodes[i].kind == GRAMMAR_OBJECT)
            bytes += (size_t)l->objects[i].n_words * 2 * sizeof(uint64_t) +
                     ((size_t)l->program->nodes[i].u.object.n + 1) * sizeof(int32_t);
    }
    for (int i = 0; i < l->program->n_dfas; i++) {
        bytes += l->values[i] ? language_dfa_bytes(l->values[i]) : 0;
        bytes += l->names[i] ? language_dfa_bytes(l->names[i]) : 0;
    }
    return bytes + language_dfa_bytes(l->any_key_known) + MATCH_TEXT_STATES * 256 * sizeof(int32_t);
}

grammar_language *grammar_language_create(const grammar_trie *t, grammar_program *p) {
    grammar_language *l = base_calloc(1, sizeof *l);
    size_t n = (size_t)p->n_nodes + 1, n_dfas = (size_t)p->n_dfas + 1;
    l->trie = t;
    l->program = p;
    l->choices = base_calloc(n, sizeof *l->choices);
    l->depths = base_alloc(n * sizeof *l->depths);
    l->simplest = base_alloc(n * sizeof *l->simplest);
    l->dfas = base_calloc(n, sizeof *l->dfas);
    l->objects = base_calloc(n, sizeof *l->objects);
    l->values = base_calloc(n_dfas, sizeof(language_dfa *));
    l->names = base_calloc(n_dfas, sizeof(language_dfa *));
    making m = {.l = l, .dfas = number_dfas(p), .budget = DFA_BUDGET};
    l->any_key = language_any_key(t);
    l->any_key_known = language_dfa_create(l->any_key, LANGUAGE_TEXT, t, &m.budget);
    for (int32_t i = 0; i < p->n_nodes; i++) {
        if (p->nodes[i].kind == GRAMMAR_SCALAR)
            make_scalar(&m, i);
        if (p->nodes[i].kind == GRAMMAR_OBJECT)
            make_object(&m, i);
    }
    base_free(m.dfas);
    language_find_depths(l);
    for (int32_t i = 0; i < p->n_nodes; i++) {
        if (p->nodes[i].kind == GRAMMAR_OBJECT)
            limit_object(l, i);
    }
    language_find_choices(l);
    l->cache = mask_cache_create();
    l->walker = mask_walker_create(t);
    l->fixed_bytes = count_bytes(l);
    return l;
}

void grammar_language_free(grammar_language *l) {
    if (!l)
        return;
    for (int32_t i = 0; i < l->program->n_nodes; i++) {
        base_free(l->objects[i].required);
        base_free(l->objects[i].possible);
        base_free(l->objects[i].among_names);
    }
    for (int i = 0; i < l->program->n_dfas; i++) {
        language_dfa_free(l->values[i]);
        language_dfa_free(l->names[i]);
    }
    language_dfa_free(l->any_key_known);
    base_free(l->any_key->next);
    base_free(l->any_key->accepts);
    base_free(l->any_key->distance);
    base_free(l->any_key);
    mask_cache_free(l->cache);
    mask_walker_free(l->walker);
    base_free(l->choices);
    base_free(l->leaves);
    base_free(l->depths);
    base_free(l->simplest);
    base_free(l->dfas);
    base_free(l->objects);
    base_free(l->values);
    base_free(l->names);
    grammar_program_free(l->program);
    base_free(l);
}

size_t grammar_language_bytes(const grammar_language *l) {
    return l->fixed_bytes + atomic_load_explicit(&l->changing_bytes, memory_order_relaxed);
}

void grammar_language_counts(const grammar_language *l, uint64_t *masks, uint64_t *found) {
    *masks = atomic_load_explicit(&l->n_masks, memory_order_relaxed);
    *found = atomic_load_explicit(&l->n_found, memory_order_relaxed);
}
