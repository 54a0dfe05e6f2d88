// Schemas -> programs: the nodes that come out, errors with their paths, what is relaxed, what has
// no finite instance, and inputs made to be expensive.
#include "grammar/program.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static grammar_program *program; // of the last compile
static base_str relaxed;
static base_err err;

static int compile_with(const char *text, grammar_schema_options options) {
    grammar_program_free(program);
    program = NULL;
    base_str_clear(&relaxed);
    err = (base_err){0};
    json_t *schema = base_json_parse(text, strlen(text), "schema", BASE_ERR_USAGE, &err);
    if (schema == NULL)
        fail_msg("%s", err.message);
    options.field = "F";
    int code = grammar_program_schema(&program, schema, &options, &relaxed, &err);
    json_decref(schema);
    assert_true((code == 0) == (program != NULL));
    return code;
}

static const grammar_node *root(void) {
    return &program->nodes[program->root];
}

static void compiles(const char *text) {
    if (compile_with(text, (grammar_schema_options){.strict = true}) != 0)
        fail_msg("%s: %s", text, err.message);
}

static void fails(const char *text, const char *message) {
    assert_int_equal(compile_with(text, (grammar_schema_options){.strict = true}), BASE_ERR_USAGE);
    if (strstr(err.message, message) == NULL)
        fail_msg("%s: \"%s\" is not in \"%s\"", text, message, err.message);
}

// Compiles in spite of a keyword, and says which.
static void relaxes(const char *text, const char *report) {
    fails(text, "F");
    assert_int_equal(compile_with(text, (grammar_schema_options){0}), 0);
    assert_string_equal(relaxed.data, report);
}

// Whether a program allows a value, spelled as enum values are.
static bool allows(int32_t at, const json_t *value);

static bool allows_text(const grammar_dfa *dfa, const json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    bool found = grammar_dfa_matches(dfa, text, strlen(text));
    free(text);
    return found;
}

static bool allows_object(const grammar_node *n, const json_t *value) {
    int64_t count = (int64_t)json_object_size(value), required = 0;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
        int32_t under = n->u.object.additional;
        if (n->u.object.names != NULL && !grammar_dfa_matches(n->u.object.names, key, strlen(key)))
            under = GRAMMAR_NO_NODE;
        for (int i = 0; i < n->u.object.n; i++)
            if (strcmp(n->u.object.properties[i].key, key) == 0) {
                under = n->u.object.properties[i].node;
                required += n->u.object.properties[i].required;
            }
        if (under == GRAMMAR_NO_NODE || !allows(under, item))
            return false;
    }
    return required == n->u.object.n_required && count >= n->u.object.min &&
           (n->u.object.max < 0 || count <= n->u.object.max);
}

static bool allows_array(const grammar_node *n, const json_t *value) {
    int64_t count = (int64_t)json_array_size(value);
    if (count < n->u.array.min || (n->u.array.max >= 0 && count > n->u.array.max))
        return false;
    for (int i = 0; i < (int)count; i++) {
        int32_t under = i < n->u.array.n_prefix ? n->u.array.prefix[i] : n->u.array.items;
        if (under == GRAMMAR_NO_NODE || !allows(under, json_array_get(value, (size_t)i)))
            return false;
    }
    return true;
}

static bool allows(int32_t at, const json_t *value) {
    const grammar_node *n = &program->nodes[at];
    int64_t len = (int64_t)json_string_length(value);
    switch (n->kind) {
    case GRAMMAR_SCALAR:
        return allows_text(n->u.dfa, value);
    case GRAMMAR_STRING:
        return json_is_string(value) && len >= n->u.string.min &&
               (n->u.string.max < 0 || len <= n->u.string.max);
    case GRAMMAR_OBJECT:
        return json_is_object(value) && allows_object(n, value);
    case GRAMMAR_ARRAY:
        return json_is_array(value) && allows_array(n, value);
    case GRAMMAR_UNION:
        for (int i = 0; i < n->u.any.n; i++)
            if (allows(n->u.any.at[i], value))
                return true;
    }
    return false;
}

// Each of the values, as a list, is allowed (or not).
static void values(const char *list, bool allowed) {
    json_t *all = json_loads(list, 0, NULL), *item;
    assert_non_null(all);
    size_t i;
    json_array_foreach(all, i, item) if (allows(program->root, item) != allowed)
        fail_msg("value %zu of %s", i, list);
    json_decref(all);
}

