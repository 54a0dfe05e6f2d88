#include "grammar/schema.h"

static void schema_free(schema *s) {
    for (int i = 0; i < s->n_places; i++) {
        base_free(s->places[i].path);
        base_free(s->places[i].links);
        base_free(s->places[i].patterns);
        schema_allowed_free(s->places[i].allowed);
    }
    for (int i = 0; i < s->n_queue; i++)
        base_ids_free(&s->queue[i].places);
    for (int i = 0; i < s->n_guards; i++)
        base_ids_free(&s->guards[i].places);
    base_free(s->places);
    base_free(s->queue);
    base_free(s->guards);
    schema_map_free(&s->place_of);
    schema_map_free(&s->dfa_of);
    schema_map_free(&s->node_of);
    schema_map_free(&s->value_of);
    schema_map_free(&s->guard_of);
    schema_map_free(&s->reported);
}

static int make(schema *s) {
    int code = schema_scan(s);
    if (code != 0)
        return code;
    schema_set root = {0};
    base_ids_add(&root, 0);
    int32_t node; // 0: the first that is made
    code = schema_union(s, &root, SCHEMA_ANY, s->options->object, &node);
    base_ids_free(&root);
    if (code == 0)
        code = schema_unions(s);
    if (code == 0)
        code = schema_guards(s);
    return code != 0 ? code : schema_prune(s);
}

int grammar_program_schema(grammar_program **out, const json_t *document,
                           const grammar_schema_options *options, base_str *relaxed,
                           base_err *err) {
    schema s = {.options = options,
                .root = document,
                .relaxed = relaxed,
                .err = err,
                .max_nodes = 4 * SCHEMA_MAX_NODES};
    s.program = base_calloc(1, sizeof *s.program);
    s.program->json = true;
    s.program->max_whitespace = options->no_whitespace ? 0 : GRAMMAR_MAX_WHITESPACE;
    s.program->whitespace_of_level = options->no_whitespace ? 0 : GRAMMAR_WHITESPACE_OF_LEVEL;
    int code = make(&s);
    *out = code == 0 ? s.program : NULL;
    if (code != 0)
        grammar_program_free(s.program);
    schema_free(&s);
    return code;
}
