// The body of a request, as every route that reads one. What is refused says why in UTF-8; what is
// accepted, the engine accepts as well.
#include "api/tokenize.h"
#include "fuzz/api_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_prompt(const api_options *o, const api_call *c, const api_prompt *p) {
    require(c->kind == API_COMPLETION ||
            p->ids.len + (size_t)c->params.max_tokens <= (size_t)o->max_model_len);
    require(!(c->echo || o->log_requests) || p->text.len > 0);
    require_utf8(p->text.data ? p->text.data : "", p->text.len);
}

static void parse(const api_options *o, api_kind kind, const char *body, size_t len) {
    api_call *c;
    api_error error;
    int rc = api_call_parse(&c, kind, o, body, len, "fuzz", &error);
    require((rc == 0) == (c != NULL));
    if (!c) {
        require_error(&error, rc);
        return;
    }
    require(c->n_prompts >= 1 && c->n_prompts * c->params.n <= FIXTURE_CAPACITY);
    require(c->logprobs == (c->params.n_logprobs >= 0));
    require(c->prompt_logprobs == (c->params.n_prompt_logprobs >= 0));
    require(c->params.grammar == c->grammar && (!c->grammar || o->grammar));
    require(c->kind == API_CHAT || (!c->calls && !c->one_call && !c->named_tool));
    require(!c->discard_output || (c->echo && c->params.max_tokens == 1));
    for (int i = 0; i < c->n_stops; i++)
        require(c->stop_lens[i] > 0 && strlen(c->stops[i]) == c->stop_lens[i]);
    require(api_fixture_admit(o, c, NULL) == 0);
    for (int i = 0; i < c->n_prompts; i++)
        check_prompt(o, c, &c->prompts[i]);
    api_call_free(c);
}

static void answer(int (*route)(const api_options *, const char *, size_t, base_str *, api_error *),
                   const api_options *o, const char *body, size_t len) {
    base_str reply = {0};
    api_error error;
    int rc = route(o, body, len, &reply, &error);
    if (rc) {
        require_error(&error, rc);
        require(reply.len == 0);
    } else {
        json_t *json = json_loadb(reply.data, reply.len, JSON_ALLOW_NUL, NULL);
        require(json != NULL);
        json_decref(json);
    }
    base_str_free(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static api_fixture fixture;
    static api_options open; // everything a server can be told to allow
    const char *body = (const char *)data;
    if (!fixture.vocab) {
        api_fixture_make(&fixture);
        open = fixture.options;
        open.allow_special = open.log_requests = open.force_include_usage = true;
        open.max_logprobs = -1;
        open.defaults.max_tokens = 7;
        open.exclude_tools = true;
        open.reasoning_parser = open.tool_parser = open.enforce_tools = false;
    }
    for (api_kind kind = API_COMPLETION; kind <= API_CHAT; kind++) {
        parse(&fixture.options, kind, body, size);
        parse(&open, kind, body, size);
    }
    answer(api_tokenize, &fixture.options, body, size);
    answer(api_detokenize, &fixture.options, body, size);
    return 0;
}
