// Requests on their way through the server: answers, limits, clients that leave, the end.
#include "api/work.h"
#include "server_fixture.h"
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int active(const service *s) {
    return api_server_active(s->server);
}

static double running(const service *s) {
    return metric(s, "vllm:num_requests_running");
}

static double waiting(const service *s) {
    return metric(s, "vllm:num_requests_waiting");
}

// Nothing is left of any request.
static bool at_rest(const service *s) {
    return active(s) == 0 && running(s) == 0 && waiting(s) == 0 &&
           metric(s, "abruzzi_kv_blocks_free") == SERVICE_BLOCKS;
}

static char *body_with(const char *prompt, const char *rest) {
    static char text[512];
    snprintf(text, sizeof text, "{\"prompt\": \"%s\"%s}", prompt, rest);
    return text;
}

// --- answers ---

static void answers_come_back(void **state) {
    (void)state;
    service s = service_defaults();
    service_open(&s);
    reply r = post(&s, "/v1/completions", body_with("hello", ", \"max_tokens\": 100"));
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_header(&r, "Content-Type"), "application/json");
    assert_non_null(strstr(r.body.data, "\"text\":\"A fine answer.\""));
    reply_free(&r);

    r = post(&s, "/v1/completions", body_with("x", ", \"max_tokens\": 100, \"stream\": true"));
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(reply_header(&r, "Content-Type"), "text/event-stream"));
    assert_non_null(strstr(r.body.data, "\"finish_reason\":\"stop\""));
    assert_non_null(strstr(r.body.data, "\n\ndata: [DONE]\n\n"));
    reply_free(&r);

    r = post(&s, "/v1/chat/completions",
             "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body.data, "A fine answer."));
    reply_free(&r);

    // Several prompts and choices, each where it belongs.
    r = post(&s, "/v1/completions",
             "{\"prompt\": [\"a slow one\", \"x\"], \"n\": 2, \"max_tokens\": 100}");
    assert_int_equal(r.status, 200);
    const char *at = r.body.data;
    static const char *const texts[] = {"one two", "one two", "A fine", "A fine"};
    for (int i = 0; i < 4; i++) {
        char begin[64];
        snprintf(begin, sizeof begin, "\"index\":%d,\"text\":\"%s", i, texts[i]);
        at = strstr(at, begin);
        assert_non_null(at);
    }
    reply_free(&r);

    expect_error(post(&s, "/v1/completions", "{"), 400, "BadRequestError");
    expect_error(post(&s, "/v1/completions", "{\"prompt\": \"x\", \"model\": \"y\"}"), 404,
                 "NotFoundError");
    eventually(at_rest(&s));
    service_close(&s);
}

static void stop_strings_end_the_work(void **state) {
    (void)state;
    service s = service_defaults();
    service_open(&s);
    reply r = post(&s, "/v1/completions",
                   body_with("slow", ", \"max_tokens\": 100, \"stop\": [\"three\"]"));
    assert_non_null(strstr(r.body.data, "\"text\":\"one two \""));
    assert_non_null(strstr(r.body.data, "\"finish_reason\":\"stop\""));
    reply_free(&r);
    eventually(at_rest(&s));
    // What was aborted for the stop string is no abort to anybody outside.
    assert_true(metric(&s, "vllm:request_success_total{model_name=\"fixture\",engine=\"0\","
                           "finished_reason=\"stop\"}") == 1);
    assert_true(metric(&s, "vllm:request_success_total{model_name=\"fixture\",engine=\"0\","
                           "finished_reason=\"abort\"}") == 0);
    service_close(&s);
}

// Many connections at once, over all I/O threads.
static void many_at_once(void **state) {
    (void)state;
    enum { N = 16 };
    service s = service_defaults();
    s.engine.max_queue = N;
    service_open(&s);
    int fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = begin_post(
            &s, "/v1/completions",
            body_with(i % 2 ? "slow" : "x",
                      i % 3 ? ", \"max_tokens\": 100" : ", \"max_tokens\": 100, \"stream\": true"));
    for (int i = 0; i < N; i++) {
        reply r;
        read_reply(fds[i], false, &r);
        assert_int_equal(r.status, 200);
        if (i % 3)
            assert_non_null(strstr(r.body.data, i % 2 ? "eight nine ten" : "A fine answer."));
        else
            assert_non_null(strstr(r.body.data, "data: [DONE]"));
        reply_free(&r);
        close(fds[i]);
    }
    eventually(at_rest(&s));
    service_close(&s);
}

