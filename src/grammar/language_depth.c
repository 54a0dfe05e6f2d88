// How many containers in each other an instance of each node needs at least: what may be opened
// near the greatest depth must still be able to end there. Found level by level, from the nodes
// that need none upwards.
#include "grammar/language.h"

// What a node is to one that refers to it.
typedef enum { NEEDED, ONE_MORE, OTHERS, ANY_OF } use_role;

typedef struct use {
    int32_t user, next; // a list of the uses of a node; next -1: no more
    use_role role;
} use;

typedef struct leveling {
    grammar_language *l;
    int32_t *first_use; // [n_nodes]
    use *uses;
    int32_t n_uses, cap_uses;
    int64_t *needed;        // [n_nodes] properties and items that are still to be settled
    int64_t *more;          // [n_nodes] of objects: how many properties besides, whichever
    int32_t *now, *later;   // nodes settled at this depth and the next
    int32_t n_now, n_later; //
    int32_t depth;
} leveling;

static void add_use(leveling *v, int32_t node, int32_t user, use_role role) {
    if (node < 0)
        return;
    if (v->n_uses == v->cap_uses) {
        v->cap_uses = v->cap_uses ? 2 * v->cap_uses : 256;
        v->uses = base_realloc(v->uses, (size_t)v->cap_uses * sizeof *v->uses);
    }
    v->uses[v->n_uses] = (use){user, v->first_use[node], role};
    v->first_use[node] = v->n_uses++;
}

static void settle(leveling *v, int32_t node, int32_t depth) {
    if (v->l->depths[node] != INT32_MAX)
        return;
    v->l->depths[node] = depth;
    if (depth == v->depth)
        v->now[v->n_now++] = node;
    else
        v->later[v->n_later++] = node;
}

static void settle_if_ready(leveling *v, int32_t node) {
    if (v->needed[node] <= 0 && v->more[node] <= 0)
        settle(v, node, v->depth + 1);
}

static void add_object(leveling *v, int32_t i, const grammar_node *node) {
    for (int j = 0; j < node->u.object.n; j++) {
        const grammar_property *p = &node->u.object.properties[j];
        add_use(v, p->node, i, p->required ? NEEDED : ONE_MORE);
    }
    add_use(v, node->u.object.additional, i, OTHERS);
    v->needed[i] = node->u.object.n_required;
    v->more[i] = node->u.object.min - node->u.object.n_required;
}

// Only the first `min` items must be there; those beyond the prefix are one node.
static void add_array(leveling *v, int32_t i, const grammar_node *node) {
    int64_t n_prefix = node->u.array.n_prefix, min = node->u.array.min;
    for (int64_t j = 0; j < n_prefix && j < min; j++)
        add_use(v, node->u.array.prefix[j], i, NEEDED);
    v->needed[i] = min < n_prefix ? min : n_prefix;
    if (min > n_prefix) {
        add_use(v, node->u.array.items, i, NEEDED);
        v->needed[i]++;
    }
}

static void add_node(leveling *v, int32_t i, const grammar_node *node) {
    switch (node->kind) {
    case GRAMMAR_SCALAR:
    case GRAMMAR_STRING:
        settle(v, i, 0);
        break;
    case GRAMMAR_OBJECT:
        add_object(v, i, node);
        settle_if_ready(v, i);
        break;
    case GRAMMAR_ARRAY:
        add_array(v, i, node);
        settle_if_ready(v, i);
        break;
    case GRAMMAR_UNION:
        for (int j = 0; j < node->u.any.n; j++)
            add_use(v, node->u.any.at[j], i, ANY_OF);
        break;
    }
}

// How many other keys an object has to offer.
static int64_t other_keys(const language_object *o, int n) {
    if (!o->names || o->names->dfa->n_states == 0)
        return 0;
    int64_t texts = language_texts(o->names, 0);
    return texts == LANGUAGE_MANY ? texts : texts - o->among_names[n];
}

static void tell(leveling *v, const use *u, int32_t node) {
    int32_t user = u->user;
    if (u->role == ANY_OF) {
        if (v->l->depths[user] == INT32_MAX)
            v->l->simplest[user] = v->l->simplest[node];
        settle(v, user, v->depth);
        return;
    }
    if (u->role == NEEDED)
        v->needed[user]--;
    else if (v->more[user] > 0 && u->role == ONE_MORE)
        v->more[user]--;
    else if (v->more[user] > 0)
        v->more[user] -= other_keys(&v->l->objects[user], v->l->program->nodes[user].u.object.n);
    settle_if_ready(v, user);
}

void language_find_depths(grammar_language *l) {
    size_t n = (size_t)l->program->n_nodes;
    leveling v = {.l = l,
                  .first_use = base_alloc((n + 1) * sizeof *v.first_use),
                  .needed = base_calloc(n + 1, sizeof *v.needed),
                  .more = base_calloc(n + 1, sizeof *v.more),
                  .now = base_alloc((n + 1) * sizeof *v.now),
                  .later = base_alloc((n + 1) * sizeof *v.later)};
    for (size_t i = 0; i < n; i++) {
        v.first_use[i] = -1;
        l->simplest[i] = (int32_t)i;
        l->depths[i] = INT32_MAX;
    }
    for (size_t i = 0; i < n; i++)
        add_node(&v, (int32_t)i, &l->program->nodes[i]);
    while (v.n_now > 0 || v.n_later > 0) {
        for (int32_t i = 0; i < v.n_now; i++)
            for (int32_t u = v.first_use[v.now[i]]; u >= 0; u = v.uses[u].next)
                tell(&v, &v.uses[u], v.now[i]);
        int32_t *swap = v.now;
        v.now = v.later;
        v.later = swap;
        v.n_now = v.n_later;
        v.n_later = 0;
        v.depth++;
    }
    base_free(v.first_use);
    base_free(v.uses);
    base_free(v.needed);
    base_free(v.more);
    base_free(v.now);
    base_free(v.later);
    int32_t root = l->depths[l->program->root];
    l->max_depth = root != INT32_MAX && root > MATCH_MAX_DEPTH ? root : MATCH_MAX_DEPTH;
}
