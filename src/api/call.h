// A request as the server understood it: everything that completing and chatting need, and nothing
// of the connection it came over. Made by any thread (api_call_parse), used by one I/O thread.
#ifndef API_CALL_H
#define API_CALL_H

#include "api/api.h"
#include "api/error.h"

typedef enum { API_COMPLETION, API_CHAT } api_kind;
// Whose objects a chat's reply is made of: /v1/chat/completions, /v1/messages or /v1/responses.
typedef enum { API_OPENAI, API_ANTHROPIC, API_RESPONSES } api_dialect;

enum { API_ID_BYTES = 129 }; // of a request's id, with the NUL

typedef struct api_prompt {
    base_ids ids;
    base_str text; // as rendered, control tokens by name; only when echo, a replay or
                   // api_options.log_requests needs it, else empty
    int script;    // of this prompt: goes into params.script when it is submitted
} api_prompt;

typedef struct api_call {
    api_kind kind;
    api_dialect dialect;
    char id[API_ID_BYTES + 9]; // "cmpl-REQUESTID", "chatcmpl-", "msg_" or "resp_"
    int64_t created;           // seconds since 1970
    const char *model;         // as the reply says it: the first of api_options.served_names
    api_prompt *prompts;  // [n_prompts]; the engine gets one request of params.n choices for each
    int n_prompts;        // choice i of prompt p has index p * params.n + i
    engine_params params; // its lists point into the four fields at the end

    bool stream, include_usage, continuous_usage;
    bool echo;
    bool discard_output; // max_tokens 0 with echo: one token is made and not shown
    char **stops;        // [n_stops] stop strings, owned
    size_t *stop_lens;
    int n_stops;
    bool include_stop, skip_special;
    bool logprobs;        // log-probabilities are shown: params.n_logprobs of them for each token
    bool prompt_logprobs; // params.n_prompt_logprobs (echo with logprobs asks for them, too)
    bool show_prompt_logprobs; // the request's own prompt_logprobs: as a field of the reply
    bool return_token_ids, tokens_as_ids; // tokens_as_ids: "token_id:N" for token strings
    bool include_reasoning;
    chat_calls *calls; // of a chat with tools, unless its output is not parsed; NULL: none can be
                       // made, or they are text
    bool named_tool;   // tool_choice names one: calls end with "stop", as in vLLM
    bool one_call;     // only the first call is shown
    grammar *grammar;  // params.grammar, owned; NULL: nothing is constrained
    base_str relaxed;  // keywords of tools' schemas that it does not hold to, "FIELD: keyword, ..."

    struct api_responses_turn *turn; // of API_RESPONSES, owned

    base_ids lists; // all id lists of params, one after the other
    float *bias_values;
    const int32_t **bad_words;
    int *bad_word_lens;
} api_call;

// `body` is the request's body, `request_id` the X-Request-Id header or a fresh one (checked
// already). Returns 0 and a call the caller frees, or the status in `error`.
int api_call_parse(api_call **out, api_kind kind, const api_options *o, const char *body,
                   size_t len, const char *request_id, api_error *error);
// The same for a body that has been parsed, of OpenAI's form: other dialects translate theirs.
int api_call_parse_json(api_call **out, api_kind kind, api_dialect dialect, const api_options *o,
                        const json_t *body, const char *request_id, api_error *error);
void api_call_free(api_call *c); // NULL is fine

#endif