// --- long bodies ---

static char *long_body(const char *field, size_t n, const char *rest) {
    base_str body = {0};
    base_str_printf(&body, "{\"%s\": \"", field);
    for (size_t i = 0; i < n; i++)
        base_str_adds(&body, "word ");
    base_str_printf(&body, "\"%s}", rest);
    return body.data;
}

static void long_bodies_are_read_elsewhere(void **state) {
    (void)state;
    service s = service_defaults();
    service_open(&s);
    char *body = long_body("prompt", 20000, "");
    reply r = post(&s, "/tokenize", body);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body.data, "\"count\""));
    reply_free(&r);
    expect_error(post(&s, "/v1/completions", body), 400, "BadRequestError");
    // Clients that do not wait for it.
    for (int i = 0; i < 20; i++)
        close(begin_post(&s, "/tokenize", body));
    base_free(body);
    body = long_body("ignored", 20000, ", \"prompt\": \"x\", \"max_tokens\": 100");
    r = post(&s, "/v1/completions", body);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body.data, "A fine answer."));
    reply_free(&r);
    base_free(body);
    eventually(at_rest(&s));
    service_close(&s);
}

static sem_t may_perform, has_begun;
static _Atomic int n_done;

static void perform_when_allowed(api_job *job) {
    (void)job;
    sem_post(&has_begun);
    sem_wait(&may_perform);
}

static void free_job(void *arg, api_job *job) {
    (void)arg;
    n_done++;
    api_job_free(job);
}

static api_job *make_job(size_t len) {
    api_job *job = base_calloc(1, sizeof *job);
    job->len = len;
    job->done = free_job;
    return job;
}

static void waiting_bodies_are_bounded(void **state) {
    (void)state;
    base_err err = {0};
    api_pool *p;
    sem_init(&may_perform, 0, 0);
    sem_init(&has_begun, 0, 0);
    n_done = 0;
    assert_int_equal(api_pool_create(&p, 2, 3, 100, perform_when_allowed, &err), 0);
    for (int i = 0; i < 2; i++) { // as many as there are threads: nobody waits
        assert_true(api_pool_add(p, make_job(100)));
        sem_wait(&has_begun);
    }
    assert_true(api_pool_add(p, make_job(60)));
    api_job *refused = make_job(41);
    assert_false(api_pool_add(p, refused)); // bytes
    refused->len = 1;
    assert_true(api_pool_add(p, refused));
    assert_true(api_pool_add(p, make_job(1)));
    refused = make_job(1);
    assert_false(api_pool_add(p, refused)); // jobs
    for (int i = 0; i < 3; i++) {
        sem_post(&may_perform);
        sem_wait(&has_begun);
    }
    eventually(n_done == 3);
    assert_true(api_pool_add(p, refused)); // left waiting, to be freed
    sem_post(&may_perform);
    sem_post(&may_perform);
    sem_post(&may_perform);
    api_pool_free(p);
    sem_destroy(&may_perform);
    sem_destroy(&has_begun);
}

// --- limits ---

static void full_is_429(void **state) {
    (void)state;
    service s = service_defaults();
    s.engine.max_num_seqs = 1;
    s.engine.max_queue = 2;
    service_open(&s);
    int first = begin_post(&s, "/v1/completions", body_with("endless", ", \"max_tokens\": 500"));
    eventually(running(&s) == 1);
    // Two of three fit: none is taken, and those that were are given back.
    reply r = post(&s, "/v1/completions", "{\"prompt\": [\"x\", \"y\", \"z\"]}");
    assert_true(atoi(reply_header(&r, "Retry-After")) >= 1);
    expect_error(r, 429, "RateLimitError");
    eventually(waiting(&s) == 0);
    // More than ever fit is no matter of waiting.
    r = post(&s, "/v1/completions", "{\"prompt\": [\"a\", \"b\", \"c\", \"d\"]}");
    assert_non_null(strstr(r.body.data, "\"param\":\"prompt\""));
    expect_error(r, 400, "BadRequestError");

    int second = begin_post(&s, "/v1/completions", body_with("x", ""));
    int third = begin_post(&s, "/v1/completions", body_with("x", ", \"stream\": true"));
    eventually(waiting(&s) == 2);
    r = post(&s, "/v1/completions", body_with("x", ", \"stream\": true"));
    expect_error(r, 429, "RateLimitError"); // before the stream begins
    eventually(active(&s) == 3);
    close(first);
    int rest[] = {second, third};
    for (int i = 0; i < 2; i++) {
        read_reply(rest[i], false, &r);
        assert_int_equal(r.status, 200);
        reply_free(&r);
        close(rest[i]);
    }
    eventually(at_rest(&s));
    service_close(&s);
}

