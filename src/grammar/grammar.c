// What is asked of an output -> a constraint: checked, and its languages compiled.
#include "grammar/constraint.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_NAME_BYTES = 256 };

// Of all languages of one constraint together: the size that one request may hold, and the time of
// its thread that making them may take. Each alone is bounded where it is made; a thousand tools
// are not.
#define MAX_LANGUAGE_BYTES ((size_t)64 << 20)
#define MAX_COMPILE_NS ((int64_t)500000000)

static int64_t thread_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// The field of a tool beside its parameters: "tools[2].function.name".
static int bad_name(const grammar_tool *tool, base_err *err, const char *why) {
    const char *dot = strrchr(tool->field, '.');
    int len = dot ? (int)(dot + 1 - tool->field) : 0;
    return base_fail(err, BASE_ERR_USAGE, "%.*sname: \"%.*s\" %s", len, tool->field,
                     (int)(tool->name_len < 100 ? tool->name_len : 100), tool->name, why);
}

static int check_name(const grammar_tool *tool, base_err *err) {
    if (tool->name_len == 0 || tool->name_len > MAX_NAME_BYTES)
        return bad_name(tool, err, "must have 1 to 256 bytes");
    for (size_t at = 0, len; at < tool->name_len; at += len) {
        bool valid;
        unsigned char c = (unsigned char)tool->name[at];
        len = base_utf8_next(tool->name + at, tool->name_len - at, &valid);
        if (!valid)
            return bad_name(tool, err, "is not UTF-8");
        if (c < 0x20 || c == 0x7f)
            return bad_name(tool, err, "has a control character");
    }
    return 0;
}

