// oneOf is anyOf when no value satisfies two of its branches. Often that can be seen at once: they
// have different types, or a property that each needs with another value. Else two branches
// together are made a node, a guard, which must turn out to have no instance.
#include "grammar/schema.h"

#include <string.h>

// Values of enum and const by number.
typedef struct choice {
    const char *key; // of the property that must have one of them; NULL: the value itself
    schema_set values;
    bool required;
} choice;

typedef struct branch {
    bool never;
    unsigned types;
    choice *choices; // [n]
    int n, cap;
} branch;

static void add_value(schema *s, const json_t *value, schema_set *out) {
    base_str text = {0};
    schema_value_text(value, true, &text);
    int32_t id = schema_map_get(&s->value_of, text.data, text.len);
    if (id < 0) {
        id = (int32_t)s->value_of.n;
        schema_map_put(&s->value_of, text.data, text.len, id);
    }
    schema_set_insert(out, id);
    s->work += 1 + (int64_t)text.len / 16;
    base_str_free(&text);
}

static void add_choice(schema *s, branch *b, const char *key, const json_t *at) {
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? 4 : b->cap * 2;
        b->choices = base_realloc(b->choices, (size_t)b->cap * sizeof *b->choices);
    }
    choice *c = &b->choices[b->n++];
    *c = (choice){.key = key};
    const json_t *one = json_object_get(at, "const"), *list = json_object_get(at, "enum");
    if (one != NULL)
        add_value(s, one, &c->values);
    for (size_t i = 0; i < json_array_size(list) && one == NULL; i++)
        add_value(s, json_array_get(list, i), &c->values);
}

// The choices among the places that hold for the value (key NULL) or one of its properties.
static void add_choices(schema *s, branch *b, const char *key, const schema_set *places) {
    for (size_t i = 0; i < places->len; i++)
        if ((s->places[places->data[i]].says & SCHEMA_OF_VALUES) != 0)
            add_choice(s, b, key, s->places[places->data[i]].at);
}

static bool is_required(const schema *s, const schema_set *places, const char *key) {
    for (size_t i = 0; i < places->len; i++) {
        const json_t *list = json_object_get(s->places[places->data[i]].at, "required");
        for (size_t k = 0; k < json_array_size(list); k++)
            if (strcmp(json_string_value(json_array_get(list, k)), key) == 0)
                return true;
    }
    return false;
}

static void add_property_choices(schema *s, branch *b, const schema_set *places) {
    for (size_t i = 0; i < places->len; i++) {
        const char *key;
        json_t *item;
        json_object_foreach(json_object_get(s->places[places->data[i]].at, "properties"), key,
                            item) {
            schema_alternative under = {.types = SCHEMA_ANY};
            int n = b->n;
            if (schema_alternative_add(s, &under, schema_place_of(s, item)))
                add_choices(s, b, key, &under.places);
            for (bool required = b->n > n && is_required(s, places, key); n < b->n; n++)
                b->choices[n].required = required;
            schema_alternative_free(&under);
        }
    }
}

static branch look_at(schema *s, int32_t place, unsigned types) {
    branch b = {0};
    schema_alternative a = {.types = types};
    b.never = !schema_alternative_add(s, &a, place);
    b.types = a.types;
    if (!b.never) {
        add_choices(s, &b, NULL, &a.places);
        add_property_choices(s, &b, &a.places);
    }
    schema_alternative_free(&a);
    return b;
}

static void branch_free(branch *b) {
    for (int i = 0; i < b->n; i++)
        base_ids_free(&b->choices[i].values);
    base_free(b->choices);
}

static bool share_a_value(const schema_set *a, const schema_set *b) {
    size_t i = 0, k = 0;
    while (i < a->len && k < b->len) {
        if (a->data[i] == b->data[k])
            return true;
        if (a->data[i] < b->data[k])
            i++;
        else
            k++;
    }
    return false;
}

