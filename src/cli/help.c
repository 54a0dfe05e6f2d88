// What the option table prints: help, bash completion, the man page.
#include "cli/options.h"
#include <string.h>

enum { WIDTH = 96, HELP_COLUMN = 34 };

// The placeholder of a row's value; empty for BOOL.
static void value_name(const cli_row *row, base_str *out) {
    if (row->type == CLI_BOOL)
        return;
    if (row->type == CLI_CHOICE) {
        base_str_printf(out, " %s", row->words);
        return;
    }
    base_str_printf(out, row->type == CLI_WORDS ? " %s..." : " %s", row->value);
    if (row->words != NULL)
        base_str_printf(out, "|%s", row->words);
}

// "-tp, --tensor-parallel-size N"; a BOOL that is on by default shows how to turn it off.
static void spelling(const cli_row *row, base_str *out) {
    if (row->alias != NULL && row->alias[1] != '-')
        base_str_printf(out, "%s, ", row->alias);
    base_str_printf(out, "--%s", row->name);
    if (row->alias != NULL && row->alias[1] == '-')
        base_str_printf(out, ", %s", row->alias);
    if (row->type == CLI_BOOL && row->fallback != NULL && strcmp(row->fallback, "true") == 0)
        base_str_printf(out, ", --no-%s", row->name);
    if (row->inverse != NULL)
        base_str_printf(out, ", --%s", row->inverse);
    value_name(row, out);
}

static void description(const cli_row *row, base_str *out) {
    base_str_adds(out, row->help);
    if (row->fallback != NULL && row->type != CLI_BOOL)
        base_str_printf(out, " (default: %s)", row->fallback);
    else if (row->fallback != NULL && strcmp(row->fallback, "true") == 0)
        base_str_adds(out, " (default: on)");
}

