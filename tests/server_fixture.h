// For the tests of the server: one in this process over a replay, and an HTTP client that does no
// more than it is told.
#ifndef TESTS_SERVER_FIXTURE_H
#define TESTS_SERVER_FIXTURE_H

#include "answer_fixture.h"
#include "api/api.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { SERVICE_BLOCKS = 256, PATIENCE_S = 30 };

typedef struct service {
    // To be changed before service_open:
    const char *scripts;        // JSON lines
    void (*meddle)(backend *b); // with the backend that plays them; NULL: nobody does
    api_options options;
    engine_options engine;
    // Made by it:
    token_vocab *vocab;
    chat_format *chat;
    api_replay *replay;
    model_config config;
    backend *backend;
    api_server *server;
} service;

static const char fixture_scripts[] =
    "{\"match\": \"slow\", \"text\": \"one two three four five six seven eight nine ten\", "
    "\"delay_ms\": 20}\n"
    "{\"match\": \"endless\", \"text\": \"abababababababababababababababababababababababababab"
    "abababababababababababababababababababababababababababababababababababababababababababab\", "
    "\"delay_ms\": 200}\n"
    "{\"match\": \"later\", \"text\": \"late\", \"prefill_ms\": 60000}\n"
    "{\"match\": \"*\", \"text\": \"A fine answer.\"}\n";

static inline service service_defaults(void) {
    static const char *const names[] = {"fixture", "alias"};
    service s = {.scripts = fixture_scripts};
    s.engine = (engine_options){
        .max_num_seqs = 8,
        .max_num_batched_tokens = 256,
        .max_model_len = 1024,
        .max_queue = 8,
        .block_size = 16,
        .n_blocks = SERVICE_BLOCKS,
        .prefix_caching = true,
        .max_logprobs = 20,
    };
    s.options = (api_options){
        .served_names = names,
        .n_served_names = 2,
        .root = "/models/fixture",
        .defaults = {.temperature = 1, .top_p = 1, .repetition = 1},
        .max_logprobs = 20,
        .cache_dtype = "float32",
        .reasoning_parser = true,
        .stats_interval_s = 10,
        .stall_s = 30,
        .watchdog_s = 120,
        .http = {.host = "127.0.0.1", .n_threads = 2},
    };
    http_limits_init(&s.options.http.limits);
    return s;
}

static inline void service_scripts(service *s) {
    char path[] = "/tmp/test_scripts.XXXXXX";
    base_err err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    size_t len = strlen(s->scripts);
    assert_int_equal(write(fd, s->scripts, len), (ssize_t)len);
    close(fd);
    int32_t end = token_control_id(s->vocab, "<|im_end|>");
    assert_true(end >= 0);
    int code = api_replay_load(&s->replay, path, s->vocab, end, &err);
    unlink(path);
    if (code)
        fail_msg("%s", err.message);
}

static inline void service_backend(service *s) {
    const backend_options options = {
        .threads = 1,
        .block_size = s->engine.block_size,
        .n_blocks = s->engine.n_blocks,
        .interleave = 1,
        .max_rows = s->engine.max_num_batched_tokens,
        .max_seqs = s->engine.max_num_seqs,
        .max_outputs = s->engine.max_num_seqs,
        .max_logprobs = 20,
        .max_model_len = s->engine.max_model_len,
    };
    base_err err = {0};
    int n;
    const backend_script *scripts = api_replay_scripts(s->replay, &n);
    s->config.vocab_size = token_vocab_size(s->vocab);
    if (backend_open_replay(&s->backend, scripts, n, &s->config, &options, &err))
        fail_msg("%s", err.message);
    if (s->meddle)
        s->meddle(s->backend);
}

// Returns the code of api_server_start; its error, if any, is in `err`.
static inline int service_try(service *s, base_err *err) {
    s->vocab = fixture_chat_vocab(NULL);
    s->chat = fixture_chat_format(s->vocab);
    service_scripts(s);
    service_backend(s);
    int32_t end = token_control_id(s->vocab, "<|im_end|>");
    s->engine.vocab_size = token_vocab_size(s->vocab);
    s->engine.n_eos = 1;
    s->engine.eos_ids[0] = end;
    assert_int_equal(engine_options_check(&s->engine, err), 0);
    api_options *o = &s->options;
    o->vocab = s->vocab;
    o->chat = s->chat;
    o->max_model_len = s->engine.max_model_len;
    o->vocab_size = s->engine.vocab_size;
    o->max_num_seqs = s->engine.max_num_seqs;
    o->max_queue = s->engine.max_queue;
    o->block_size = s->engine.block_size;
    o->n_blocks = s->engine.n_blocks;
    o->kv_tokens = s->engine.n_blocks * s->engine.block_size;
    o->n_eos = 1;
    o->eos_ids[0] = end;
    o->replay = s->replay;
    engine *e = engine_create(s->backend, &s->engine);
    return api_server_start(&s->server, o, e, err);
}

static inline void service_open(service *s) {
    base_err err = {0};
    if (service_try(s, &err))
        fail_msg("%s", err.message);
}

static inline void service_close(service *s) {
    api_server_stop(s->server);
    backend_close(s->backend);
    api_replay_free(s->replay);
    chat_format_free(s->chat);
    token_vocab_free(s->vocab);
}

// ---------------------------------------------------------------------------------------------
// The client

static inline int dial(const service *s) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)api_server_port(s->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline void send_text(int fd, const char *text, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        text += n;
        len -= (size_t)n;
    }
}

