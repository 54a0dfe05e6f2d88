// abruzzi serve: the OpenAI-compatible server, from its flags to its end.
#include "cli/keys.h"
#include "cli/notify.h"
#include "cli/serving.h"
#include "cli/signals.h"
#include "cli/welcome.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct serve {
    const cli_options *o;
    const char *model; // as it was named
    cli_keys keys;
    cli_serving serving;
} serve;

static bool is_kimi(const cli_options *o, const char *parser) {
    return strcmp(cli_string(o, parser), "kimi_k2") == 0;
}

// ---------------------------------------------------------------------------------------------
// What can be found wrong before a model is loaded, which may take minutes

static int find_engine(serve *s, base_err *err) {
    const char *text = cli_string(s->o, "engine");
    if (strcmp(text, "native") == 0)
        return 0;
    if (strncmp(text, "replay:", 7) != 0 || text[7] == '\0')
        return base_fail(err, BASE_ERR_USAGE, "--engine: '%s' is neither native nor replay:FILE",
                         text);
    s->serving.replay = text + 7;
    return 0;
}

static int check_flags(const cli_options *o, base_err *err) {
    int n;
    const char *const *names = cli_strings(o, "served-model-name", &n);
    for (int i = 0; i < n; i++) {
        if (names[i][0] == '\0')
            return base_fail(err, BASE_ERR_USAGE, "--served-model-name: a name is empty");
    }
    if (cli_bool(o, "enable-auto-tool-choice") && !is_kimi(o, "tool-call-parser"))
        return base_fail(err, BASE_ERR_USAGE,
                         "--enable-auto-tool-choice needs a --tool-call-parser that is not none");
    if (cli_given(o, "ssl-keyfile") && !cli_given(o, "ssl-certfile"))
        return base_fail(err, BASE_ERR_USAGE, "--ssl-keyfile needs --ssl-certfile");
    if (cli_given(o, "ssl-certfile") && cli_given(o, "uds") && !cli_given(o, "host") &&
        !cli_given(o, "port"))
        return base_fail(err, BASE_ERR_USAGE,
                         "--ssl-certfile: TLS is for TCP; with --uds give --host or --port too");
    return 0;
}

static void find_http(const cli_options *o, http_options *out) {
    bool tcp = !cli_given(o, "uds") || cli_given(o, "host") || cli_given(o, "port");
    *out = (http_options){
        .host = tcp ? cli_string(o, "host") : NULL,
        .port = (int)cli_int(o, "port"),
        .uds = cli_string(o, "uds"),
        .certfile = cli_string(o, "ssl-certfile"),
        .keyfile = cli_string(o, "ssl-keyfile"),
        .n_threads = (int)cli_int(o, "http-threads"),
    };
    if (out->keyfile == NULL)
        out->keyfile = out->certfile; // one file may hold both
    http_limits_init(&out->limits);
    out->limits.max_connections = (int)cli_int(o, "max-connections");
    out->limits.ping_interval_ms = (int)lround(cli_float(o, "ping-interval") * 1e3);
}

static bool answer_early(void *arg, http_exchange *x) {
    (void)arg;
    http_respond(x, 503, NULL, "Retry-After: 10\r\n", NULL, 0);
    return false;
}

static void ignore_exchange(void *arg, http_exchange *x) {
    (void)arg;
    (void)x;
}

static void ignore_wake(void *arg, int thread) {
    (void)arg;
    (void)thread;
}

// A port in use, a socket that cannot be made, a certificate that does not fit its key.
static int try_to_listen(const serve *s, base_err *err) {
    http_options options = s->serving.options.http;
    options.n_threads = 1;
    options.limits.max_connections = 1; // what files there are for more, is said at the start
    options.handler = (http_handler){.on_head = answer_early,
                                     .on_request = ignore_exchange,
                                     .on_gone = ignore_exchange,
                                     .on_wake = ignore_wake};
    http_server *server = NULL;
    int rc = http_server_start(&server, &options, err);
    if (rc == 0)
        http_server_stop(server, 0);
    return rc;
}

static int prepare(serve *s, base_err *err) {
    const cli_options *o = s->o;
    if (cli_argument(o, 0) == NULL && !cli_given(o, "model"))
        return base_fail(err, BASE_ERR_USAGE,
                         "no model given: a directory or a hub id. 'make run' serves a small one "
                         "of random weights, 'abruzzi synth DIR' writes one");
    int rc = cli_model_argument(o, &s->model, err);
    if (rc == 0)
        rc = find_engine(s, err);
    if (rc == 0)
        rc = check_flags(o, err);
    if (rc == 0)
        rc = cli_stack_check(o, err);
    if (rc == 0)
        rc = cli_keys_read(&s->keys, o, err);
    if (rc != 0)
        return rc;
    find_http(o, &s->serving.options.http);
    cli_set_log_level(o);
    return try_to_listen(s, err);
}

