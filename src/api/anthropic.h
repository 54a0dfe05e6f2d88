// /v1/messages and /v1/messages/count_tokens: bodies of Anthropic's form are translated to those of
// the chats that mean the same, and replies are made of the same pieces as theirs.
#ifndef API_ANTHROPIC_H
#define API_ANTHROPIC_H

#include "api/field.h"
#include "api/reply.h"

// Whether what is answered on this path, errors included, is of Anthropic's form.
bool api_anthropic_is_path(const char *path, size_t len);

// As api_call_parse. The errors name Anthropic's fields, as "messages.0.content".
int api_anthropic_parse(api_call **out, const api_options *o, const char *body, size_t len,
                        const char *request_id, api_error *error);
// The body of count_tokens -> its reply.
int api_anthropic_count(const api_options *o, const char *body, size_t len, base_str *reply,
                        api_error *error);

// The body of a chat, which the caller owns, for one of Anthropic's; `counting`: max_tokens may be
// absent. Errors still name fields as api_object does.
int api_anthropic_translate(json_t **chat, const json_t *body, bool counting, api_error *error);
// The same for its messages and system texts, appended to `messages`.
int api_anthropic_add_messages(const api_object *body, json_t *messages);
// Names the field of an error as clients of Anthropic's form know it; `of_chat`: it was found in
// the chat's body.
void api_anthropic_rename(api_error *error, bool of_chat);

// {"type": "error", "error": {"type", "message"}, "request_id"}
void api_anthropic_print_error(const api_error *e, const char *request_id, base_str *out);

extern const api_form api_anthropic_form;

#endif