// Words of `text` in lines of WIDTH columns; the first line continues at `column`.
static void wrap(const char *text, int column, int indent, base_str *out) {
    while (*text != '\0') {
        int len = (int)strcspn(text, " ");
        if (column > indent && column + 1 + len > WIDTH) {
            base_str_printf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            base_str_adds(out, " ");
            column++;
        }
        base_str_add(out, text, (size_t)len);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    base_str_adds(out, "\n");
}

static void print_row(const cli_row *row, base_str *out) {
    base_str left = {0}, right = {0};
    spelling(row, &left);
    description(row, &right);
    base_str_printf(out, "  %s", left.data);
    int column = 2 + (int)left.len;
    if (column + 2 > HELP_COLUMN) {
        base_str_adds(out, "\n");
        column = 0;
    }
    base_str_printf(out, "%*s", HELP_COLUMN - column, "");
    wrap(right.data, HELP_COLUMN, HELP_COLUMN, out);
    base_str_free(&left);
    base_str_free(&right);
}

// Calls print for each row of a command, grouped, groups in the order of their first row.
static void each_group(const cli_table *table, const cli_command *command, base_str *out,
                       void (*headline)(const char *group, base_str *out),
                       void (*print)(const cli_row *row, base_str *out)) {
    const cli_row *first, *row;
    for (int i = 0; (first = cli_table_row(table, i)) != NULL; i++) {
        bool seen = !cli_row_listed(first, command);
        for (int j = 0; j < i && !seen; j++) {
            row = cli_table_row(table, j);
            seen = cli_row_listed(row, command) && strcmp(row->group, first->group) == 0;
        }
        if (seen)
            continue;
        headline(first->group, out);
        for (int j = i; (row = cli_table_row(table, j)) != NULL; j++) {
            if (cli_row_listed(row, command) && strcmp(row->group, first->group) == 0)
                print(row, out);
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Help

static const char exit_statuses[] =
    "0 clean; 64 usage; 65 the model is refused (the message names file and tensor); 70 a rank was "
    "lost, hung or produced only NaN; 71 a resource was missing (memory, port, permission).";

static void help_headline(const char *group, base_str *out) {
    base_str_printf(out, "\n%s:\n", group);
}

void cli_print_help(const cli_table *table, base_str *out) {
    base_str_adds(out, "usage: abruzzi COMMAND [flags]\n"
                       "       abruzzi --help | --version\n"
                       "       abruzzi COMMAND --help\n\n"
                       "Serves Kimi-K2-Thinking from its Hugging Face checkpoint as it is.\n\n"
                       "Commands:\n");
    for (int i = 0; i < table->n_commands; i++) {
        const cli_command *c = &table->commands[i];
        base_str_printf(out, "  %-17s ", c->name);
        wrap(c->summary, 20, 20, out);
    }
    base_str_adds(out, "\nExit status: ");
    wrap(exit_statuses, 13, 13, out);
}

void cli_print_command_help(const cli_table *table, const cli_command *command, base_str *out) {
    base_str_printf(out, "usage: abruzzi %s%s%s [flags]\n\n", command->name,
                    command->arguments[0] != '\0' ? " " : "", command->arguments);
    wrap(command->summary, 0, 0, out);
    if (command->text != NULL) {
        base_str_adds(out, "\n");
        wrap(command->text, 0, 0, out);
    }
    each_group(table, command, out, help_headline, print_row);
    base_str_adds(out, "\n");
    wrap("Flags may be shortened to a unique prefix; '-' and '_' are interchangeable in them. Each "
         "can also be set in the environment, --max-model-len as ABRUZZI_MAX_MODEL_LEN, and in the "
         "file of --config, where a command has that: max-model-len: 32k. Flags win over the "
         "environment, the environment over the file.",
         0, 0, out);
}

// ---------------------------------------------------------------------------------------------
// Completion

static void completion_command(const cli_table *table, const cli_command *command, base_str *out) {
    const cli_row *row;
    bool two_words = strchr(command->name, ' ') != NULL;
    base_str_printf(out, "    \"%s%s)\n        flags=\"", command->name, two_words ? "\"" : " \"*");
    for (int i = 0; (row = cli_table_row(table, i)) != NULL; i++) {
        if (!cli_row_listed(row, command))
            continue;
        base_str_printf(out, " --%s", row->name);
        if (row->type == CLI_BOOL && strcmp(row->name, "help") != 0)
            base_str_printf(out, " --no-%s", row->name);
        if (row->alias != NULL && row->alias[1] == '-')
            base_str_printf(out, " %s", row->alias);
        if (row->inverse != NULL)
            base_str_printf(out, " --%s", row->inverse);
    }
    base_str_adds(out, "\"\n        case \"$previous\" in\n");
    for (int i = 0; (row = cli_table_row(table, i)) != NULL; i++) {
        if (!cli_row_listed(row, command) || row->type == CLI_BOOL)
            continue;
        base_str_printf(out, "        --%s", row->name);
        if (row->alias != NULL)
            base_str_printf(out, "|%s", row->alias);
        base_str_adds(out, ") words=\"");
        for (const char *p = row->words != NULL ? row->words : ""; *p != '\0'; p++)
            base_str_add(out, *p == '|' ? " " : p, 1);
        base_str_printf(out, "\"; files=%d ;;\n", row->type == CLI_STRING);
    }
    base_str_adds(out, "        *) words=\"$flags\"; files=1 ;;\n        esac ;;\n");
}

// The first words of commands of two are completed by the second ones.
static void completion_second_words(const cli_table *table, base_str *out) {
    for (int i = 0; i < table->n_commands; i++) {
        const char *name = table->commands[i].name, *space = strchr(name, ' ');
        if (space != NULL)
            base_str_printf(out,
                            "    [[ $COMP_CWORD == 2 && ${COMP_WORDS[1]} == %.*s ]] && words+=\" "
                            "%s\"\n",
                            (int)(space - name), name, space + 1);
    }
}

void cli_print_bash_completion(const cli_table *table, base_str *out) {
    base_str_adds(out, "# bash completion for abruzzi: eval \"$(abruzzi completion bash)\"\n"
                       "_abruzzi() {\n"
                       "    local current=${COMP_WORDS[COMP_CWORD]}\n"
                       "    local previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
                       "    local flags words='' files=0\n"
                       "    if ((COMP_CWORD == 1)); then\n"
                       "        words=\"--help --version");
    for (int i = 0; i < table->n_commands; i++) {
        const char *name = table->commands[i].name;
        size_t len = strcspn(name, " ");
        bool said = false; // as the first word of an earlier command
        for (int j = 0; j < i; j++) {
            const char *other = table->commands[j].name;
            said = said || (strcspn(other, " ") == len && strncmp(other, name, len) == 0);
        }
        if (!said)
            base_str_printf(out, " %.*s", (int)len, name);
    }
    base_str_adds(out, "\"\n    else\n    case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n");
    for (int i = 0; i < table->n_commands; i++)
        completion_command(table, &table->commands[i], out);
    base_str_adds(out, "    esac\n    fi\n");
    completion_second_words(table, out);
    base_str_adds(out, "    COMPREPLY=()\n"
                       "    if ((files)) && [[ $current != -* ]]; then\n"
                       "        compopt -o filenames\n"
                       "        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
                       "    else\n"
                       "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
                       "    fi\n"
                       "}\n"
                       "complete -F _abruzzi abruzzi\n");
}

// ---------------------------------------------------------------------------------------------
// Man page

// Text for troff: no line may begin with a control character, dashes are to be copied as they are.
static void man_text(const char *text, base_str *out) {
    if (*text == '.' || *text == '\'')
        base_str_adds(out, "\\&");
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            base_str_adds(out, "\\e");
        else if (*text == '-')
            base_str_adds(out, "\\-");
        else
            base_str_add(out, text, 1);
    }
}

static void man_headline(const char *group, base_str *out) {
    base_str_adds(out, ".PP\n.I ");
    man_text(group, out);
    base_str_adds(out, "\n");
}

static void man_row(const cli_row *row, base_str *out) {
    base_str text = {0};
    base_str_adds(out, ".TP\n.B ");
    spelling(row, &text);
    man_text(text.data, out);
    base_str_adds(out, "\n");
    base_str_clear(&text);
    description(row, &text);
    man_text(text.data, out);
    base_str_adds(out, "\n");
    base_str_free(&text);
}

void cli_print_man(const cli_table *table, base_str *out) {
    base_str_adds(out, ".TH ABRUZZI 1 \"\" \"abruzzi " ABRUZZI_VERSION "\" \"User Commands\"\n"
                       ".SH NAME\nabruzzi \\- serve Kimi\\-K2\\-Thinking from its checkpoint\n"
                       ".SH SYNOPSIS\n.B abruzzi\n.I COMMAND\n[flags]\n.SH COMMANDS\n");
    for (int i = 0; i < table->n_commands; i++) {
        const cli_command *c = &table->commands[i];
        base_str_printf(out, ".SS abruzzi %s %s\n", c->name, c->arguments);
        man_text(c->summary, out);
        base_str_adds(out, "\n");
        if (c->text != NULL) {
            base_str_adds(out, ".PP\n");
            man_text(c->text, out);
            base_str_adds(out, "\n");
        }
        each_group(table, c, out, man_headline, man_row);
    }
    base_str_adds(out, ".SH ENVIRONMENT\nEach flag can also be set in the environment, "
                       "\\-\\-max\\-model\\-len as\n.BR ABRUZZI_MAX_MODEL_LEN .\nFlags win.\n"
                       ".SH FILES\nThe file of\n.B \\-\\-config\nis YAML: a line for each flag, "
                       "such as \"max\\-model\\-len: 32k\"; lists for flags that may be repeated. "
                       "Flags and the environment win over it.\n"
                       ".SH EXIT STATUS\n");
    man_text(exit_statuses, out);
    base_str_adds(out, "\n");
}
