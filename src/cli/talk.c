#include "cli/talk.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// An answer as it comes.
typedef struct answering {
    cli_talk *s;
    base_str content;
    bool thinking; // thoughts are being shown
    int64_t start_ns, first_ns;
    int completion_tokens;
} answering;

static const char *text_of(const json_t *object, const char *name, size_t *len) {
    const json_t *value = json_object_get(object, name);
    *len = json_string_length(value);
    return json_string_value(value);
}

static void take_delta(answering *a, const json_t *delta) {
    cli_talk *s = a->s;
    size_t len;
    // Servers name the thought either way, some both.
    const char *thought = text_of(delta, "reasoning_content", &len);
    if (thought == NULL)
        thought = text_of(delta, "reasoning", &len);
    if (thought != NULL && len > 0 && s->show_thinking) {
        cli_terminal_write(&s->terminal, CLI_TERMINAL_DIM, thought, len);
        a->thinking = true;
    }
    const char *content = text_of(delta, "content", &len);
    if (content == NULL || len == 0)
        return;
    if (a->thinking)
        cli_terminal_end(&s->terminal);
    a->thinking = false;
    cli_terminal_write(&s->terminal, CLI_TERMINAL_PLAIN, content, len);
    base_str_add(&a->content, content, len);
}

static void take_event(void *arg, const json_t *event) {
    answering *a = arg;
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    if (choice != NULL && a->first_ns == 0)
        a->first_ns = base_now_ns();
    take_delta(a, json_object_get(choice, "delta"));
    const json_t *usage = json_object_get(event, "usage");
    if (json_is_object(usage))
        a->completion_tokens = (int)json_integer_value(json_object_get(usage, "completion_tokens"));
}

static json_t *message(const char *role, const char *text, size_t len) {
    return json_pack("{s:s, s:s%}", "role", role, "content", text, len);
}

static json_t *make_request(const cli_talk *s) {
    json_t *messages = json_array();
    if (s->system != NULL)
        json_array_append_new(messages, message("system", s->system, strlen(s->system)));
    json_array_extend(messages, s->messages);
    json_t *request = json_pack("{s:s, s:o, s:b, s:{s:b}}", "model", s->model, "messages", messages,
                                "stream", 1, "stream_options", "include_usage", 1);
    json_object_update(request, s->parameters);
    return request;
}

static void show_stats(const answering *a, int64_t end_ns) {
    if (!a->s->stats || a->first_ns == 0)
        return;
    double first = (double)(a->first_ns - a->start_ns) * 1e-9;
    double rest = (double)(end_ns - a->first_ns) * 1e-9;
    fprintf(stderr, "TTFT %.1f ms, %d tokens at %.1f tokens/s\n", first * 1e3, a->completion_tokens,
            rest > 0.0 ? (a->completion_tokens - 1) / rest : 0.0);
}

// Asks for an answer to what is in the conversation and adds it.
static int ask(cli_talk *s, base_err *err) {
    answering a = {.s = s, .start_ns = base_now_ns()};
    json_t *request = make_request(s);
    int rc = cli_client_stream(s->client, "chat/completions", request, take_event, &a, err);
    json_decref(request);
    cli_terminal_end(&s->terminal);
    if (rc == 0 && !*s->interrupted)
        show_stats(&a, base_now_ns());
    if (rc == 0)
        json_array_append_new(
            s->messages,
            message("assistant", a.content.len > 0 ? a.content.data : "", a.content.len));
    base_str_free(&a.content);
    return rc;
}

int cli_talk_say(cli_talk *s, const char *text, base_err *err) {
    json_t *said = message("user", text, strlen(text));
    if (said == NULL)
        return base_fail(err, BASE_ERR_USAGE, "the message is not valid UTF-8");
    json_array_append_new(s->messages, said);
    int rc = ask(s, err);
    if (rc != 0)
        json_array_remove(s->messages, json_array_size(s->messages) - 1);
    return rc;
}

static bool is_user(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role != NULL && strcmp(role, "user") == 0;
}

bool cli_talk_undo(cli_talk *s) {
    for (size_t n = json_array_size(s->messages); n > 0; n--) {
        bool found = is_user(json_array_get(s->messages, n - 1));
        json_array_remove(s->messages, n - 1);
        if (found)
            return true;
    }
    return false;
}

bool cli_talk_retry(cli_talk *s, int *rc, base_err *err) {
    size_t n = json_array_size(s->messages);
    while (n > 0 && !is_user(json_array_get(s->messages, n - 1)))
        n--;
    if (n == 0)
        return false;
    while (json_array_size(s->messages) > n)
        json_array_remove(s->messages, json_array_size(s->messages) - 1);
    *rc = ask(s, err);
    return true;
}

void cli_talk_clear(cli_talk *s) {
    json_array_clear(s->messages);
}

int cli_talk_save(const cli_talk *s, const char *path, base_err *err) {
    char *text = json_dumps(s->messages, JSON_INDENT(2));
    if (text == NULL)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: out of memory", path);
    int rc = base_file_write(path, text, strlen(text), err);
    free(text);
    return rc;
}

void cli_talk_start(cli_talk *s) {
    cli_terminal_init(&s->terminal);
    s->messages = json_array();
    if (s->parameters == NULL)
        s->parameters = json_object();
}

void cli_talk_free(cli_talk *s) {
    json_decref(s->messages);
    json_decref(s->parameters);
    base_free(s->model);
    base_free(s->system);
}
