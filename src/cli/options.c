// Flags, environment and configuration file -> values.
#include "cli/parsed.h"
#include "cli/settings.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// Flags

static bool looks_like_flag(const char *arg) {
    return arg[0] == '-' && arg[1] == '-' && isalpha((unsigned char)arg[2]);
}

static int take_value(cli_value *value, const cli_row *row, const char *text, const char *what,
                      base_err *err) {
    value->flagged = value->given = true;
    return cli_value_parse(value, row, text, what, err);
}

// Takes the flag args[*at], and its values if those are the next arguments.
static int take_flag(cli_options *o, int n, char *const *args, int *at, base_err *err) {
    const char *arg = args[*at];
    bool is_long = arg[1] == '-';
    const char *equals = strchr(arg, '=');
    size_t len = equals != NULL ? (size_t)(equals - arg) : strlen(arg);
    cli_found f = {.row = -1};
    int rc = is_long ? cli_find_long(o, arg + 2, len - 2, true, "--", &f, err)
                     : cli_find_short(o, arg, len, &f, err);
    if (rc != 0)
        return rc;
    const cli_row *row = cli_table_row(o->table, f.row);
    cli_value *value = &o->values[f.row];
    char what[CLI_NAME_MAX + 3] = "--";
    strncat(what, row->name, sizeof what - 3);
    if (row->type == CLI_BOOL && equals == NULL)
        return take_value(value, row, f.negated ? "false" : "true", what, err);
    if (f.negated)
        return base_fail(err, BASE_ERR_USAGE, "%.*s takes no value", (int)len, arg);
    if (equals != NULL)
        return take_value(value, row, equals + 1, what, err);
    if (*at + 1 >= n || looks_like_flag(args[*at + 1]))
        return base_fail(err, BASE_ERR_USAGE, "%s needs a value", what);
    rc = take_value(value, row, args[++*at], what, err);
    while (rc == 0 && row->type == CLI_WORDS && *at + 1 < n && args[*at + 1][0] != '-')
        rc = take_value(value, row, args[++*at], what, err);
    return rc;
}