// --- clients that leave ---

static const struct {
    const char *prompt, *rest;
    int n_running, n_waiting; // when it leaves
} leavers[] = {
    {"endless", ", \"max_tokens\": 500, \"stream\": true", 1, 0},
    {"endless", ", \"max_tokens\": 500", 1, 0},
    {"endless", ", \"max_tokens\": 500, \"n\": 4", 4, 0},
    {"endless", ", \"max_tokens\": 500, \"n\": 4, \"stream\": true", 4, 0},
    {"later", ", \"max_tokens\": 500", 1, 0}, // in its prefill
    {"later", ", \"max_tokens\": 500, \"stream\": true", 1, 0},
};

static void expect_gone(const service *s) {
    eventually(at_rest(s));
    double computed = metric(s, "abruzzi_tokens_computed_total");
    double steps = metric(s, "abruzzi_engine_steps_total");
    rest_ms(250); // more than a step takes
    assert_true(metric(s, "abruzzi_tokens_computed_total") == computed);
    assert_true(metric(s, "abruzzi_engine_steps_total") == steps);
}

static void leaving_frees_everything(void **state) {
    (void)state;
    service s = service_defaults();
    service_open(&s);
    for (size_t i = 0; i < sizeof leavers / sizeof *leavers; i++) {
        int fd = begin_post(&s, "/v1/completions", body_with(leavers[i].prompt, leavers[i].rest));
        eventually(running(&s) == leavers[i].n_running && waiting(&s) == leavers[i].n_waiting);
        if (strstr(leavers[i].rest, "stream")) { // it has been admitted, so its head is there
            reply r;
            read_head(fd, &r);
            assert_int_equal(r.status, 200);
            reply_free(&r);
        }
        close(fd);
        expect_gone(&s);
    }
    assert_true(metric(&s, "vllm:request_success_total{model_name=\"fixture\",engine=\"0\","
                           "finished_reason=\"abort\"}") == 12);
    service_close(&s);
}

static void leaving_the_queue(void **state) {
    (void)state;
    service s = service_defaults();
    s.engine.max_num_seqs = 1;
    service_open(&s);
    int first = begin_post(&s, "/v1/completions", body_with("endless", ", \"max_tokens\": 500"));
    eventually(running(&s) == 1);
    int queued[4];
    for (int i = 0; i < 4; i++)
        queued[i] = begin_post(&s, "/v1/completions",
                               body_with("x", i % 2 ? ", \"stream\": true" : ", \"n\": 2"));
    eventually(waiting(&s) == 6);
    for (int i = 0; i < 4; i++)
        close(queued[i]);
    eventually(waiting(&s) == 0 && active(&s) == 1);
    close(first);
    expect_gone(&s);
    service_close(&s);
}

// Half of a body, and a request that is reset instead of closed.
static void leaving_early_or_rudely(void **state) {
    (void)state;
    service s = service_defaults();
    service_open(&s);
    int fd = dial(&s);
    static const char half[] = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: "
                               "application/json\r\nContent-Length: 100\r\n\r\n{\"prompt\"";
    send_text(fd, half, sizeof half - 1);
    close(fd);
    fd = begin_post(&s, "/v1/completions", body_with("endless", ", \"max_tokens\": 500"));
    eventually(running(&s) == 1);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    expect_gone(&s);
    service_close(&s);
}

// --- the end ---

