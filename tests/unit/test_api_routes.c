// Routes, methods, keys and the small replies, over a real socket.
#include "server_fixture.h"

static const char json_header[] = "Content-Type: application/json\r\n";
static const char prompt_body[] = "{\"prompt\": \"x\"}";

static service plain;

static int open_plain(void **state) {
    (void)state;
    plain = service_defaults();
    service_open(&plain);
    return 0;
}

static int close_plain(void **state) {
    (void)state;
    service_close(&plain);
    return 0;
}

// ---------------------------------------------------------------------------------------------

static const struct {
    const char *path, *methods, *allow;
    bool open;
} known[] = {
    {"/", "GET", "OPTIONS, GET, HEAD", true},
    {"/health", "GET", "OPTIONS, GET, HEAD", true},
    {"/health/live", "GET", "OPTIONS, GET, HEAD", true},
    {"/health/ready", "GET", "OPTIONS, GET, HEAD", true},
    {"/ping", "GET POST", "OPTIONS, GET, HEAD, POST", true},
    {"/version", "GET", "OPTIONS, GET, HEAD", false},
    {"/load", "GET", "OPTIONS, GET, HEAD", false},
    {"/metrics", "GET", "OPTIONS, GET, HEAD", false},
    {"/tokenizer_info", "GET", "OPTIONS, GET, HEAD", false},
    {"/tokenize", "POST", "OPTIONS, POST", false},
    {"/detokenize", "POST", "OPTIONS, POST", false},
    {"/v1/models", "GET", "OPTIONS, GET, HEAD", false},
    {"/v1/completions", "POST", "OPTIONS, POST", false},
    {"/v1/chat/completions", "POST", "OPTIONS, POST", false},
    {"/v1/responses", "POST", "OPTIONS, POST", false},
    {"/v1/messages", "POST", "OPTIONS, POST", false},
    {"/v1/messages/count_tokens", "POST", "OPTIONS, POST", false},
};
enum { N_KNOWN = sizeof known / sizeof *known };

static bool is_tokenizer_info(int i) {
    return strcmp(known[i].path, "/tokenizer_info") == 0;
}

// An error in the words of the path's clients.
static void expect_refusal(const char *path, reply r, int status, const char *type,
                           const char *anthropic) {
    base_err err = {0};
    if (strncmp(path, "/v1/messages", 12) != 0) {
        expect_error(r, status, type);
        return;
    }
    assert_int_equal(r.status, status);
    json_t *json = base_json_parse(r.body.data, r.body.len, "error", BASE_ERR_USAGE, &err);
    assert_non_null(json);
    const json_t *error = json_object_get(json, "error");
    assert_string_equal(json_string_value(json_object_get(json, "type")), "error");
    assert_string_equal(json_string_value(json_object_get(error, "type")), anthropic);
    assert_true(json_string_length(json_object_get(error, "message")) > 0);
    assert_string_equal(json_string_value(json_object_get(json, "request_id")),
                        reply_header(&r, "request-id"));
    json_decref(json);
    reply_free(&r);
}

static void methods_are_checked(void **state) {
    (void)state;
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PATCH", "get"};
    for (int i = 0; i < N_KNOWN; i++) {
        if (is_tokenizer_info(i))
            continue;
        for (size_t j = 0; j < sizeof methods / sizeof *methods; j++) {
            if (strstr(known[i].methods, methods[j]))
                continue;
            reply r = ask_with(&plain, methods[j], known[i].path, "", NULL);
            assert_string_equal(reply_header(&r, "Allow"), known[i].allow);
            expect_refusal(known[i].path, r, 405, "BadRequestError", "invalid_request_error");
        }
        reply r = ask_with(&plain, "OPTIONS", known[i].path, "", NULL);
        assert_int_equal(r.status, 204);
        assert_string_equal(reply_header(&r, "Allow"), known[i].allow);
        assert_null(reply_header(&r, "Access-Control-Allow-Origin"));
        assert_int_equal(r.body.len, 0);
        reply_free(&r);
    }
}

static void head_is_get_without_a_body(void **state) {
    (void)state;
    for (int i = 0; i < N_KNOWN; i++) {
        if (!strstr(known[i].methods, "GET") || is_tokenizer_info(i))
            continue;
        reply r = ask_with(&plain, "HEAD", known[i].path, "", NULL);
        reply whole = get(&plain, known[i].path);
        assert_int_equal(r.status, 200);
        assert_int_equal(whole.status, 200);
        if (strcmp(known[i].path, "/metrics") != 0) {
            char length[32];
            snprintf(length, sizeof length, "%zu", whole.body.len);
            assert_string_equal(reply_header(&r, "Content-Length"), length);
        }
        reply_free(&whole);
        reply_free(&r);
    }
}

