// The body of a completion or a chat -> an api_call.
#include "api/read.h"
#include "api/responses.h"

#include <stdio.h>
#include <string.h>

int api_model_check(const api_options *o, const api_object *body) {
    const char *name = NULL;
    size_t len = 0;
    int rc = api_field_string(body, "model", &name, &len);
    if (rc || len == 0)
        return rc;
    for (int i = 0; i < o->n_served_names; i++)
        if (strcmp(name, o->served_names[i]) == 0)
            return 0;
    return api_fail(body->error, 404, "model", "The model `%.200s` does not exist.", name);
}

// Calls are read from the output, with ids of their own, where they are parsed and may be made.
static void take_calls(api_reading *r, chat_calls *calls) {
    api_call *c = r->call;
    if (!calls)
        return;
    r->first_index = chat_calls_next_index(calls);
    if (r->options->tool_parser && r->tools.choice != API_CHOICE_NONE)
        c->calls = calls;
    else
        chat_calls_free(calls);
    c->named_tool = r->tools.choice == API_CHOICE_NAMED;
    c->one_call = r->tools.one_call;
}

static int read_chat(api_reading *r) {
    const api_options *o = r->options;
    api_call *c = r->call;
    chat_calls *calls = NULL;
    size_t max_bytes = SIZE_MAX;
    c->prompts = base_calloc(1, sizeof *c->prompts);
    c->n_prompts = 1;
    if (r->truncate == 0)
        max_bytes = (size_t)o->max_model_len * token_max_bytes(o->vocab);
    int rc = api_chat_read(o, &r->body, &r->tools, &r->thinking, max_bytes, &c->prompts->ids,
                           api_wants_text(r) ? &c->prompts->text : NULL, &calls);
    take_calls(r, calls);
    return rc ? rc : api_prompt_finish(r, c->prompts, true);
}

static int read_chat_fields(api_reading *r) {
    int rc = api_thinking_read(&r->body, &r->thinking);
    return rc ? rc : api_tools_read(r->options, &r->body, &r->tools);
}

static int read_body(api_reading *r) {
    bool chat = r->call->kind == API_CHAT;
    int rc;
    if ((chat && (rc = api_chat_check(r->options, r->body.error))) ||
        (rc = api_model_check(r->options, &r->body)) || (rc = api_shape_read(r)) ||
        (rc = api_format_read(&r->body, &r->format)) || (chat && (rc = read_chat_fields(r))) ||
        (rc = api_params_read(r)) || (rc = api_lists_read(r)) ||
        (rc = chat ? read_chat(r) : api_prompts_read(r)) || (rc = api_params_fit(r)) ||
        (rc = api_shown_check(r)) || (rc = api_constrain(r)))
        return rc;
    api_lists_bind(r);
    return 0;
}

int api_call_parse_json(api_call **out, api_kind kind, api_dialect dialect, const api_options *o,
                        const json_t *body, const char *request_id, api_error *error) {
    static const char *const prefixes[] = {
        [API_OPENAI] = "chatcmpl-", [API_ANTHROPIC] = "msg_", [API_RESPONSES] = "resp_"};
    api_call *c = base_calloc(1, sizeof *c);
    *out = NULL;
    *error = (api_error){0};
    c->kind = kind;
    c->dialect = dialect;
    c->created = base_wall_s();
    c->model = o->served_names[0];
    c->skip_special = c->include_reasoning = true;
    engine_params_init(&c->params);
    snprintf(c->id, sizeof c->id, "%s%s", kind == API_CHAT ? prefixes[dialect] : "cmpl-",
             request_id);
    api_reading r = {.options = o, .call = c, .body = {.json = body, .error = error}};
    int rc = read_body(&r);
    api_tools_free(&r.tools);
    api_format_free(&r.format);
    if (rc) {
        api_call_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

int api_call_parse(api_call **out, api_kind kind, const api_options *o, const char *body,
                   size_t len, const char *request_id, api_error *error) {
    json_t *json;
    *out = NULL;
    *error = (api_error){0};
    int rc = kind == API_CHAT ? api_body_parse_chat(&json, body, len, error)
                              : api_body_parse_prompt(&json, body, len, error);
    if (rc)
        return rc;
    rc = api_call_parse_json(out, kind, API_OPENAI, o, json, request_id, error);
    json_decref(json);
    return rc;
}

void api_call_free(api_call *c) {
    if (!c)
        return;
    for (int i = 0; i < c->n_prompts; i++) {
        base_ids_free(&c->prompts[i].ids);
        base_str_free(&c->prompts[i].text);
    }
    for (int i = 0; i < c->n_stops; i++)
        base_free(c->stops[i]);
    base_free(c->prompts);
    base_free(c->stops);
    base_free(c->stop_lens);
    base_ids_free(&c->lists);
    base_free(c->bias_values);
    base_free(c->bad_words);
    base_free(c->bad_word_lens);
    chat_calls_free(c->calls);
    grammar_unref(c->grammar);
    base_str_free(&c->relaxed);
    api_responses_turn_free(c->turn);
    base_free(c);
}
