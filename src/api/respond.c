// Replies: their common headers, errors as objects of the form that the path's clients know, and
// the access log.
#include "api/server.h"

#include "api/anthropic.h"
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    RANDOM_CHARACTERS = 32,
    MAX_GIVEN = API_ID_BYTES - RANDOM_CHARACTERS - 2, // of a client's id, before a dash
};

// A client's id becomes part of ours and may come back as a header.
static bool good_id(http_slice id) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-";
    if (!id.at || id.len == 0 || id.len >= API_ID_BYTES)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!memchr(allowed, id.at[i], sizeof allowed - 1))
            return false;
    return true;
}

static void add_random(char *id) {
    unsigned char bits[RANDOM_CHARACTERS / 2];
    if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits) {
        base_error("api: the system gives no random bits");
        abort();
    }
    for (size_t i = 0; i < sizeof bits; i++) {
        id[2 * i] = "0123456789abcdef"[bits[i] >> 4];
        id[2 * i + 1] = "0123456789abcdef"[bits[i] & 15];
    }
    id[RANDOM_CHARACTERS] = '\0';
}

void api_request_id(const http_exchange *x, char id[API_ID_BYTES]) {
    http_slice given = http_header(x, "x-request-id");
    if (!good_id(given)) {
        add_random(id);
        return;
    }
    memcpy(id, given.at, given.len);
    id[given.len] = '\0';
}

void api_secret_id(const http_exchange *x, char id[API_ID_BYTES]) {
    http_slice given = http_header(x, "x-request-id");
    size_t len = 0;
    if (good_id(given)) {
        len = given.len < MAX_GIVEN ? given.len : MAX_GIVEN;
        memcpy(id, given.at, len);
        id[len++] = '-';
    }
    add_random(id + len);
}

static bool is_anthropic(const http_exchange *x) {
    http_slice path = http_path(x);
    return api_anthropic_is_path(path.at, path.len);
}

static void add_id_header(const api_server *s, const http_exchange *x, const char *id,
                          base_str *headers) {
    char own[API_ID_BYTES];
    bool anthropic = is_anthropic(x);
    if (!s->options.request_id_headers && !anthropic)
        return;
    if (!id) {
        api_request_id(x, own);
        id = own;
    }
    if (anthropic) // what its clients read and show
        base_str_printf(headers, "request-id: %s\r\n", id);
    if (s->options.request_id_headers)
        base_str_printf(headers, "X-Request-Id: %s\r\n", id);
}

// Without the query, in which somebody may have put a key.
static void log_access(const api_server *s, const http_exchange *x, int status) {
    if (!s->options.access_log)
        return;
    http_slice method = http_method(x), path = http_path(x);
    base_info("%s - \"%.*s %.*s HTTP/1.1\" %d %s", http_peer(x), (int)method.len, method.at,
              (int)path.len, path.at, status, http_status_text(status));
}

void api_respond(api_server *s, http_exchange *x, const char *id, int status, const char *type,
                 const char *headers, const void *body, size_t len) {
    base_str all = {0};
    if (headers)
        base_str_adds(&all, headers);
    add_id_header(s, x, id, &all);
    log_access(s, x, status);
    http_respond(x, status, type, all.data, body, len);
    base_str_free(&all);
}

void api_respond_json(api_server *s, http_exchange *x, const char *id, const base_str *body) {
    api_respond(s, x, id, 200, "application/json", NULL, body->data, body->len);
}

void api_respond_error(api_server *s, http_exchange *x, const char *id, const api_error *error,
                       const char *headers) {
    base_str body = {0}, all = {0};
    char own[API_ID_BYTES];
    if (!id) {
        api_request_id(x, own);
        id = own;
    }
    if (headers)
        base_str_adds(&all, headers);
    if (error->retry_after_s > 0)
        base_str_printf(&all, "Retry-After: %d\r\n", error->retry_after_s);
    if (is_anthropic(x))
        api_anthropic_print_error(error, id, &body);
    else
        api_error_print(error, &body);
    api_respond(s, x, id, error->status, "application/json", all.data, body.data, body.len);
    base_str_free(&body);
    base_str_free(&all);
}

void api_stream_start(api_server *s, http_exchange *x, const char *id) {
    base_str headers = {0};
    add_id_header(s, x, id, &headers);
    log_access(s, x, 200);
    http_stream_start(x, headers.data);
    base_str_free(&headers);
}

void api_on_error(void *arg, http_slice path, int status, const char *reason, base_str *body) {
    (void)arg;
    api_error error;
    api_fail(&error, status, "", "%s", reason);
    if (path.at && api_anthropic_is_path(path.at, path.len))
        api_anthropic_print_error(&error, NULL, body);
    else
        api_error_print(&error, body);
}
