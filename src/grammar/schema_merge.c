// Sets of places -> nodes: one for each type of each alternative.
#include "grammar/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CHUNK = 48 << 10 }; // bytes of values in one automaton

int schema_node_add(schema *s, grammar_kind kind, int32_t *out) {
    grammar_program *p = s->program;
    if (p->n_nodes >= s->max_nodes)
        return base_fail(s->err, BASE_ERR_USAGE, "%s: too large: it comes to more than %d nodes",
                         s->options->field, SCHEMA_MAX_NODES);
    if (p->n_nodes == p->cap_nodes) {
        p->cap_nodes = p->cap_nodes == 0 ? 64 : p->cap_nodes * 2;
        p->nodes = base_realloc(p->nodes, (size_t)p->cap_nodes * sizeof *p->nodes);
    }
    *out = p->n_nodes++;
    p->nodes[*out] = (grammar_node){.kind = kind};
    return 0;
}

// The key of a node that is made of these places; the caller frees it.
static void add_key(base_str *key, char kind, const schema_set *places) {
    base_str_add(key, &kind, 1);
    base_str_add(key, places->data, places->len * sizeof *places->data);
}

int schema_union(schema *s, const schema_set *places, unsigned types, bool object, int32_t *out) {
    schema_conjunction c = {.types = types, .object = object};
    for (size_t i = 0; i < places->len; i++)
        if (!schema_place_is_idle(&s->places[places->data[i]]))
            base_ids_add(&c.places, places->data[i]);
    base_str key = {0};
    base_str_printf(&key, "%u%d", types, object);
    add_key(&key, 'U', &c.places);
    *out = schema_map_get(&s->node_of, key.data, key.len);
    bool is_new = *out < 0;
    int code = schema_work(s, 2 + (int64_t)places->len / 8);
    if (code == 0 && is_new)
        code = schema_node_add(s, GRAMMAR_UNION, out);
    if (code == 0 && is_new) {
        schema_map_put(&s->node_of, key.data, key.len, *out);
        if (s->n_queue == s->cap_queue) {
            s->cap_queue = s->cap_queue == 0 ? 64 : s->cap_queue * 2;
            s->queue = base_realloc(s->queue, (size_t)s->cap_queue * sizeof *s->queue);
        }
        c.node = *out;
        s->queue[s->n_queue++] = c;
        c.places = (schema_set){0};
    }
    base_ids_free(&c.places);
    base_str_free(&key);
    return code;
}

int schema_scalar(schema *s, int32_t dfa, int64_t most, int32_t *out) {
    char key[64];
    int len = snprintf(key, sizeof key, "D%d,%" PRId64, (int)dfa, most);
    *out = schema_map_get(&s->node_of, key, (size_t)len);
    if (*out >= 0)
        return 0;
    int code = schema_node_add(s, GRAMMAR_SCALAR, out);
    if (code == 0) {
        schema_map_put(&s->node_of, key, (size_t)len, *out);
        s->program->nodes[*out].u.dfa = s->program->dfas[dfa];
        s->program->nodes[*out].most = most;
    }
    return code;
}

void schema_limits(const schema *s, const schema_set *places, const char *least, const char *most,
                   int64_t *min, int64_t *max) {
    *min = 0;
    *max = -1;
    for (size_t i = 0; i < places->len; i++) {
        int64_t low = schema_count(s, places->data[i], least);
        int64_t high = schema_count(s, places->data[i], most);
        *min = low > *min ? low : *min;
        *max = high >= 0 && (*max < 0 || high < *max) ? high : *max;
    }
}

// ---------------------------------------------------------------------------------------------
// enum and const

void schema_texts_free(schema_texts *t) {
    base_str_free(&t->text);
    base_ids_free(&t->ends);
}