// `headers`: lines that end in "\r\n"; `body` NULL: none.
static inline void send_request(int fd, const char *method, const char *target, const char *headers,
                                const char *body) {
    base_str out = {0};
    base_str_printf(&out, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method, target, headers);
    if (body)
        base_str_printf(&out, "Content-Length: %zu\r\n", strlen(body));
    base_str_adds(&out, "\r\n");
    if (body)
        base_str_adds(&out, body);
    send_text(fd, out.data, out.len);
    base_str_free(&out);
}

typedef struct reply {
    int status;
    base_str head, body; // head with the lines' ends; chunks put together
} reply;

static inline void reply_free(reply *r) {
    base_str_free(&r->head);
    base_str_free(&r->body);
}

static inline bool read_byte(int fd, char *c) {
    return recv(fd, c, 1, 0) == 1;
}

static inline void read_line(int fd, base_str *out) {
    char c;
    do {
        assert_true(read_byte(fd, &c));
        base_str_add(out, &c, 1);
    } while (c != '\n');
}

static inline void read_bytes(int fd, size_t n, base_str *out) {
    base_str_reserve(out, n);
    for (ssize_t got; n > 0; n -= (size_t)got) {
        got = recv(fd, out->data + out->len, n, 0);
        assert_true(got > 0);
        out->len += (size_t)got;
        out->data[out->len] = '\0';
    }
}

// The value of a header, or NULL; valid until the next call.
static inline const char *reply_header(const reply *r, const char *name) {
    static char value[512];
    size_t len = strlen(name);
    for (const char *line = strchr(r->head.data, '\n'); line; line = strchr(line, '\n')) {
        line++;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(line + len + 2, "\r"),
                     line + len + 2);
            return value;
        }
    }
    return NULL;
}

static inline void read_head(int fd, reply *r) {
    *r = (reply){0};
    for (size_t before = 0;; before = r->head.len) {
        read_line(fd, &r->head);
        if (r->head.len - before == 2)
            break;
    }
    assert_int_equal(sscanf(r->head.data, "HTTP/1.1 %d ", &r->status), 1);
    base_str_adds(&r->body, "");
}

// One chunk of a stream into the body; false at its end.
static inline bool read_chunk(int fd, reply *r) {
    base_str line = {0};
    read_line(fd, &line);
    size_t n = strtoul(line.data, NULL, 16);
    read_bytes(fd, n, &r->body);
    base_str_clear(&line);
    read_line(fd, &line);
    base_str_free(&line);
    return n > 0;
}

static inline void read_reply(int fd, bool to_head, reply *r) {
    read_head(fd, r);
    const char *length = reply_header(r, "content-length");
    if (length && !to_head)
        read_bytes(fd, strtoul(length, NULL, 10), &r->body);
    else if (!length && reply_header(r, "transfer-encoding"))
        while (read_chunk(fd, r))
            ;
}

static inline reply ask_with(const service *s, const char *method, const char *target,
                             const char *headers, const char *body) {
    reply r;
    int fd = dial(s);
    send_request(fd, method, target, headers, body);
    read_reply(fd, strcmp(method, "HEAD") == 0, &r);
    close(fd);
    return r;
}

static inline reply get(const service *s, const char *target) {
    return ask_with(s, "GET", target, "", NULL);
}

static inline reply post(const service *s, const char *target, const char *body) {
    return ask_with(s, "POST", target, "Content-Type: application/json\r\n", body);
}

// A request that is sent and whose reply is not read yet.
static inline int begin_post(const service *s, const char *target, const char *body) {
    int fd = dial(s);
    send_request(fd, "POST", target, "Content-Type: application/json\r\n", body);
    return fd;
}

static inline int get_status(const service *s, const char *target) {
    reply r = get(s, target);
    int status = r.status;
    reply_free(&r);
    return status;
}

// The reply is an OpenAI error object that agrees with the status; frees it.
static inline void expect_error(reply r, int status, const char *type) {
    base_err err = {0};
    assert_int_equal(r.status, status);
    json_t *json = base_json_parse(r.body.data, r.body.len, "error", BASE_ERR_USAGE, &err);
    assert_non_null(json);
    const json_t *error = json_object_get(json, "error");
    assert_int_equal(json_integer_value(json_object_get(error, "code")), status);
    assert_string_equal(json_string_value(json_object_get(error, "type")), type);
    assert_true(json_string_length(json_object_get(error, "message")) > 0);
    assert_non_null(json_object_get(error, "param"));
    json_decref(json);
    reply_free(&r);
}

// The first sample of /metrics that begins with `name`.
static inline double metric(const service *s, const char *name) {
    reply r = get(s, "/metrics");
    assert_int_equal(r.status, 200);
    base_str line = {0};
    base_str_printf(&line, "\n%s", name);
    const char *at = strstr(r.body.data, line.data);
    if (!at)
        fail_msg("no metric %s in\n%s", name, r.body.data);
    double value = strtod(strrchr(strtok((char *)at + 1, "\n"), ' '), NULL);
    base_str_free(&line);
    reply_free(&r);
    return value;
}

static inline void rest_ms(int ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

// Waits until `condition` holds, a long time if need be.
#define eventually(condition)                                                                      \
    do {                                                                                           \
        int64_t until = base_now_ns() + PATIENCE_S * 1000000000LL;                                 \
        while (!(condition)) {                                                                     \
            if (base_now_ns() > until)                                                             \
                fail_msg("never: %s", #condition);                                                 \
            rest_ms(5);                                                                            \
        }                                                                                          \
    } while (0)

#endif
