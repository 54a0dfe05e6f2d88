// abruzzi bench throughput and abruzzi bench latency: a model measured in this process. What they
// print is what vLLM prints, and how near the steps came to the machine's own limit.
#include "cli/bar.h"
#include "cli/interrupt.h"
#include "cli/stack.h"
#include "measure/measure.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct bench {
    const cli_options *o;
    cli_stack stack;
    double read_gbs; // of this machine's memory
    cli_bar bar;
    // Over all that is measured
    uint64_t weight_bytes;
    double step_seconds;
} bench;

static void draw_requests(void *arg, int done) {
    bench *b = arg;
    cli_bar_set(&b->bar, done);
}

// ---------------------------------------------------------------------------------------------
// Running

static int open_bench(bench *b, const cli_options *o, int64_t choices, bool prefix_caching,
                      base_err *err) {
    enum { MAX_QUEUE = 1 << 20 };
    const cli_stack_needs needs = {
        .max_queue = choices < MAX_QUEUE ? (int)choices : MAX_QUEUE,
        .no_prefix_caching = !prefix_caching,
    };
    const char *name;
    int rc = cli_model_argument(o, &name, err);
    if (rc == 0)
        rc = cli_stack_check(o, err);
    if (rc != 0)
        return rc;
    *b = (bench){.o = o};
    // Before the weights come, which may leave no memory to read.
    b->read_gbs = measure_read_gbs(cli_threads(o));
    return cli_stack_open(&b->stack, o, &needs, err);
}

static int run(bench *b, const measure_offline_request *requests, int n, bool drawn,
               measure_offline_result *result, base_err *err) {
    const measure_offline_options options = {
        .engine = b->stack.engine,
        .backend = b->stack.backend,
        .vocab = b->stack.vocab,
        .n = (int)cli_int(b->o, "n"),
        .seed = (uint64_t)cli_int(b->o, "seed"),
        .detokenize = !cli_bool(b->o, "disable-detokenize"),
        .stop = &cli_interrupted,
        .on_done = drawn ? draw_requests : NULL,
        .arg = b,
    };
    int rc = measure_offline_run(result, requests, n, &options, err);
    if (rc == 0 && result->stopped)
        rc = CLI_INTERRUPTED;
    return rc;
}

static int check_lengths(const bench *b, int prompt_len, int output_len, base_err *err) {
    const int most = b->stack.limits.max_model_len;
    if (output_len <= most && prompt_len <= most - output_len)
        return 0;
    return base_fail(err, BASE_ERR_USAGE,
                     "a request of %d + %d tokens does not fit max_model_len %d", prompt_len,
                     output_len, most);
}

// ---------------------------------------------------------------------------------------------
// Results

static double weight_gbs(const bench *b) {
    return b->step_seconds > 0 ? (double)b->weight_bytes * 1e-9 / b->step_seconds : 0;
}

static void print_roofline(const bench *b) {
    const int threads = cli_threads(b->o);
    printf("Weights read: %.2f GB/s", weight_gbs(b));
    if (b->read_gbs > 0)
        printf(", %.1f %% of the %.2f GB/s that %d thread%s read%s from this machine's memory",
               100 * weight_gbs(b) / b->read_gbs, b->read_gbs, threads, threads > 1 ? "s" : "",
               threads > 1 ? "" : "s");
    printf("\n");
}

static void add_number(base_str *json, const char *key, double value) {
    base_str_printf(json, ",\n    \"%s\": ", key);
    base_json_add_double(json, value);
}

static void begin_json(const bench *b, base_str *json) {
    const char *name = NULL;
    cli_model_argument(b->o, &name, NULL);
    base_str_adds(json, "{\n    \"model_id\": ");
    base_json_add_string(json, name, strlen(name));
}

