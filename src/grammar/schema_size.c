// The shortest instances of all nodes: from the smallest on (Knuth's generalisation of Dijkstra's
// algorithm), so that each node is settled once. What is never settled has no instance: it would
// have to contain itself, or ask for more than there is.
#include "grammar/schema.h"

#include <string.h>

#define MAX_BYTES (INT64_MAX / 4)

typedef struct use {
    int32_t child, parent;
    int32_t property; // index of an object's property; -1: none
    int64_t times;    // how often the shortest instance of the parent has it; 0: perhaps
} use;

typedef struct need {
    int32_t missing; // uses that are not settled yet
    int64_t bytes;   // of what is settled
    int64_t left;    // properties of any kind to come to minProperties
    int64_t others;  // how many additional properties there can be
    bool possible;
} need;

typedef struct item {
    int64_t bytes;
    int32_t node;
} item;

typedef struct sizes {
    grammar_node *nodes; // [n]
    int n;
    need *needs; // [n]
    use *uses;   // [n_uses] by child
    size_t n_uses, cap_uses;
    size_t *first; // [n + 1] of `uses`
    item *heap;    // [n_heap]
    size_t n_heap, cap_heap;
} sizes;

static int64_t add(int64_t a, int64_t b) {
    return a > MAX_BYTES - b ? MAX_BYTES : a + b;
}

static int64_t times(int64_t a, int64_t b) {
    int64_t out;
    return __builtin_mul_overflow(a, b, &out) || out > MAX_BYTES ? MAX_BYTES : out;
}

static void add_use(sizes *z, int32_t child, int32_t parent, int32_t property, int64_t n) {
    if (child == GRAMMAR_NO_NODE)
        return;
    if (z->n_uses == z->cap_uses) {
        z->cap_uses = z->cap_uses == 0 ? 256 : z->cap_uses * 2;
        z->uses = base_realloc(z->uses, z->cap_uses * sizeof *z->uses);
    }
    z->uses[z->n_uses++] = (use){child, parent, property, n};
    z->needs[parent].missing += n > 0;
}

static void heap_push(sizes *z, int64_t bytes, int32_t node) {
    if (z->n_heap == z->cap_heap) {
        z->cap_heap = z->cap_heap == 0 ? 256 : z->cap_heap * 2;
        z->heap = base_realloc(z->heap, z->cap_heap * sizeof *z->heap);
    }
    size_t i = z->n_heap++;
    for (; i > 0 && z->heap[(i - 1) / 2].bytes > bytes; i = (i - 1) / 2)
        z->heap[i] = z->heap[(i - 1) / 2];
    z->heap[i] = (item){bytes, node};
}

static item heap_pop(sizes *z) {
    item top = z->heap[0], last = z->heap[--z->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < z->n_heap; i = child) {
        if (child + 1 < z->n_heap && z->heap[child + 1].bytes < z->heap[child].bytes)
            child++;
        if (last.bytes <= z->heap[child].bytes)
            break;
        z->heap[i] = z->heap[child];
    }
    if (z->n_heap > 0)
        z->heap[i] = last;
    return top;
}

// An object's other keys, beside its properties.
static int64_t count_others(const grammar_node *node) {
    const grammar_dfa *names = node->u.object.names;
    int64_t n = names == NULL ? INT64_MAX : schema_names_count(names);
    for (int i = 0; i < node->u.object.n && n < INT64_MAX; i++)
        n -= grammar_dfa_matches(names, node->u.object.properties[i].key,
                                 node->u.object.properties[i].key_len);
    return n;
}

static void look_at_object(sizes *z, int32_t at) {
    grammar_node *node = &z->nodes[at];
    need *n = &z->needs[at];
    n->left = node->u.object.min - node->u.object.n_required;
    n->left = n->left > 0 ? n->left : 0;
    n->possible = node->u.object.max < 0 || (node->u.object.min <= node->u.object.max &&
                                             node->u.object.n_required <= node->u.object.max);
    n->bytes = add(1, node->u.object.min > node->u.object.n_required ? node->u.object.min
                                                                     : node->u.object.n_required);
    if (n->bytes == 1)
        n->bytes = 2;
    for (int i = 0; i < node->u.object.n; i++) {
        const grammar_property *p = &node->u.object.properties[i];
        if (p->required || n->left > 0)
            add_use(z, p->node, at, i, p->required);
    }
    if (n->left > 0 && node->u.object.additional != GRAMMAR_NO_NODE) {
        n->others = count_others(node);
        add_use(z, node->u.object.additional, at, -1, 0);
    }
}