// Whether it can be seen that no value satisfies both. Counts comparisons in `n`.
static bool exclude(const branch *a, const branch *b, int64_t *n) {
    unsigned types = a->types & b->types;
    if (a->never || b->never || types == 0)
        return true;
    for (int i = 0; i < a->n; i++) {
        for (int k = 0; k < b->n; k++) {
            const choice *x = &a->choices[i], *y = &b->choices[k];
            ++*n;
            if ((x->key == NULL) != (y->key == NULL) ||
                (x->key != NULL && (strcmp(x->key, y->key) != 0 || types != SCHEMA_OBJECT ||
                                    !(x->required || y->required))))
                continue;
            if (!share_a_value(&x->values, &y->values))
                return true;
        }
    }
    return false;
}

static int add_guard(schema *s, const schema_alternative *a, int32_t place, int32_t x, int32_t y) {
    schema_guard g = {.types = a->types, .place = place, .node = GRAMMAR_NO_NODE};
    for (size_t i = 0; i < a->places.len; i++)
        base_ids_add(&g.places, a->places.data[i]);
    schema_set_insert(&g.places, x);
    schema_set_insert(&g.places, y);
    size_t bytes = g.places.len * sizeof *g.places.data;
    s->work += 2 + (int64_t)g.places.len / 8;
    if (s->n_guards > SCHEMA_MAX_GUARDS ||
        schema_map_get(&s->guard_of, g.places.data, bytes) >= 0) {
        base_ids_free(&g.places);
        return schema_work(s, 0);
    }
    schema_map_put(&s->guard_of, g.places.data, bytes, s->n_guards);
    if (s->n_guards == s->cap_guards) {
        s->cap_guards = s->cap_guards == 0 ? 16 : s->cap_guards * 2;
        s->guards = base_realloc(s->guards, (size_t)s->cap_guards * sizeof *s->guards);
    }
    s->guards[s->n_guards++] = g;
    return schema_work(s, 0);
}

int schema_one(schema *s, const schema_alternative *a, int32_t place) {
    const int32_t *at = s->places[place].links + s->places[place].n_all + s->places[place].n_any;
    int n = s->places[place].n_one, code = schema_work(s, n);
    branch *branches = base_calloc((size_t)n, sizeof *branches);
    for (int i = 0; i < n && code == 0; i++) {
        branches[i] = look_at(s, at[i], a->types);
        code = schema_work(s, 0);
    }
    for (int i = 0; i < n && code == 0; i++) {
        int64_t compared = i;
        for (int k = 0; k < i && code == 0; k++)
            if (!exclude(&branches[i], &branches[k], &compared))
                code = add_guard(s, a, place, at[i], at[k]);
        if (code == 0)
            code = schema_work(s, compared / 8); // much less than a step each
    }
    for (int i = 0; i < n; i++)
        branch_free(&branches[i]);
    base_free(branches);
    return code;
}

// Guards are made like all other nodes, with as much work again; when that does not suffice,
// nothing is known of them.
int schema_guards(schema *s) {
    base_err *err = s->err, why = {0};
    base_str *relaxed = s->relaxed;
    bool known = s->n_guards <= SCHEMA_MAX_GUARDS;
    int code = 0;
    s->guarding = true;
    s->err = &why;
    s->relaxed = NULL;
    s->work = 0;
    s->max_nodes = s->program->n_nodes + 4 * SCHEMA_MAX_NODES;
    for (int i = 0; i < s->n_guards && known; i++) {
        schema_guard *g = &s->guards[i];
        known = schema_union(s, &g->places, g->types, false, &g->node) == 0;
    }
    known = known && schema_unions(s) == 0;
    s->err = err;
    s->relaxed = relaxed;
    schema_sizes(s);
    for (int i = 0; i < s->n_guards && code == 0; i++)
        if (!known || s->program->nodes[s->guards[i].node].min_bytes != INT64_MAX)
            code = schema_unsupported(s, s->guards[i].place, "oneOf",
                                      "is only supported when its branches are seen to exclude "
                                      "each other (by types, or by the values of a required "
                                      "property)");
    return code;
}