static int write_json(const bench *b, base_str *json, base_err *err) {
    add_number(json, "weight_gb_per_second", weight_gbs(b));
    add_number(json, "memory_gb_per_second", b->read_gbs);
    add_number(json, "roofline_share", b->read_gbs > 0 ? weight_gbs(b) / b->read_gbs : 0);
    base_str_adds(json, "\n}");
    return base_file_write(cli_string(b->o, "output-json"), json->data, json->len, err);
}

// ---------------------------------------------------------------------------------------------
// Throughput

static const char *dataset_name(const cli_options *o) {
    if (cli_given(o, "dataset-name"))
        return cli_string(o, "dataset-name");
    return cli_given(o, "dataset-path") ? "sharegpt" : "random";
}

static int check_dataset(const cli_options *o, base_err *err) {
    const char *name = dataset_name(o), *path = cli_string(o, "dataset-path");
    const bool is_random = strcmp(name, "random") == 0;
    if (is_random && path != NULL)
        return base_fail(err, BASE_ERR_USAGE, "--dataset-path: random prompts need no file");
    if (!is_random && path == NULL)
        return base_fail(err, BASE_ERR_USAGE, "--dataset-name %s needs --dataset-path", name);
    if (path != NULL && access(path, R_OK) != 0) // told before the weights are read
        return base_fail(err, BASE_ERR_USAGE, "--dataset-path %s: cannot be read", path);
    return 0;
}

static int make_samples(const bench *b, int n, uint64_t seed, measure_samples *out, base_err *err) {
    const cli_options *o = b->o;
    const char *name = dataset_name(o);
    const measure_random_options random = {
        .n = n,
        .input_len = (int)cli_int(o, "input-len"),
        .output_len = cli_given(o, "output-len") ? (int)cli_int(o, "output-len") : 128,
        .prefix_len = (int)cli_int(o, "prefix-len"),
        .input_range = cli_float(o, "random-range-ratio"),
        .output_range = cli_float(o, "random-range-ratio"),
        .seed = seed,
        .compat_2025 = cli_given(o, "compat"),
    };
    const measure_file_options file = {
        .path = cli_string(o, "dataset-path"),
        .n = n,
        .output_len = (int)cli_int(o, "output-len"),
        .seed = seed,
        .skip_shuffle = cli_bool(o, "disable-shuffle"),
        .no_oversample = cli_bool(o, "no-oversample"),
        .chat_template = !cli_bool(o, "skip-chat-template"),
    };
    if (strcmp(name, "random") == 0)
        return measure_samples_random(out, b->stack.vocab, &random, err);
    if (strcmp(name, "sharegpt") == 0)
        return measure_samples_sharegpt(out, b->stack.vocab, &file, err);
    return measure_samples_custom(out, b->stack.vocab, &file, err);
}

static int run_samples(bench *b, const measure_samples *samples, measure_offline_result *result,
                       base_err *err) {
    measure_offline_request *requests = base_calloc((size_t)samples->n, sizeof *requests);
    int rc = 0;
    for (int i = 0; rc == 0 && i < samples->n; i++) {
        const measure_sample *s = &samples->at[i];
        requests[i] = (measure_offline_request){
            .text = s->prompt, .text_bytes = s->prompt_bytes, .output_len = s->output_len};
        rc = check_lengths(b, s->prompt_len, s->output_len, err);
    }
    if (rc == 0) {
        cli_bar_begin(&b->bar, samples->n, false);
        rc = run(b, requests, samples->n, true, result, err);
        cli_bar_end(&b->bar);
    }
    base_free(requests);
    return rc;
}

static int run_seed(bench *b, int n, uint64_t seed, measure_offline_result *result, int *n_samples,
                    base_err *err) {
    measure_samples samples;
    int rc = make_samples(b, n, seed, &samples, err);
    if (rc != 0)
        return rc;
    *n_samples = samples.n;
    rc = run_samples(b, &samples, result, err);
    measure_samples_free(&samples);
    return rc;
}

