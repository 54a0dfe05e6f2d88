// Metrics, under vLLM's names where it has one, and the throughput line.
#include "api/server.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

// ---------------------------------------------------------------------------------------------
// Making them

static const double first_token_bounds[] = {.001, .005, .01, .02, .04, .06, .08, .1,
                                            .25,  .5,   .75, 1,   2.5, 5,   7.5, 10,
                                            20,   40,   80,  160, 640, 2560};
static const double token_gap_bounds[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                          .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
static const double request_bounds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                        30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
static const double iteration_bounds[] = {1,   8,    16,   32,   64,   128,  256,
                                          512, 1024, 2048, 4096, 8192, 16384};

typedef struct maker {
    base_metrics *registry;
    const char *labels; // of vLLM's metrics
} maker;

static base_metric *counter(const maker *m, const char *name, const char *help) {
    return base_metrics_add(m->registry, BASE_COUNTER, name, m->labels, help);
}

static base_metric *gauge(const maker *m, const char *name, const char *help) {
    return base_metrics_add(m->registry, BASE_GAUGE, name, m->labels, help);
}

#define histogram(m, name, bounds, help)                                                           \
    base_metrics_add_histogram((m)->registry, name, (m)->labels, help, bounds,                     \
                               (int)(sizeof bounds / sizeof *(bounds)))

// Bounds 1, 2, 5, 10, ... up to the longest request.
static base_metric *lengths(const maker *m, const char *name, int longest, const char *help) {
    static const int mantissas[] = {1, 2, 5};
    double bounds[32];
    int n = 0;
    for (int64_t power = 1; power <= longest; power *= 10)
        for (int i = 0; i < 3 && mantissas[i] * power <= longest; i++)
            bounds[n++] = (double)(mantissas[i] * power);
    return base_metrics_add_histogram(m->registry, name, m->labels, help, bounds, n);
}

static void make_finished(api_metrics *a, const maker *m) {
    static const char *const names[API_N_FINISH] = {
        [ENGINE_FINISH_STOP] = "stop",
        [ENGINE_FINISH_LENGTH] = "length",
        [ENGINE_FINISH_REPETITION] = "repetition",
        [ENGINE_FINISH_ABORT] = "abort",
        [ENGINE_FINISH_ERROR] = "error",
    };
    base_str labels = {0};
    for (int i = 0; i < API_N_FINISH; i++) {
        base_str_clear(&labels);
        base_str_adds(&labels, m->labels);
        base_metrics_label(&labels, "finished_reason", names[i]);
        a->finished[i] = base_metrics_add(m->registry, BASE_COUNTER, "vllm:request_success_total",
                                          labels.data, "Choices that ended, by reason.");
    }
    base_str_free(&labels);
}

static void make_cache_info(const api_options *o, const maker *m) {
    base_str labels = {0};
    char number[32];
    base_str_adds(&labels, m->labels);
    snprintf(number, sizeof number, "%d", o->block_size);
    base_metrics_label(&labels, "block_size", number);
    base_metrics_label(&labels, "cache_dtype", o->cache_dtype ? o->cache_dtype : "auto");
    snprintf(number, sizeof number, "%lld", (long long)o->n_blocks);
    base_metrics_label(&labels, "num_gpu_blocks", number);
    snprintf(number, sizeof number, "%lld", (long long)o->kv_tokens);
    base_metrics_label(&labels, "kv_cache_size_tokens", number);
    snprintf(number, sizeof number, "%.2f",
             o->max_model_len > 0 ? (double)o->kv_tokens / o->max_model_len : 0.0);
    base_metrics_label(&labels, "kv_cache_max_concurrency", number);
    base_metric_set(base_metrics_add(m->registry, BASE_GAUGE, "vllm:cache_config_info", labels.data,
                                     "The KV cache."),
                    1);
    base_str_free(&labels);
}

static void make_engine(api_metrics *a, const maker *m, int longest) {
    a->running = gauge(m, "vllm:num_requests_running", "Choices in the running batch.");
    a->waiting = gauge(m, "vllm:num_requests_waiting", "Choices that wait to be run.");
    a->cache_usage = gauge(m, "vllm:kv_cache_usage_perc", "KV cache in use; 1 is all of it.");
    a->prompt_tokens = counter(m, "vllm:prompt_tokens_total", "Prompt tokens processed.");
    a->generation_tokens = counter(m, "vllm:generation_tokens_total", "Tokens generated.");
    a->prefix_queries =
        counter(m, "vllm:prefix_cache_queries_total", "Tokens looked up in the prefix cache.");
    a->prefix_hits =
        counter(m, "vllm:prefix_cache_hits_total", "Tokens found in the prefix cache.");
    a->preemptions = counter(m, "vllm:num_preemptions_total", "Choices preempted.");
    make_finished(a, m);
    a->first_token = histogram(m, "vllm:time_to_first_token_seconds", first_token_bounds,
                               "From a request's arrival to its first token.");
    a->token_gap = histogram(m, "vllm:inter_token_latency_seconds", token_gap_bounds,
                             "Between the tokens of a choice.");
    a->request_time = histogram(m, "vllm:e2e_request_latency_seconds", request_bounds,
                                "From a request's arrival to the end of a choice.");
    a->queue_time =
        histogram(m, "vllm:request_queue_time_seconds", request_bounds, "Waiting to be run.");
    a->prefill_time = histogram(m, "vllm:request_prefill_time_seconds", request_bounds,
                                "From the begin of running to the first token.");
    a->decode_time = histogram(m, "vllm:request_decode_time_seconds", request_bounds,
                               "From the first token to the last.");
    a->iteration_tokens =
        histogram(m, "vllm:iteration_tokens_total", iteration_bounds,
                  "Tokens of a step that gave any: prompts completed and tokens generated.");
    a->prompt_length =
        lengths(m, "vllm:request_prompt_tokens", longest, "Prompt tokens of a choice.");
    a->output_length =
        lengths(m, "vllm:request_generation_tokens", longest, "Generated tokens of a choice.");
}

static void make_own(api_metrics *a, base_metrics *registry) {
    const maker m = {registry, ""};
    a->blocks_total = gauge(&m, "abruzzi_kv_blocks_total", "Blocks of the KV cache.");
    a->blocks_free = gauge(&m, "abruzzi_kv_blocks_free", "Blocks that no request holds.");
    a->steps = counter(&m, "abruzzi_engine_steps_total", "Steps of the engine.");
    a->tokens_computed = counter(&m, "abruzzi_tokens_computed_total", "Token rows computed.");
    a->nan_guard =
        counter(&m, "abruzzi_nan_guard_total", "Requests ended for logits that are not finite.");
    a->relaxed = counter(&m, "abruzzi_schema_keywords_relaxed_total",
                         "Keywords in the schemas of tools that calls were not held to.");
    a->dropped_calls = counter(&m, "abruzzi_tool_calls_dropped_total",
                               "Tool calls in outputs that named no tool.");
    a->connections = gauge(&m, "abruzzi_open_connections", "Open connections.");
    a->rank_up = base_metrics_add(registry, BASE_GAUGE, "abruzzi_rank_up", "rank=\"0\"",
                                  "1 while the rank makes progress.");
    a->resident = gauge(&m, "process_resident_memory_bytes", "Resident memory.");
    a->virtual_memory = gauge(&m, "process_virtual_memory_bytes", "Virtual memory.");
    a->cpu_seconds = counter(&m, "process_cpu_seconds_total", "CPU time, user and system.");
    a->open_fds = gauge(&m, "process_open_fds", "Open file descriptors.");
    a->max_fds = gauge(&m, "process_max_fds", "The limit of open file descriptors.");
}

void api_metrics_create(api_server *s) {
    api_metrics *a = &s->metrics;
    base_str labels = {0};
    base_metrics_label(&labels, "model_name", s->options.served_names[0]);
    base_metrics_label(&labels, "engine", "0");
    a->registry = base_metrics_create();
    const maker m = {a->registry, labels.data};
    make_engine(a, &m, s->options.max_model_len);
    make_cache_info(&s->options, &m);
    make_own(a, a->registry);
    base_str_free(&labels);
}

// ---------------------------------------------------------------------------------------------
// Filling them in

// vLLM's measure: a prompt counts in the step that completes it, whatever part of it was computed
// there.
void api_metrics_step(api_server *s, const engine_stats *stats) {
    api_metrics *a = &s->metrics;
    uint64_t all = stats->prompt_tokens + stats->generation_tokens;
    if (all > a->iteration_seen)
        base_metric_observe(a->iteration_tokens, (double)(all - a->iteration_seen));
    a->iteration_seen = all;
}

static void set_memory(api_metrics *a) {
    long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return;
    if (fscanf(f, "%lld %lld", &size, &resident) == 2) {
        double page = (double)sysconf(_SC_PAGESIZE);
        base_metric_set(a->virtual_memory, (double)size * page);
        base_metric_set(a->resident, (double)resident * page);
    }
    fclose(f);
}

static void set_files(api_metrics *a) {
    DIR *d = opendir("/proc/self/fd");
    if (d) {
        int n = -3; // ".", ".." and the one that lists them
        while (readdir(d))
            n++;
        closedir(d);
        base_metric_set(a->open_fds, n);
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        base_metric_set(a->max_fds, (double)limit.rlim_cur);
}

static void set_process(api_metrics *a) {
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    base_metric_set(a->cpu_seconds, (double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9);
    set_memory(a);
    set_files(a);
}

static double usage(const engine_stats *stats) {
    return stats->blocks_total > 0
               ? (double)(stats->blocks_total - stats->blocks_free) / (double)stats->blocks_total
               : 0;
}

void api_metrics_print(api_server *s, base_str *out) {
    api_metrics *a = &s->metrics;
    engine_stats stats;
    engine_thread_get_stats(s->engine, &stats);
    base_metric_set(a->running, stats.running);
    base_metric_set(a->waiting, stats.waiting);
    base_metric_set(a->cache_usage, usage(&stats));
    base_metric_set(a->prompt_tokens, (double)stats.prompt_tokens);
    base_metric_set(a->generation_tokens, (double)stats.generation_tokens);
    base_metric_set(a->prefix_queries, (double)stats.prefix_queries);
    base_metric_set(a->prefix_hits, (double)stats.prefix_hits);
    base_metric_set(a->preemptions, (double)stats.preemptions);
    base_metric_set(a->blocks_total, (double)stats.blocks_total);
    base_metric_set(a->blocks_free, (double)stats.blocks_free);
    base_metric_set(a->steps, (double)stats.steps);
    base_metric_set(a->tokens_computed, (double)stats.tokens_computed);
    base_metric_set(a->nan_guard, (double)stats.nan_guard);
    base_metric_set(a->connections, http_server_connections(s->http));
    base_metric_set(a->rank_up, api_watch_trouble(s) ? 0 : 1);
    set_process(a);
    base_metrics_print(a->registry, out);
}

// ---------------------------------------------------------------------------------------------
// The throughput line

bool api_stats_line(api_server *s, api_interval *interval, int64_t now) {
    engine_stats stats;
    engine_thread_get_stats(s->engine, &stats);
    const engine_stats *before = &interval->before;
    double seconds = (double)(now - interval->begin_ns) * 1e-9;
    uint64_t prompt = stats.prompt_tokens - before->prompt_tokens;
    uint64_t generated = stats.generation_tokens - before->generation_tokens;
    bool idle = prompt + generated == 0 && stats.running + stats.waiting == 0;
    bool quiet = idle && interval->was_idle;
    if (!quiet)
        base_info("Engine 000: Avg prompt throughput: %.1f tokens/s, "
                  "Avg generation throughput: %.1f tokens/s, Running: %d reqs, Waiting: %d reqs, "
                  "GPU KV cache usage: %.1f%%, Prefix cache hit rate: %.1f%%",
                  (double)prompt / seconds, (double)generated / seconds, stats.running,
                  stats.waiting, 100 * usage(&stats),
                  stats.prefix_queries > 0
                      ? 100 * (double)stats.prefix_hits / (double)stats.prefix_queries
                      : 0.0);
    *interval = (api_interval){.before = stats, .begin_ns = now, .was_idle = idle};
    return !quiet;
}
