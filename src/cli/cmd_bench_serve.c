// abruzzi bench serve: load for a server, and how it bore it.
#include "cli/bar.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "model/model.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LATE_MEAN_MS 1.0

enum { RETRY_S = 5, READY_2025_S = 600, MAX_REPLY = 16 << 20 };

static void print(base_str *text) {
    fwrite(text->data, 1, text->len, stdout);
    fflush(stdout);
    base_str_free(text);
}

// ---------------------------------------------------------------------------------------------
// The connection

static void free_headers(char **headers, int n) {
    for (int i = 0; i < n; i++)
        base_free(headers[i]);
    base_free(headers);
}

static int open_client(cli_bench *b, base_err *err) {
    const cli_options *o = b->o;
    int n, rc = 0;
    const char *const *pairs = cli_strings(o, "header", &n);
    char **headers = base_calloc((size_t)n + 1, sizeof *headers);
    for (int i = 0; i < n && rc == 0; i++) {
        size_t len = strcspn(pairs[i], "=");
        base_str line = {0};
        base_str_printf(&line, "%.*s: %s", (int)len, pairs[i],
                        pairs[i][len] == '=' ? pairs[i] + len + 1 : "");
        headers[i] = line.data;
        if (len == 0 || pairs[i][len] != '=')
            rc = base_fail(err, BASE_ERR_USAGE, "--header: '%s' is not KEY=VALUE", pairs[i]);
    }
    const char *key = cli_string(o, "api-key");
    if (key == NULL)
        key = getenv("OPENAI_API_KEY");
    const measure_client_options options = {
        .base_url = b->url.data,
        .key = key != NULL && *key != '\0' ? key : NULL,
        .headers = (const char *const *)headers,
        .n_headers = n,
        .insecure = cli_bool(o, "insecure"),
        .timeout_s = cli_float(o, "request-timeout"),
    };
    if (rc == 0)
        rc = measure_client_create(&b->client, &options, err);
    free_headers(headers, n);
    return rc;
}

// ---------------------------------------------------------------------------------------------
// The model

typedef struct whole_reply {
    base_str body;
    int status;
    char error[200];
} whole_reply;

static void take_body(void *arg, const char *data, size_t len, int64_t at_ns) {
    (void)at_ns;
    whole_reply *r = arg;
    if (r->body.len + len <= MAX_REPLY)
        base_str_add(&r->body, data, len);
}

static void take_end(void *arg, const measure_end *end) {
    whole_reply *r = arg;
    r->status = end->status;
    snprintf(r->error, sizeof r->error, "%s", end->error);
}

static void get(cli_bench *b, const char *path, whole_reply *reply) {
    const measure_request request = {
        .path = path, .on_data = take_body, .on_end = take_end, .arg = reply};
    measure_client_start(b->client, &request);
    while (measure_client_running(b->client) > 0 && !cli_interrupted)
        measure_client_run(b->client, 0);
}

