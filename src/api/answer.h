// Events of the engine -> the reply to an api_call: chunks of a stream, or one body. No sockets.
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/call.h"

typedef struct api_answer api_answer;

// The call must outlive the answer.
api_answer *api_answer_create(const api_options *o, const api_call *call);
void api_answer_free(api_answer *a); // NULL is fine

// Takes the event over (engine_event_free). `prompt` says which of the call's prompts it is about.
// In a stream, whole server-sent events are appended to *out, which may stay empty. Returns true,
// once for a prompt, when nothing more of it will be shown but the engine still works on it (stop
// strings have ended choices, or the answer has failed): the caller then aborts its request in the
// engine; the events that still come must be given to this function as well.
bool api_answer_take(api_answer *a, int prompt, engine_event *event, base_str *out);

// After the events that arrived together have been taken: a stream's last token of each choice
// waits for this, because the choice's FINISH, which comes with it, belongs into the same chunk.
void api_answer_flush(api_answer *a, base_str *out);

// Every choice has had its last event.
bool api_answer_done(const api_answer *a);

// The answer has failed (NaN guard, nothing to sample): the caller aborts what still runs of it,
// and goes on until it is done. For a stream the error event is part of what api_answer_finish
// appends.
const api_error *api_answer_error(const api_answer *a); // NULL: it has not

// It fails before it is done, and the caller aborts what runs of it and finishes it at once.
void api_answer_fail(api_answer *a, const api_error *error);

// When done. A stream: the usage chunk and "data: [DONE]"; otherwise the JSON body, which is the
// error object when it has failed.
void api_answer_finish(api_answer *a, base_str *out);

// What is known of it so far, for metrics and logs.
typedef struct api_answer_numbers {
    int n_prompt_tokens, n_output_tokens, n_cached_tokens;
    int n_dropped_calls; // that named no tool
} api_answer_numbers;
api_answer_numbers api_answer_get_numbers(const api_answer *a);

#endif
