// api: HTTP <-> conversations and parameters.
//
// Takes exchanges of the http room, gives requests to the engine and its events back to the client
// as objects of OpenAI's and Anthropic's APIs: completions, chats, messages, responses, tokenizer,
// models, health, metrics, errors. It must never know kernels.
//
// A request's way: route.c finds the handler and checks the key; a worker (work.c) or the I/O
// thread itself turns the body into an api_call (call.h); the I/O thread submits its prompts to the
// engine; events come back through the thread's inbox (service.c) and api_answer (answer.h) makes
// text, chunks and the body of them.
#ifndef API_API_H
#define API_API_H

#include "base/base.h"
#include "chat/chat.h"
#include "engine/engine.h"
#include "grammar/grammar.h"
#include "http/http.h"
#include "model/model.h"
#include "token/token.h"

// What requests that say nothing get; flags and generation_config.json have been merged into it.
typedef struct api_defaults {
    float temperature, top_p, min_p, repetition, presence, frequency;
    int top_k;
    int max_tokens; // an upper bound and the default (max_new_tokens); 0: none
} api_defaults;

typedef struct api_options {
    const token_vocab *vocab;
    const chat_format *chat;         // NULL: the tokenizer has no chat tokens, chat routes say so
    const char *tokenizer_config;    // path of tokenizer_config.json, for /tokenizer_info
    const char *const *served_names; // [n_served_names >= 1] the first is what replies say
    int n_served_names;
    const char *root;        // the model's path, as /v1/models says it
    const char *const *keys; // [n_keys] accepted keys; none: no authentication
    int n_keys;
    api_defaults defaults;
    bool has_seed; // requests without a seed get one drawn from `seed` and their number, in order
    uint64_t seed; // of arrival; else a random one
    int max_model_len, vocab_size, max_num_seqs;
    int max_logprobs; // -1: the vocabulary
    int max_queue;    // with max_num_seqs what a request may ask for at most, in choices
    int block_size;
    int64_t n_blocks, kv_tokens;
    const char *cache_dtype; // for cache_config_info: "float32", "bfloat16"
    int n_eos;
    int32_t eos_ids[MODEL_MAX_EOS];

    bool reasoning_parser, tool_parser; // kimi_k2, else none
    bool enforce_tools;     // calls are constrained to the declared tools and their schemas
    bool exclude_tools;     // with tool_choice none, tools are not shown to the model either
    grammar_vocab *grammar; // NULL: nothing can be constrained, and requests that ask for it fail
    bool prompt_tokens_details, force_include_usage, tokenizer_info, request_id_headers;
    bool server_load_tracking, allow_special, return_tokens_as_token_ids;
    bool access_log, log_requests, log_stats;
    double stats_interval_s;               // of the throughput line
    double stall_s;                        // without progress: not ready
    double watchdog_s;                     // without progress: the process exits with 70; 0: never
    const struct api_replay *replay;       // NULL: a real model
    struct api_responses_store *responses; // filled in by the api

    http_options http; // handler is filled in by the api
} api_options;

typedef struct api_server api_server;

// Takes the engine over, also on error. Strings and lists must outlive the server. Errors are
// those of http_server_start, BASE_ERR_RESOURCE when no thread can be had, and BASE_ERR_MODEL when
// tokenizer_config.json, where it is to be served, is not a JSON object.
int api_server_start(api_server **out, const api_options *options, engine *e, base_err *err);
int api_server_port(const api_server *s);
void api_print_routes(const api_server *s); // the log lines "Route: /x, Methods: GET"
// New requests get 503, readiness turns 503, what runs goes on.
void api_server_drain(api_server *s);
int api_server_active(api_server *s); // requests not answered completely
// Ends what is left, joins all threads, frees everything.
void api_server_stop(api_server *s); // NULL is fine

// ---------------------------------------------------------------------------------------------
// The script file of --engine replay:FILE: a JSON object a line, with match ("*", or a part of the
// prompt's text), text or token_ids, and optionally chunks, delay_ms, prefill_ms and finish.

typedef struct api_replay api_replay;

// Errors are BASE_ERR_USAGE and name file, line and field.
int api_replay_load(api_replay **out, const char *path, const token_vocab *vocab, int32_t eos_id,
                    base_err *err);
void api_replay_free(api_replay *r); // NULL is fine
// The scripts in the file's order, to be given to backend_open_replay; they live as long as `r`.
const backend_script *api_replay_scripts(const api_replay *r, int *n);
// The first script whose match is in the prompt's text, or -1.
int api_replay_match(const api_replay *r, const char *text, size_t len);

#endif
