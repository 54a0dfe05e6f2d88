#include "cli/private_server.h"
#include "cli/serving.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUEUE = 16 }; // and connections: there is one client

struct cli_private_server {
    cli_serving serving;
    const char *name; // of the model
    char *folder, *socket;
};

static int make_folder(cli_private_server *s, base_err *err) {
    const char *parent = getenv("XDG_RUNTIME_DIR");
    if (parent == NULL || access(parent, W_OK) != 0)
        parent = "/tmp";
    char *folder = base_path_join(parent, "abruzzi-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        int rc = base_fail(err, BASE_ERR_RESOURCE, "%s: %s", folder, strerror(errno));
        base_free(folder);
        return rc;
    }
    s->folder = folder;
    s->socket = base_path_join(folder, "socket");
    return 0;
}

static void find_options(cli_private_server *s) {
    api_options *a = &s->serving.options;
    a->served_names = &s->name;
    a->n_served_names = 1;
    a->root = s->name;
    a->reasoning_parser = a->tool_parser = a->enforce_tools = true;
    a->stall_s = 60;
    a->stats_interval_s = 10;
    a->http = (http_options){.uds = s->socket, .n_threads = 1};
    http_limits_init(&a->http.limits);
    a->http.limits.max_connections = QUEUE;
}

static int open_and_start(cli_private_server *s, const cli_options *o, base_err *err) {
    s->serving.max_logprobs = 0;
    s->serving.max_queue = QUEUE;
    find_options(s);
    int rc = cli_serving_open(&s->serving, o, err);
    if (rc == 0 && s->serving.chat == NULL)
        rc = base_fail(err, BASE_ERR_MODEL, "%s: its tokenizer has no tokens for chats", s->name);
    return rc == 0 ? cli_serving_start(&s->serving, err) : rc;
}

int cli_private_server_start(cli_private_server **out, const cli_options *o, base_err *err) {
    cli_private_server *s = base_calloc(1, sizeof *s);
    *out = NULL;
    int rc = cli_model_argument(o, &s->name, err);
    if (rc == 0)
        rc = make_folder(s, err);
    // Ctrl-C is for the thread that talks; those that start here inherit that it is blocked.
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    if (rc == 0) {
        pthread_sigmask(SIG_BLOCK, &interrupt, &before);
        rc = open_and_start(s, o, err);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (rc != 0)
        cli_private_server_stop(s);
    else
        *out = s;
    return rc;
}

const char *cli_private_server_path(const cli_private_server *s) {
    return s->socket;
}

void cli_private_server_stop(cli_private_server *s) {
    if (s == NULL)
        return;
    cli_serving_close(&s->serving);
    if (s->folder != NULL)
        rmdir(s->folder);
    base_free(s->folder);
    base_free(s->socket);
    base_free(s);
}
