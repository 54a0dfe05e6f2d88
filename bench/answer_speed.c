// Time of an output token on its way from the engine's event to a stream's chunk: nanoseconds of
// CPU time, the best of several runs.
//   answer_speed DIR [RUNS]
// DIR has a Kimi tokenizer. 64 streams go on side by side, as on a busy I/O thread.
#include "api/answer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_STREAMS = 64, N_TOKENS = 500, N_TOP = 5 };

static double cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static engine_event make_event(const api_call *call, int i) {
    engine_event e = {.kind = ENGINE_EVENT_TOKEN, .id = 1000 + i * 37 % 20000, .rank = 1};
    e.logprob = -(float)(i % 100) / 7;
    if (call->logprobs) {
        e.n_top = N_TOP;
        e.top = base_alloc(N_TOP * sizeof *e.top);
        for (int k = 0; k < N_TOP; k++)
            e.top[k] = (engine_logprob){e.id + k, e.logprob - (float)k};
    }
    return e;
}

// Nanoseconds per event, and the bytes that came out per event.
static double run(const api_options *options, const api_call *call, double *bytes) {
    api_answer *answers[N_STREAMS];
    base_str out = {0};
    size_t total = 0;
    for (int s = 0; s < N_STREAMS; s++)
        answers[s] = api_answer_create(options, call);
    double start = cpu_ns();
    for (int i = 0; i < N_TOKENS; i++)
        for (int s = 0; s < N_STREAMS; s++) {
            engine_event e = make_event(call, i);
            base_str_clear(&out);
            api_answer_take(answers[s], 0, &e, &out);
            api_answer_flush(answers[s], &out);
            total += out.len;
        }
    double ns = (cpu_ns() - start) / (N_TOKENS * N_STREAMS);
    *bytes = (double)total / (N_TOKENS * N_STREAMS);
    for (int s = 0; s < N_STREAMS; s++)
        api_answer_free(answers[s]);
    base_str_free(&out);
    return ns;
}

static void report(const char *name, const api_options *options, const api_call *call, int runs) {
    double best = 0, bytes = 0;
    for (int i = 0; i < runs; i++) {
        double ns = run(options, call, &bytes);
        if (i == 0 || ns < best)
            best = ns;
    }
    printf("%-40s %8.0f ns %6.0f bytes\n", name, best, bytes);
}

static void report_all(const api_options *options, int runs) {
    int32_t ids[] = {1000, 1001};
    api_prompt prompt = {.ids = {ids, 2, 2}};
    char *stops[] = {"Question:", "</s>", "<|im_end|>"};
    size_t lens[] = {9, 4, 10};
    api_call call = {.kind = API_COMPLETION,
                     .id = "cmpl-0123456789abcdef0123456789abcdef",
                     .created = 1700000000,
                     .model = "moonshotai/Kimi-K2-Thinking",
                     .prompts = &prompt,
                     .n_prompts = 1,
                     .stream = true,
                     .skip_special = true,
                     .include_reasoning = true,
                     .stops = stops,
                     .stop_lens = lens};
    engine_params_init(&call.params);
    report("completion", options, &call, runs);
    call.n_stops = 3;
    report("completion, 3 stop strings", options, &call, runs);
    call.n_stops = 0;
    call.logprobs = true;
    call.params.n_logprobs = N_TOP;
    report("completion, 5 log-probabilities", options, &call, runs);
    call.kind = API_CHAT;
    report("chat, 5 log-probabilities", options, &call, runs);
    call.logprobs = false;
    report("chat", options, &call, runs);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: answer_speed DIR [RUNS]\n");
        return BASE_ERR_USAGE;
    }
    base_err err;
    token_vocab *vocab = NULL;
    chat_format *format = NULL;
    if (token_vocab_load(&vocab, argv[1], &err) || chat_format_create(&format, vocab, &err)) {
        fprintf(stderr, "answer_speed: %s\n", err.message);
        token_vocab_free(vocab);
        return err.code;
    }
    api_options options = {.vocab = vocab, .chat = format, .reasoning_parser = true};
    report_all(&options, argc > 2 ? atoi(argv[2]) : 9);
    chat_format_free(format);
    token_vocab_free(vocab);
    return 0;
}