static int compare_names(const char *a, size_t a_len, const char *b, size_t b_len) {
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare_tools(const void *x, const void *y) {
    const grammar_declared *a = x, *b = y;
    int order = compare_names(a->name, a->name_len, b->name, b->name_len);
    return order ? order : a->position - b->position;
}

int grammar_find_tool(const grammar *g, const char *name, size_t len) {
    int low = 0, high = g->n_tools;
    while (low < high) {
        int mid = low + (high - low) / 2;
        const grammar_declared *tool = &g->tools[mid];
        int order = compare_names(tool->name, tool->name_len, name, len);
        if (order == 0)
            return mid;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

// The names, sorted; their languages come later.
static int declare_tools(grammar *g, const grammar_spec *spec, base_err *err) {
    g->tools = base_try_calloc((size_t)spec->n_tools, sizeof *g->tools);
    if (!g->tools)
        return base_fail(err, BASE_ERR_RESOURCE, "tools: out of memory");
    for (int i = 0; i < spec->n_tools; i++) {
        const grammar_tool *tool = &spec->tools[i];
        int rc = check_name(tool, err);
        if (rc)
            return rc;
        g->tools[g->n_tools++] = (grammar_declared){
            .name = base_strndup(tool->name, tool->name_len),
            .name_len = tool->name_len,
            .position = i,
        };
    }
    qsort(g->tools, (size_t)g->n_tools, sizeof *g->tools, compare_tools);
    for (int i = 1; i < g->n_tools; i++) {
        const grammar_declared *a = &g->tools[i - 1], *b = &g->tools[i];
        if (compare_names(a->name, a->name_len, b->name, b->name_len) == 0)
            return bad_name(&spec->tools[b->position], err, "is declared twice");
    }
    return 0;
}

// Reports and errors come in the order of the declarations.
static int compile_tools(grammar *g, const grammar_spec *spec, base_str *relaxed, base_err *err) {
    int64_t begin = thread_ns();
    size_t bytes = 0;
    int rc = 0, *sorted = base_alloc((size_t)g->n_tools * sizeof *sorted);
    for (int i = 0; i < g->n_tools; i++)
        sorted[g->tools[i].position] = i;
    for (int i = 0; i < g->n_tools && rc == 0; i++) {
        const grammar_tool *tool = &spec->tools[i];
        grammar_schema_options options = {.strict = tool->strict,
                                          .no_whitespace = spec->no_whitespace,
                                          .object = true,
                                          .field = tool->field};
        grammar_cached **out = &g->tools[sorted[i]].arguments;
        rc = grammar_language_schema(out, g->vocab,
                                     tool->parameters ? tool->parameters : json_true(), &options,
                                     relaxed, err);
        if (rc == 0)
            bytes += (*out)->bytes_made;
        if (rc == 0 && (bytes > MAX_LANGUAGE_BYTES || thread_ns() - begin > MAX_COMPILE_NS))
            rc = base_fail(err, BASE_ERR_USAGE, "%s: too large, together with the tools before",
                           tool->field);
    }
    base_free(sorted);
    return rc ? rc
              : grammar_language_names(&g->names, g->vocab, g->tools, g->n_tools, "tools", err);
}

static bool constrains_tools(const grammar *g) {
    return g->tool_choice == GRAMMAR_TOOLS_AUTO || g->tool_choice == GRAMMAR_TOOLS_REQUIRED;
}

// A frame that cannot be written is refused.
static int check_tokens(const grammar *g, base_err *err) {
    const int32_t *markers = g->vocab->markers;
    if (g->vocab->n_ends == 0)
        return base_fail(err, BASE_ERR_USAGE, "the model has no id that ends an output");
    if (g->thought != GRAMMAR_THOUGHT_NONE &&
        (markers[GRAMMAR_THINK] < 0 || markers[GRAMMAR_THINK_END] < 0))
        return base_fail(err, BASE_ERR_USAGE, "the vocabulary has no tokens for thoughts");
    for (int i = GRAMMAR_SECTION_BEGIN; constrains_tools(g) && i < GRAMMAR_N_MARKERS; i++) {
        if (markers[i] < 0)
            return base_fail(err, BASE_ERR_USAGE, "tools: the vocabulary has no tokens for calls");
    }
    return 0;
}

static int compile(grammar *g, const grammar_spec *spec, base_str *relaxed, base_err *err) {
    int rc = check_tokens(g, err);
    if (rc == 0)
        rc = grammar_language_answer(&g->answer, g->vocab, spec, relaxed, err);
    if (rc == 0 && constrains_tools(g))
        rc = declare_tools(g, spec, err);
    if (rc == 0 && constrains_tools(g))
        rc = compile_tools(g, spec, relaxed, err);
    return rc;
}

int grammar_compile(grammar **out, grammar_vocab *v, const grammar_spec *spec, base_str *relaxed,
                    base_err *err) {
    bool budget = spec->thinking_budget >= 0 && spec->thought != GRAMMAR_THOUGHT_NONE;
    grammar_tool_choice choice = spec->tool_choice;
    *out = NULL;
    if (spec->n_tools == 0 && choice == GRAMMAR_TOOLS_AUTO)
        choice = GRAMMAR_TOOLS_NONE;
    if (spec->n_tools == 0 && choice == GRAMMAR_TOOLS_REQUIRED)
        return base_fail(err, BASE_ERR_USAGE, "tools: none is declared, but a call is required");
    if (spec->answer == GRAMMAR_ANSWER_TEXT && !budget &&
        (choice == GRAMMAR_TOOLS_NONE || choice == GRAMMAR_TOOLS_FREE))
        return 0;
    grammar *g = base_alloc(sizeof *g);
    *g = (grammar){.vocab = v,
                   .thought = spec->thought,
                   .thinking_budget = budget ? spec->thinking_budget : -1,
                   .tool_choice = choice,
                   .one_call = spec->one_call,
                   .first_index = spec->first_index};
    atomic_init(&g->refs, 1);
    int rc = compile(g, spec, relaxed, err);
    if (rc)
        grammar_unref(g);
    else
        *out = g;
    return rc;
}

grammar *grammar_ref(grammar *g) {
    if (g)
        atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void grammar_unref(grammar *g) {
    if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < g->n_tools; i++) {
        grammar_cache_release(&g->vocab->cache, g->tools[i].arguments);
        base_free(g->tools[i].name);
    }
    base_free(g->tools);
    grammar_cache_release(&g->vocab->cache, g->names);
    grammar_cache_release(&g->vocab->cache, g->answer);
    base_free(g);
}
