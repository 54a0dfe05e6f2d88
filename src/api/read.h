// The parts of reading a request, shared by call.c and tokenize.c. All of them return 0 or the
// status of the error they filled.
#ifndef API_READ_H
#define API_READ_H

#include "api/call.h"
#include "api/field.h"
#include "api/format.h"
#include "api/thinking.h"
#include "api/tools.h"

// A call while it is made.
typedef struct api_reading {
    const api_options *options;
    api_call *call;
    api_object body;
    // Where lists begin in call->lists, which moves while it grows.
    size_t stop_at, bias_at, allowed_at, bad_at;
    const char *max_tokens_field; // the field that says max_tokens; NULL: none does
    int64_t max_tokens;
    int64_t truncate; // prompt ids to keep; -1: as many as leave room, 0: all
    bool truncate_right;
    api_thinking thinking; // a chat's
    api_tools tools;       // a chat's
    int first_index;       // IDX of the next call, when tools are declared
    api_format format;
} api_reading;

// params.c: parameters that are numbers.
int api_params_read(api_reading *r);
// Completes max_tokens and checks it against the longest of the call's prompts.
int api_params_fit(api_reading *r);
// A prompt of `count` "tokens" or "bytes", longer than the context; `param` is its field.
int api_fail_context(const api_options *o, api_error *error, const char *param, size_t count,
                     const char *unit);

// shown.c: whether a reply can say all of the call's prompts that it is asked to.
int api_shown_check(const api_reading *r);

// lists.c: parameters that are lists.
int api_lists_read(api_reading *r);
void api_lists_bind(api_reading *r); // points the parameters to their lists

// shape.c: fields that choose between ways of answering: streams, what replies show, and features
// that are refused.
int api_shape_read(api_reading *r);

// prompt.c
int api_prompts_read(api_reading *r);
// The texts of ids put together, control tokens by name.
void api_ids_text(const token_vocab *vocab, const int32_t *ids, size_t n, base_str *out);
// Cuts a call's prompt to the ids truncate_prompt_tokens leaves, and finds its script. `has_text`:
// prompt->text is the text of its ids already, if any is wanted.
int api_prompt_finish(const api_reading *r, api_prompt *prompt, bool has_text);
bool api_wants_text(const api_reading *r); // prompts' texts are needed

// messages.c: whether there can be chats.
int api_chat_check(const api_options *o, api_error *error);
// The conversation in a body, after that check, -> ids, and text when `text` is not NULL. Texts of
// more than `max_bytes` are refused as longer than the context. Where tools are declared *calls
// becomes the calls before the output, unless `calls` is NULL; the caller frees them.
int api_chat_read(const api_options *o, const api_object *body, const api_tools *tools,
                  const api_thinking *thinking, size_t max_bytes, base_ids *ids, base_str *text,
                  chat_calls **calls);

// constrain.c: makes the call's grammar, when all else of it has been read.
int api_constrain(api_reading *r);

// call.c: the name of a served model, or none.
int api_model_check(const api_options *o, const api_object *body);

#endif
