// What the engine itself costs: many sequences that a backend without a model holds between their
// ids, as in a server that replays scripts.
//
//   build/bench/replay [--streams N] [--rate N]    ids per second of each stream
//                      [--seconds N] [--chunk N]   ids of an event
//
// CPU time of the engine's thread and of the thread that takes the events, in shares of a core.
#include "engine/engine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { VOCAB = 1000, PROMPT = 100, BLOCK = 64 };

typedef struct bench {
    int streams, rate, seconds, chunk;
} bench;

static double cpu_seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static _Noreturn void die(const base_err *err) {
    fprintf(stderr, "%s\n", err->message);
    exit(err->code);
}

static void wake(void *arg) {
    const uint64_t one = 1;
    if (write(*(const int *)arg, &one, sizeof one) < 0)
        abort();
}

// Each stream has a script of its own, so that they are spread over the time between two ids.
static backend_script *make_scripts(const bench *b) {
    int n_ids = b->rate * b->seconds * b->chunk;
    backend_script *scripts = base_calloc((size_t)b->streams, sizeof *scripts);
    int32_t *ids = base_calloc((size_t)n_ids, sizeof *ids);
    int64_t step_ns = 1000000000 / b->rate;
    for (int i = 0; i < b->streams; i++)
        scripts[i] = (backend_script){.ids = ids,
                                      .n_ids = n_ids,
                                      .chunks = &b->chunk,
                                      .n_chunks = 1,
                                      .prefill_ns = 500000000 + step_ns * i / b->streams,
                                      .step_ns = step_ns};
    return scripts;
}

static engine_thread *start(const bench *b, const backend_script *scripts, int *event_fd) {
    static const model_config config = {.vocab_size = VOCAB};
    int max_ids = PROMPT + b->rate * b->seconds * b->chunk + 1;
    const engine_options o = {.max_num_seqs = b->streams,
                              .max_num_batched_tokens = b->streams < 2048 ? 2048 : b->streams,
                              .max_model_len = max_ids,
                              .block_size = BLOCK,
                              .n_blocks = (int64_t)b->streams * (max_ids / BLOCK + 1),
                              .prefix_caching = true,
                              .vocab_size = VOCAB};
    const backend_options options = {.numerics = BACKEND_EXACT,
                                     .threads = 1,
                                     .block_size = BLOCK,
                                     .n_blocks = o.n_blocks,
                                     .interleave = 1,
                                     .max_rows = o.max_num_batched_tokens,
                                     .max_seqs = b->streams,
                                     .max_outputs = b->streams,
                                     .max_model_len = max_ids};
    backend *replay;
    engine_thread *thread;
    base_err err;
    if (backend_open_replay(&replay, scripts, b->streams, &config, &options, &err) ||
        engine_thread_start(&thread, engine_create(replay, &o), wake, event_fd, &err))
        die(&err);
    return thread;
}

static void submit_all(const bench *b, engine_thread *thread) {
    int32_t prompt[PROMPT];
    engine_params p;
    base_err err;
    engine_params_init(&p);
    p.max_tokens = INT32_MAX;
    for (int i = 0; i < b->streams; i++) {
        for (int k = 0; k < PROMPT; k++)
            prompt[k] = (i + k) % VOCAB;
        p.script = i;
        if (engine_thread_submit(thread, (uint64_t)i, prompt, PROMPT, &p, &err) != ENGINE_ACCEPTED)
            die(&err);
    }
}

static void run(const bench *b) {
    int event_fd = eventfd(0, EFD_CLOEXEC);
    engine_thread *thread = start(b, make_scripts(b), &event_fd);
    int64_t n_wakes = 0, n_events = 0;
    double began = base_now_s(), all = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    double own = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    submit_all(b, thread);
    for (int n_live = b->streams; n_live > 0; n_wakes++) {
        uint64_t count;
        engine_event v;
        if (read(event_fd, &count, sizeof count) < 0)
            abort();
        for (; engine_thread_next_event(thread, &v); n_events++) {
            n_live -= v.kind == ENGINE_EVENT_FINISH;
            engine_event_free(&v);
        }
    }
    double seconds = base_now_s() - began;
    own = cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - own;
    all = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - all;
    engine_stats stats;
    engine_thread_get_stats(thread, &stats);
    printf("%d streams, %d events/s each, %d ids an event, %.2f s\n", b->streams, b->rate, b->chunk,
           seconds);
    printf("%llu steps, %lld wakes, %lld events: %.0f events/s\n", (unsigned long long)stats.steps,
           (long long)n_wakes, (long long)n_events, (double)n_events / seconds);
    printf("engine thread %.4f core, taking events %.4f core\n", (all - own) / seconds,
           own / seconds);
    engine_thread_stop(thread);
    close(event_fd);
}

int main(int argc, char **argv) {
    bench b = {.streams = 1000, .rate = 20, .seconds = 5, .chunk = 1};
    const struct {
        const char *name;
        int *value, most;
    } flags[] = {{"--streams", &b.streams, 100000},
                 {"--rate", &b.rate, 10000},
                 {"--seconds", &b.seconds, 600},
                 {"--chunk", &b.chunk, 64}};
    for (int i = 1; i < argc; i += 2) {
        int64_t value = 0;
        for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
            if (i + 1 < argc && strcmp(argv[i], flags[k].name) == 0 &&
                base_parse_i64(argv[i + 1], 1, flags[k].most, &value))
                *flags[k].value = (int)value;
        if (value == 0) {
            fprintf(stderr, "usage: replay [--streams N] [--rate N] [--seconds N] [--chunk N]\n");
            return BASE_ERR_USAGE;
        }
    }
    run(&b);
    return 0;
}
