// What a server that has started prints for people: three things to copy.
#ifndef CLI_WELCOME_H
#define CLI_WELCOME_H

#include "base/base.h"
#include <stdbool.h>

typedef struct cli_welcome {
    const char *host; // as given; NULL: no TCP
    int port;
    bool tls;
    const char *socket; // used without TCP
    const char *model;
    bool chat; // else only text can be completed
    bool need_key;
} cli_welcome;

// "http://127.0.0.1:8000": an address a client on this machine can use, also where the server
// listens on all of them. A unix socket is "unix:PATH".
void cli_welcome_address(const cli_welcome *w, base_str *out);
// The URL, a curl line, and the lines of the OpenAI SDK.
void cli_welcome_print(const cli_welcome *w, base_str *out);

#endif