// Adds the value, when all places but the one it comes from allow it.
static int add_value(schema *s, const schema_alternative *a, const json_t *value, size_t from,
                     bool names, schema_texts *out) {
    schema_answer answer = (schema_type_of(value) & a->types) != 0 ? SCHEMA_YES : SCHEMA_NO;
    int code = 0;
    for (size_t i = 0; i < a->places.len && code == 0 && answer != SCHEMA_NO; i++) {
        const json_t *at = s->places[a->places.data[i]].at;
        bool both = json_object_get(at, "enum") != NULL && json_object_get(at, "const") != NULL;
        if (i != from || both || s->places[a->places.data[i]].says != SCHEMA_OF_VALUES)
            code = schema_check_own(s, value, a->places.data[i], &answer);
    }
    if (code != 0 || answer == SCHEMA_NO)
        return code;
    if (names)
        base_str_add(&out->text, json_string_value(value), json_string_length(value));
    else
        schema_value_text(value, false, &out->text);
    base_ids_add(&out->ends, (int32_t)out->text.len);
    return schema_work(s, 1 + json_string_length(value) / 16);
}

int schema_values(schema *s, const schema_alternative *a, bool names, schema_texts *out,
                  bool *has) {
    size_t from = 0;
    while (from < a->places.len && (s->places[a->places.data[from]].says & SCHEMA_OF_VALUES) == 0)
        from++;
    *has = from < a->places.len;
    if (!*has)
        return 0;
    const json_t *at = s->places[a->places.data[from]].at;
    const json_t *one = json_object_get(at, "const"), *list = json_object_get(at, "enum");
    if (one != NULL)
        return add_value(s, a, one, from, names, out);
    int code = 0;
    for (size_t i = 0; i < json_array_size(list) && code == 0; i++)
        code = add_value(s, a, json_array_get(list, i), from, names, out);
    return code;
}

// The automata of a few large ones would outgrow their bound where several do not.
static int add_texts(schema *s, const schema_texts *texts, schema_set *members) {
    size_t from = 0, begin = 0;
    int code = 0;
    for (size_t i = 0; i < texts->ends.len && code == 0; i++) {
        size_t end = (size_t)texts->ends.data[i];
        if (i + 1 < texts->ends.len && (size_t)texts->ends.data[i + 1] - begin <= MAX_CHUNK)
            continue;
        int32_t dfa, node = -1;
        code = schema_dfa_literals(s, texts, from, i + 1, &dfa);
        if (code == 0)
            code = schema_scalar(s, dfa, 0, &node);
        if (code == 0)
            schema_set_insert(members, node);
        from = i + 1;
        begin = end;
    }
    return code;
}

// ---------------------------------------------------------------------------------------------
// The members of a union

static int add_words(schema *s, unsigned types, schema_set *members) {
    schema_texts texts = {0};
    static const struct {
        unsigned type;
        const char *word;
    } words[] = {{SCHEMA_NULL, "null"}, {SCHEMA_BOOLEAN, "true"}, {SCHEMA_BOOLEAN, "false"}};
    for (int i = 0; i < 3; i++) {
        if ((types & words[i].type) == 0)
            continue;
        base_str_adds(&texts.text, words[i].word);
        base_ids_add(&texts.ends, (int32_t)texts.text.len);
    }
    int code = add_texts(s, &texts, members);
    schema_texts_free(&texts);
    return code;
}

const json_t *schema_item(const json_t *at, size_t i) {
    const json_t *items = json_object_get(at, "items"),
                 *prefix = json_object_get(at, "prefixItems");
    const json_t *rest = json_is_array(items) ? json_object_get(at, "additionalItems") : items;
    prefix = prefix == NULL && json_is_array(items) ? items : prefix;
    return i < json_array_size(prefix) ? json_array_get(prefix, i) : rest;
}

static int item(schema *s, const schema_set *places, size_t i, int32_t *out) {
    schema_set of = {0};
    for (size_t k = 0; k < places->len; k++) {
        const json_t *at = schema_item(s->places[places->data[k]].at, i);
        if (at != NULL)
            schema_set_insert(&of, schema_place_of(s, at));
    }
    int code = schema_work(s, (int64_t)places->len);
    if (code == 0)
        code = schema_union(s, &of, SCHEMA_ANY, false, out);
    base_ids_free(&of);
    return code;
}