static const char post_head[] = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: "
                                "application/json\r\nContent-Length: 15\r\n\r\n";

static void draining_lets_finish(void **state) {
    (void)state;
    service s = service_defaults();
    service_open(&s);
    int early = dial(&s); // its body comes too late
    send_text(early, post_head, sizeof post_head - 1);
    send_text(early, "{\"prompt\"", 9);
    int fd = begin_post(&s, "/v1/completions",
                        body_with("slow", ", \"max_tokens\": 100, \"stream\": true"));
    eventually(running(&s) == 1);
    api_server_drain(s.server);
    reply r = post(&s, "/v1/completions", body_with("x", ""));
    assert_true(atoi(reply_header(&r, "Retry-After")) >= 1);
    expect_error(r, 503, "ServiceUnavailableError");
    send_text(early, ":\"xy\"}", 6);
    read_reply(early, false, &r);
    expect_error(r, 503, "ServiceUnavailableError");
    close(early);
    int bodiless = dial(&s); // refused before there is one
    send_text(bodiless, post_head, sizeof post_head - 1);
    read_reply(bodiless, false, &r);
    expect_error(r, 503, "ServiceUnavailableError");
    close(bodiless);
    expect_error(get(&s, "/health"), 503, "ServiceUnavailableError");
    expect_error(get(&s, "/health/ready"), 503, "ServiceUnavailableError");
    assert_int_equal(get_status(&s, "/health/live"), 200);
    assert_int_equal(get_status(&s, "/v1/models"), 200);
    read_reply(fd, false, &r);
    assert_non_null(strstr(r.body.data, "data: [DONE]"));
    reply_free(&r);
    close(fd);
    eventually(active(&s) == 0);
    service_close(&s);
}

static void stopping_tells_those_who_wait(void **state) {
    (void)state;
    service s = service_defaults();
    service_open(&s);
    const char *const rests[] = {", \"max_tokens\": 500, \"stream\": true",
                                 ", \"max_tokens\": 500"};
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = begin_post(&s, "/v1/completions", body_with("endless", rests[i % 2]));
    eventually(running(&s) == 4);
    service_close(&s);
    for (int i = 0; i < 4; i++) {
        reply r;
        read_reply(fds[i], false, &r);
        close(fds[i]);
        if (i % 2) {
            expect_error(r, 503, "ServiceUnavailableError");
            continue;
        }
        assert_int_equal(r.status, 200);
        assert_non_null(strstr(r.body.data, "data: {\"error\":{\"message\":\"The server is shut"));
        assert_non_null(strstr(r.body.data, "data: [DONE]"));
        reply_free(&r);
    }
}

// --- what is told about it ---

static void metrics_follow(void **state) {
    (void)state;
    service s = service_defaults();
    service_open(&s);
    reply r = post(&s, "/v1/completions", body_with("slow", ", \"max_tokens\": 5, \"n\": 2"));
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_true(metric(&s, "vllm:time_to_first_token_seconds_count") == 2);
    assert_true(metric(&s, "vllm:inter_token_latency_seconds_count") == 8);
    assert_true(metric(&s, "vllm:inter_token_latency_seconds_sum") >= 8 * 0.018);
    assert_true(metric(&s, "vllm:e2e_request_latency_seconds_count") == 2);
    assert_true(metric(&s, "vllm:e2e_request_latency_seconds_sum") >= 10 * 0.018);
    assert_true(metric(&s, "vllm:request_queue_time_seconds_count") == 2);
    assert_true(metric(&s, "vllm:request_prefill_time_seconds_count") == 2);
    assert_true(metric(&s, "vllm:request_decode_time_seconds_count") == 2);
    assert_true(metric(&s, "vllm:generation_tokens_total") == 10);
    double prompt = metric(&s, "vllm:prompt_tokens_total");
    assert_true(prompt >= 1);
    assert_true(metric(&s, "vllm:iteration_tokens_total_sum") == prompt + 10);
    assert_true(metric(&s, "vllm:request_success_total{model_name=\"fixture\",engine=\"0\","
                           "finished_reason=\"length\"}") == 2);
    assert_true(metric(&s, "vllm:cache_config_info{model_name=\"fixture\",engine=\"0\","
                           "block_size=\"16\",cache_dtype=\"float32\"") == 1);
    assert_true(metric(&s, "abruzzi_kv_blocks_total") == SERVICE_BLOCKS);
    assert_true(metric(&s, "abruzzi_rank_up{rank=\"0\"}") == 1);
    assert_true(metric(&s, "abruzzi_open_connections") >= 1);
    assert_true(metric(&s, "process_resident_memory_bytes") > 1 << 20);
    assert_true(metric(&s, "process_open_fds") > 3);
    service_close(&s);
}

