// A client of OpenAI-compatible servers, over TCP, TLS or a unix socket: what `abruzzi chat` and
// `abruzzi complete --url` talk through.
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "base/base.h"
#include <signal.h>
#include <stdbool.h>

typedef struct cli_client cli_client;

typedef struct cli_client_options {
    const char *url;     // of the API: "http://localhost:8000/v1"
    const char *uds;     // connect here, whatever host the URL names; NULL: TCP
    const char *api_key; // NULL: none
    // Set by a signal handler: the transfer that runs ends within a tenth of a second.
    const volatile sig_atomic_t *interrupted;
} cli_client_options;

// BASE_ERR_USAGE when the URL is no http(s) URL.
int cli_client_create(cli_client **out, const cli_client_options *options, base_err *err);
void cli_client_free(cli_client *c); // NULL is fine

// GET URL/PATH. The caller frees *reply. A reply that is no 200 is BASE_ERR_RESOURCE with the
// server's own message.
int cli_client_get(cli_client *c, const char *path, json_t **reply, base_err *err);
// POST of `body`, for a whole reply in the same way.
int cli_client_post(cli_client *c, const char *path, const json_t *body, json_t **reply,
                    base_err *err);

// POST of `body`, which must ask for a stream; `take` gets each event's object (borrowed). An error
// event ends it with BASE_ERR_RESOURCE. Interrupted: 0, and *interrupted is still set.
int cli_client_stream(cli_client *c, const char *path, const json_t *body,
                      void (*take)(void *arg, const json_t *event), void *arg, base_err *err);

// The first model the server offers; the caller frees *name.
int cli_client_first_model(cli_client *c, char **name, base_err *err);

#endif
