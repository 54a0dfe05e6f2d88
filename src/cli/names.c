// A name as somebody wrote it -> the command or the row that was meant.
#include "cli/parsed.h"
#include <string.h>

const cli_row *cli_table_row(const cli_table *table, int i) {
    for (int s = 0; s < table->n_sections; s++) {
        if (i < table->sections[s]->n_rows)
            return &table->sections[s]->rows[i];
        i -= table->sections[s]->n_rows;
    }
    return NULL;
}

bool cli_row_applies(const cli_row *row, const cli_command *command) {
    return (row->commands & command->bit) != 0;
}

bool cli_row_listed(const cli_row *row, const cli_command *command) {
    return cli_row_applies(row, command) && row->refusal == NULL;
}

// ---------------------------------------------------------------------------------------------
// Commands

int cli_distance(const char *a, const char *b) {
    size_t n = strlen(b);
    if (n >= CLI_NAME_MAX || strlen(a) >= CLI_NAME_MAX)
        return CLI_NAME_MAX;
    int row[CLI_NAME_MAX]; // of Levenshtein's table
    for (size_t j = 0; j <= n; j++)
        row[j] = (int)j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int add = row[j - 1] + 1, drop = row[j] + 1;
            row[j] = change < add ? change : add;
            row[j] = row[j] < drop ? row[j] : drop;
        }
    }
    return row[n];
}

static bool near_enough(int distance, const char *name) {
    return distance <= 1 + (int)strlen(name) / 4;
}

const cli_command *cli_command_find(const cli_table *table, const char *name) {
    for (int i = 0; i < table->n_commands; i++) {
        if (strcmp(table->commands[i].name, name) == 0)
            return &table->commands[i];
    }
    return NULL;
}

// What follows `word` and a space in the name of the command; NULL if it does not begin so.
static const char *second_word(const cli_command *command, const char *word) {
    size_t len = strlen(word);
    bool begins = strncmp(command->name, word, len) == 0 && command->name[len] == ' ';
    return begins ? command->name + len + 1 : NULL;
}

const cli_command *cli_command_read(const cli_table *table, int n, char *const *args,
                                    int *n_words) {
    for (int i = 0; i < table->n_commands; i++) {
        const char *second = n > 1 ? second_word(&table->commands[i], args[0]) : NULL;
        *n_words = 2;
        if (second != NULL && strcmp(second, args[1]) == 0)
            return &table->commands[i];
    }
    *n_words = 1;
    return n > 0 ? cli_command_find(table, args[0]) : NULL;
}

static int needs_second_word(const cli_table *table, const char *name, base_err *err) {
    base_str words = {0};
    for (int i = 0; i < table->n_commands; i++) {
        const char *second = second_word(&table->commands[i], name);
        if (second != NULL)
            base_str_printf(&words, "%s%s %s", words.len > 0 ? ", " : "", name, second);
    }
    if (words.len > 0)
        base_fail(err, BASE_ERR_USAGE, "'%s' alone is no command; there is: %s", name, words.data);
    int rc = words.len > 0 ? BASE_ERR_USAGE : 0;
    base_str_free(&words);
    return rc;
}

int cli_command_unknown(const cli_table *table, const char *name, base_err *err) {
    if (needs_second_word(table, name, err) != 0)
        return BASE_ERR_USAGE;
    const char *best = NULL;
    int distance = CLI_NAME_MAX;
    for (int i = 0; i < table->n_commands; i++) {
        int d = cli_distance(name, table->commands[i].name);
        if (d < distance) {
            distance = d;
            best = table->commands[i].name;
        }
    }
    if (best != NULL && near_enough(distance, best))
        return base_fail(err, BASE_ERR_USAGE, "unknown command '%s'; did you mean '%s'?", name,
                         best);
    return base_fail(err, BASE_ERR_USAGE, "unknown command '%s'", name);
}

// ---------------------------------------------------------------------------------------------
// Rows

