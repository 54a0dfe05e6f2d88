// Calls of an output: what the model wrote for an id, and the id the client gets for it.
#ifndef CHAT_OUTPUT_CALL_H
#define CHAT_OUTPUT_CALL_H

#include "chat/calls.h"

typedef enum {
    CHAT_ID_BAD,    // says no name
    CHAT_ID_NAMED,  // [functions.]NAME[:INDEX]
    CHAT_ID_NUMBER, // INDEX alone: the arguments may tell whose call it is
} chat_id_kind;

typedef struct chat_id {
    chat_id_kind kind;
    chat_slice name; // points into the text, or into the declared tools
    int index;       // of functions.NAME:INDEX written as the template does; -1: anything else
} chat_id;

// White space around the text does not count.
chat_id chat_id_read(const chat_calls *calls, chat_slice text);

typedef struct chat_made_call {
    char *id; // functions.NAME:INDEX
    size_t id_len;
    chat_slice name; // in there
    int index;
    bool ended;
} chat_made_call;

typedef struct chat_made_calls {
    chat_made_call *at;
    int n, cap;
    int next; // no call of the output has this index or one behind it
} chat_made_calls;

// Gives the call `index` if that is not -1 and neither the client has seen that id nor the output
// had it before; else the next index that makes an id nobody has.
void chat_made_calls_add(chat_made_calls *made, const chat_calls *calls, chat_slice name,
                         int index);
void chat_made_calls_free(chat_made_calls *made);

chat_slice chat_trim(chat_slice text);
size_t chat_leading_space(const char *text, size_t len);
size_t chat_trailing_space(const char *text, size_t len);

#endif