static void load_counts_requests(void **state) {
    (void)state;
    service s = service_defaults();
    s.options.server_load_tracking = true;
    service_open(&s);
    int fd = begin_post(&s, "/v1/completions", body_with("endless", ", \"max_tokens\": 500"));
    eventually(running(&s) == 1);
    reply r = get(&s, "/load");
    assert_string_equal(r.body.data, "{\"server_load\":1}");
    reply_free(&r);
    close(fd);
    eventually(active(&s) == 0);
    r = get(&s, "/load");
    assert_string_equal(r.body.data, "{\"server_load\":0}");
    reply_free(&r);
    service_close(&s);
}

// What the server logs while `during` runs; to be freed.
static base_str log_of(void (*during)(void)) {
    char path[] = "/tmp/test_log.XXXXXX";
    int file = mkstemp(path), saved = dup(STDERR_FILENO);
    assert_true(file >= 0 && saved >= 0);
    dup2(file, STDERR_FILENO);
    during();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(file);
    base_str log = {0};
    base_err err = {0};
    assert_int_equal(base_file_read(path, 1 << 20, BASE_ERR_USAGE, &log, &err), 0);
    unlink(path);
    return log;
}

static void serve_with_logs(bool requests) {
    service s = service_defaults();
    s.options.access_log = s.options.log_stats = true;
    s.options.log_requests = requests;
    s.options.stats_interval_s = 0.1;
    base_log_set_level(BASE_LOG_INFO);
    service_open(&s);
    api_print_routes(s.server);
    reply r = post(&s, "/v1/completions", body_with("slow secret", ", \"max_tokens\": 100"));
    reply_free(&r);
    r = get(&s, "/v1/models?api_key=hidden");
    reply_free(&r);
    expect_error(get(&s, "/nowhere"), 404, "NotFoundError");
    rest_ms(500); // the lines end by themselves
    service_close(&s);
    base_log_set_level(BASE_LOG_WARNING);
}

static void serve_with_access_log(void) {
    serve_with_logs(false);
}

static void serve_with_request_log(void) {
    serve_with_logs(true);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static void logs_say_enough_and_no_more(void **state) {
    (void)state;
    base_str log = log_of(serve_with_access_log);
    assert_non_null(strstr(log.data, "Route: /v1/completions, Methods: POST\n"));
    assert_non_null(strstr(log.data, "Route: /v1/models, Methods: GET\n"));
    assert_non_null(strstr(log.data, " - \"POST /v1/completions HTTP/1.1\" 200 OK\n"));
    assert_non_null(strstr(log.data, " - \"GET /v1/models HTTP/1.1\" 200 OK\n"));
    assert_non_null(strstr(log.data, " - \"GET /nowhere HTTP/1.1\" 404 Not Found\n"));
    assert_non_null(strstr(log.data, "127.0.0.1:"));
    assert_null(strstr(log.data, "secret"));
    assert_null(strstr(log.data, "hidden"));
    assert_non_null(strstr(log.data, "Engine 000: Avg prompt throughput: "));
    assert_non_null(strstr(log.data, " tokens/s, Running: 1 reqs, Waiting: 0 reqs, GPU KV cache "
                                     "usage: 0.4%, Prefix cache hit rate: 0.0%\n"));
    // One line of rest, then none.
    assert_int_equal(count(log.data, "Avg prompt throughput: 0.0 tokens/s, Avg generation "
                                     "throughput: 0.0 tokens/s, Running: 0 reqs"),
                     1);
    base_str_free(&log);

    log = log_of(serve_with_request_log);
    assert_non_null(strstr(log.data, "Received request cmpl-"));
    assert_non_null(strstr(log.data, "prompt: 'slow secret'"));
    base_str_free(&log);
}

// How often threads of this process went to sleep during a good second; our own sleep is one. A
// sanitizer has threads of its own.
static long n_sleeps(void) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    return 1;
#else
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    rest_ms(1200);
    getrusage(RUSAGE_SELF, &after);
    return after.ru_nvcsw - before.ru_nvcsw;
#endif
}