// Compiles strictly; then the first values are allowed, and the second ones are not.
static void check(const char *schema, const char *good, const char *bad) {
    compiles(schema);
    values(good, true);
    values(bad, false);
}

// Of a schema that comes to one automaton, where values would be read as something else.
static void check_texts(const char *schema, const char *good, const char *bad) {
    compiles(schema);
    assert_int_equal(root()->kind, GRAMMAR_SCALAR);
    assert_true(grammar_dfa_matches(root()->u.dfa, good, strlen(good)));
    assert_false(grammar_dfa_matches(root()->u.dfa, bad, strlen(bad)));
}

static void test_types(void **state) {
    (void)state;
    check("{}", "[null,true,1,1.5,\"x\",[1],{\"a\":{}}]", "[]");
    check("true", "[null,{\"a\":1}]", "[]");
    check("{\"type\":\"integer\"}", "[0,-7]", "[1.5,\"1\",null]");
    check("{\"type\":[\"string\",\"null\"]}", "[\"\",null]", "[1,true]");
    check("{\"minimum\":3}", "[3,\"x\",null,{}]", "[2]");
    check("{\"properties\":{\"a\":{\"type\":\"null\"}}}", "[1,{\"a\":null},{\"b\":1}]",
          "[{\"a\":1}]");
    check("{\"type\":\"number\",\"minimum\":1,\"exclusiveMinimum\":true}", "[1.5,2]", "[1,0]");
    check("{\"type\":\"integer\",\"maximum\":10000000000000000}", "[10000000000000000]",
          "[10000000000000001]");
    check_texts("{\"type\":\"integer\",\"maximum\":18446744073709551615}", "18446744073709551615",
                "18446744073709551616");
    check_texts("{\"type\":\"integer\",\"minimum\":-9223372036854775809}", "-9223372036854770000",
                "-9223372036854775810");
    check_texts("{\"type\":\"number\",\"maximum\":100000000000000000001}", "99999999999999991000",
                "100000000000000000001");
    check("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3,\"minimum\":7}", "[\"ab\"]",
          "[\"a\",\"abcd\"]");
    compiles("{\"type\":\"string\",\"minLength\":999999999999}");
    assert_true(root()->kind == GRAMMAR_STRING && root()->min_bytes == 1000000000001);
    compiles("{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":1000000000000}");
    assert_true(root()->min_bytes == 5000000000001);
}

static void test_values(void **state) {
    (void)state;
    check("{\"enum\":[1,\"a\",{\"b\":[2]},3.0],\"type\":[\"integer\",\"object\"]}",
          "[1,{\"b\":[2]},3.0]", "[\"a\",{\"b\":[3]}]");
    check("{\"enum\":[1,5,10,\"x\"],\"minimum\":5}", "[5,10,\"x\"]", "[1]");
    check("{\"const\":{\"a\":1},\"properties\":{\"a\":{\"type\":\"number\"}}}", "[{\"a\":1}]",
          "[{\"a\":2},{}]");
    check("{\"allOf\":[{\"enum\":[1,2,3]},{\"enum\":[3.0,2,4]}]}", "[2,3]", "[1,4]");
    check("{\"enum\":[\"aa\",\"b\"],\"pattern\":\"a\"}", "[\"aa\"]", "[\"b\"]");
    fails("{\"enum\":[]}", "F: has no finite instance");
    fails("{\"enum\":[1],\"type\":\"string\"}", "no finite instance");
    fails("{\"enum\":[{\"a\":1}],\"properties\":{\"a\":{\"type\":\"string\"}}}", "no finite");
}

