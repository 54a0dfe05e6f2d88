// The tool calls a conversation has already, and which of them a result answers. Shared by the
// files of this room.
#ifndef CHAT_HISTORY_H
#define CHAT_HISTORY_H

#include "chat/chat.h"
#include <string.h>

typedef struct chat_history_call {
    chat_slice id, name;
    int message;    // where the call is
    int index;      // its number in the conversation, from 0
    int n_answered; // in the first of a message's calls of one id: results for them so far
} chat_history_call;

typedef struct chat_history {
    chat_history_call *calls; // [n_calls] by id, then by number
    int n_calls;
} chat_history;

static inline bool chat_slice_is(chat_slice s, const char *word) {
    return s.len == strlen(word) && memcmp(s.at, word, s.len) == 0;
}

// Orders slices by their bytes, NULL as the empty one.
static inline int chat_slice_compare(chat_slice a, chat_slice b) {
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.at, b.at, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

// Appends the id that the model was trained to give its calls.
void chat_id_add(base_str *out, chat_slice name, int index);

int chat_history_count(const chat_conversation *c); // the calls that the model is shown
// Its slices are the conversation's.
void chat_history_read(chat_history *h, const chat_conversation *c);
void chat_history_free(chat_history *h);

// The call that a result in message number `message` with this id answers: of the last turn before
// it that called by this id, the first call that has no result yet; once all have one, the last of
// them. Results are to be asked for in their order. NULL: no call before has the id.
const chat_history_call *chat_history_answer(chat_history *h, chat_slice id, int message);

#endif