static void paths_are_exact(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "/v1",          "/v1/",         "/v1/models/",    "//v1/models",  "/v1//models",
        "/V1/models",   "/v1/model",    "/v1/modelss",    "/v1/%6dodels", "/v1/models%00",
        "/v1/./models", "/x/../health", "/health%2flive", "/index.html",  "/tokenizer_info",
        "/v1/models;a", "/health/",     "/docs",          "/pause",       "/v1/models%2F",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_error(get(&plain, wrong[i]), 404, "NotFoundError");
    assert_int_equal(get_status(&plain, "/v1/models?x=1"), 200);
    assert_int_equal(get_status(&plain, "/health?"), 200);
}

static void content_type_is_checked(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: \r\n",
        "Content-Type: text/plain; application/json\r\n",
    };
    static const char *const right[] = {
        "Content-Type: application/json\r\n",
        "content-type: Application/JSON; charset=utf-8\r\n",
        "Content-Type: application/json;charset=utf-8\r\n",
    };
    for (int i = 0; i < N_KNOWN; i++) {
        if (!strstr(known[i].methods, "POST") || known[i].open)
            continue;
        for (size_t j = 0; j < sizeof wrong / sizeof *wrong; j++)
            expect_refusal(known[i].path,
                           ask_with(&plain, "POST", known[i].path, wrong[j], prompt_body), 400,
                           "BadRequestError", "invalid_request_error");
    }
    for (size_t j = 0; j < sizeof right / sizeof *right; j++) {
        reply r = ask_with(&plain, "POST", "/tokenize", right[j], prompt_body);
        assert_int_equal(r.status, 200);
        reply_free(&r);
    }
    reply r = ask_with(&plain, "POST", "/ping", "", "anything");
    assert_int_equal(r.status, 200);
    reply_free(&r);
}

// ---------------------------------------------------------------------------------------------

static json_t *get_json(const service *s, const char *path) {
    base_err err = {0};
    reply r = get(s, path);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_header(&r, "Content-Type"), "application/json");
    json_t *json = base_json_parse(r.body.data, r.body.len, path, BASE_ERR_USAGE, &err);
    assert_non_null(json);
    reply_free(&r);
    return json;
}

static void small_replies(void **state) {
    (void)state;
    json_t *json = get_json(&plain, "/v1/models"), *list = json_object_get(json, "data");
    assert_int_equal(json_array_size(list), 2);
    const json_t *card = json_array_get(list, 1);
    assert_string_equal(json_string_value(json_object_get(card, "id")), "alias");
    assert_string_equal(json_string_value(json_object_get(card, "root")), "/models/fixture");
    assert_int_equal(json_integer_value(json_object_get(card, "max_model_len")), 1024);
    assert_int_equal(json_array_size(json_object_get(card, "permission")), 1);
    json_decref(json);

    json = get_json(&plain, "/version");
    assert_string_equal(json_string_value(json_object_get(json, "version")), ABRUZZI_VERSION);
    json_decref(json);
    json = get_json(&plain, "/load");
    assert_int_equal(json_integer_value(json_object_get(json, "server_load")), 0);
    json_decref(json);

    reply r = get(&plain, "/health");
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body.len, 0);
    reply_free(&r);
    r = get(&plain, "/");
    assert_non_null(strstr(r.body.data, "/v1/chat/completions"));
    assert_null(strstr(r.body.data, "/tokenizer_info"));
    reply_free(&r);
}

static void tokenizer_info_is_a_flag(void **state) {
    (void)state;
    char path[] = "/tmp/test_tokenizer.XXXXXX";
    static const char config[] = "{\"eos_token\": \"[EOS]\", \"tokenizer_class\": \"T\"}";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, config, sizeof config - 1), (ssize_t)sizeof config - 1);
    close(fd);
    service s = service_defaults();
    s.options.tokenizer_info = true;
    s.options.tokenizer_config = path;
    service_open(&s);
    json_t *json = get_json(&s, "/tokenizer_info");
    assert_string_equal(json_string_value(json_object_get(json, "eos_token")), "[EOS]");
    assert_string_equal(json_string_value(json_object_get(json, "tokenizer_class")), "T");
    assert_true(json_is_null(json_object_get(json, "bos_token")));
    assert_true(json_is_null(json_object_get(json, "chat_template")));
    json_decref(json);
    service_close(&s);
    unlink(path);

    base_err err = {0};
    s = service_defaults();
    s.options.tokenizer_info = true;
    s.options.tokenizer_config = "/nonexistent/tokenizer_config.json";
    assert_int_equal(service_try(&s, &err), BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, "/nonexistent/tokenizer_config.json"));
    service_close(&s);
}

