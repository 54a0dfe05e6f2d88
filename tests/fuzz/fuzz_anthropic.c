// The body of /v1/messages and of its count of tokens. What is refused says why in UTF-8 and names
// fields as its clients do; what is accepted, the engine accepts as well, and it can be counted.
#include "api/anthropic.h"
#include "fuzz/api_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const api_error *e, int rc) {
    require_error(e, rc);
    require(!strchr(e->param, '['));
    base_str out = {0};
    api_anthropic_print_error(e, "id", &out);
    json_t *json = json_loadb(out.data, out.len, 0, NULL);
    require(json != NULL);
    json_decref(json);
    base_str_free(&out);
}

static bool parse(const api_options *o, const char *body, size_t len) {
    api_call *c;
    api_error error;
    int rc = api_anthropic_parse(&c, o, body, len, "fuzz", &error);
    require((rc == 0) == (c != NULL));
    if (!c) {
        check_error(&error, rc);
        return false;
    }
    require_one_chat(o, c, API_ANTHROPIC);
    require(strcmp(c->id, "msg_fuzz") == 0);
    api_call_free(c);
    return true;
}

static bool count(const api_options *o, const char *body, size_t len) {
    base_str reply = {0};
    api_error error;
    int rc = api_anthropic_count(o, body, len, &reply, &error);
    require((rc == 0) == (reply.len > 0));
    if (rc)
        check_error(&error, rc);
    base_str_free(&reply);
    return rc == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static api_fixture fixture;
    const char *body = (const char *)data;
    if (!fixture.vocab)
        api_fixture_make(&fixture);
    bool counted = count(&fixture.options, body, size);
    require(!parse(&fixture.options, body, size) || counted);
    return 0;
}
