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
    chat_slice tools; // the JSON text to declare, as chat_tools_print gives it; absent: none
    bool add_generation_prompt;
    // The last message is left open; not with the one above. An assistant's that has a thought, but
    // neither parts nor calls, is left in the thought.
    bool continue_final_message;
    bool no_thinking; // the turn to be generated begins with an empty thought, already ended
} chat_conversation;

// Appends the list of tools of a request as the model reads it: compact JSON, keys sorted at every
// depth, everything that JSON allows unescaped left so. Numbers as Python's json prints them (but
// integers beyond 64 bits, which base_json_parse has made reals).
void chat_tools_print(const json_t *tools, base_str *out);

enum { CHAT_ALLOW_SPECIAL = 1 }; // control tokens spelled in texts are honoured

// Appends the prompt's ids, and its text with control tokens by their names when `text` is not
// NULL. BASE_ERR_USAGE is "FIELD: reason" (messages, continue_final_message).
//
// The model was trained on ids functions.NAME:IDX, IDX counting the conversation's calls from 0,
// and falls silent over others: whatever ids the clients' calls have, the model is shown those, and
// in a tool's result the one of the latest call before it that the client knows by that id (an id
// no call has is shown as it is; calls of one turn that share an id are answered in order).
int chat_render(const chat_format *f, const chat_conversation *c, unsigned flags, base_ids *ids,
                base_str *text, base_err *err);

// ---------------------------------------------------------------------------------------------
// Tool calls an output may make: the names declared, the ids the client has seen, and the index of
// the next call. Copies what it needs. `names` [n_names] are those of the declared tools.

typedef struct chat_calls chat_calls; // immutable
chat_calls *chat_calls_create(const chat_conversation *c, const chat_slice *names, int n_names);
void chat_calls_free(chat_calls *calls);            // NULL is fine
int chat_calls_next_index(const chat_calls *calls); // IDX that the model gives its next call
// The schemas' property names decide whose call it is when the model wrote a bare number for an id.
// Optional; `tools` are as in chat_tools_print, in the order of `names`.
void chat_calls_set_tools(chat_calls *calls, const json_t *tools);

// ---------------------------------------------------------------------------------------------
// The output, one automaton on ids for a choice. Pieces of a field put together are the field;
// every byte of text is in one field; think and tool markers are in none (but in CHAT_CONTENT those
// of thoughts when `reasoning` is off, and those of tools when `calls` is NULL as well: raw text).
// A thought ends at the first </think>, or where a tool call begins.
//
// Of a call CHAT_ARGUMENTS has the bytes as they are, without white space around them. A call
// becomes known, with its id and name, when its arguments begin; one whose id says no name is
// dropped. What is dropped (noise between markers, ids as the model wrote them, white space around
// arguments, calls without a name) is in CHAT_DROPPED and shown to nobody; if an id's text belongs
// to that field and to another one, the dropped part comes with a later push.

typedef enum {
    CHAT_REASONING,
    CHAT_CONTENT,
    CHAT_ARGUMENTS, // of the call that became known last
    CHAT_DROPPED,
    CHAT_N_FIELDS
} chat_field;

typedef struct chat_output_options {
    bool reasoning;          // --reasoning-parser kimi_k2; false: markers of thoughts are text
    bool skip_special;       // special tokens are not shown
    const chat_calls *calls; // --tool-call-parser kimi_k2 and tools declared; must outlive the
                             // output. NULL: tool markers are text when `reasoning` is off as well
} chat_output_options;

typedef struct chat_output chat_output;

// `prompt` are the ids the output continues: whether a thought is open already is read from them.
chat_output *chat_output_create(const chat_format *f, const chat_output_options *options,
                                const int32_t *prompt, size_t n_prompt);
void chat_output_free(chat_output *o); // NULL is fine
// Takes the next id. Text that became complete is appended to *text and belongs to the field
// returned; nothing may have been appended. A call may have become known.
chat_field chat_output_push(chat_output *o, int32_t id, base_str *text);
// What an incomplete character left. Called again it gives the rest that was dropped.
chat_field chat_output_end(chat_output *o, base_str *text);
int chat_output_reasoning_tokens(const chat_output *o); // ids so far up to and with its end
bool chat_output_is_thinking(const chat_output *o);     // the next id belongs to a thought

// Calls known so far, and one of them. Its id is canonical, functions.NAME:IDX: the model's own
// unless the client has seen that one before, else with the next index nobody has. `ended`: its end
// has come (an output cut off leaves the last one open). Valid until the next push.
typedef struct chat_output_call {
    chat_slice id, name;
    bool ended;
} chat_output_call;
int chat_output_n_calls(const chat_output *o);
chat_output_call chat_output_get_call(const chat_output *o, int i);
int chat_output_n_dropped(const chat_output *o); // calls that had no name

// What comes first in an output after `prompt`: an assistant's turn that has yet to open its
// thought, an open thought, or the answer.
typedef enum { CHAT_BEGINS_THOUGHT, CHAT_IN_THOUGHT, CHAT_IN_ANSWER } chat_begin;
chat_begin chat_output_begin(const chat_format *f, const int32_t *prompt, size_t n_prompt);

// Ids that may not be sampled while no tools are declared; valid as long as the format.
const int32_t *chat_tool_markers(const chat_format *f, int *n);
// The two ids that frame thoughts, and the five that frame calls: section begin and end, call
// begin, argument, call end.
void chat_control_ids(const chat_format *f, int32_t think[2], int32_t calls[5]);

#endif