static void a_port_in_use_is_refused(void **state) {
    (void)state;
    base_err err = {0};
    service s = service_defaults();
    s.options.http.port = api_server_port(plain.server);
    assert_int_equal(service_try(&s, &err), BASE_ERR_RESOURCE);
    service_close(&s);
}

// ---------------------------------------------------------------------------------------------

static void request_ids_are_taken_over(void **state) {
    (void)state;
    service s = service_defaults();
    s.options.request_id_headers = true;
    service_open(&s);
    char longest[129], line[256];
    memset(longest, 'z', 128);
    longest[128] = '\0';
    const char *const good[] = {"abc-1.2_3", "Z", longest};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(line, sizeof line, "%sX-Request-Id: %s\r\n", json_header, good[i]);
        reply r = ask_with(&s, "POST", "/v1/completions", line, prompt_body);
        assert_int_equal(r.status, 200);
        assert_string_equal(reply_header(&r, "X-Request-Id"), good[i]);
        char id[160];
        snprintf(id, sizeof id, "\"id\":\"cmpl-%s\"", good[i]);
        assert_non_null(strstr(r.body.data, id));
        reply_free(&r);
    }
    char too_long[130];
    memset(too_long, 'z', 129);
    too_long[129] = '\0';
    const char *const bad[] = {"a b", "\"", "a/b", too_long, "", "\xc3\xa9"};
    char before[512] = "";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(line, sizeof line, "X-Request-Id: %s\r\n", bad[i]);
        reply r = ask_with(&s, "GET", "/health", line, NULL);
        const char *id = reply_header(&r, "X-Request-Id");
        assert_int_equal(strlen(id), 32);
        assert_string_not_equal(id, before);
        snprintf(before, sizeof before, "%s", id);
        reply_free(&r);
    }
    service_close(&s);
    reply r = ask_with(&plain, "GET", "/health", "X-Request-Id: a\r\n", NULL);
    assert_null(reply_header(&r, "X-Request-Id"));
    reply_free(&r);
}

// ---------------------------------------------------------------------------------------------

#define KEY "sk-0123456789abcdef0123456789abcdef"

static int status_with(const service *s, const char *target, const char *method,
                       const char *headers) {
    bool post = strcmp(method, "POST") == 0;
    base_str all = {0};
    base_str_adds(&all, headers);
    base_str_adds(&all, post ? json_header : "");
    reply r = ask_with(s, method, target, all.data, post ? prompt_body : NULL);
    int status = r.status;
    if (status == 401) {
        assert_string_equal(reply_header(&r, "WWW-Authenticate"), "Bearer");
        expect_refusal(target, r, 401, "AuthenticationError", "authentication_error");
    } else {
        reply_free(&r);
    }
    base_str_free(&all);
    return status;
}

static const char *const bad_keys[] = {
    "",
    "Authorization: Bearer wrong\r\n",
    "Authorization: Bearer \r\n",
    "Authorization: Bearer\r\n",
    "Authorization: " KEY "\r\n",
    "Authorization: Basic " KEY "\r\n",
    "Authorization: BearerX " KEY "\r\n",
    "Authorization: Bearer" KEY "\r\n",
    "Authorization: Bearer " KEY "0\r\n", // shares all its bytes
    "Authorization: Bearer sk-0123456789abcdef0123456789abcde\r\n",
    "Authorization: Bearer sk-0123456789abcdef0123456789abcdeF\r\n",
    "Authorization: Bearer s\r\n",
    "Authorization: Bearer SK-0123456789abcdef0123456789abcdef\r\n",
    "Authorization: Bearer " KEY "," KEY "\r\n",
    "Authorization: Bearer \"" KEY "\"\r\n",
    "X-Api-Key: wrong\r\n",
    "X-Api-Key: Bearer " KEY "\r\n",
    "Cookie: api_key=" KEY "\r\n",
};

