// What a request asks of its output -> the grammar that holds it to that.
#include "api/read.h"

#include <string.h>

// What is left to constrain of a chat's thought. Without the reasoning parser all is answer.
static grammar_thought thought_of(const api_reading *r) {
    static const grammar_thought thoughts[] = {
        [CHAT_BEGINS_THOUGHT] = GRAMMAR_THOUGHT_TO_OPEN,
        [CHAT_IN_THOUGHT] = GRAMMAR_THOUGHT_OPEN,
        [CHAT_IN_ANSWER] = GRAMMAR_THOUGHT_NONE,
    };
    const base_ids *ids = &r->call->prompts[0].ids;
    if (r->call->kind != API_CHAT || !r->options->reasoning_parser)
        return GRAMMAR_THOUGHT_NONE;
    return thoughts[chat_output_begin(r->options->chat, ids->data, ids->len)];
}

// Calls that the request leaves to the model are held to the declared tools where the server says
// so, and where a tool is strict.
static grammar_tool_choice tool_choice_of(const api_reading *r) {
    const api_tools *t = &r->tools;
    switch (t->choice) {
    case API_CHOICE_NONE:
        return GRAMMAR_TOOLS_NONE;
    case API_CHOICE_AUTO:
        return (r->options->enforce_tools && r->options->grammar) || t->strict ? GRAMMAR_TOOLS_AUTO
                                                                               : GRAMMAR_TOOLS_FREE;
    default:
        return GRAMMAR_TOOLS_REQUIRED;
    }
}

static void add_tools(const api_reading *r, grammar_spec *spec) {
    const api_tools *t = &r->tools;
    spec->tool_choice = tool_choice_of(r);
    spec->one_call = t->one_call;
    spec->first_index = r->first_index;
    spec->tools = t->at;
    spec->n_tools = t->n;
    if (t->choice == API_CHOICE_NAMED) {
        spec->tools += t->named;
        spec->n_tools = 1;
    }
    if (t->choice >= API_CHOICE_REQUIRED)
        for (int i = 0; i < t->n; i++)
            t->at[i].strict = true;
}

// Where calls are all that may come, there is no answer to be of a form.
static void add_answer(const api_reading *r, grammar_spec *spec) {
    const api_format *f = &r->format;
    if (spec->tool_choice == GRAMMAR_TOOLS_REQUIRED)
        return;
    spec->answer = f->answer;
    spec->schema = f->schema;
    spec->strict = true;
    spec->regex = f->regex;
    spec->regex_len = f->regex_len;
    spec->choices = f->choices;
    spec->choice_lens = f->choice_lens;
    spec->n_choices = f->n_choices;
    spec->no_whitespace = f->no_whitespace;
    spec->no_additional = f->no_additional;
    spec->answer_field = f->field;
}

static int add_thought(const api_reading *r, grammar_spec *spec) {
    const api_thinking *t = &r->thinking;
    bool asked = t->field && strcmp(t->field, "reasoning_effort") != 0;
    spec->thought = thought_of(r);
    spec->thinking_budget = -1;
    if (asked && !r->options->reasoning_parser)
        return api_field_fail(&r->body, 400, t->field,
                              "thoughts can be limited only when they are parsed: the server was "
                              "started with --reasoning-parser none");
    if (spec->thought != GRAMMAR_THOUGHT_NONE)
        spec->thinking_budget = t->budget;
    return 0;
}

// The field that asks for a constraint, or NULL: what lists of ids forbid anyway needs none.
static const char *asking_field(const api_reading *r, const grammar_spec *spec) {
    if (spec->tool_choice == GRAMMAR_TOOLS_REQUIRED)
        return "tool_choice";
    if (spec->tool_choice == GRAMMAR_TOOLS_AUTO)
        return "tools";
    if (spec->answer != GRAMMAR_ANSWER_TEXT)
        return r->format.request;
    return spec->thinking_budget >= 0 ? r->thinking.field : NULL;
}

static int check_together(const api_reading *r) {
    const api_format *f = &r->format;
    if (r->tools.choice < API_CHOICE_REQUIRED || !f->request ||
        strcmp(f->request, "structured_outputs") != 0)
        return 0;
    return api_field_fail(&r->body, 400, f->request,
                          "cannot be given together with a tool_choice that asks for a call");
}

// "FIELD: reason", where the field is a path through a schema, with names that clients chose. One
// too long is cut: it then names what leads there.
static int fail_schema(const api_reading *r, const base_err *err) {
    char field[sizeof r->body.error->param] = "";
    const char *end = strstr(err->message, ": ");
    size_t len = end ? (size_t)(end - err->message) : 0;
    if (len >= sizeof field) {
        len = sizeof field - 1;
        while (len > 0 && err->message[len] != '.')
            len--;
    }
    memcpy(field, err->message, len);
    return api_fail(r->body.error, 400, field, "%s", err->message);
}

int api_constrain(api_reading *r) {
    grammar_spec spec = {.answer = GRAMMAR_ANSWER_TEXT};
    api_call *c = r->call;
    base_err err;
    int rc;
    add_tools(r, &spec);
    add_answer(r, &spec);
    if ((rc = check_together(r)) || (rc = add_thought(r, &spec)))
        return rc;
    const char *field = asking_field(r, &spec);
    if (!field)
        return 0;
    if (!r->options->grammar)
        return api_field_fail(&r->body, 501, field, "this server cannot constrain outputs");
    rc = grammar_compile(&c->grammar, r->options->grammar, &spec, &c->relaxed, &err);
    if (rc == BASE_ERR_USAGE)
        return fail_schema(r, &err);
    if (rc)
        return api_fail(r->body.error, 503, "", "%s", err.message);
    c->params.grammar = c->grammar;
    return 0;
}