static int take_all(cli_options *o, int n, char *const *args, base_err *err) {
    bool only_arguments = false;
    for (int i = 0; i < n; i++) {
        if (!only_arguments && strcmp(args[i], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && args[i][0] == '-' && args[i][1] != '\0') {
            int rc = take_flag(o, n, args, &i, err);
            if (rc != 0)
                return rc;
        } else {
            o->arguments[o->n_arguments++] = args[i];
        }
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Environment

// ABRUZZI_MAX_MODEL_LEN
static void add_variable(const cli_row *row, base_str *out) {
    base_str_adds(out, "ABRUZZI_");
    for (const char *p = row->name; *p != '\0'; p++) {
        char c = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        base_str_add(out, &c, 1);
    }
}

// Kubernetes tells every container of its namespace about a service named "abruzzi" in variables,
// and ABRUZZI_PORT=tcp://10.0.0.1:8000 is one of them: it is nobody's setting.
static bool is_kubernetes_link(const char *text) {
    return strstr(text, "://") != NULL;
}

static int take_environment(cli_options *o, base_err *err) {
    base_str variable = {0};
    int rc = 0;
    for (int i = 0; i < o->n_rows && rc == 0; i++) {
        const cli_row *row = cli_table_row(o->table, i);
        if (!cli_row_applies(row, o->command) || o->values[i].given)
            continue;
        base_str_clear(&variable);
        add_variable(row, &variable);
        const char *text = getenv(variable.data);
        if (text == NULL || *text == '\0' || (row->type == CLI_INT && is_kubernetes_link(text)))
            continue;
        o->values[i].given = true;
        rc = cli_value_parse(&o->values[i], row, text, variable.data, err);
    }
    base_str_free(&variable);
    return rc;
}

// ---------------------------------------------------------------------------------------------
// Configuration file

static bool is_list(const cli_row *row) {
    return row->type == CLI_STRINGS || row->type == CLI_WORDS || row->type == CLI_IDS;
}

static int set_row(const cli_setting *setting, const cli_row *row, bool negated, cli_value *value,
                   base_err *err) {
    if (value->line != 0)
        return base_fail(err, BASE_ERR_USAGE, "%s: is on line %d already", setting->name,
                         value->line);
    if (setting->list && !is_list(row))
        return base_fail(err, BASE_ERR_USAGE, "%s: takes one value, not a list", setting->name);
    value->line = setting->line;
    if (value->given)
        return 0; // by a flag or the environment
    int rc = 0;
    for (int i = 0; i < setting->n_values && rc == 0; i++)
        rc = cli_value_parse(value, row, setting->values[i], setting->name, err);
    if (negated)
        value->flag = !value->flag;
    value->given = setting->n_values > 0;
    return rc;
}

static int take_settings(cli_options *o, const char *path, base_err *err) {
    for (int i = 0; i < o->file->n; i++) {
        const cli_setting *setting = &o->file->at[i];
        cli_found f = {.row = -1};
        int rc = cli_find_long(o, setting->name, strlen(setting->name), false, "", &f, err);
        if (rc != 0)
            return base_fail_prefix(err, "%s:%d", path, setting->line);
        const cli_row *row = cli_table_row(o->table, f.row);
        if (strcmp(row->name, "config") == 0 || strcmp(row->name, "help") == 0)
            rc = base_fail(err, BASE_ERR_USAGE, "%s: cannot be set in a file", row->name);
        else
            rc = set_row(setting, row, f.negated, &o->values[f.row], err);
        if (rc != 0)
            return base_fail_prefix(err, "%s:%d", path, setting->line);
    }
    return 0;
}

static int take_file(cli_options *o, base_err *err) {
    const char *path = NULL;
    for (int i = 0; i < o->n_rows; i++) {
        const cli_row *row = cli_table_row(o->table, i);
        if (cli_row_applies(row, o->command) && strcmp(row->name, "config") == 0)
            path = o->values[i].text;
    }
    if (path == NULL)
        return 0;
    int rc = cli_settings_read(&o->file, path, err);
    if (rc == 0)
        rc = take_settings(o, path, err);
    return rc != 0 ? base_fail_prefix(err, "--config") : 0;
}

// ---------------------------------------------------------------------------------------------
// Defaults and arguments

static int take_defaults(cli_options *o, base_err *err) {
    for (int i = 0; i < o->n_rows; i++) {
        const cli_row *row = cli_table_row(o->table, i);
        if (!cli_row_applies(row, o->command) || o->values[i].given || row->fallback == NULL)
            continue;
        int rc = cli_value_parse(&o->values[i], row, row->fallback, row->name, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static bool asks_for_help(const cli_options *o) {
    for (int i = 0; i < o->n_rows; i++) {
        if (strcmp(cli_table_row(o->table, i)->name, "help") == 0 && o->values[i].flag)
            return true;
    }
    return false;
}

static int check_arguments(const cli_options *o, base_err *err) {
    const cli_command *c = o->command;
    if (asks_for_help(o))
        return 0;
    if (o->n_arguments < c->min_arguments)
        return base_fail(err, BASE_ERR_USAGE, "missing argument: %s", c->arguments);
    if (o->n_arguments > c->max_arguments)
        return base_fail(err, BASE_ERR_USAGE, "unexpected argument '%s'",
                         o->arguments[c->max_arguments]);
    return 0;
}

int cli_options_parse(cli_options **out, const cli_table *table, const cli_command *command, int n,
                      char *const *args, base_err *err) {
    cli_options *o = base_calloc(1, sizeof *o);
    o->table = table;
    o->command = command;
    while (cli_table_row(table, o->n_rows) != NULL)
        o->n_rows++;
    o->values = base_calloc((size_t)o->n_rows, sizeof *o->values);
    o->arguments = base_calloc((size_t)n + 1, sizeof *o->arguments);
    int rc = take_all(o, n, args, err);
    if (rc == 0)
        rc = take_environment(o, err);
    if (rc == 0)
        rc = take_file(o, err);
    if (rc == 0)
        rc = take_defaults(o, err);
    if (rc == 0)
        rc = check_arguments(o, err);
    if (rc != 0) {
        cli_options_free(o);
        o = NULL;
    }
    *out = o;
    return rc;
}

void cli_options_free(cli_options *o) {
    if (o == NULL)
        return;
    for (int i = 0; i < o->n_rows; i++)
        cli_value_free(&o->values[i]);
    cli_settings_free(o->file);
    base_free(o->values);
    base_free(o->arguments);
    base_free(o);
}