// What the server calls its first model, and where it has it from.
static int ask_for_model(cli_bench *b, base_err *err) {
    whole_reply reply = {0};
    puts("Model not specified, fetching first model from server...");
    fflush(stdout);
    get(b, "/v1/models", &reply);
    int rc = 0;
    json_t *models = NULL;
    if (cli_interrupted)
        rc = base_fail(err, CLI_INTERRUPTED, "interrupted");
    else if (reply.status != 200)
        rc = base_fail(err, BASE_ERR_RESOURCE, "%s/v1/models: HTTP %d%s%s", b->url.data,
                       reply.status, reply.error[0] != '\0' ? ", " : "", reply.error);
    else
        models =
            base_json_parse(reply.body.data, reply.body.len, "/v1/models", BASE_ERR_RESOURCE, err);
    if (rc == 0 && models == NULL)
        rc = BASE_ERR_RESOURCE;
    const json_t *first = json_array_get(json_object_get(models, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    const char *root = json_string_value(json_object_get(first, "root"));
    if (rc == 0 && id == NULL)
        rc = base_fail(err, BASE_ERR_RESOURCE, "%s/v1/models: no model is in it", b->url.data);
    if (rc == 0) {
        b->served = base_strdup(id);
        b->model = base_strdup(root != NULL ? root : id);
        printf("First model name: %s, first model id: %s\n", b->served, b->model);
    }
    json_decref(models);
    base_str_free(&reply.body);
    return rc;
}

static int find_model(cli_bench *b, base_err *err) {
    const char *given = cli_string(b->o, "model");
    int rc = 0;
    if (given != NULL) {
        b->model = base_strdup(given);
        b->served = base_strdup(given);
    } else {
        rc = ask_for_model(b, err);
    }
    if (rc == 0 && cli_has(b->o, "served-model-name")) {
        base_free(b->served);
        b->served = base_strdup(cli_string(b->o, "served-model-name"));
    }
    b->load.model = b->served;
    return rc;
}

static int load_tokenizer(cli_bench *b, base_err *err) {
    const char *name = cli_string(b->o, "tokenizer");
    b->tokenizer = base_strdup(name != NULL ? name : b->model);
    char *dir = NULL;
    int rc = model_hub_resolve(&dir, b->tokenizer, err);
    if (rc == 0)
        rc = token_vocab_load(&b->vocab, dir, err);
    base_free(dir);
    b->metrics.vocab = b->vocab;
    return rc == 0 ? 0 : base_fail_prefix(err, "no tokenizer to count prompts with (--tokenizer)");
}

// ---------------------------------------------------------------------------------------------
// Runs

static void free_replies(measure_reply *replies, int n) {
    for (int i = 0; i < n; i++)
        measure_reply_free(&replies[i]);
    base_free(replies);
}

static void show_progress(void *arg, int done) {
    cli_bar_set(arg, done);
}

// `n` times the first sample, as many at a time as the load will be.
static measure_reply *send_first(cli_bench *b, int n, bool bar_off) {
    measure_sample *at = base_calloc((size_t)n, sizeof *at);
    for (int i = 0; i < n; i++) {
        at[i] = b->samples.at[0];
        at[i].conversation = -1;
    }
    const measure_samples samples = {at, n};
    measure_reply *replies = base_calloc((size_t)n, sizeof *replies);
    measure_load_options load = b->load;
    cli_bar bar;
    load.arrivals = (measure_arrivals){.rate = INFINITY, .burstiness = 1};
    load.progress = show_progress;
    load.progress_arg = &bar;
    cli_bar_begin(&bar, n, bar_off);
    measure_load_run(b->client, &samples, &load, replies);
    cli_bar_end(&bar);
    base_free(at);
    return replies;
}

static void wait_seconds(int64_t until_ns) {
    while (!cli_interrupted && base_now_ns() < until_ns)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
}

// One request; fills `err` when it fails.
static bool try_first(cli_bench *b, base_err *err) {
    measure_reply *reply = send_first(b, 1, true);
    bool good = reply->success;
    if (!good)
        base_fail(err, BASE_ERR_RESOURCE,
                  "Initial test run failed - Please make sure benchmark arguments are correctly "
                  "specified. Error: %s",
                  reply->error != NULL ? reply->error : "interrupted");
    free_replies(reply, 1);
    return good;
}

static int check_ready(cli_bench *b, base_err *err) {
    const cli_options *o = b->o;
    int seconds = b->compat_2025 ? READY_2025_S : 0;
    if (cli_has(o, "ready-check-timeout-sec"))
        seconds = (int)cli_int(o, "ready-check-timeout-sec");
    puts("Starting initial single prompt test run...");
    if (seconds == 0) {
        puts("Skipping endpoint ready check.");
        return 0;
    }
    printf("Waiting for endpoint to become up in %d seconds\n", seconds);
    fflush(stdout);
    const int64_t retry_ns = (int64_t)RETRY_S * 1000000000;
    int64_t end_ns = base_now_ns() + (int64_t)seconds * 1000000000;
    while (!try_first(b, err)) {
        if (cli_interrupted || base_now_ns() + retry_ns > end_ns)
            return err->code;
        wait_seconds(base_now_ns() + retry_ns);
    }
    *err = (base_err){0}; // of earlier attempts
    // In 2025 the next message stood on the same line.
    printf("Initial test run completed.%s", b->compat_2025 ? " " : "\n");
    return 0;
}

// Random prompts are to have their lengths where they are counted: in the server.
static void fit_samples(cli_bench *b) {
    if (strcmp(cli_string(b->o, "dataset-name"), "random") == 0 && !b->compat_2025)
        measure_samples_fit(&b->samples, b->client, b->served, &cli_interrupted);
}

static void warm_up(cli_bench *b) {
    int n = (int)cli_int(b->o, "num-warmups");
    if (n == 0)
        return;
    printf("Warming up with %d requests...\n", n);
    fflush(stdout);
    free_replies(send_first(b, n, cli_bool(b->o, "disable-tqdm")), n);
    puts("Warmup run completed.");
}

// ---------------------------------------------------------------------------------------------
// Files

static int make_directories(const char *path, base_err *err) {
    char *copy = base_strdup(path);
    int rc = 0;
    for (char *p = copy + 1; rc == 0; p++) {
        char c = *p;
        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            rc = base_fail(err, BASE_ERR_RESOURCE, "--result-dir: %s: %s", copy, strerror(errno));
        *p = c;
        if (c == '\0')
            break;
    }
    base_free(copy);
    return rc;
}

static int append(const char *path, const base_str *text, base_err *err) {
    FILE *file = fopen(path, "ae");
    if (file == NULL)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fileno(file), &st) == 0 && st.st_size > 0)
        fputc('\n', file);
    fwrite(text->data, 1, text->len, file);
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", path, strerror(errno));
    return 0;
}

