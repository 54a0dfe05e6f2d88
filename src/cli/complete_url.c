#include "cli/complete_url.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/lines.h"
#include "cli/request.h"
#include "cli/terminal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct remote {
    const cli_options *o;
    cli_client *client;
    char *model;
    cli_terminal terminal;
    bool whole; // the reply is shown when it is complete, not as it comes
} remote;

static json_t *make_request(const remote *r, json_t *prompt) {
    json_t *request =
        json_pack("{s:s, s:o, s:b}", "model", r->model, "prompt", prompt, "stream", !r->whole);
    json_t *fields = cli_request_fields(r->o);
    json_object_update(request, fields);
    json_decref(fields);
    return request;
}

static void show_piece(void *arg, const json_t *event) {
    remote *r = arg;
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *text = json_object_get(choice, "text");
    cli_terminal_write(&r->terminal, CLI_TERMINAL_PLAIN, json_string_value(text),
                       json_string_length(text));
}

static void show_whole(remote *r, const json_t *reply) {
    if (cli_bool(r->o, "json")) {
        char *text = json_dumps(reply, JSON_COMPACT);
        puts(text != NULL ? text : "");
        free(text);
        return;
    }
    size_t i;
    const json_t *choice;
    json_array_foreach(json_object_get(reply, "choices"), i, choice) {
        const json_t *text = json_object_get(choice, "text");
        printf("[%zu] ", i);
        cli_terminal_write(&r->terminal, CLI_TERMINAL_PLAIN, json_string_value(text),
                           json_string_length(text));
        cli_terminal_end(&r->terminal);
    }
}

// Takes `prompt` over.
static int complete_prompt(remote *r, json_t *prompt, base_err *err) {
    if (prompt == NULL)
        return base_fail(err, BASE_ERR_USAGE, "the prompt is not valid UTF-8");
    json_t *request = make_request(r, prompt), *reply = NULL;
    int rc;
    if (r->whole) {
        rc = cli_client_post(r->client, "completions", request, &reply, err);
        if (rc == 0)
            show_whole(r, reply);
    } else {
        rc = cli_client_stream(r->client, "completions", request, show_piece, r, err);
        cli_terminal_end(&r->terminal);
    }
    json_decref(reply);
    json_decref(request);
    return rc;
}

static json_t *ids_prompt(const base_ids *ids) {
    json_t *list = json_array();
    for (size_t i = 0; i < ids->len; i++)
        json_array_append_new(list, json_integer(ids->data[i]));
    return list;
}

// A prompt that fails is reported and does not end the loop.
static int complete_lines(remote *r, base_err *err) {
    cli_lines *lines = cli_lines_create(cli_bool(r->o, "json"));
    if (!cli_bool(r->o, "json"))
        printf("Using model: %s\n", r->model);
    const char *line;
    for (size_t len; (line = cli_lines_next(lines, "> ", &len)) != NULL;) {
        base_err line_err = {0};
        if (len > 0 && complete_prompt(r, json_stringn(line, len), &line_err) != 0)
            base_error("%s", line_err.message);
    }
    int rc = cli_lines_check(lines, err);
    cli_lines_free(lines);
    return rc;
}

// A flag that would change how a model runs here must not be passed over in silence.
static int check_flags(const cli_options *o, base_err *err) {
    if (cli_argument(o, 0) != NULL || cli_flagged(o, "model"))
        return base_fail(err, BASE_ERR_USAGE, "MODEL and --url exclude each other");
    const cli_row *row;
    for (int i = 0; (row = cli_table_row(&cli_the_table, i)) != NULL; i++) {
        bool ours = strcmp(row->group, "Engine") == 0 || strcmp(row->group, "Model") == 0;
        if (ours && (row->commands & CLI_COMPLETE) && strcmp(row->name, "config") != 0 &&
            cli_flagged(o, row->name))
            return base_fail(err, BASE_ERR_USAGE,
                             "--%s is for a model in this process, not for "
                             "the server of --url",
                             row->name);
    }
    return 0;
}

int cli_complete_url(const cli_options *o, base_err *err) {
    int checked = check_flags(o, err);
    if (checked != 0)
        return checked;
    const cli_client_options where = {
        .url = cli_string(o, "url"),
        .api_key = cli_request_key(o),
        .interrupted = &cli_interrupted,
    };
    remote r = {.o = o, .whole = cli_bool(o, "json") || cli_int(o, "n") > 1};
    int rc = cli_client_create(&r.client, &where, err);
    if (rc != 0)
        return rc;
    cli_terminal_init(&r.terminal);
    cli_interrupt_running();
    if (cli_given(o, "model-name"))
        r.model = base_strdup(cli_string(o, "model-name"));
    else
        rc = cli_client_first_model(r.client, &r.model, err);
    if (rc == 0 && cli_given(o, "quick"))
        rc = complete_prompt(&r, json_string(cli_string(o, "quick")), err);
    else if (rc == 0 && cli_given(o, "prompt-ids"))
        rc = complete_prompt(&r, ids_prompt(cli_ids(o, "prompt-ids")), err);
    else if (rc == 0)
        rc = complete_lines(&r, err);
    cli_client_free(r.client);
    base_free(r.model);
    return rc == 0 && cli_interrupted && cli_given(o, "quick") ? CLI_INTERRUPTED : rc;
}
