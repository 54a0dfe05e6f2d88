// One table of options drives everything that knows an option's name: flags, the environment, the
// configuration file, help, shell completion and the man page.
//
// Precedence: flags, then ABRUZZI_NAME_OF_THE_FLAG from the environment, then the file named by
// --config, then the table's default. In names '-' and '_' are interchangeable, values follow as
// "--flag value" or "--flag=value", and any unique prefix of a flag's name will do.
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/base.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    CLI_BOOL,    // --name and --no-name; also --name=true
    CLI_INT,     // decimal
    CLI_COUNT,   // also 32k (thousands), 32K (1,024s), and m, M, g, G, t, T; 25.6k is fine too
    CLI_FLOAT,   // finite
    CLI_CHOICE,  // one of `words`
    CLI_STRING,  //
    CLI_STRINGS, // may be repeated
    CLI_WORDS,   // the same, and takes all words up to the next flag: "--name a b"
    CLI_IDS,     // token ids: "1,2,3"; may be repeated
} cli_type;

typedef struct cli_row {
    const char *name;    // "max-model-len"
    const char *alias;   // with its dashes: "-tp", "--another-name"; NULL: none
    const char *inverse; // BOOL: a name that stands for --no-NAME; NULL: none
    cli_type type;
    const char *fallback; // the default, spelled as a user would; NULL: none
    double low, high;     // range of numbers, and of each of IDS
    const char *words;    // "exact|fast"; for numbers: words that are accepted besides
    const char *later;    // CHOICE: words that are known, and refused as not available yet
    const char *refusal;  // why every value is refused; the row is in no list
    const char *value;    // what help calls the value: "N"
    const char *group;    // headline in help
    const char *help;     // a sentence or two without the default
    unsigned commands;    // bits of the commands that have it
    bool secret;          // keys and prompts: never logged
} cli_row;

typedef struct cli_section {
    const cli_row *rows;
    int n_rows;
} cli_section;

typedef struct cli_options cli_options; // a parsed command line

typedef struct cli_command {
    const char *name; // one word, or two: "eval gsm8k"
    unsigned bit;
    const char *arguments; // "[MODEL]" or ""
    int min_arguments, max_arguments;
    const char *summary; // one line
    const char *text;    // more for --help and the man page; may be NULL
    int (*run)(const cli_options *o, base_err *err);
} cli_command;

typedef struct cli_table {
    const cli_section *const *sections;
    int n_sections;
    const cli_command *commands;
    int n_commands;
} cli_table;

extern const cli_table cli_the_table; // table.c

// Rows are counted through all sections; NULL behind the last one.
const cli_row *cli_table_row(const cli_table *table, int i);
// Whether help, completion and the man page of a command show the row.
bool cli_row_listed(const cli_row *row, const cli_command *command);

const cli_command *cli_command_find(const cli_table *table, const char *name);
// The command that `args` [n] begin with, and how many of them are its name; NULL if none is.
const cli_command *cli_command_read(const cli_table *table, int n, char *const *args, int *n_words);
// "unknown command X; did you mean Y?" as BASE_ERR_USAGE; for the first word of names of two, which
// second words there are.
int cli_command_unknown(const cli_table *table, const char *name, base_err *err);

// ---------------------------------------------------------------------------------------------
// A parsed command line

// `args` [n] are what follows the command's name; they must outlive the options. Errors are
// BASE_ERR_USAGE. With --help among the flags the number of arguments is not checked.
int cli_options_parse(cli_options **out, const cli_table *table, const cli_command *command, int n,
                      char *const *args, base_err *err);
void cli_options_free(cli_options *o); // NULL is fine

// The values; `name` must be a row of the command, of a fitting type (anything else is a bug and
// aborts). Values that were not given and have no default are false, 0, NULL or empty.
bool cli_knows(const cli_options *o, const char *name);   // the command has such a row
bool cli_has(const cli_options *o, const char *name);     // given, or has a default
bool cli_given(const cli_options *o, const char *name);   // by flag, environment or file
bool cli_flagged(const cli_options *o, const char *name); // by flag
bool cli_bool(const cli_options *o, const char *name);
int64_t cli_int(const cli_options *o, const char *name);        // INT and COUNT; a word reads as -1
double cli_float(const cli_options *o, const char *name);       // a word ("inf") reads as infinity
const char *cli_string(const cli_options *o, const char *name); // any type but lists, as written
const char *const *cli_strings(const cli_options *o, const char *name, int *n);
const base_ids *cli_ids(const cli_options *o, const char *name);

int cli_n_arguments(const cli_options *o);
const char *cli_argument(const cli_options *o, int i); // NULL when there are fewer

// "{'model': 'dir', 'max_num_seqs': 4}": what was given, as vLLM logs it; secrets as '***'.
void cli_options_describe(const cli_options *o, base_str *out);
// "Namespace(model='dir', max_num_seqs=4)": every option of the command with its value or None, as
// Python's argparse would print them.
void cli_options_namespace(const cli_options *o, base_str *out);

// ---------------------------------------------------------------------------------------------
// What the table prints (help.c)

void cli_print_help(const cli_table *table, base_str *out);
void cli_print_command_help(const cli_table *table, const cli_command *command, base_str *out);
void cli_print_bash_completion(const cli_table *table, base_str *out);
void cli_print_man(const cli_table *table, base_str *out); // troff, man(7)

// ---------------------------------------------------------------------------------------------
// A value's text (value.c), shared by flags, environment and file.

typedef struct cli_value {
    bool flagged, given, present;
    int line;          // of the configuration file, where the row is in it
    bool flag;         // BOOL
    int64_t integer;   // INT, COUNT
    double number;     // FLOAT
    const char *text;  // last text given, or the default; not owned
    const char **list; // STRINGS and WORDS, [n_list], texts not owned
    int n_list;
    base_ids ids; // IDS
} cli_value;

// Reads `text` into `value`; `what` names it in errors ("--seed", "ABRUZZI_SEED").
int cli_value_parse(cli_value *value, const cli_row *row, const char *text, const char *what,
                    base_err *err);
void cli_value_free(cli_value *value);

// The number of edits that turn one name into another.
int cli_distance(const char *a, const char *b);

#endif
