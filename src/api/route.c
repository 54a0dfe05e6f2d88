// The routes, and what is checked before a request's body is read.
#include "api/server.h"

#include <string.h>
#include <strings.h>

enum {
    GET = 1, // and HEAD
    POST = 2,
};

typedef enum {
    OPEN = 1, // needs no key
    WORK = 2, // makes work: not while the server drains; its body is JSON
} route_flags;

typedef struct route {
    const char *path;
    int methods;
    unsigned flags;
    void (*get)(api_server *s, http_exchange *x); // not of WORK
    api_work what;                                // of WORK
} route;

static const route routes[] = {
    {.path = "/", .methods = GET, .flags = OPEN, .get = api_get_page},
    {.path = "/health", .methods = GET, .flags = OPEN, .get = api_get_health},
    {.path = "/health/live", .methods = GET, .flags = OPEN, .get = api_get_live},
    {.path = "/health/ready", .methods = GET, .flags = OPEN, .get = api_get_health},
    {.path = "/ping", .methods = GET | POST, .flags = OPEN, .get = api_get_health},
    {.path = "/version", .methods = GET, .get = api_get_version},
    {.path = "/load", .methods = GET, .get = api_get_load},
    {.path = "/metrics", .methods = GET, .get = api_get_metrics},
    {.path = "/tokenizer_info", .methods = GET, .get = api_get_tokenizer_info},
    {.path = "/tokenize", .methods = POST, .flags = WORK, .what = API_WORK_TOKENIZE},
    {.path = "/detokenize", .methods = POST, .flags = WORK, .what = API_WORK_DETOKENIZE},
    {.path = "/v1/models", .methods = GET, .get = api_get_models},
    {.path = "/v1/completions", .methods = POST, .flags = WORK, .what = API_WORK_COMPLETION},
    {.path = "/v1/chat/completions", .methods = POST, .flags = WORK, .what = API_WORK_CHAT},
    {.path = "/v1/messages", .methods = POST, .flags = WORK, .what = API_WORK_MESSAGES},
    {.path = "/v1/messages/count_tokens",
     .methods = POST,
     .flags = WORK,
     .what = API_WORK_COUNT_TOKENS},
    {.path = "/v1/responses", .methods = POST, .flags = WORK, .what = API_WORK_RESPONSES},
};

static bool served(const api_server *s, const route *r) {
    return r->get != api_get_tokenizer_info || s->options.tokenizer_info;
}

static bool equals(http_slice slice, const char *text) {
    return slice.len == strlen(text) && memcmp(slice.at, text, slice.len) == 0;
}

// Paths are compared byte for byte: nothing is decoded, joined or cleaned that a check could miss.
static const route *find(const api_server *s, http_slice path) {
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (served(s, &routes[i]) && equals(path, routes[i].path))
            return &routes[i];
    return NULL;
}

static const char *methods_of(const route *r, const char *get) {
    return r->methods == GET ? get : r->methods == POST ? "POST" : "GET, POST";
}

void api_routes_describe(const api_server *s, base_str *out) {
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (served(s, &routes[i]))
            base_str_printf(out, "Route: %s, Methods: %s\n", routes[i].path,
                            methods_of(&routes[i], "GET"));
}

// ---------------------------------------------------------------------------------------------
// Checks

static bool allows(const route *r, http_slice method) {
    if (r->methods & GET && (equals(method, "GET") || equals(method, "HEAD")))
        return true;
    return r->methods & POST && equals(method, "POST");
}

// "application/json", with or without parameters.
static bool is_json(http_slice type) {
    static const char json[] = "application/json";
    size_t len = 0;
    while (len < type.len && type.at[len] != ';' && type.at[len] != ' ' && type.at[len] != '\t')
        len++;
    return len == sizeof json - 1 && strncasecmp(type.at, json, len) == 0;
}

// Compressed bodies are not taken: a few KB of them can be GB.
static bool is_plain(http_slice encoding) {
    static const char identity[] = "identity";
    size_t len = sizeof identity - 1;
    return encoding.len == 0 ||
           (encoding.len == len && strncasecmp(encoding.at, identity, len) == 0);
}

static bool refuse(api_server *s, http_exchange *x, const api_error *error, const char *headers) {
    api_respond_error(s, x, NULL, error, headers);
    return false;
}

static bool refuse_method(api_server *s, http_exchange *x, const route *r) {
    base_str headers = {0};
    base_str_adds(&headers, "Allow: OPTIONS");
    if (r->methods & GET)
        base_str_adds(&headers, ", GET, HEAD");
    if (r->methods & POST)
        base_str_adds(&headers, ", POST");
    base_str_adds(&headers, "\r\n");
    if (equals(http_method(x), "OPTIONS")) {
        api_respond(s, x, NULL, 204, NULL, headers.data, NULL, 0);
    } else {
        api_error error;
        api_fail(&error, 405, "", "The method is not allowed for this path.");
        api_respond_error(s, x, NULL, &error, headers.data);
    }
    base_str_free(&headers);
    return false;
}

static void wait_until_open(api_server *s) {
    if (atomic_load_explicit(&s->open, memory_order_acquire))
        return;
    pthread_mutex_lock(&s->gate);
    pthread_mutex_unlock(&s->gate);
}

bool api_on_head(void *arg, http_exchange *x) {
    api_server *s = arg;
    api_error error;
    wait_until_open(s);
    const route *r = find(s, http_path(x));
    // A path that does not exist needs a key too: without one nothing is to be learned here.
    if (!(r && r->flags & OPEN) && !api_keys_admit(s->keys, x) &&
        !(r && equals(http_method(x), "OPTIONS"))) {
        api_fail(&error, 401, "", "A valid API key is needed: Authorization: Bearer KEY");
        return refuse(s, x, &error, "WWW-Authenticate: Bearer\r\n");
    }
    if (!r) {
        api_fail(&error, 404, "", "There is nothing at this path.");
        return refuse(s, x, &error, NULL);
    }
    if (!allows(r, http_method(x)))
        return refuse_method(s, x, r);
    if (!(r->flags & WORK)) { // a body that comes with it is of no use, and may come without a key
        r->get(s, x);
        return false;
    }
    if (api_check_open(s, &error))
        return refuse(s, x, &error, NULL);
    if (!is_json(http_header(x, "content-type"))) {
        api_fail(&error, 400, "",
                 "Unsupported Media Type: Only 'application/json' is allowed as Content-Type.");
        return refuse(s, x, &error, NULL);
    }
    if (!is_plain(http_header(x, "content-encoding"))) {
        api_fail(&error, 415, "",
                 "The body must not be compressed: Content-Encoding is not supported.");
        return refuse(s, x, &error, "Accept-Encoding: identity\r\n");
    }
    return true;
}

void api_on_request(void *arg, http_exchange *x) {
    api_server *s = arg;
    api_serve(s, x, find(s, http_path(x))->what); // api_on_head has answered all others
}