// ---------------------------------------------------------------------------------------------
// Start

static void find_names(serve *s) {
    api_options *a = &s->serving.options;
    a->served_names = cli_strings(s->o, "served-model-name", &a->n_served_names);
    if (a->n_served_names == 0) {
        a->served_names = &s->model;
        a->n_served_names = 1;
    }
    a->root = s->model;
    a->keys = (const char *const *)s->keys.at;
    a->n_keys = s->keys.n;
}

static void find_flags(serve *s) {
    const cli_options *o = s->o;
    api_options *a = &s->serving.options;
    a->has_seed = cli_given(o, "seed");
    a->seed = (uint64_t)cli_int(o, "seed");
    a->reasoning_parser = is_kimi(o, "reasoning-parser");
    a->tool_parser = is_kimi(o, "tool-call-parser");
    a->enforce_tools = cli_bool(o, "enforce-tool-calls");
    a->exclude_tools = cli_bool(o, "exclude-tools-when-tool-choice-none");
    a->prompt_tokens_details = cli_bool(o, "enable-prompt-tokens-details");
    a->force_include_usage = cli_bool(o, "enable-force-include-usage");
    a->tokenizer_info = cli_bool(o, "enable-tokenizer-info-endpoint");
    a->request_id_headers = cli_bool(o, "enable-request-id-headers");
    a->server_load_tracking = cli_bool(o, "enable-server-load-tracking");
    a->allow_special = cli_bool(o, "allow-special-tokens-in-text");
    a->return_tokens_as_token_ids = cli_bool(o, "return-tokens-as-token-ids");
    a->access_log = !cli_bool(o, "disable-access-log");
    a->log_requests = cli_bool(o, "enable-log-requests");
    a->log_stats = !cli_bool(o, "disable-log-stats");
    a->stats_interval_s = cli_float(o, "log-stats-interval");
    a->stall_s = cli_float(o, "stall-timeout");
    a->watchdog_s = cli_float(o, "watchdog-timeout");
}

static int load(serve *s, base_err *err) {
    cli_serving *v = &s->serving;
    v->max_logprobs = (int)cli_int(s->o, "max-logprobs");
    v->max_queue = (int)cli_int(s->o, "max-queue");
    find_flags(s);
    int rc = cli_serving_open(v, s->o, err);
    if (rc == 0)
        find_names(s);
    return rc;
}

static void announce(const serve *s) {
    const http_options *http = &s->serving.options.http;
    const cli_welcome w = {
        .host = http->host,
        .port = api_server_port(s->serving.server),
        .tls = http->certfile != NULL,
        .socket = http->uds,
        .model = s->serving.options.served_names[0],
        .chat = s->serving.chat != NULL,
        .need_key = s->keys.n > 0,
    };
    base_str text = {0};
    api_print_routes(s->serving.server);
    cli_welcome_address(&w, &text);
    base_info("Starting Abruzzi server on %s", text.data);
    base_info("Application startup complete.");
    base_str_clear(&text);
    cli_welcome_print(&w, &text);
    fwrite(text.data, 1, text.len, stdout);
    fflush(stdout);
    clearerr(stdout); // a server may run without anybody who reads this
    base_str_free(&text);
}

// ---------------------------------------------------------------------------------------------
// End

// Requests that run go on, for as long as they may; new ones get 503.
static void drain(serve *s) {
    static const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    double timeout = cli_float(s->o, "shutdown-timeout"), begin = base_now_s();
    base_info("Draining: %d requests", api_server_active(s->serving.server));
    api_server_drain(s->serving.server);
    while (api_server_active(s->serving.server) > 0 && base_now_s() - begin < timeout)
        nanosleep(&moment, NULL);
    int left = api_server_active(s->serving.server);
    if (left > 0)
        base_warn("%d requests did not end within --shutdown-timeout %g s", left, timeout);
}

static int run(serve *s, base_err *err) {
    int rc = prepare(s, err);
    if (rc == 0)
        rc = load(s, err);
    if (rc == 0)
        rc = cli_serving_start(&s->serving, err);
    if (rc != 0)
        return rc;
    announce(s);
    cli_notify("READY=1");
    int signal = cli_signals_wait(s->serving.options.http.uds);
    base_info("%s", strsignal(signal));
    cli_notify("STOPPING=1");
    drain(s);
    cli_serving_close(&s->serving);
    base_info("Shutdown complete.");
    return 0;
}

int cmd_serve(const cli_options *o, base_err *err) {
    serve s = {.o = o};
    int rc = cli_signals_begin(err);
    if (rc != 0)
        return rc;
    signal(SIGPIPE, SIG_IGN); // a client that is gone is an error of write
    rc = run(&s, err);
    cli_serving_close(&s.serving);
    cli_keys_free(&s.keys);
    return rc;
}
