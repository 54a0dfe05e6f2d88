#include "cli/client.h"
#include "cli/sse.h"
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_REPLY = 64 << 20, // of a reply that is kept whole
    POLL_MS = 100,        // how long a signal may wait to be seen
    CONNECT_S = 10,
};

struct cli_client {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    char *url; // without a slash at the end
    const volatile sig_atomic_t *interrupted;
};

// One transfer.
typedef struct transfer {
    cli_client *c;
    base_str reply; // everything, unless it is a stream that went well
    cli_sse_reader events;
    bool stream, done, broken; // done: "[DONE]" has come
    void (*take)(void *arg, const json_t *event);
    void *arg;
    base_err err;
} transfer;

// ---------------------------------------------------------------------------------------------
// Replies

// The message of an OpenAI error object; else the beginning of whatever came.
static int fail_reply(const char *what, long status, const json_t *reply, const base_str *raw,
                      base_err *err) {
    const json_t *error = json_object_get(reply, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    if (message == NULL)
        message = json_string_value(error);
    if (message != NULL)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: the server says %ld: %s", what, status,
                         message);
    return base_fail(err, BASE_ERR_RESOURCE, "%s: the server says %ld: %.200s", what, status,
                     raw->data != NULL ? raw->data : "");
}

static void take_event(void *arg, const char *data, size_t len) {
    transfer *t = arg;
    if (t->broken || t->done)
        return;
    t->done = len == 6 && memcmp(data, "[DONE]", 6) == 0;
    if (t->done)
        return;
    json_t *event = base_json_parse(data, len, "event", BASE_ERR_RESOURCE, &t->err);
    t->broken = event == NULL;
    if (json_object_get(event, "error") != NULL) {
        const base_str raw = {.data = (char *)data, .len = len};
        fail_reply("stream", 200, event, &raw, &t->err);
        t->broken = true;
    }
    if (!t->broken)
        t->take(t->arg, event);
    json_decref(event);
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *arg) {
    transfer *t = arg;
    size_t len = size * count;
    long status = 0;
    curl_easy_getinfo(t->c->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->stream && status == 200) {
        if (!cli_sse_push(&t->events, bytes, len, take_event, t) && !t->broken) {
            base_fail(&t->err, BASE_ERR_RESOURCE, "stream: an event is too long");
            t->broken = true;
        }
        return t->broken ? 0 : len;
    }
    if (t->reply.len + len > MAX_REPLY)
        return 0;
    base_str_add(&t->reply, bytes, len);
    return len;
}

// ---------------------------------------------------------------------------------------------
// Transfers

static bool was_interrupted(const cli_client *c) {
    return c->interrupted != NULL && *c->interrupted;
}

// Runs the transfer that the easy handle describes. 0 also when a signal ended it.
static int run(transfer *t, const char *what, base_err *err) {
    cli_client *c = t->c;
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, t);
    curl_multi_add_handle(c->multi, c->easy);
    int running = 1;
    CURLMcode code = CURLM_OK;
    bool interrupted = false;
    while (running > 0 && code == CURLM_OK && !interrupted) {
        code = curl_multi_perform(c->multi, &running);
        if (running > 0 && code == CURLM_OK)
            code = curl_multi_poll(c->multi, NULL, 0, POLL_MS, NULL);
        interrupted = was_interrupted(c);
    }
    CURLcode result = CURLE_OK;
    int left;
    for (const CURLMsg *m; (m = curl_multi_info_read(c->multi, &left)) != NULL;)
        result = m->data.result;
    curl_multi_remove_handle(c->multi, c->easy);
    if (interrupted)
        return 0;
    if (t->broken) {
        *err = t->err;
        return err->code;
    }
    if (code != CURLM_OK)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", what, curl_multi_strerror(code));
    if (result != CURLE_OK)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", what, curl_easy_strerror(result));
    return 0;
}

static void set_target(cli_client *c, const char *path, base_str *url) {
    base_str_printf(url, "%s/%s", c->url, path);
    curl_easy_setopt(c->easy, CURLOPT_URL, url->data);
}

// After the transfer: the reply as JSON, or why there is none.
static int read_reply(cli_client *c, transfer *t, const char *url, json_t **reply, base_err *err) {
    *reply = NULL;
    if (was_interrupted(c))
        return base_fail(err, BASE_ERR_RESOURCE, "%s: interrupted", url);
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    base_err parse_err = {0};
    json_t *body = base_json_parse(t->reply.data != NULL ? t->reply.data : "", t->reply.len, url,
                                   BASE_ERR_RESOURCE, &parse_err);
    int rc = 0;
    if (status != 200)
        rc = fail_reply(url, status, body, &t->reply, err);
    else if (body == NULL)
        rc = base_fail(err, BASE_ERR_RESOURCE, "%s", parse_err.message);
    if (rc == 0)
        *reply = json_incref(body);
    json_decref(body);
    return rc;
}