static void test_objects(void **state) {
    (void)state;
    check("{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"integer\"},\"a\":{}},"
          "\"required\":[\"b\"],\"additionalProperties\":false}",
          "[{\"b\":1},{\"a\":[],\"b\":2}]", "[{},{\"a\":1},{\"b\":\"\"},{\"b\":1,\"c\":1}]");
    assert_int_equal(root()->u.object.n, 2);
    assert_string_equal(root()->u.object.properties[0].key, "a");
    assert_true(root()->u.object.n_required == 1 && root()->u.object.properties[1].required);
    assert_true(root()->u.object.additional == GRAMMAR_NO_NODE && root()->min_bytes == 7);
    compiles("{\"type\":\"object\",\"properties\":{\"a\\\"\\n\\u0001\\u00e9/\":{}}}");
    assert_string_equal(root()->u.object.properties[0].key, "a\\\"\\n\\u0001\xc3\xa9/");
    check("{\"type\":\"object\",\"propertyNames\":{\"maxLength\":2},"
          "\"properties\":{\"abc\":{},\"x\":{\"type\":\"null\"}}}",
          "[{},{\"x\":null,\"yy\":1}]", "[{\"abc\":1},{\"abd\":1},{\"x\":1}]");
    check("{\"type\":\"object\",\"patternProperties\":{\"^x-\":{\"type\":\"integer\"}},"
          "\"additionalProperties\":false,\"properties\":{\"a\":{},\"x-s\":{\"maximum\":3}}}",
          "[{\"x-1\":1,\"a\":null,\"x-s\":2}]", "[{\"b\":1},{\"x-1\":\"\"},{\"x-s\":4}]");
    check("{\"type\":\"object\",\"patternProperties\":{\"^(.*)$\":{\"type\":\"null\"}}}",
          "[{\"any\":null}]", "[{\"any\":1}]");
    check("{\"type\":\"object\",\"minProperties\":2,\"maxProperties\":2}", "[{\"a\":1,\"b\":1}]",
          "[{},{\"a\":1},{\"a\":1,\"b\":1,\"c\":1}]");
    relaxes("{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"type\":\"null\"}}}",
            "F: patternProperties");
    values("[{\"x\":1},{\"y\":1}]", true);
}

static void test_arrays(void **state) {
    (void)state;
    check("{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"},{\"type\":\"integer\"}],"
          "\"items\":false,\"minItems\":1}",
          "[[null],[null,1]]", "[[],[1],[null,1,1]]");
    check("{\"type\":\"array\",\"items\":[{\"type\":\"null\"}],"
          "\"additionalItems\":{\"type\":\"string\"}}",
          "[[],[null,\"a\",\"b\"]]", "[[1],[null,2]]");
    check("{\"type\":\"array\",\"items\":{\"enum\":[]}}", "[[]]", "[[1]]");
    assert_true(root()->u.array.items == GRAMMAR_NO_NODE && root()->u.array.max == 0);
    check("{\"allOf\":[{\"items\":{\"minimum\":2}},{\"items\":{\"maximum\":4}}],"
          "\"type\":\"array\",\"maxItems\":2}",
          "[[2,4],[\"a\"]]", "[[1],[5],[2,2,2]]");
}

static void test_combinations(void **state) {
    (void)state;
    check("{\"type\":\"object\",\"properties\":{\"a\":{\"minimum\":2}},\"$ref\":\"#/$defs/x\","
          "\"$defs\":{\"x\":{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]}}}",
          "[{\"a\":2}]", "[{},{\"a\":1},{\"a\":\"x\"}]");
    check("{\"allOf\":[{\"type\":\"string\",\"pattern\":\"^a\"},{\"pattern\":\"b$\"},"
          "{\"maxLength\":3}]}",
          "[\"ab\",\"axb\"]", "[\"a\",\"b\",\"axxb\"]");
    check("{\"type\":\"integer\",\"allOf\":[{\"multipleOf\":4},{\"multipleOf\":6}]}", "[0,12,-24]",
          "[4,6,18]");
    check("{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":5}],\"type\":[\"string\",\"integer\"]}",
          "[\"a\",5]", "[4,null]");
    check("{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"t\":{\"const\":1}},"
          "\"required\":[\"t\"]},{\"type\":\"object\",\"properties\":{\"t\":{\"const\":2},"
          "\"u\":{\"type\":\"null\"}},\"required\":[\"t\",\"u\"]}]}",
          "[{\"t\":1},{\"t\":2,\"u\":null}]", "[{\"t\":2},{\"t\":3}]");
    check("{\"oneOf\":[{\"type\":\"integer\",\"maximum\":3},{\"type\":\"integer\",\"minimum\":4}]}",
          "[3,4]", "[\"\"]");
    check("{\"oneOf\":[{\"type\":\"string\",\"pattern\":\"^a\"},"
          "{\"type\":\"string\",\"pattern\":\"^b\"}]}",
          "[\"a\",\"b\"]", "[\"c\"]");
    relaxes("{\"properties\":{\"x\":{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}}}",
            "F.properties.x: oneOf");
    values("[{\"x\":1},{\"x\":1.5}]", true);
}

