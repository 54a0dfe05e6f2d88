// abruzzi chat: a conversation in the terminal, with a server or with a model in this process.
//
// In this process means: a server of our own on a unix socket that nobody else can reach, so that
// there is one way a conversation goes.
#include "cli/interrupt.h"
#include "cli/lines.h"
#include "cli/private_server.h"
#include "cli/request.h"
#include "cli/talk.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// Interactive

static const char fence[] = "\"\"\"";

// The rest of a message of several lines; NULL when it did not end.
static char *read_fenced(cli_lines *lines, const char *first) {
    const char *prompt = cli_lines_editing(lines) ? ". " : "";
    base_str text = {0};
    const char *line = first + strlen(fence);
    for (;;) {
        const char *end = strstr(line, fence);
        base_str_add(&text, line, end != NULL ? (size_t)(end - line) : strlen(line));
        if (end != NULL)
            break;
        base_str_adds(&text, "\n");
        line = cli_lines_next(lines, prompt, NULL);
        if (line == NULL) {
            base_str_free(&text);
            return NULL;
        }
    }
    return text.data;
}

// A message that fails is reported and does not end the conversation.
static void say(cli_talk *s, const char *text) {
    base_err err = {0};
    cli_interrupt_begin();
    if (cli_talk_say(s, text, &err) != 0)
        base_error("%s", err.message);
}

static bool take_line(cli_talk *s, cli_lines *lines, const char *line) {
    if (line[0] == '\0')
        return true;
    if (line[0] == '/') {
        cli_interrupt_begin();
        return cli_talk_command(s, line);
    }
    if (strncmp(line, fence, strlen(fence)) != 0) {
        say(s, line);
        return true;
    }
    char *text = read_fenced(lines, line);
    if (text != NULL && text[0] != '\0')
        say(s, text);
    base_free(text);
    return text != NULL || cli_interrupted; // Ctrl-C gives only the message up
}

static int converse(cli_talk *s, base_err *err) {
    cli_lines *lines = cli_lines_create(false);
    const char *line;
    printf("Using model: %s\n", s->model);
    if (cli_lines_editing(lines))
        puts("/help lists the commands; Ctrl-D leaves.");
    do // Ctrl-C at the prompt leaves, as in vllm chat
        line = cli_lines_next(lines, "> ", NULL);
    while (line != NULL && take_line(s, lines, line));
    int rc = cli_lines_check(lines, err);
    cli_lines_free(lines);
    return rc;
}

// ---------------------------------------------------------------------------------------------

static int talk(const cli_options *o, const cli_client_options *where, base_err *err) {
    cli_talk s = {.interrupted = &cli_interrupted};
    int rc = cli_client_create(&s.client, where, err);
    if (rc != 0)
        return rc;
    s.stats = cli_bool(o, "stats");
    s.show_thinking = cli_bool(o, "thinking");
    if (cli_given(o, "system-prompt"))
        s.system = base_strdup(cli_string(o, "system-prompt"));
    s.parameters = cli_request_fields(o);
    cli_interrupt_running();
    if (cli_given(o, "model-name"))
        s.model = base_strdup(cli_string(o, "model-name"));
    else
        rc = cli_client_first_model(s.client, &s.model, err);
    cli_talk_start(&s);
    if (rc == 0 && cli_given(o, "quick")) {
        rc = cli_talk_say(&s, cli_string(o, "quick"), err);
        rc = rc == 0 && cli_interrupted ? CLI_INTERRUPTED : rc;
    } else if (rc == 0) {
        rc = converse(&s, err);
    }
    cli_client_free(s.client);
    cli_talk_free(&s);
    return rc;
}

int cmd_chat(const cli_options *o, base_err *err) {
    cli_set_log_level(o);
    bool in_process = cli_argument(o, 0) != NULL || cli_given(o, "model");
    if (in_process && cli_flagged(o, "url"))
        return base_fail(err, BASE_ERR_USAGE, "MODEL and --url exclude each other");
    cli_client_options where = {
        .url = cli_string(o, "url"),
        .api_key = cli_request_key(o),
        .interrupted = &cli_interrupted,
    };
    cli_private_server *server = NULL;
    if (in_process) {
        int rc = cli_private_server_start(&server, o, err);
        if (rc != 0)
            return rc;
        where.url = "http://localhost/v1";
        where.uds = cli_private_server_path(server);
        where.api_key = NULL;
    }
    int rc = talk(o, &where, err);
    cli_private_server_stop(server);
    return rc;
}