int cli_client_get(cli_client *c, const char *path, json_t **reply, base_err *err) {
    transfer t = {.c = c};
    base_str url = {0};
    set_target(c, path, &url);
    curl_easy_setopt(c->easy, CURLOPT_HTTPGET, 1L);
    *reply = NULL;
    int rc = run(&t, url.data, err);
    if (rc == 0)
        rc = read_reply(c, &t, url.data, reply, err);
    base_str_free(&t.reply);
    base_str_free(&url);
    return rc;
}

// The body's text must live as long as the transfer; the caller frees it (it is Jansson's).
static char *set_body(cli_client *c, const json_t *body) {
    char *text = json_dumps(body, JSON_COMPACT);
    if (text == NULL)
        return NULL;
    curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, text);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
    return text;
}

// Posts `body`; the reply stays in the transfer.
static int post(transfer *t, const char *url, const json_t *body, base_err *err) {
    char *text = set_body(t->c, body);
    if (text == NULL)
        return base_fail(err, BASE_ERR_USAGE, "%s: the request is not valid UTF-8", url);
    int rc = run(t, url, err);
    curl_easy_setopt(t->c->easy, CURLOPT_POSTFIELDS, NULL);
    free(text);
    return rc;
}

int cli_client_post(cli_client *c, const char *path, const json_t *body, json_t **reply,
                    base_err *err) {
    transfer t = {.c = c};
    base_str url = {0};
    set_target(c, path, &url);
    *reply = NULL;
    int rc = post(&t, url.data, body, err);
    if (rc == 0)
        rc = read_reply(c, &t, url.data, reply, err);
    base_str_free(&t.reply);
    base_str_free(&url);
    return rc;
}

int cli_client_stream(cli_client *c, const char *path, const json_t *body,
                      void (*take)(void *arg, const json_t *event), void *arg, base_err *err) {
    transfer t = {.c = c, .stream = true, .take = take, .arg = arg};
    base_str url = {0};
    set_target(c, path, &url);
    int rc = post(&t, url.data, body, err);
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    if (rc == 0 && !was_interrupted(c) && status != 200) {
        json_t *none = NULL;
        rc = read_reply(c, &t, url.data, &none, err);
    } else if (rc == 0 && !was_interrupted(c) && !t.done) {
        rc = base_fail(err, BASE_ERR_RESOURCE, "%s: the stream ended early", url.data);
    }
    cli_sse_free(&t.events);
    base_str_free(&t.reply);
    base_str_free(&url);
    return rc;
}

int cli_client_first_model(cli_client *c, char **name, base_err *err) {
    json_t *models = NULL;
    *name = NULL;
    int rc = cli_client_get(c, "models", &models, err);
    if (rc != 0)
        return rc;
    const json_t *first = json_array_get(json_object_get(models, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    if (id != NULL)
        *name = base_strdup(id);
    else
        rc = base_fail(err, BASE_ERR_RESOURCE, "%s/models: the server offers no model", c->url);
    json_decref(models);
    return rc;
}

// ---------------------------------------------------------------------------------------------

static void set_headers(cli_client *c, const char *api_key) {
    c->headers = curl_slist_append(NULL, "Content-Type: application/json");
    // Without it libcurl waits for "100 Continue" before it sends long bodies.
    c->headers = curl_slist_append(c->headers, "Expect:");
    if (api_key != NULL) {
        base_str line = {0};
        base_str_printf(&line, "Authorization: Bearer %s", api_key);
        c->headers = curl_slist_append(c->headers, line.data);
        base_str_free(&line);
    }
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
}

int cli_client_create(cli_client **out, const cli_client_options *options, base_err *err) {
    const char *url = options->url;
    *out = NULL;
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return base_fail(err, BASE_ERR_USAGE, "--url: %s does not begin with http:// or https://",
                         url);
    if (options->api_key != NULL && strpbrk(options->api_key, "\r\n") != NULL)
        return base_fail(err, BASE_ERR_USAGE, "--api-key: it has a line end in it");
    cli_client *c = base_calloc(1, sizeof *c);
    c->interrupted = options->interrupted;
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/')
        len--;
    c->url = base_strndup(url, len);
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    if (c->multi == NULL || c->easy == NULL) {
        cli_client_free(c);
        return base_fail(err, BASE_ERR_RESOURCE, "libcurl cannot be used");
    }
    set_headers(c, options->api_key);
    curl_easy_setopt(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c->easy, CURLOPT_USERAGENT, "abruzzi/" ABRUZZI_VERSION);
    if (options->uds != NULL) {
        curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, options->uds);
        curl_easy_setopt(c->easy, CURLOPT_PROXY, ""); // whatever the environment says
    }
    *out = c;
    return 0;
}

void cli_client_free(cli_client *c) {
    if (c == NULL)
        return;
    if (c->easy != NULL)
        curl_easy_cleanup(c->easy);
    if (c->multi != NULL)
        curl_multi_cleanup(c->multi);
    curl_slist_free_all(c->headers);
    base_free(c->url);
    base_free(c);
}