static void keys_guard_every_route(void **state) {
    (void)state;
    static const char *const keys[] = {"other", KEY};
    service s = service_defaults();
    s.options.keys = keys;
    s.options.n_keys = 2;
    service_open(&s);
    for (int i = 0; i < N_KNOWN; i++) {
        const char *path = known[i].path, *method = known[i].methods;
        int right = is_tokenizer_info(i)               ? 404
                    : strstr(path, "chat")             ? 400 // no messages
                    : strstr(path, "/v1/messages")     ? 400 // no messages
                    : strstr(path, "responses")        ? 400 // no input
                    : strcmp(path, "/detokenize") == 0 ? 400 // no tokens
                                                       : 200;
        if (strcmp(method, "GET POST") == 0)
            method = "POST";
        for (size_t j = 0; j < sizeof bad_keys / sizeof *bad_keys; j++)
            assert_int_equal(status_with(&s, path, method, bad_keys[j]), known[i].open ? 200 : 401);
        char in_query[128];
        snprintf(in_query, sizeof in_query, "%s?api_key=" KEY "&key=" KEY, path);
        assert_int_equal(status_with(&s, in_query, method, ""), known[i].open ? 200 : 401);
        assert_int_equal(status_with(&s, path, method, "Authorization: Bearer " KEY "\r\n"), right);
        assert_int_equal(status_with(&s, path, method, "authorization: bEARER   other\r\n"), right);
        assert_int_equal(status_with(&s, path, method, "x-api-key: " KEY "\r\n"), right);
        assert_int_equal(status_with(&s, path, "OPTIONS", ""), is_tokenizer_info(i) ? 401 : 204);
    }
    // Twice is refused, or the first counts.
    int twice = status_with(&s, "/v1/models", "GET",
                            "Authorization: Bearer wrong\r\nAuthorization: Bearer " KEY "\r\n");
    assert_true(twice == 400 || twice == 401);
    // What a path without a route is, one learns with a key only.
    assert_int_equal(status_with(&s, "/nothing", "GET", ""), 401);
    assert_int_equal(status_with(&s, "/nothing", "GET", "x-api-key: other\r\n"), 404);
    assert_int_equal(status_with(&s, "/health/../v1/models", "GET", ""), 401);
    assert_int_equal(status_with(&s, "//v1/models", "GET", ""), 401);
    service_close(&s);
}

static void compressed_bodies_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"gzip", "deflate", "br", "identity, gzip", "x"};
    base_str headers = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        base_str_clear(&headers);
        base_str_printf(&headers, "%sContent-Encoding: %s\r\n", json_header, wrong[i]);
        reply r = ask_with(&plain, "POST", "/tokenize", headers.data, prompt_body);
        assert_string_equal(reply_header(&r, "Accept-Encoding"), "identity");
        expect_error(r, 415, "BadRequestError");
    }
    base_str_clear(&headers);
    base_str_printf(&headers, "%sContent-Encoding: Identity\r\n", json_header);
    reply r = ask_with(&plain, "POST", "/tokenize", headers.data, prompt_body);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    base_str_free(&headers);
}

// Routes without a key do not wait for bodies, which anybody could fill the memory with.
static void bodies_of_open_routes_are_not_waited_for(void **state) {
    (void)state;
    static const char *const heads[] = {"POST /ping", "GET /health", "GET /"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        base_str head = {0};
        base_str_printf(&head, "%s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n",
                        heads[i]);
        reply r;
        int fd = dial(&plain);
        send_text(fd, head.data, head.len);
        read_reply(fd, false, &r);
        assert_int_equal(r.status, 200);
        reply_free(&r);
        close(fd);
        base_str_free(&head);
    }
}

// A wrong key is refused before the body is there, so that nobody without one can send much.
static void keys_are_checked_before_the_body(void **state) {
    (void)state;
    static const char *const keys[] = {KEY};
    service s = service_defaults();
    s.options.keys = keys;
    s.options.n_keys = 1;
    service_open(&s);
    static const char head[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost/v1/models?\r\n"
                               "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    static const char plain_host[] = "POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
                                     "Content-Type: application/json\r\n"
                                     "Content-Length: 1000000\r\n\r\n";
    const char *const heads[] = {head, plain_host};
    for (int i = 0; i < 2; i++) {
        reply r;
        int fd = dial(&s);
        send_text(fd, heads[i], strlen(heads[i]));
        read_reply(fd, false, &r);
        assert_true(r.status == 401 || (i == 0 && r.status == 400));
        reply_free(&r);
        close(fd);
    }
    service_close(&s);
}

int main(void) {
    base_log_set_level(BASE_LOG_WARNING);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_are_checked),
        cmocka_unit_test(head_is_get_without_a_body),
        cmocka_unit_test(paths_are_exact),
        cmocka_unit_test(content_type_is_checked),
        cmocka_unit_test(compressed_bodies_are_refused),
        cmocka_unit_test(bodies_of_open_routes_are_not_waited_for),
        cmocka_unit_test(small_replies),
        cmocka_unit_test(tokenizer_info_is_a_flag),
        cmocka_unit_test(a_port_in_use_is_refused),
        cmocka_unit_test(request_ids_are_taken_over),
        cmocka_unit_test(keys_guard_every_route),
        cmocka_unit_test(keys_are_checked_before_the_body),
    };
    return cmocka_run_group_tests(tests, open_plain, close_plain);
}