static int report_throughput(bench *b, const measure_offline_result *r, int n, base_err *err) {
    const double total = (double)(r->prompt_tokens + r->output_tokens);
    printf("Throughput: %.2f requests/s, %.2f total tokens/s, %.2f output tokens/s\n",
           n / r->seconds, total / r->seconds, (double)r->output_tokens / r->seconds);
    printf("Total num prompt tokens:  %lld\n", (long long)r->prompt_tokens);
    printf("Total num output tokens:  %lld\n", (long long)r->output_tokens);
    b->weight_bytes = r->weight_bytes;
    b->step_seconds = r->step_seconds;
    print_roofline(b);
    if (!cli_given(b->o, "output-json"))
        return 0;
    base_str json = {0};
    begin_json(b, &json);
    add_number(&json, "elapsed_time", r->seconds);
    base_str_printf(&json, ",\n    \"num_requests\": %d", n);
    base_str_printf(&json, ",\n    \"total_num_tokens\": %lld",
                    (long long)(r->prompt_tokens + r->output_tokens));
    add_number(&json, "requests_per_second", n / r->seconds);
    add_number(&json, "tokens_per_second", total / r->seconds);
    int rc = write_json(b, &json, err);
    base_str_free(&json);
    return rc;
}

int cmd_bench_throughput(const cli_options *o, base_err *err) {
    int rc = check_dataset(o, err);
    if (rc != 0)
        return rc;
    const int n = (int)cli_int(o, "num-prompts"), warmups = (int)cli_int(o, "num-warmups");
    const uint64_t seed = (uint64_t)cli_int(o, "seed");
    bench b;
    rc = open_bench(&b, o, (int64_t)(n > warmups ? n : warmups) * cli_int(o, "n"), true, err);
    if (rc != 0)
        return rc;
    cli_interrupt_running();
    measure_offline_result result;
    int n_samples = 0;
    if (warmups > 0) {
        printf("Warming up with %d requests...\n", warmups);
        fflush(stdout);
        rc = run_seed(&b, warmups, seed + 1, &result, &n_samples, err);
    }
    if (rc == 0)
        rc = run_seed(&b, n, seed, &result, &n_samples, err);
    if (rc == 0)
        rc = report_throughput(&b, &result, n_samples, err);
    cli_stack_close(&b.stack);
    return rc;
}

// ---------------------------------------------------------------------------------------------
// Latency

static const double percents[] = {10, 25, 50, 75, 90, 99};
enum { N_PERCENTS = sizeof percents / sizeof *percents };

typedef struct spread {
    double mean, std, percentiles[N_PERCENTS];
} spread;

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static spread find_spread(const double *seconds, int n) {
    spread s = {0};
    double *sorted = base_calloc((size_t)n, sizeof *sorted);
    for (int i = 0; i < n; i++)
        s.mean += (sorted[i] = seconds[i]) / n;
    for (int i = 0; i < n; i++)
        s.std += (seconds[i] - s.mean) * (seconds[i] - s.mean) / n;
    s.std = sqrt(s.std);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_doubles);
    for (int i = 0; i < N_PERCENTS; i++)
        s.percentiles[i] = measure_percentile(sorted, (size_t)n, percents[i]);
    base_free(sorted);
    return s;
}

static void print_latency(const spread *s) {
    base_str out = {0};
    base_str_adds(&out, "Avg latency: ");
    base_json_add_double(&out, s->mean);
    base_str_adds(&out, " seconds\nStd latency: ");
    base_json_add_double(&out, s->std);
    base_str_adds(&out, " seconds\n");
    for (int i = 0; i < N_PERCENTS; i++) {
        base_str_printf(&out, "%.0f%% percentile latency: ", percents[i]);
        base_json_add_double(&out, s->percentiles[i]);
        base_str_adds(&out, " seconds\n");
    }
    fwrite(out.data, 1, out.len, stdout);
    base_str_free(&out);
}

