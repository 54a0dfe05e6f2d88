// chat: conversation <-> prompt ids; output ids <-> reasoning and content: Kimi K2's format.
//
// Takes messages and gives the ids of the prompt as the model's own template and tokenizer do;
// takes sampled ids one by one and gives the pieces of text, each with the field it belongs to. It
// must never know sockets, threads or HTTP.
//
// Control tokens come from the template alone: text of messages can never become one, unless the
// caller asks for the reference tokenizer's behaviour (CHAT_ALLOW_SPECIAL).
#ifndef CHAT_CHAT_H
#define CHAT_CHAT_H

#include "base/base.h"
#include "token/token.h"
#include <stdbool.h>

typedef struct chat_format chat_format; // the control tokens of a vocabulary; immutable

// BASE_ERR_MODEL when the tokenizer lacks a control token the template needs; named. The vocabulary
// must outlive the format.
int chat_format_create(chat_format **out, const token_vocab *vocab, base_err *err);
void chat_format_free(chat_format *f); // NULL is fine

typedef struct chat_slice {
    const char *at; // UTF-8; NULL: absent
    size_t len;
} chat_slice;

typedef struct chat_tool_call {
    chat_slice id, name, arguments; // arguments as they are to be shown to the model
} chat_tool_call;

typedef struct chat_message {
    chat_slice role, name;   // name absent or empty: the role stands in its place
    const chat_slice *parts; // [n_parts] texts, joined without anything between; content null: 0
    int n_parts;
    chat_slice reasoning; // of an assistant; absent is empty
    const chat_tool_call *tool_calls;
    int n_tool_calls;
    chat_slice tool_call_id; // of a tool's result
} chat_message;

typedef struct chat_conversation {
    const chat_message *messages;
    int n_messages;
    chat_slice tools; // the JSON text to declare; absent: none
    bool add_generation_prompt;
    bool continue_final_message; // the last message is left open; not with the one above
} chat_conversation;

enum { CHAT_ALLOW_SPECIAL = 1 }; // control tokens spelled in texts are honoured

// Appends the prompt's ids, and its text with control tokens by their names when `text` is not
// NULL. BASE_ERR_USAGE is "FIELD: reason" (messages, continue_final_message).
int chat_render(const chat_format *f, const chat_conversation *c, unsigned flags, base_ids *ids,
                base_str *text, base_err *err);

// ---------------------------------------------------------------------------------------------
// The output, one automaton on ids for a choice. Pieces of a field put together are the field;
// every byte is in one field; think and tool markers are in none (but in CHAT_CONTENT when
// `reasoning` is off: raw text). A thought ends at the first </think>, or where a tool call begins.

typedef enum { CHAT_REASONING, CHAT_CONTENT, CHAT_N_FIELDS } chat_field;

typedef struct chat_output_options {
    bool reasoning;    // --reasoning-parser kimi_k2; false: all is content, as it comes
    bool skip_special; // special tokens are not shown
} chat_output_options;

typedef struct chat_output chat_output;

// `prompt` are the ids the output continues: whether a thought is open already is read from them.
chat_output *chat_output_create(const chat_format *f, const chat_output_options *options,
                                const int32_t *prompt, size_t n_prompt);
void chat_output_free(chat_output *o); // NULL is fine
// Takes the next id. Text that became complete is appended to *text and belongs to the field
// returned; nothing may have been appended.
chat_field chat_output_push(chat_output *o, int32_t id, base_str *text);
chat_field chat_output_end(chat_output *o, base_str *text); // what an incomplete character left
int chat_output_reasoning_tokens(const chat_output *o);     // ids so far up to and with its end

// Ids that may not be sampled while no tools are declared; valid as long as the format.
const int32_t *chat_tool_markers(const chat_format *f, int *n);

#endif
