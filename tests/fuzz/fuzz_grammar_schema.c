// Any schema: refused with a reason, or outputs made along its masks are JSON whenever they end.
// The first byte holds choices, the second one a seed; the rest is the schema.
#include "grammar_fixture.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STRICT = 1, NO_WHITESPACE = 2, NO_ADDITIONAL = 4, TOOL = 8, FINISH = 16 };

static const grammar_fixture *fixture(void) {
    static grammar_fixture f;
    if (!f.vocab)
        f = fixture_grammar();
    return &f;
}

static int compile(grammar **out, unsigned choices, const json_t *schema, base_str *relaxed,
                   base_err *err) {
    grammar_tool tool = {.name = "a",
                         .name_len = 1,
                         .parameters = schema,
                         .strict = choices & STRICT,
                         .field = "field"};
    grammar_spec spec = {.thinking_budget = -1,
                         .no_whitespace = choices & NO_WHITESPACE,
                         .no_additional = choices & NO_ADDITIONAL,
                         .answer_field = "field"};
    if (choices & TOOL) {
        spec.tool_choice = GRAMMAR_TOOLS_REQUIRED;
        spec.one_call = true;
        spec.tools = &tool;
        spec.n_tools = 1;
    } else {
        spec.answer = GRAMMAR_ANSWER_SCHEMA;
        spec.schema = schema;
        spec.strict = choices & STRICT;
    }
    return grammar_compile(out, fixture()->vocab, &spec, relaxed, err);
}

static void check_output(const fixture_walk *w, unsigned choices) {
    static const char name[] = "functions.a:0";
    size_t skip = choices & TOOL ? sizeof name - 1 : 0;
    base_err err;
    if (w->text.len < skip)
        abort();
    json_t *value =
        base_json_parse(w->text.data + skip, w->text.len - skip, "output", BASE_ERR_USAGE, &err);
    // Numbers may be larger than a double, and nesting deeper than is read here.
    if (!value && !strstr(err.message, "too big") && !strstr(err.message, "overflow") &&
        !strstr(err.message, "deep") && !strstr(err.message, "NUL") &&
        !strstr(err.message, "\\u0000"))
        abort();
    json_decref(value);
}

static void walk(grammar *g, unsigned choices, const json_t *schema, uint64_t seed) {
    fixture_walk w = fixture_walk_begin(fixture(), g, seed);
    fixture_walk_keys(&w, schema);
    fixture_walked walked = fixture_walk_on(&w, choices & FINISH ? 8 : 60, 200);
    if (walked == FIXTURE_WALK_BROKEN)
        abort();
    if (walked == FIXTURE_WALK_ENDED)
        check_output(&w, choices);
    fixture_walk_end(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    base_err err = {0};
    base_str relaxed = {0};
    grammar *g;
    if (size < 2)
        return 0;
    json_t *schema =
        base_json_parse((const char *)data + 2, size - 2, "schema", BASE_ERR_USAGE, &err);
    if (!schema)
        return 0;
    int rc = compile(&g, data[0], schema, &relaxed, &err);
    if (rc && (g || rc != BASE_ERR_USAGE || strncmp(err.message, "field", 5) != 0))
        abort();
    if (data[0] & STRICT && relaxed.len > 0)
        abort();
    for (uint64_t i = 0; rc == 0 && i < 3; i++)
        walk(g, data[0], schema, data[1] + 256 * i);
    if (rc == 0)
        grammar_unref(g);
    base_str_free(&relaxed);
    json_decref(schema);
    return 0;
}