static int report_latency(bench *b, const double *seconds, int n, base_err *err) {
    const spread s = find_spread(seconds, n);
    print_latency(&s);
    print_roofline(b);
    if (!cli_given(b->o, "output-json"))
        return 0;
    base_str json = {0};
    begin_json(b, &json);
    add_number(&json, "avg_latency", s.mean);
    add_number(&json, "std_latency", s.std);
    base_str_adds(&json, ",\n    \"latencies\": [");
    for (int i = 0; i < n; i++) {
        base_str_adds(&json, i > 0 ? ", " : "");
        base_json_add_double(&json, seconds[i]);
    }
    base_str_adds(&json, "],\n    \"percentiles\": {");
    for (int i = 0; i < N_PERCENTS; i++) {
        base_str_printf(&json, "%s\"%.0f\": ", i > 0 ? ", " : "", percents[i]);
        base_json_add_double(&json, s.percentiles[i]);
    }
    base_str_adds(&json, "}");
    int rc = write_json(b, &json, err);
    base_str_free(&json);
    return rc;
}

// Ids that mean nothing, as vLLM draws them.
static int32_t *draw_ids(const bench *b, size_t n) {
    enum { BELOW = 10000 };
    const int ordinary = token_vocab_ordinary(b->stack.vocab);
    int32_t *ids = base_calloc(n, sizeof *ids);
    measure_pcg rng;
    measure_pcg_seed(&rng, (uint64_t)cli_int(b->o, "seed"));
    for (size_t i = 0; i < n; i++) {
        int64_t id;
        measure_pcg_integers(&rng, 0, ordinary < BELOW ? ordinary : BELOW, 1, &id);
        ids[i] = (int32_t)id;
    }
    return ids;
}

static int iterate(bench *b, const measure_offline_request *requests, int batch, int n,
                   double *seconds, base_err *err) {
    b->weight_bytes = 0;
    b->step_seconds = 0;
    int rc = 0;
    cli_bar_begin(&b->bar, n, false);
    for (int i = 0; rc == 0 && i < n; i++) {
        measure_offline_result result;
        rc = run(b, requests, batch, false, &result, err);
        if (rc != 0)
            break;
        if (seconds != NULL)
            seconds[i] = result.seconds;
        b->weight_bytes += result.weight_bytes;
        b->step_seconds += result.step_seconds;
        cli_bar_set(&b->bar, i + 1);
    }
    cli_bar_end(&b->bar);
    return rc;
}

static int measure_latency(bench *b, base_err *err) {
    const int batch = (int)cli_int(b->o, "batch-size"), n = (int)cli_int(b->o, "num-iters");
    const int input_len = (int)cli_int(b->o, "input-len");
    const int output_len = (int)cli_int(b->o, "output-len");
    int rc = check_lengths(b, input_len, output_len, err);
    if (rc != 0)
        return rc;
    int32_t *ids = draw_ids(b, (size_t)batch * (size_t)input_len);
    measure_offline_request *requests = base_calloc((size_t)batch, sizeof *requests);
    for (int i = 0; i < batch; i++)
        requests[i] = (measure_offline_request){.ids = ids + (size_t)i * (size_t)input_len,
                                                .n_ids = input_len,
                                                .output_len = output_len};
    double *seconds = base_calloc((size_t)n, sizeof *seconds);
    printf("Warming up...\n");
    fflush(stdout);
    rc = iterate(b, requests, batch, (int)cli_int(b->o, "num-iters-warmup"), NULL, err);
    if (rc == 0)
        rc = iterate(b, requests, batch, n, seconds, err);
    if (rc == 0)
        rc = report_latency(b, seconds, n, err);
    base_free(seconds);
    base_free(requests);
    base_free(ids);
    return rc;
}

int cmd_bench_latency(const cli_options *o, base_err *err) {
    bench b;
    int rc = open_bench(&b, o, cli_int(o, "batch-size") * cli_int(o, "n"),
                        cli_given(o, "enable-prefix-caching"), err);
    if (rc != 0)
        return rc;
    cli_interrupt_running();
    rc = measure_latency(&b, err);
    cli_stack_close(&b.stack);
    return rc;
}
