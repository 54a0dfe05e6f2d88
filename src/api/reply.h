// The inside of an api_answer, shared by the files that make it: choice.c (ids -> pieces of text),
// pieces.c, logprobs.c, reply.c (fields that all replies have), chunk.c (streams) and body.c (whole
// replies). The last two are OpenAI's forms of a reply.
#ifndef API_REPLY_H
#define API_REPLY_H

#include "api/answer.h"

typedef struct api_token {
    int32_t id;
    int rank; // counts from 1; 0: nothing but the id is known (the first of a prompt)
    float logprob;
    int n_top;
    engine_logprob *top; // [n_top] the most likely first; owned
} api_token;

typedef struct api_tokens {
    api_token *at;
    size_t len, cap;
} api_tokens;

typedef struct api_piece {
    chat_field field; // not CHAT_DROPPED
    int call;         // CHAT_ARGUMENTS: whose they are, an index of api_choice.calls; else -1
    base_str text;    // empty where a call has become known and has no arguments yet
} api_piece;

typedef struct api_pieces {
    api_piece *at; // [len] in the order they came; neighbours differ in field or call
    int len, cap;
} api_pieces;

// A tool call that has become known; its first piece was made at the same time.
typedef struct api_known_call {
    base_str id, name;
    size_t n_bytes; // of its arguments so far
    bool announced; // a stream has shown id and name
} api_known_call;

typedef struct api_choice {
    token_decoder decoder;     // completions
    chat_output *output;       // chat
    token_stop *stop;          // NULL: no stop strings
    chat_field field;          // of the text decoded last
    api_pieces pieces;         // not shown yet; completions have only CHAT_CONTENT
    api_known_call *calls;     // [n_calls] all of the choice so far
    int n_calls, cap_calls;    //
    int n_seen;                // calls the output has made, with those that are not shown
    api_tokens tokens;         // not shown yet; empty unless the reply says more than text
    int n_tokens;              // what usage counts
    size_t n_characters;       // of the tokens' strings in log-probabilities shown so far
    bool begun;                // a stream: its first chunk has been written
    bool pending;              // a stream: its last token has had no chunk yet
    bool ended;                // nothing more will be shown
    const char *finish_reason; // NULL until it ended
    int stop_string;           // the stop string that ended it, -1: none
    int32_t stop_id;           // the request's own stop id that ended it, -1: none
} api_choice;

typedef struct api_source {
    api_tokens tokens; // a prompt's log-probabilities; empty unless asked for
    int n_ended, n_finished, n_cached;
    engine_miss miss;
    int miss_at;
    bool begun, aborted; // begun: the roles of its choices have been written
} api_source;

// Of the choice that took longest.
typedef struct api_timing {
    int64_t queued_ns, prefill_ns, decode_ns;
} api_timing;

typedef struct api_key {
    size_t at, len; // of a key in the output; no key has length 0
} api_key;

// How a reply is written: one for each kind of object that clients know.
typedef struct api_form {
    void (*begin)(api_answer *a, int prompt, base_str *out); // a stream, before the first output of
                                                             // the prompt's choices
    void (*add)(api_answer *a, int index, base_str *out);    // a stream: what the choice has not
                                                             // shown yet, if any
    void (*end)(api_answer *a, base_str *out);               // a stream, after all, also an error
    void (*body)(api_answer *a, base_str *out);              // the whole reply
    void (*free)(api_answer *a); // of what it keeps in `writer`; NULL: nothing
} api_form;

struct api_answer {
    const api_options *options;
    const api_call *call;
    const api_form *form;
    int n_choices;       // of all prompts
    api_choice *choices; // [n_choices]
    api_source *sources; // [n_prompts]
    int n_finished, n_pending;
    api_timing timing;
    bool keep_tokens;
    base_str head;  // what all chunks begin with, or the body
    base_str piece; // scratch
    void *writer;   // what the form remembers of what it has written
    api_key *keys;  // [n_keys] scratch: a hash table
    size_t n_keys;
    api_error error;
};

void api_tokens_free(api_tokens *tokens);

// Appends to the last piece if it is of that field and call, else begins one.
void api_pieces_add(api_pieces *p, chat_field field, int call, const char *text, size_t len);
void api_pieces_join(const api_pieces *p, chat_field field,
                     base_str *out);  // appends all of a field
void api_pieces_clear(api_pieces *p); // keeps the memory
void api_pieces_free(api_pieces *p);

void api_choice_init(api_choice *c, const api_answer *a, const api_prompt *prompt);
void api_choice_free(api_choice *c);
// Takes a sampled id; a stop string may end the choice.
void api_choice_push(api_choice *c, api_answer *a, engine_event *event);
void api_choice_finish(api_choice *c, api_answer *a, const engine_event *event);
void api_choice_clear(api_choice *c); // what was not shown yet has been shown

// The value of a completion's "logprobs", for the prompt's tokens (unless NULL) and those of the
// choice that were not shown yet.
void api_logprobs_completion(api_answer *a, api_choice *c, const api_tokens *prompt, base_str *out);
void api_logprobs_chat(const api_answer *a, const api_choice *c, base_str *out);
// The value of "prompt_logprobs".
void api_logprobs_prompt(const api_answer *a, const api_tokens *prompt, base_str *out);

void api_reply_head(api_answer *a); // fills a->head
void api_reply_int(base_str *out, int64_t value);
void api_reply_ids(base_str *out, const int32_t *ids, size_t n);
void api_reply_token_ids(base_str *out, const api_tokens *tokens);
void api_reply_string(base_str *out, const base_str *text);
// The prompt's text before the choice's own, when it is to be shown.
void api_reply_echo(api_answer *a, int index, bool echo, base_str *out);
void api_reply_logprobs(api_answer *a, int index, bool echo, base_str *out);
void api_reply_finish_reason(const api_choice *c, base_str *out); // or null
void api_reply_stop_reason(const api_answer *a, const api_choice *c, base_str *out);
void api_reply_usage(const api_answer *a, base_str *out);   // {...}
void api_reply_metrics(const api_answer *a, base_str *out); // {...}

// OpenAI's events of a stream (chunk.c).
void api_chunk_begin_chat(api_answer *a, int prompt, base_str *out); // the roles of the choices
void api_chunk_begin_completion(api_answer *a, int prompt, base_str *out); // nothing
void api_chunk_add_chat(api_answer *a, int index, base_str *out);
void api_chunk_add_completion(api_answer *a, int index, base_str *out);
void api_chunk_end(api_answer *a, base_str *out);

// OpenAI's whole replies (body.c).
void api_body_chat(api_answer *a, base_str *out);
void api_body_completion(api_answer *a, base_str *out);

#endif
