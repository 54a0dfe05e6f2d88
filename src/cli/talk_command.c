// The lines of a chat that begin with '/'.
#include "cli/talk.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct verb {
    const char *name, *arguments, *help;
    // Returns false to leave.
    bool (*run)(cli_talk *s, const char *argument);
} verb;

static void report(int rc, const base_err *err) {
    if (rc != 0)
        base_error("%s", err->message);
}

static bool run_clear(cli_talk *s, const char *argument) {
    (void)argument;
    cli_talk_clear(s);
    puts("The conversation is empty.");
    return true;
}

static bool run_undo(cli_talk *s, const char *argument) {
    (void)argument;
    puts(cli_talk_undo(s) ? "The last message is forgotten." : "Nothing has been said yet.");
    return true;
}

static bool run_retry(cli_talk *s, const char *argument) {
    (void)argument;
    base_err err = {0};
    int rc = 0;
    if (!cli_talk_retry(s, &rc, &err))
        puts("Nothing has been said yet.");
    report(rc, &err);
    return true;
}

static bool run_system(cli_talk *s, const char *argument) {
    base_free(s->system);
    s->system = argument[0] != '\0' ? base_strdup(argument) : NULL;
    puts(s->system != NULL ? "The system prompt is set." : "The template's own system prompt.");
    return true;
}

// What the conversation itself puts into a request.
static bool is_ours(const char *name) {
    static const char *const ours[] = {"messages", "model", "stream", "stream_options", "n"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (strcmp(ours[i], name) == 0)
            return true;
    }
    return false;
}

// "/set temperature 0.6": any parameter of the API, its value as JSON or as a word.
static bool run_set(cli_talk *s, const char *argument) {
    size_t len = strcspn(argument, " ");
    const char *text = argument + len + strspn(argument + len, " ");
    if (len == 0) {
        char *all = json_dumps(s->parameters, JSON_COMPACT | JSON_SORT_KEYS);
        puts(all != NULL ? all : "");
        free(all);
        return true;
    }
    char *name = base_strndup(argument, len);
    if (is_ours(name)) {
        printf("%s is not yours to set here.\n", name);
        base_free(name);
        return true;
    }
    if (text[0] == '\0') {
        json_object_del(s->parameters, name);
        printf("%s: the server's default.\n", name);
        base_free(name);
        return true;
    }
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (value == NULL)
        value = json_string(text);
    if (value == NULL || json_object_set_new(s->parameters, name, value) != 0)
        puts("That is not valid UTF-8.");
    base_free(name);
    return true;
}

static bool run_think(cli_talk *s, const char *argument) {
    (void)argument;
    s->show_thinking = !s->show_thinking;
    puts(s->show_thinking ? "Thoughts are shown." : "Thoughts are hidden.");
    return true;
}

static bool run_stats(cli_talk *s, const char *argument) {
    (void)argument;
    s->stats = !s->stats;
    puts(s->stats ? "Speeds are shown." : "Speeds are hidden.");
    return true;
}

static bool run_save(cli_talk *s, const char *argument) {
    base_err err = {0};
    if (argument[0] == '\0') {
        puts("Save to which file?");
        return true;
    }
    int rc = cli_talk_save(s, argument, &err);
    if (rc == 0)
        printf("Saved to %s.\n", argument);
    report(rc, &err);
    return true;
}

static bool run_quit(cli_talk *s, const char *argument) {
    (void)s;
    (void)argument;
    return false;
}

static bool run_help(cli_talk *s, const char *argument);

static const verb verbs[] = {
    {"help", "", "this list", run_help},
    {"clear", "", "begins a new conversation", run_clear},
    {"undo", "", "forgets the last message and its answer", run_undo},
    {"retry", "", "asks for another answer to the last message", run_retry},
    {"system", "TEXT", "sets the system prompt; without TEXT the template's own", run_system},
    {"set", "NAME VALUE", "a parameter of the API, e.g. temperature 0.6; without VALUE its default",
     run_set},
    {"think", "", "shows or hides thoughts", run_think},
    {"stats", "", "shows or hides speeds", run_stats},
    {"save", "FILE", "writes the conversation as JSON", run_save},
    {"quit", "", "leaves, as Ctrl-D does", run_quit},
};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

static bool run_help(cli_talk *s, const char *argument) {
    (void)s;
    (void)argument;
    for (int i = 0; i < N_VERBS; i++)
        printf("  /%-6s %-10s  %s\n", verbs[i].name, verbs[i].arguments, verbs[i].help);
    puts("  \"\"\"                 begins and ends a message of several lines\n"
         "  Ctrl-C              stops the answer");
    return true;
}

bool cli_talk_command(cli_talk *s, const char *line) {
    size_t len = strcspn(line + 1, " ");
    const char *argument = line + 1 + len + strspn(line + 1 + len, " ");
    for (int i = 0; i < N_VERBS; i++) {
        if (strlen(verbs[i].name) == len && memcmp(verbs[i].name, line + 1, len) == 0)
            return verbs[i].run(s, argument);
    }
    printf("There is no /%.*s; /help lists what there is.\n", (int)len, line + 1);
    return true;
}
