// A conversation with a server: what has been said, what is asked for, and the answer as it comes.
#ifndef CLI_TALK_H
#define CLI_TALK_H

#include "cli/client.h"
#include "cli/terminal.h"

typedef struct cli_talk {
    cli_client *client;
    const volatile sig_atomic_t *interrupted;
    cli_terminal terminal;
    char *model;
    char *system;       // NULL: the template's own
    json_t *messages;   // user and assistant, in turn
    json_t *parameters; // merged into each request: temperature, max_tokens, ...
    bool show_thinking, stats;
} cli_talk;

// The talk is zero-initialised but for client, interrupted, model (owned), system (owned),
// parameters (owned), show_thinking and stats.
void cli_talk_start(cli_talk *s);
void cli_talk_free(cli_talk *s);

// Sends `text` as the user's next message and shows the answer as it comes. When it is interrupted,
// what has been said stays in the conversation; when it fails, the message does not.
int cli_talk_say(cli_talk *s, const char *text, base_err *err);
// Says the user's last message again. False when there is none.
bool cli_talk_retry(cli_talk *s, int *rc, base_err *err);
void cli_talk_clear(cli_talk *s);
// Forgets the last message of the user and what followed. False when there is none.
bool cli_talk_undo(cli_talk *s);
// Writes the conversation as a JSON list of messages.
int cli_talk_save(const cli_talk *s, const char *path, base_err *err);

// A line that begins with '/'. Returns false for /quit.
bool cli_talk_command(cli_talk *s, const char *line);

#endif
