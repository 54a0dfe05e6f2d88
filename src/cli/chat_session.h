// A conversation with a server: what has been said, what is asked for, and the answer as it comes.
#ifndef CLI_CHAT_SESSION_H
#define CLI_CHAT_SESSION_H

#include "cli/client.h"
#include "cli/terminal.h"

typedef struct chat_session {
    client *client;
    const volatile sig_atomic_t *interrupted;
    terminal terminal;
    char *model;
    char *system;       // NULL: the template's own
    json_t *messages;   // user and assistant, in turn
    json_t *parameters; // merged into each request: temperature, max_tokens, ...
    bool show_thinking, stats;
} chat_session;

// `session` is zero-initialised but for client, interrupted, model (owned), system (owned),
// parameters (owned), show_thinking and stats.
void chat_session_start(chat_session *s);
void chat_session_free(chat_session *s);

// Sends `text` as the user's next message and shows the answer as it comes. When it is interrupted,
// what has been said stays in the conversation; when it fails, the message does not.
int chat_session_say(chat_session *s, const char *text, base_err *err);
// Says the user's last message again. False when there is none.
bool chat_session_retry(chat_session *s, int *rc, base_err *err);
void chat_session_clear(chat_session *s);
// Forgets the last message of the user and what followed. False when there is none.
bool chat_session_undo(chat_session *s);
// Writes the conversation as a JSON list of messages.
int chat_session_save(const chat_session *s, const char *path, base_err *err);

// A line that begins with '/'. Returns false for /quit.
bool chat_command(chat_session *s, const char *line);

#endif
