// Starting and stopping a server.
#include "api/server.h"

#include "api/responses.h"

#include <string.h>

enum {
    N_WORKERS = 2,
    MAX_JOBS = 4096,           // bodies waiting for a worker,
    MAX_BODIES = 4,            // and this many of the largest size
    END_MS = 1000,             // for telling those who wait that the server stops
    FLUSH_MS = 2000,           // for writing out what has been answered
    MAX_REMEMBERED = 64 << 20, // bytes of conversations that previous_response_id can name
};

static http_options with_handler(api_server *s) {
    http_options http = s->options.http;
    http.handler = (http_handler){
        .arg = s,
        .on_head = api_on_head,
        .on_request = api_on_request,
        .on_gone = api_on_gone,
        .on_wake = api_on_wake,
        .on_error = api_on_error,
    };
    return http;
}

static int start_threads(api_server *s, base_err *err) {
    const http_options http = with_handler(s);
    size_t max_body = http.limits.max_body_bytes;
    if (http.n_threads < 1 || http.n_threads > API_MAX_LANES)
        return base_fail(err, BASE_ERR_USAGE, "I/O threads: %d is not in 1..%d", http.n_threads,
                         API_MAX_LANES);
    if (api_tokenizer_info_make(s, err))
        return err->code;
    if (api_pool_create(&s->pool, N_WORKERS, MAX_JOBS,
                        max_body < SIZE_MAX / MAX_BODIES ? max_body * MAX_BODIES : max_body,
                        api_job_perform, err))
        return err->code;
    if (api_watch_start(s, err))
        return err->code;
    pthread_mutex_lock(&s->gate);
    int code = http_server_start(&s->http, &http, err);
    atomic_store_explicit(&s->open, code == 0, memory_order_release);
    pthread_mutex_unlock(&s->gate);
    return code;
}

int api_server_start(api_server **out, const api_options *options, engine *e, base_err *err) {
    api_server *s = base_calloc(1, sizeof *s);
    s->options = *options;
    s->options.responses = api_responses_store_create(MAX_REMEMBERED);
    s->created_s = base_wall_s();
    s->keys = api_keys_create(options->keys, options->n_keys);
    pthread_mutex_init(&s->gate, NULL);
    api_watch_init(&s->watch);
    api_metrics_create(s);
    api_models_make(s);
    api_lanes_create(s);
    int code = engine_thread_start(&s->engine, e, api_engine_wake, s, err);
    if (code == 0)
        code = start_threads(s, err);
    if (code) {
        api_server_stop(s);
        return code;
    }
    *out = s;
    return 0;
}

int api_server_port(const api_server *s) {
    return http_server_port(s->http);
}

void api_print_routes(const api_server *s) {
    base_str lines = {0};
    api_routes_describe(s, &lines);
    char *rest = lines.data;
    for (char *line; (line = strsep(&rest, "\n")) && *line != '\0';)
        base_info("%s", line);
    base_str_free(&lines);
}

void api_server_drain(api_server *s) {
    atomic_store(&s->draining, true);
    http_server_drain(s->http);
}

int api_server_active(api_server *s) {
    return api_watch_requests(s);
}

// Who waits is told that the server stops. Then nobody is woken any more, and the threads end in
// the order in which they call each other: I/O, workers, watch, engine. An engine that is stuck
// cannot be stopped: the watch goes on until it has let go of all requests, or ends the process.
void api_server_stop(api_server *s) {
    if (!s)
        return;
    atomic_store(&s->draining, true);
    atomic_store(&s->ending, true);
    if (s->http) {
        for (int i = 0; i < s->n_lanes; i++)
            http_server_wake(s->http, i);
        api_watch_wait_idle(s, END_MS);
    }
    api_lanes_close(s);
    http_server_stop(s->http, FLUSH_MS);
    api_pool_free(s->pool);
    api_watch_wait_engine(s);
    api_watch_stop(s);
    engine_thread_stop(s->engine);
    api_lanes_free(s);
    base_metrics_free(s->metrics.registry);
    api_watch_destroy(&s->watch);
    api_keys_free(s->keys);
    pthread_mutex_destroy(&s->gate);
    base_str_free(&s->models);
    base_str_free(&s->tokenizer_info);
    api_responses_store_free(s->options.responses);
    base_free(s);
}
