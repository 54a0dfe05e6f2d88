// A set of places -> the alternatives it comes to, each without choices. $ref and allOf only add
// places; anyOf and oneOf multiply.
#include "grammar/schema.h"

#include <string.h>

bool schema_place_is_idle(const schema_place *p) {
    return !p->never && p->types == SCHEMA_ANY && p->says == 0 && p->ref < 0 &&
           p->n_all + p->n_any + p->n_one == 0;
}

void schema_alternative_free(schema_alternative *a) {
    base_ids_free(&a->places);
    base_ids_free(&a->groups);
}

void schema_alternatives_free(schema_alternatives *v) {
    for (int i = 0; i < v->n; i++)
        schema_alternative_free(&v->at[i]);
    base_free(v->at);
    *v = (schema_alternatives){0};
}

static void push(schema_alternatives *v, schema_alternative a) {
    if (v->n == v->cap) {
        v->cap = v->cap == 0 ? 4 : v->cap * 2;
        v->at = base_realloc(v->at, (size_t)v->cap * sizeof *v->at);
    }
    v->at[v->n++] = a;
}

static void add_all(base_ids *out, const int32_t *at, int n) {
    for (int i = 0; i < n; i++)
        base_ids_add(out, at[i]);
}

bool schema_alternative_add(schema *s, schema_alternative *a, int32_t place) {
    base_ids todo = {0};
    base_ids_add(&todo, place);
    bool alive = true;
    while (todo.len > 0 && alive) {
        int32_t at = todo.data[--todo.len];
        const schema_place *p = &s->places[at];
        s->work++;
        alive = !p->never;
        if (!alive || schema_place_is_idle(p) || !schema_set_insert(&a->places, at))
            continue;
        s->work += (int64_t)(a->places.len / 64) + p->n_all;
        a->types &= p->types;
        alive = a->types != 0;
        if (p->ref >= 0)
            base_ids_add(&todo, p->ref);
        add_all(&todo, p->links, p->n_all);
        if (p->n_any > 0)
            base_ids_add(&a->groups, at * 2);
        if (p->n_one > 0)
            base_ids_add(&a->groups, at * 2 + 1);
    }
    base_ids_free(&todo);
    return alive;
}

static schema_alternative copy(schema *s, const schema_alternative *a) {
    schema_alternative out = {.types = a->types};
    add_all(&out.places, a->places.data, (int)a->places.len);
    add_all(&out.groups, a->groups.data, (int)a->groups.len);
    s->work += 2 + (int64_t)(a->places.len + a->groups.len) / 8;
    return out;
}

// A branch that holds anyway makes the choice: nothing follows from the others.
static bool is_satisfied(const schema *s, const schema_alternative *a, const int32_t *at, int n) {
    for (int i = 0; i < n; i++)
        if (schema_place_is_idle(&s->places[at[i]]) || schema_set_has(&a->places, at[i]))
            return true;
    return false;
}

// Takes one choice of `a` (which it frees), and puts what remains on the stack.
static int choose(schema *s, schema_alternative *a, schema_alternatives *stack) {
    int32_t group = a->groups.data[--a->groups.len];
    const schema_place *p = &s->places[group / 2];
    bool one = group % 2 == 1;
    const int32_t *at = p->links + p->n_all + (one ? p->n_any : 0);
    int n = one ? p->n_one : p->n_any;
    s->work += n;
    if ((!one || s->guarding) && is_satisfied(s, a, at, n)) {
        push(stack, *a);
        return 0;
    }
    int code = one && !s->guarding ? schema_one(s, a, group / 2) : 0;
    for (int i = n - 1; i >= 0 && code == 0; i--) {
        schema_alternative next = copy(s, a);
        if (schema_alternative_add(s, &next, at[i]))
            push(stack, next);
        else
            schema_alternative_free(&next);
        code = schema_work(s, 0);
    }
    schema_alternative_free(a);
    return code;
}

int schema_expand(schema *s, const schema_set *places, unsigned types, schema_alternatives *out) {
    schema_alternatives stack = {0};
    schema_alternative first = {.types = types};
    bool alive = types != 0;
    for (size_t i = 0; i < places->len && alive; i++)
        alive = schema_alternative_add(s, &first, places->data[i]);
    if (alive)
        push(&stack, first);
    else
        schema_alternative_free(&first);
    int code = schema_work(s, 1);
    while (stack.n > 0 && code == 0) {
        schema_alternative a = stack.at[--stack.n];
        if (a.groups.len > 0) {
            code = choose(s, &a, &stack);
        } else {
            push(out, a);
            if (out->n > SCHEMA_MAX_ALTERNATIVES)
                code = schema_fail(s, places->len > 0 ? places->data[0] : 0, NULL,
                                   "too large: anyOf and oneOf make more than %d alternatives",
                                   SCHEMA_MAX_ALTERNATIVES);
        }
    }
    schema_alternatives_free(&stack);
    return code;
}