static void look_at_array(sizes *z, int32_t at) {
    const grammar_node *node = &z->nodes[at];
    int64_t min = node->u.array.min, n_prefix = node->u.array.n_prefix;
    z->needs[at].possible = node->u.array.max < 0 || min <= node->u.array.max;
    z->needs[at].bytes = min == 0 ? 2 : add(1, min);
    for (int64_t i = 0; i < n_prefix && i < min; i++)
        add_use(z, node->u.array.prefix[i], at, -1, 1);
    if (min > n_prefix)
        add_use(z, node->u.array.items, at, -1, min - n_prefix);
}

// What a node needs; those that need nothing go on the heap.
static void look_at(sizes *z, int32_t at) {
    grammar_node *node = &z->nodes[at];
    need *n = &z->needs[at];
    int64_t bytes = INT64_MAX;
    node->min_bytes = INT64_MAX;
    switch (node->kind) {
    case GRAMMAR_SCALAR:
        if (!grammar_dfa_is_empty(node->u.dfa))
            bytes = node->u.dfa->distance[0];
        break;
    case GRAMMAR_STRING:
        if (node->u.string.max < 0 || node->u.string.min <= node->u.string.max)
            bytes = add(2, node->u.string.min);
        break;
    case GRAMMAR_UNION:
        for (int i = 0; i < node->u.any.n; i++)
            add_use(z, node->u.any.at[i], at, -1, 0);
        break;
    case GRAMMAR_OBJECT:
        look_at_object(z, at);
        break;
    case GRAMMAR_ARRAY:
        look_at_array(z, at);
        break;
    }
    if (n->possible && n->missing == 0 && n->left == 0)
        bytes = n->bytes;
    if (bytes != INT64_MAX)
        heap_push(z, bytes, at);
}

// Sorts the uses by child, in their order.
static void index_uses(sizes *z) {
    use *sorted = base_alloc((z->n_uses + 1) * sizeof *sorted);
    for (size_t k = 0; k < z->n_uses; k++)
        z->first[z->uses[k].child + 1]++;
    for (int i = 0; i < z->n; i++)
        z->first[i + 1] += z->first[i];
    for (size_t k = 0; k < z->n_uses; k++)
        sorted[z->first[z->uses[k].child]++] = z->uses[k];
    memmove(z->first + 1, z->first, (size_t)z->n * sizeof *z->first);
    z->first[0] = 0;
    base_free(z->uses);
    z->uses = sorted;
}

// A child of `u->parent` is settled with `bytes`.
static void settle(sizes *z, const use *u, int64_t bytes) {
    const grammar_node *parent = &z->nodes[u->parent];
    need *n = &z->needs[u->parent];
    if (parent->min_bytes != INT64_MAX)
        return;
    if (parent->kind == GRAMMAR_UNION) {
        heap_push(z, bytes, u->parent);
        return;
    }
    int64_t count = u->times > 0 ? u->times : 1;
    if (u->times == 0 && u->property < 0)
        count = n->others < n->left ? n->others : n->left;
    if (u->times == 0 && n->left == 0)
        return; // there are enough properties
    if (parent->kind == GRAMMAR_OBJECT) {
        int64_t key =
            u->property >= 0 ? (int64_t)parent->u.object.properties[u->property].key_len
            : parent->u.object.names != NULL
                ? parent->u.object.names->n_states == 0 ? 0 : parent->u.object.names->distance[0]
                : 0;
        bytes = add(bytes, key + 3); // two quotes and a colon
    }
    n->bytes = add(n->bytes, times(bytes, count));
    n->missing -= u->times > 0;
    n->left -= u->times > 0 ? 0 : count;
    if (n->possible && n->missing == 0 && n->left == 0)
        heap_push(z, n->bytes, u->parent);
}

void schema_sizes(schema *s) {
    sizes z = {.nodes = s->program->nodes, .n = s->program->n_nodes};
    z.needs = base_calloc((size_t)z.n + 1, sizeof *z.needs);
    z.first = base_calloc((size_t)z.n + 1, sizeof *z.first);
    for (int32_t i = 0; i < z.n; i++)
        look_at(&z, i);
    index_uses(&z);
    while (z.n_heap > 0) {
        item top = heap_pop(&z);
        if (z.nodes[top.node].min_bytes != INT64_MAX)
            continue;
        z.nodes[top.node].min_bytes = top.bytes;
        for (size_t k = z.first[top.node]; k < z.first[top.node + 1]; k++)
            settle(&z, &z.uses[k], top.bytes);
    }
    base_free(z.needs);
    base_free(z.uses);
    base_free(z.first);
    base_free(z.heap);
}
