// Makes random texts under JSON Schemas, and judges texts, for the tests that compare with another
// implementation. Each line of standard input is an object:
//     {"schema": ..., "strict": false, "tool": false, "no_whitespace": false,
//      "seed": 1, "count": 5, "length": 40, "accepts": ["...", ...]}
// `tool`: as the arguments of a required call, else as the answer. For each a line comes out,
// {"texts": [...], "unfinished": n, "accepted": [true, ...], "relaxed": "..."} or {"error": "..."}:
// `count` walks, which turn to the end when they have `length` ids, and whether each of `accepts`,
// as the tokenizer cuts it and byte by byte, may be an output.
#include "grammar_fixture.h"
#include <stdio.h>
#include <stdlib.h>

enum { MOST_IDS = 3000 };

static const char call[] = "<|tool_calls_section_begin|><|tool_call_begin|>functions.a:0"
                           "<|tool_call_argument_begin|>";
static const char call_end[] = "<|tool_call_end|><|tool_calls_section_end|>";

static grammar_fixture f;

static bool flag(const json_t *root, const char *name) {
    return json_is_true(json_object_get(root, name));
}

static int64_t number(const json_t *root, const char *name, int64_t otherwise) {
    const json_t *value = json_object_get(root, name);
    return value ? json_integer_value(value) : otherwise;
}

static int compile(grammar **out, const json_t *root, base_str *relaxed, base_err *err) {
    const json_t *schema = json_object_get(root, "schema");
    grammar_tool tool = {.name = "a",
                         .name_len = 1,
                         .parameters = schema,
                         .strict = flag(root, "strict"),
                         .field = "schema"};
    grammar_spec spec = {.thinking_budget = -1,
                         .no_whitespace = flag(root, "no_whitespace"),
                         .answer_field = "schema"};
    if (flag(root, "tool")) {
        spec.tool_choice = GRAMMAR_TOOLS_REQUIRED;
        spec.tools = &tool;
        spec.n_tools = 1;
        spec.one_call = true;
    } else {
        spec.answer = GRAMMAR_ANSWER_SCHEMA;
        spec.schema = schema;
        spec.strict = tool.strict;
    }
    return grammar_compile(out, f.vocab, &spec, relaxed, err);
}

// With the ids that stand before the text of a call.
static void take_control(fixture_walk *w, const char *text) {
    base_ids ids = {0};
    token_encode(f.tokens, text, strlen(text), TOKEN_ALLOW_SPECIAL, &ids);
    for (size_t i = 0; i < ids.len; i++) {
        if (!fixture_walk_take(w, ids.data[i]))
            abort();
    }
    base_ids_free(&ids);
    w->text.len = 0;
}

static void add_texts(base_str *out, grammar *g, const json_t *root) {
    int64_t count = number(root, "count", 0), seed = number(root, "seed", 1), unfinished = 0;
    bool first = true;
    base_str_adds(out, "{\"texts\": [");
    for (int64_t i = 0; i < count; i++) {
        fixture_walk w = fixture_walk_begin(&f, g, (uint64_t)(seed * 1000 + i));
        fixture_walk_keys(&w, json_object_get(root, "schema"));
        if (flag(root, "tool"))
            take_control(&w, call);
        fixture_walked walked = fixture_walk_on(&w, (size_t)number(root, "length", 40), MOST_IDS);
        if (walked == FIXTURE_WALK_BROKEN) {
            fprintf(stderr, "grammar_walk: nothing may come after %.*s\n", (int)w.text.len,
                    w.text.data);
            abort();
        }
        unfinished += walked == FIXTURE_WALK_ON;
        if (walked == FIXTURE_WALK_ENDED) {
            base_str_adds(out, first ? "" : ", ");
            base_json_add_string(out, w.text.data, w.text.len);
            first = false;
        }
        fixture_walk_end(&w);
    }
    base_str_printf(out, "], \"unfinished\": %lld", (long long)unfinished);
}

static bool take_text(fixture_walk *w, const char *text, size_t len, size_t piece) {
    base_ids ids = {0};
    for (size_t at = 0; at < len; at += piece)
        token_encode(f.tokens, text + at, len - at < piece ? len - at : piece, TOKEN_PLAIN, &ids);
    bool good = true;
    for (size_t i = 0; good && i < ids.len; i++) {
        if (!grammar_state_mask(w->state, w->mask, f.size))
            abort();
        good = fixture_bit(w->mask, ids.data[i]);
        if (fixture_walk_take(w, ids.data[i]) != good)
            abort();
    }
    base_ids_free(&ids);
    return good;
}

static bool is_accepted(grammar *g, bool tool, const char *text, size_t len, size_t piece) {
    fixture_walk w = fixture_walk_begin(&f, g, 1);
    if (tool)
        take_control(&w, call);
    bool good = take_text(&w, text, len, piece);
    int32_t last = tool ? f.control.call_end : f.control.ends[0];
    good = good && fixture_walk_take(&w, last);
    if (good && tool)
        take_control(&w, call_end + strlen("<|tool_call_end|>"));
    fixture_walk_end(&w);
    return good;
}

static void add_accepted(base_str *out, grammar *g, const json_t *root) {
    json_t *text;
    size_t i;
    base_str_adds(out, ", \"accepted\": [");
    json_array_foreach(json_object_get(root, "accepts"), i, text) {
        const char *at = json_string_value(text);
        size_t len = json_string_length(text);
        bool whole = is_accepted(g, flag(root, "tool"), at, len, len + 1);
        bool cut = is_accepted(g, flag(root, "tool"), at, len, 1);
        if (whole != cut) {
            fprintf(stderr, "grammar_walk: %s depends on how it is cut\n", at);
            abort();
        }
        base_str_printf(out, "%s%s", i ? ", " : "", whole ? "true" : "false");
    }
    base_str_adds(out, "]");
}

static void answer(const json_t *root) {
    grammar *g;
    base_err err = {0};
    base_str out = {0}, relaxed = {0};
    if (compile(&g, root, &relaxed, &err)) {
        base_str_adds(&out, "{\"error\": ");
        base_json_add_string(&out, err.message, strlen(err.message));
    } else {
        add_texts(&out, g, root);
        add_accepted(&out, g, root);
        base_str_adds(&out, ", \"relaxed\": ");
        base_json_add_string(&out, relaxed.data ? relaxed.data : "", relaxed.len);
        grammar_unref(g);
    }
    base_str_adds(&out, "}\n");
    fwrite(out.data, 1, out.len, stdout);
    base_str_free(&out);
    base_str_free(&relaxed);
}

int main(void) {
    char *line = NULL;
    size_t cap = 0;
    f = fixture_grammar();
    for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;) {
        base_err err;
        json_t *root = base_json_parse(line, (size_t)len, "stdin", BASE_ERR_USAGE, &err);
        if (!root) {
            fprintf(stderr, "grammar_walk: %s\n", err.message);
            return err.code;
        }
        answer(root);
        json_decref(root);
    }
    free(line);
    fixture_grammar_free(&f);
    return fflush(stdout) ? 1 : 0;
}