static void idle_threads_sleep(void **state) {
    (void)state;
    service s = service_defaults();
    s.options.log_stats = true;
    s.options.stats_interval_s = 0.05;
    service_open(&s);
    eventually(n_sleeps() == 1);
    reply r = post(&s, "/v1/completions", body_with("x", ""));
    reply_free(&r);
    eventually(metric(&s, "abruzzi_open_connections") == 1);
    eventually(n_sleeps() == 1);
    service_close(&s);
}

// --- an engine that is lost; each in a process of its own ---

static int stuck_server(void) {
    setenv("ABRUZZI_FAULTS", "1", 1);
    setenv("STALL_RANK", "0", 1);
    service s = service_defaults();
    s.options.stall_s = 0.2;
    s.options.watchdog_s = 1.5;
    service_open(&s);
    if (get_status(&s, "/health") != 200)
        return 1;
    begin_post(&s, "/v1/completions", body_with("x", ", \"stream\": true"));
    eventually(get_status(&s, "/health") == 503);
    if (get_status(&s, "/health/ready") != 503 || get_status(&s, "/ping") != 503 ||
        get_status(&s, "/health/live") != 200 || metric(&s, "abruzzi_rank_up") != 0)
        return 2;
    expect_error(post(&s, "/v1/completions", body_with("x", "")), 503, "ServiceUnavailableError");
    service_close(&s); // does not return
    return 3;
}

static backend_ops nan_ops;
static void (*real_wait)(backend *b, backend_result *result);

static void wait_for_nan(backend *b, backend_result *result) {
    static backend_output_result results[64];
    real_wait(b, result);
    for (int i = 0; i < result->n_outputs; i++)
        results[i] = (backend_output_result){.status = BACKEND_OUTPUT_NAN};
    result->outputs = results;
}

static void compute_nan(backend *b) {
    nan_ops = *b->ops;
    real_wait = nan_ops.wait;
    nan_ops.wait = wait_for_nan;
    b->ops = &nan_ops;
}

static int nan_server(void) {
    service s = service_defaults();
    s.meddle = compute_nan;
    s.options.watchdog_s = 60;
    service_open(&s);
    for (int i = 0; i < 8; i++) {
        if (get_status(&s, "/health") != 200)
            return 1;
        expect_error(post(&s, "/v1/completions", body_with("x", "")), 500, "InternalServerError");
    }
    if (metric(&s, "abruzzi_nan_guard_total") != 8)
        return 2;
    if (get_status(&s, "/health") != 503)
        return 3;
    rest_ms(PATIENCE_S * 1000);
    return 4;
}

static int exit_status_of(const char *argument) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "test_api_server", argument, (char *)NULL);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void a_lost_engine_ends_the_process(void **state) {
    (void)state;
    assert_int_equal(exit_status_of("stuck"), 70);
    assert_int_equal(exit_status_of("nan"), 70);
}

int main(int argc, char **argv) {
    base_log_set_level(BASE_LOG_WARNING);
    if (argc > 1)
        return strcmp(argv[1], "stuck") == 0 ? stuck_server() : nan_server();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_back),
        cmocka_unit_test(stop_strings_end_the_work),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(long_bodies_are_read_elsewhere),
        cmocka_unit_test(waiting_bodies_are_bounded),
        cmocka_unit_test(full_is_429),
        cmocka_unit_test(leaving_frees_everything),
        cmocka_unit_test(leaving_the_queue),
        cmocka_unit_test(leaving_early_or_rudely),
        cmocka_unit_test(draining_lets_finish),
        cmocka_unit_test(stopping_tells_those_who_wait),
        cmocka_unit_test(metrics_follow),
        cmocka_unit_test(load_counts_requests),
        cmocka_unit_test(logs_say_enough_and_no_more),
        cmocka_unit_test(idle_threads_sleep),
        cmocka_unit_test(a_lost_engine_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