static void test_references(void **state) {
    (void)state;
    check("{\"properties\":{\"a~/%b\":{\"type\":\"null\"},\"c\":"
          "{\"$ref\":\"#/properties/a~0~1%25b\"}}}",
          "[{\"c\":null}]", "[{\"c\":1}]");
    check("{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", "[[],[[[]]]]", "[[1]]");
    check("{\"$id\":\"http://x/s.json\",\"$ref\":\"s.json#/$defs/a\","
          "\"$defs\":{\"a\":{\"type\":\"null\"}}}",
          "[null]", "[1]");
    check("{\"$ref\":\"#here\",\"definitions\":{\"q\":{\"$anchor\":\"here\",\"type\":\"null\"}}}",
          "[null]", "[1]");
    check("{\"$ref\":\"#/allOf/0\",\"allOf\":[{\"type\":\"null\"}]}", "[null]", "[1]");
    fails("{\"$ref\":\"#/$defs/none\"}", "F.$ref: #/$defs/none: not found");
    fails("{\"$ref\":\"other.json\"}", "F.$ref: other.json: not found");
    fails("{\"$ref\":\"#\"}", "F: cyclic $ref");
    fails("{\"properties\":{\"p\":{\"$ref\":\"#/$defs/a\"}},\"$defs\":{\"a\":{\"anyOf\":[{\"type\":"
          "\"null\"},{\"$ref\":\"#/$defs/b\"}]},\"b\":{\"allOf\":[{\"$ref\":\"#/$defs/a\"}]}}}",
          "F.$defs.a: cyclic $ref");
    fails("{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"properties\":{\"x\":{\"minLength\":-1}}}}}",
          "F.$defs.a.properties.x.minLength: must be");
}