static int make_array(schema *s, const schema_set *places, int32_t *out) {
    size_t n = 0;
    for (size_t i = 0; i < places->len; i++) {
        const json_t *at = s->places[places->data[i]].at, *items = json_object_get(at, "items");
        const json_t *prefix = json_object_get(at, "prefixItems");
        size_t more = json_array_size(prefix != NULL ? prefix : items);
        n = more > n ? more : n;
    }
    int code = schema_node_add(s, GRAMMAR_ARRAY, out);
    if (code != 0)
        return code;
    grammar_node node = s->program->nodes[*out];
    schema_limits(s, places, "minItems", "maxItems", &node.u.array.min, &node.u.array.max);
    node.u.array.prefix = base_alloc((n + 1) * sizeof *node.u.array.prefix);
    node.u.array.n_prefix = (int)n;
    node.u.array.items = GRAMMAR_NO_NODE;
    for (size_t i = 0; i < n && code == 0; i++)
        code = item(s, places, i, &node.u.array.prefix[i]);
    if (code == 0)
        code = item(s, places, n, &node.u.array.items);
    s->program->nodes[*out] = node;
    return code;
}

// Objects and arrays are made of the places that say something of them, and kept by these.
static int add_container(schema *s, const schema_alternative *a, unsigned says,
                         schema_set *members) {
    schema_set of = {0};
    for (size_t i = 0; i < a->places.len; i++)
        if ((s->places[a->places.data[i]].says & says) != 0)
            base_ids_add(&of, a->places.data[i]);
    base_str key = {0};
    add_key(&key, says == SCHEMA_OF_ARRAYS ? 'A' : 'O', &of);
    int32_t node = schema_map_get(&s->node_of, key.data, key.len);
    int code = 0;
    if (node < 0) {
        code = says == SCHEMA_OF_ARRAYS ? make_array(s, &of, &node) : schema_object(s, &of, &node);
        if (code == 0)
            schema_map_put(&s->node_of, key.data, key.len, node);
    }
    if (code == 0)
        schema_set_insert(members, node);
    base_str_free(&key);
    base_ids_free(&of);
    return code;
}

static int add_types(schema *s, const schema_alternative *a, unsigned types, schema_set *members) {
    int code = add_words(s, types, members);
    int32_t node = -1;
    if (code == 0 && (types & SCHEMA_NUMBER) != 0) {
        code = schema_number(s, &a->places, types, &node);
        schema_set_insert(members, node);
    }
    if (code == 0 && (types & SCHEMA_STRING) != 0) {
        code = schema_string(s, &a->places, &node);
        schema_set_insert(members, node);
    }
    if (code == 0 && (types & SCHEMA_ARRAY) != 0)
        code = add_container(s, a, SCHEMA_OF_ARRAYS, members);
    if (code == 0 && (types & SCHEMA_OBJECT) != 0)
        code = add_container(s, a, SCHEMA_OF_OBJECTS, members);
    return code;
}

static int make_members(schema *s, const schema_conjunction *c, schema_set *members) {
    schema_alternatives v = {0};
    schema_texts texts = {0};
    int code = schema_expand(s, &c->places, c->types, &v);
    for (int i = 0; i < v.n && code == 0; i++) {
        bool has;
        code = schema_values(s, &v.at[i], false, &texts, &has);
        bool open = c->object && v.at[i].types == SCHEMA_ANY;
        if (code == 0 && !has)
            code = add_types(s, &v.at[i], open ? SCHEMA_OBJECT : v.at[i].types, members);
    }
    if (code == 0)
        code = add_texts(s, &texts, members);
    schema_texts_free(&texts);
    schema_alternatives_free(&v);
    return code;
}

int schema_unions(schema *s) {
    int code = 0;
    while (s->n_made < s->n_queue && code == 0) {
        schema_conjunction c = s->queue[s->n_made++];
        schema_set members = {0};
        code = make_members(s, &c, &members);
        s->program->nodes[c.node].u.any.at = members.data;
        s->program->nodes[c.node].u.any.n = (int)members.len;
    }
    return code;
}
