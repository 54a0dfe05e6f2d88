// Keeps of a program what has an instance and can be reached from its root (node 0 before).
#include "grammar/schema.h"

#include <string.h>

static bool lives(const grammar_program *p, int32_t node) {
    return node != GRAMMAR_NO_NODE && p->nodes[node].min_bytes != INT64_MAX;
}

// Only while properties can have other keys must a key that may not be used be known.
static void prune_object(const grammar_program *p, grammar_node *node) {
    if (!lives(p, node->u.object.additional) ||
        (node->u.object.names != NULL && node->u.object.names->n_states == 0))
        node->u.object.additional = GRAMMAR_NO_NODE;
    bool open = node->u.object.additional != GRAMMAR_NO_NODE;
    if (!open)
        node->u.object.names = NULL;
    int n = 0;
    for (int i = 0; i < node->u.object.n; i++) {
        grammar_property property = node->u.object.properties[i];
        if (!lives(p, property.node))
            property.node = GRAMMAR_NO_NODE;
        if (property.node != GRAMMAR_NO_NODE || open)
            node->u.object.properties[n++] = property;
        else
            base_free(property.key);
    }
    node->u.object.n = n;
}

static void prune_array(const grammar_program *p, grammar_node *node) {
    int n = 0;
    int64_t max = node->u.array.max;
    while (n < node->u.array.n_prefix && (max < 0 || n < max) && lives(p, node->u.array.prefix[n]))
        n++;
    if (n < node->u.array.n_prefix || (max >= 0 && max <= n) || !lives(p, node->u.array.items)) {
        node->u.array.items = GRAMMAR_NO_NODE;
        node->u.array.max = max >= 0 && max < n ? max : n;
    }
    node->u.array.n_prefix = n;
}

static void prune_union(const grammar_program *p, grammar_node *node) {
    int n = 0;
    for (int i = 0; i < node->u.any.n; i++)
        if (lives(p, node->u.any.at[i]))
            node->u.any.at[n++] = node->u.any.at[i];
    node->u.any.n = n;
}

// A union of one is that one; unions do not contain unions.
static int32_t resolve(const grammar_program *p, int32_t node) {
    if (node != GRAMMAR_NO_NODE && p->nodes[node].kind == GRAMMAR_UNION &&
        p->nodes[node].u.any.n == 1)
        return p->nodes[node].u.any.at[0];
    return node;
}

typedef struct renumbering {
    int32_t *to;    // [n_nodes] the new number, -1: not seen
    int32_t *order; // [n] the old ones
    int n;
} renumbering;

static void visit(renumbering *r, const grammar_program *p, int32_t *node) {
    if (*node == GRAMMAR_NO_NODE)
        return;
    int32_t at = resolve(p, *node);
    if (r->to[at] < 0) {
        r->to[at] = r->n;
        r->order[r->n++] = at;
    }
    *node = r->to[at];
}

static void visit_children(renumbering *r, const grammar_program *p, grammar_node *node) {
    switch (node->kind) {
    case GRAMMAR_OBJECT:
        for (int i = 0; i < node->u.object.n; i++)
            visit(r, p, &node->u.object.properties[i].node);
        visit(r, p, &node->u.object.additional);
        break;
    case GRAMMAR_ARRAY:
        for (int i = 0; i < node->u.array.n_prefix; i++)
            visit(r, p, &node->u.array.prefix[i]);
        visit(r, p, &node->u.array.items);
        break;
    case GRAMMAR_UNION:
        for (int i = 0; i < node->u.any.n; i++)
            visit(r, p, &node->u.any.at[i]);
        break;
    case GRAMMAR_SCALAR:
    case GRAMMAR_STRING:
        break;
    }
}

static const grammar_dfa *dfa_of(const grammar_node *node) {
    return node->kind == GRAMMAR_SCALAR   ? node->u.dfa
           : node->kind == GRAMMAR_OBJECT ? node->u.object.names
                                          : NULL;
}

static void prune_dfas(grammar_program *p) {
    schema_map used = {0};
    for (int i = 0; i < p->n_nodes; i++) {
        const grammar_dfa *dfa = dfa_of(&p->nodes[i]);
        schema_map_put(&used, &dfa, sizeof dfa, 0);
    }
    int n = 0;
    for (int i = 0; i < p->n_dfas; i++) {
        if (schema_map_get(&used, &p->dfas[i], sizeof p->dfas[i]) >= 0)
            p->dfas[n++] = p->dfas[i];
        else
            grammar_dfa_free(p->dfas[i]);
    }
    p->n_dfas = n;
    schema_map_free(&used);
}

// Moves the nodes that were reached to a new list; the others are freed.
static void move_nodes(grammar_program *p, const renumbering *r) {
    grammar_node *nodes = base_alloc((size_t)r->n * sizeof *nodes);
    for (int i = 0; i < r->n; i++)
        nodes[i] = p->nodes[r->order[i]];
    for (int i = 0; i < p->n_nodes; i++)
        if (r->to[i] < 0)
            grammar_node_free(&p->nodes[i]);
    base_free(p->nodes);
    p->nodes = nodes;
    p->n_nodes = p->cap_nodes = r->n;
}

int schema_prune(schema *s) {
    grammar_program *p = s->program;
    if (!lives(p, 0))
        return base_fail(s->err, BASE_ERR_USAGE, "%s: has no finite instance: nothing satisfies it",
                         s->options->field);
    for (int i = 0; i < p->n_nodes; i++) {
        grammar_node *node = &p->nodes[i];
        if (node->kind == GRAMMAR_OBJECT)
            prune_object(p, node);
        else if (node->kind == GRAMMAR_ARRAY)
            prune_array(p, node);
        else if (node->kind == GRAMMAR_UNION)
            prune_union(p, node);
    }
    renumbering r = {.to = base_alloc((size_t)p->n_nodes * sizeof(int32_t)),
                     .order = base_alloc((size_t)p->n_nodes * sizeof(int32_t))};
    memset(r.to, 0xff, (size_t)p->n_nodes * sizeof *r.to);
    p->root = 0;
    visit(&r, p, &p->root);
    for (int i = 0; i < r.n; i++)
        visit_children(&r, p, &p->nodes[r.order[i]]);
    move_nodes(p, &r);
    prune_dfas(p);
    base_free(r.to);
    base_free(r.order);
    if (p->n_nodes > SCHEMA_MAX_NODES)
        return base_fail(s->err, BASE_ERR_USAGE, "%s: too large: it comes to more than %d nodes",
                         s->options->field, SCHEMA_MAX_NODES);
    return 0;
}
