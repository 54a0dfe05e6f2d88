// /v1/responses: its bodies are translated to those of chats, and its replies are made of the same
// pieces as theirs.
#ifndef API_RESPONSES_H
#define API_RESPONSES_H

#include "api/answer.h"
#include <jansson.h>

// What a reply says of its own request, and what is remembered of it.
typedef struct api_responses_turn {
    base_str echo;    // the reply's fields that repeat the request: "\"store\":true,..."
    json_t *messages; // of the conversation, as a chat has them, without the instructions;
                      // NULL: nothing is to be remembered
    json_t *origins;  // for each message of the chat the field its content is, as
                      // "input[2].content", or null
    base_ids tools;   // for each tool of the chat the index it has in the request
} api_responses_turn;

void api_responses_turn_free(api_responses_turn *t); // NULL is fine

// Conversations that previous_response_id can name, the latest: at most `max_bytes` of their text.
// Any thread.
typedef struct api_responses_store api_responses_store;
api_responses_store *api_responses_store_create(size_t max_bytes);
void api_responses_store_free(api_responses_store *s); // NULL is fine
// Remembers the messages (a list), followed by the assistant's `turn`, and the items of the reply
// (the text of a list). What is too long is not remembered.
void api_responses_store_put(api_responses_store *s, const char *id, const json_t *messages,
                             const json_t *turn, const base_str *items);
// The list of messages, which the caller owns; NULL when there is none by that id.
json_t *api_responses_store_get(api_responses_store *s, const char *id);
// The list of items, in the same way. Their bytes are taken from `budget`, and NULL is returned
// when they are more than that: a request can name many.
json_t *api_responses_store_items(api_responses_store *s, const char *id, size_t *budget);

// The body of a request -> the body of a chat, which the caller owns, and the turn. `store` may be
// NULL: then nothing is remembered. Returns 0 or the status in `error`.
int api_responses_translate(api_responses_store *store, const api_options *o, const json_t *body,
                            json_t **chat, api_responses_turn **turn, api_error *error);

// As api_call_parse.
int api_responses_parse(api_call **out, const api_options *o, const char *body, size_t len,
                        const char *request_id, api_error *error);

// The form of its replies (reply.h).
void api_responses_begin(api_answer *a, int prompt, base_str *out);
void api_responses_add(api_answer *a, int index, base_str *out);
void api_responses_end(api_answer *a, base_str *out);
void api_responses_body(api_answer *a, base_str *out);
void api_responses_free(api_answer *a);

#endif