static void test_finite(void **state) {
    (void)state;
    fails("{\"type\":\"object\",\"properties\":{\"n\":{\"$ref\":\"#\"}},\"required\":[\"n\"]}",
          "F: has no finite instance");
    fails("{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"minItems\":1}", "no finite instance");
    fails("false", "no finite instance");
    fails("{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "no finite instance");
    fails("{\"type\":\"object\",\"required\":[\"a\",\"b\"],\"maxProperties\":1}", "no finite");
    fails("{\"type\":\"object\",\"properties\":{\"a\":{}},\"additionalProperties\":false,"
          "\"minProperties\":2}",
          "no finite instance");
    fails("{\"type\":\"object\",\"propertyNames\":{\"enum\":[\"a\",\"b\"]},\"minProperties\":3}",
          "no finite instance");
    compiles("{\"type\":\"object\",\"propertyNames\":{\"enum\":[\"a\",\"b\"]},"
             "\"minProperties\":2}");
    // A branch or property without instance goes, and its key is not an additional one.
    check("{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"next\":"
          "{\"anyOf\":[{\"type\":\"null\"},{\"$ref\":\"#/$defs/m\"}]},\"m\":"
          "{\"$ref\":\"#/$defs/m\"}}},\"m\":{\"type\":\"object\",\"properties\":{\"m\":"
          "{\"$ref\":\"#/$defs/m\"}},\"required\":[\"m\"]}}}",
          "[{},{\"next\":null,\"x\":1}]", "[{\"m\":1},{\"next\":{}}]");
    assert_int_equal(root()->u.object.properties[0].node, GRAMMAR_NO_NODE);
    // Each node of a long list of optional ones has an instance, the shortest.
    compiles("{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"n\":{\"anyOf\":["
             "{\"$ref\":\"#\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"n\"]}");
    assert_int_equal(root()->min_bytes, strlen("{\"n\":null,\"v\":0}"));
}

static void test_malformed(void **state) {
    (void)state;
    fails("{\"type\":5}", "F.type: must be");
    fails("{\"type\":\"text\"}", "F.type: must be");
    fails("{\"type\":[]}", "F.type: must not be empty");
    fails("{\"type\":\"string\",\"properties\":[]}", "F.properties: must be an object");
    fails("{\"properties\":{\"x\":{\"minLength\":-1}}}", "F.properties.x.minLength: must be");
    fails("{\"items\":{\"maxItems\":1.5}}", "F.items.maxItems: must be");
    fails("{\"anyOf\":[{},{\"required\":[1]}]}", "F.anyOf[1].required: must be");
    fails("{\"enum\":3}", "F.enum: must be a list");
    fails("{\"allOf\":[]}", "F.allOf: must not be empty");
    fails("{\"prefixItems\":[7]}", "F.prefixItems[0]: must be a schema");
    fails("{\"multipleOf\":0}", "F.multipleOf: must be");
    fails("7", "F: must be a schema");
    assert_int_equal(compile_with("{\"minimum\":\"1\"}", (grammar_schema_options){0}),
                     BASE_ERR_USAGE); // relaxed or not
}

static void test_relaxed(void **state) {
    (void)state;
    relaxes("{\"type\":\"integer\",\"not\":{\"const\":1}}", "F: not");
    values("[1,2]", true);
    values("[\"\"]", false);
    relaxes("{\"anyOf\":[{\"type\":\"null\",\"foo\":1},{\"if\":{}}]}",
            "F.anyOf[0]: foo, F.anyOf[1]: if");
    values("[null,1]", true);
    relaxes("{\"items\":{\"type\":\"number\",\"multipleOf\":0.5}}", "F.items: multipleOf");
    relaxes("{\"type\":\"string\",\"pattern\":\"^a*$\",\"minLength\":10000000}", "F: minLength");
    fails("{\"type\":\"string\",\"pattern\":\"(?=a)\"}", "F.pattern: ");
    // Values are not dropped for a keyword that is not understood.
    assert_int_equal(
        compile_with("{\"enum\":[1,2],\"not\":{\"const\":1}}", (grammar_schema_options){0}), 0);
    values("[1,2]", true);
    compiles("{\"x-any\":1,\"title\":\"\",\"nullable\":true,\"type\":\"null\",\"format\":\"own\","
             "\"uniqueItems\":false,\"dependentRequired\":{}}");
}

static void test_options(void **state) {
    (void)state;
    grammar_schema_options options = {.strict = true, .object = true};
    assert_int_equal(compile_with("{}", options), 0);
    values("[{},{\"a\":1}]", true);
    values("[1,null]", false);
    assert_int_equal(compile_with("{\"type\":[\"object\",\"null\"]}", options), 0);
    values("[{},null]", true);
    options = (grammar_schema_options){.strict = true, .no_additional = true};
    static const char some[] = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\"}}}";
    assert_int_equal(compile_with(some, options), 0);
    values("[{},{\"a\":{\"x\":1}}]", true);
    values("[{\"b\":1}]", false);
    assert_int_equal(program->max_whitespace, GRAMMAR_MAX_WHITESPACE);
    options.no_whitespace = true;
    assert_int_equal(compile_with("{\"type\":\"object\",\"properties\":{},"
                                  "\"additionalProperties\":{\"type\":\"null\"}}",
                                  options),
                     0);
    values("[{\"b\":null}]", true);
    assert_int_equal(program->max_whitespace, 0);
    assert_int_equal(program->whitespace_of_level, 0);
}

// ---------------------------------------------------------------------------------------------

// BEGIN item, item, ... END, with %d in an item standing for its number.
static void series(base_str *out, const char *begin, const char *item, int n, const char *end) {
    base_str_adds(out, begin);
    for (int i = 0; i < n; i++) {
        base_str_adds(out, i > 0 ? "," : "");
        for (const char *p = item; *p != '\0'; p++) {
            bool number = p[0] == '%' && (p[1] == 'd' || p[1] == 'n');
            if (number)
                base_str_printf(out, "%d", p[1] == 'd' ? i : i + 1);
            else
                base_str_add(out, p, 1);
            p += number;
        }
    }
    base_str_adds(out, end);
}

static void bomb(const char *begin, const char *item, int n, const char *end, const char *message) {
    base_str text = {0};
    series(&text, begin, item, n, end);
    fails(text.data, message);
    base_str_free(&text);
}

static void test_bombs(void **state) {
    (void)state;
    bomb("{\"enum\":[", "%d", 100000, "]}", "F.enum: too large: more than 10000 values");
    bomb("{\"properties\":{", "\"p%d\":{}", 4097, "}}", "F.properties: too large");
    bomb("{\"anyOf\":[", "{\"minimum\":%d}", 5000, "]}", "alternatives");
    bomb("{\"allOf\":[", "{\"anyOf\":[{\"required\":[\"a%d\"]},{\"required\":[\"b%d\"]}]}", 30,
         "]}", "alternatives");
    bomb("{\"allOf\":[", "{\"properties\":{\"p%d\":{\"minimum\":1}}}", 2000, "]}", "steps");
    bomb("{\"$ref\":\"#/$defs/n0\",\"$defs\":{",
         "\"n%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/n%n\"},{\"$ref\":\"#/$defs/n%n\"}]}", 300,
         ",\"n300\":{}}}", "too large");
    bomb("{\"enum\":[1],\"$ref\":\"#/$defs/n0\",\"$defs\":{",
         "\"n%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/n%n\"},{\"$ref\":\"#/$defs/n%n\"}]}", 300,
         ",\"n300\":{}}}", "too large");
    bomb("{\"$ref\":\"#/$defs/n0\",\"$defs\":{",
         "\"n%d\":{\"properties\":{\"l\":{\"$ref\":\"#/$defs/n%n\"},\"r\":{\"allOf\":["
         "{\"$ref\":\"#/$defs/n%n\"},{\"properties\":{\"l\":{\"$ref\":\"#/$defs/n0\"}}}]}}}",
         100, ",\"n100\":{}}}", "too large");
    bomb("{\"$comment\":\"", "0123456789012345678901234567890123456789", 30000, "\"}", "1 MiB");
    base_str deep = {0};
    for (int i = 0; i < 130; i++)
        base_str_adds(&deep, "{\"items\":");
    base_str_adds(&deep, "{}");
    for (int i = 0; i < 130; i++)
        base_str_adds(&deep, "}");
    fails(deep.data, "nested more than 128 levels deep");
    base_str_free(&deep);
}

// Large, but harmless.
static void test_large(void **state) {
    (void)state;
    static const struct {
        const char *begin, *item;
        int n;
        const char *end;
    } list[] = {
        {"{\"enum\":[", "\"value %d\"", 10000, "]}"},
        {"{\"properties\":{", "\"p%d\":{\"type\":\"string\"}", 4096, "}}"},
        {"{\"oneOf\":[", "{\"const\":\"c%d\",\"title\":\"t\"}", 1000, "]}"},
        {"{\"oneOf\":[",
         "{\"type\":\"object\",\"properties\":{\"t\":{\"const\":%d}},\"required\":[\"t\"]}", 200,
         "]}"},
        {"{\"$ref\":\"#/$defs/n0\",\"$defs\":{", "\"n%d\":{\"$ref\":\"#/$defs/n%n\"}", 3000,
         ",\"n3000\":{\"type\":\"null\"}}}"},
        {"{\"$ref\":\"#/$defs/n0\",\"$defs\":{",
         "\"n%d\":{\"allOf\":[{\"$ref\":\"#/$defs/n%n\"},{\"$ref\":\"#/$defs/n%n\"}]}", 1000,
         ",\"n1000\":{\"type\":\"null\"}}}"},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        base_str text = {0};
        series(&text, list[i].begin, list[i].item, list[i].n, list[i].end);
        compiles(text.data);
        base_str_free(&text);
    }
}

// ---------------------------------------------------------------------------------------------

#define CASES "../shared/data/schemas/validator_cases"

static int check_file(const char *path) {
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    int n = 0;
    while (f != NULL && getline(&line, &cap, f) > 0) {
        compiles(line);
        n++;
    }
    free(line);
    if (f != NULL)
        fclose(f);
    return n;
}

static void test_cases(void **state) {
    (void)state;
    DIR *dir = opendir(CASES);
    if (dir == NULL) {
        print_message("# " CASES " is absent\n");
        skip();
        return;
    }
    int n = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[600];
        snprintf(path, sizeof path, CASES "/%s/valid.jsonl", e->d_name);
        n += check_file(path);
    }
    closedir(dir);
    assert_true(n >= 100);
}

static int teardown(void **state) {
    (void)state;
    grammar_program_free(program);
    base_str_free(&relaxed);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),        cmocka_unit_test(test_values),
        cmocka_unit_test(test_objects),      cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_combinations), cmocka_unit_test(test_references),
        cmocka_unit_test(test_finite),       cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_relaxed),      cmocka_unit_test(test_options),
        cmocka_unit_test(test_bombs),        cmocka_unit_test(test_large),
        cmocka_unit_test(test_cases),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
