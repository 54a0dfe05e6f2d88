// abruzzi: finds the command, parses its flags, runs it, reports what went wrong.
#include "cli/cli.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int print(const base_str *text) {
    fwrite(text->data, 1, text->len, stdout);
    return 0;
}

static int print_help(const cli_command *command) {
    base_str text = {0};
    if (command != NULL)
        cli_print_command_help(&cli_the_table, command, &text);
    else
        cli_print_help(&cli_the_table, &text);
    print(&text);
    base_str_free(&text);
    return 0;
}

static int report(int rc, const cli_command *command, const base_err *err) {
    if (rc == 0 || err->code == 0) // a command may fail without more to say
        return rc;
    const char *name = command != NULL ? command->name : NULL;
    fflush(stdout);
    fprintf(stderr, "abruzzi%s%s: %s\n", name != NULL ? " " : "", name != NULL ? name : "",
            err->message);
    if (rc == BASE_ERR_USAGE)
        fprintf(stderr, "Try 'abruzzi%s%s --help'.\n", name != NULL ? " " : "",
                name != NULL ? name : "");
    return rc;
}

static int run(const cli_command *command, int n, char **args, base_err *err) {
    cli_options *options;
    int rc = cli_options_parse(&options, &cli_the_table, command, n, args, err);
    if (rc != 0)
        return rc;
    rc = cli_bool(options, "help") ? print_help(command) : command->run(options, err);
    cli_options_free(options);
    return rc;
}

static int dispatch(int argc, char **argv, const cli_command **command, base_err *err) {
    if (argc < 2)
        return base_fail(err, BASE_ERR_USAGE, "no command given");
    const char *first = argv[1];
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0)
        return print_help(NULL);
    if (strcmp(first, "--version") == 0 || strcmp(first, "-v") == 0) {
        printf("abruzzi %s\n", ABRUZZI_VERSION);
        return 0;
    }
    if (first[0] == '-')
        return base_fail(err, BASE_ERR_USAGE, "unknown option %s; flags follow the command", first);
    int n_words;
    *command = cli_command_read(&cli_the_table, argc - 1, argv + 1, &n_words);
    if (*command == NULL)
        return cli_command_unknown(&cli_the_table, first, err);
    return run(*command, argc - 1 - n_words, argv + 1 + n_words, err);
}

// A standard stream that the caller closed would become the number of the next file opened: a
// shard's bytes would be read as prompts, messages written into a checkpoint. It is opened the
// wrong way round instead, so that using it fails as it would have.
static void hold_standard_streams(void) {
    static const int wrong_way[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", wrong_way[fd]) != fd)
            exit(BASE_ERR_RESOURCE); // there may be nowhere to say so
    }
}

int main(int argc, char **argv) {
    hold_standard_streams();
    base_err err = {0};
    const cli_command *command = NULL;
    int rc = dispatch(argc, argv, &command, &err);
    rc = report(rc, command, &err);
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "abruzzi: standard output: %s\n",
                errno != 0 ? strerror(errno) : "write error");
        return rc != 0 ? rc : BASE_ERR_RESOURCE;
    }
    return rc;
}