static int save(const cli_bench *b, measure_result *result, base_err *err) {
    const cli_options *o = b->o;
    const char *name = cli_string(o, "result-filename"), *dir = cli_string(o, "result-dir");
    if (!cli_bool(o, "save-result") && !cli_bool(o, "append-result"))
        return 0;
    base_str text = {0}, generated = {0};
    measure_result_name(&generated, result);
    const char *file = name != NULL ? name : generated.data;
    char *path = dir != NULL ? base_path_join(dir, file) : base_strdup(file);
    int rc = measure_result_make(&text, result, err);
    if (rc == 0 && dir != NULL)
        rc = make_directories(dir, err);
    if (rc == 0 && cli_bool(o, "append-result"))
        rc = append(path, &text, err);
    else if (rc == 0)
        rc = base_file_write(path, text.data, text.len, err);
    base_free(path);
    base_str_free(&text);
    base_str_free(&generated);
    return rc;
}

// ---------------------------------------------------------------------------------------------
// The benchmark

static void print_results(const cli_bench *b, const measure_metrics *m,
                          const measure_reply *replies) {
    base_str text = {0};
    if (m->unfinished > 0)
        base_str_printf(&text, "Interrupted: %d requests had not ended.\n", m->unfinished);
    measure_report_table(&text, m, &b->report);
    measure_report_failures(&text, replies, b->samples.n);
    print(&text);
}

static int report(const cli_bench *b, const measure_reply *replies, double seconds,
                  int64_t wall_start_s, base_err *err) {
    measure_metrics m;
    measure_metrics_make(&m, &b->samples, replies, seconds, &b->metrics);
    print_results(b, &m, replies);
    char date[32];
    struct tm tm;
    time_t now = (time_t)base_wall_s();
    localtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", &tm);
    measure_result result = {
        .backend = cli_string(b->o, "backend"),
        .label = cli_string(b->o, "label"),
        .model = b->model,
        .tokenizer = b->tokenizer,
        .date = date,
        .detailed = cli_bool(b->o, "save-detailed"),
        .wall_start_s = wall_start_s,
        .samples = &b->samples,
        .replies = replies,
        .metrics = &m,
        .options = &b->report,
    };
    result.metadata = cli_strings(b->o, "metadata", &result.n_metadata);
    int rc = save(b, &result, err);
    if (rc == 0 && m.completed == 0 && m.failed > 0)
        rc = base_fail(err, BASE_ERR_RESOURCE,
                       "All requests failed. This is likely due to a misconfiguration on the "
                       "benchmark arguments.");
    measure_metrics_free(&m);
    return rc;
}

static int run_load(cli_bench *b, base_err *err) {
    base_str text = {0};
    cli_bar bar;
    puts("Starting main benchmark run...");
    measure_report_traffic(&text, &b->load);
    print(&text);
    measure_reply *replies = base_calloc((size_t)b->samples.n + 1, sizeof *replies);
    b->load.progress = show_progress;
    b->load.progress_arg = &bar;
    measure_lateness late = {0};
    b->load.late = &late;
    int64_t wall_start_s = base_wall_s();
    cli_bar_begin(&bar, b->samples.n, cli_bool(b->o, "disable-tqdm"));
    double seconds = measure_load_run(b->client, &b->samples, &b->load, replies);
    cli_bar_end(&bar);
    int rc = report(b, replies, seconds, wall_start_s, err);
    if (late.mean_ms > LATE_MEAN_MS)
        base_warn("This process was itself late by %.1f ms in the mean and %.0f ms at most: the "
                  "machine is too busy, and times are too long by as much",
                  late.mean_ms, late.most_ms);
    free_replies(replies, b->samples.n);
    return rc;
}

static int run_all(cli_bench *b, base_err *err) {
    cli_interrupt_begin();
    int rc = open_client(b, err);
    if (rc == 0)
        rc = find_model(b, err);
    if (rc == 0)
        rc = load_tokenizer(b, err);
    if (rc == 0)
        rc = cli_bench_make_samples(b, err);
    if (rc != 0)
        return rc;
    // A reader that went away is told by an error of write(2).
    signal(SIGPIPE, SIG_IGN);
    cli_interrupt_running();
    b->load.interrupted = &cli_interrupted;
    fit_samples(b);
    rc = cli_interrupted ? 0 : check_ready(b, err);
    if (rc == 0 && !cli_interrupted)
        warm_up(b);
    if (rc == 0 && !cli_interrupted)
        rc = run_load(b, err);
    return cli_interrupted ? CLI_INTERRUPTED : rc;
}

static int compare(const cli_options *o, base_err *err) {
    int n;
    const char *const *paths = cli_strings(o, "compare", &n);
    if (n != 2)
        return base_fail(err, BASE_ERR_USAGE, "--compare takes two files");
    base_str text = {0};
    int rc = measure_compare(&text, paths[0], paths[1], err);
    if (rc == 0)
        print(&text);
    base_str_free(&text);
    return rc;
}

int cmd_bench_serve(const cli_options *o, base_err *err) {
    if (cli_given(o, "compare"))
        return compare(o, err);
    cli_bench b;
    base_str text = {0};
    int rc = cli_bench_read(&b, o, err);
    if (rc == 0) {
        cli_options_namespace(o, &text);
        base_str_adds(&text, "\n");
        print(&text);
        rc = run_all(&b, err);
    }
    cli_bench_free(&b);
    return rc;
}
