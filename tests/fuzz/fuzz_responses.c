// The body of /v1/responses. What is refused names fields as its clients do; what is accepted can
// be remembered, and gone on with.
#include "api/responses.h"
#include "fuzz/api_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Fields of chats have other names here.
static void check_error(const api_error *e, int rc) {
    require_error(e, rc);
    require(strncmp(e->param, "messages", 8) != 0 && strncmp(e->param, "response_format", 15) != 0);
}

static void check_echo(const base_str *echo) {
    base_str object = {0};
    base_str_adds(&object, "{");
    base_str_add(&object, echo->data, echo->len);
    base_str_adds(&object, "}");
    json_t *json = json_loadb(object.data, object.len, JSON_REJECT_DUPLICATES, NULL);
    require(json_is_object(json));
    json_decref(json);
    base_str_free(&object);
}

static void remember(api_responses_store *store, const api_call *c) {
    json_t *turn = json_pack("{s:s, s:s}", "role", "assistant", "content", "ok");
    base_str items = {0};
    base_str_adds(&items, "[{\"id\":\"msg_0_x\",\"role\":\"assistant\",\"content\":\"ok\"}]");
    api_responses_store_put(store, c->id, c->turn->messages, turn, &items);
    base_str_free(&items);
    json_t *all = api_responses_store_get(store, c->id);
    require(json_array_size(all) == json_array_size(c->turn->messages) + 1);
    require(json_equal(json_array_get(all, json_array_size(all) - 1), turn));
    json_decref(all);
    json_decref(turn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static api_fixture fixture;
    if (!fixture.vocab)
        api_fixture_make(&fixture);
    api_options options = fixture.options;
    options.responses = api_responses_store_create((size_t)1 << 20);
    api_call *c;
    api_error error;
    for (int turn = 0; turn < 2; turn++) { // a body that names "resp_0" goes on with itself
        char id[8];
        snprintf(id, sizeof id, "%d", turn);
        int rc = api_responses_parse(&c, &options, (const char *)data, size, id, &error);
        require((rc == 0) == (c != NULL));
        if (!c) {
            check_error(&error, rc);
            continue;
        }
        require_one_chat(&options, c, API_RESPONSES);
        check_echo(&c->turn->echo);
        if (c->turn->messages)
            remember(options.responses, c);
        api_call_free(c);
    }
    api_responses_store_free(options.responses);
    return 0;
}