typedef struct search {
    const char *name; // normalised, without dashes
    size_t len;
    cli_found exact, prefix;
    int n_prefix; // rows that begin so; two spellings of one thing count once
    base_str prefixes;
    char nearest[CLI_NAME_MAX]; // a name
    int distance;
} search;

static void consider(search *s, const char *name, cli_found f) {
    if (strcmp(name, s->name) == 0)
        s->exact = f;
    bool same = s->n_prefix > 0 && s->prefix.row == f.row && s->prefix.negated == f.negated;
    if (strncmp(name, s->name, s->len) == 0 && !same) {
        s->prefix = f;
        base_str_printf(&s->prefixes, "%s--%s", s->n_prefix++ > 0 ? ", " : "", name);
    }
    int distance = cli_distance(s->name, name);
    if (distance < s->distance) {
        s->distance = distance;
        s->nearest[0] = '\0';
        strncat(s->nearest, name, sizeof s->nearest - 1);
    }
}

static void consider_negated(search *s, const char *name, int i) {
    char negated[CLI_NAME_MAX] = "no-";
    strncat(negated, name, sizeof negated - 4);
    consider(s, negated, (cli_found){.row = i, .negated = true});
}

// All the names a row answers to.
static void consider_row(search *s, const cli_row *row, int i) {
    bool long_alias = row->alias != NULL && strncmp(row->alias, "--", 2) == 0;
    consider(s, row->name, (cli_found){.row = i});
    if (long_alias)
        consider(s, row->alias + 2, (cli_found){.row = i});
    if (row->type != CLI_BOOL)
        return;
    consider_negated(s, row->name, i);
    if (long_alias)
        consider_negated(s, row->alias + 2, i);
    if (row->inverse != NULL)
        consider(s, row->inverse, (cli_found){.row = i, .negated = true});
}

int cli_find_long(const cli_options *o, const char *name, size_t len, bool prefixes,
                  const char *dashes, cli_found *out, base_err *err) {
    char normal[CLI_NAME_MAX];
    if (len >= sizeof normal)
        return base_fail(err, BASE_ERR_USAGE, "unknown option %s%.*s", dashes, CLI_NAME_MAX, name);
    for (size_t i = 0; i < len; i++)
        normal[i] = name[i] == '_' ? '-' : name[i];
    normal[len] = '\0';
    const cli_found none = {.row = -1};
    search s = {
        .name = normal, .len = len, .exact = none, .prefix = none, .distance = CLI_NAME_MAX};
    const cli_row *row;
    for (int i = 0; (row = cli_table_row(o->table, i)) != NULL; i++) {
        if (cli_row_applies(row, o->command))
            consider_row(&s, row, i);
    }
    int rc = 0;
    if (s.exact.row >= 0)
        *out = s.exact;
    else if (prefixes && s.n_prefix == 1)
        *out = s.prefix;
    else if (prefixes && s.n_prefix > 1)
        rc = base_fail(err, BASE_ERR_USAGE, "ambiguous option %s%s: could be %s", dashes, normal,
                       s.prefixes.data);
    else if (near_enough(s.distance, s.nearest))
        rc = base_fail(err, BASE_ERR_USAGE, "unknown option %s%s; did you mean %s%s?", dashes,
                       normal, dashes, s.nearest);
    else
        rc = base_fail(err, BASE_ERR_USAGE, "unknown option %s%s", dashes, normal);
    base_str_free(&s.prefixes);
    return rc;
}

int cli_find_short(const cli_options *o, const char *arg, size_t len, cli_found *out,
                   base_err *err) {
    const cli_row *row;
    for (int i = 0; (row = cli_table_row(o->table, i)) != NULL; i++) {
        if (!cli_row_applies(row, o->command) || row->alias == NULL)
            continue;
        if (strlen(row->alias) == len && memcmp(row->alias, arg, len) == 0) {
            *out = (cli_found){.row = i};
            return 0;
        }
    }
    return base_fail(err, BASE_ERR_USAGE, "unknown option %.*s", (int)len, arg);
}
