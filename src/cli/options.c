// Flags and environment -> values.
#include "cli/options.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LEN = 80 };

struct cli_options {
    const cli_table *table;
    const cli_command *command;
    cli_value *values; // [table->n_rows]
    const char **arguments;
    int n_arguments;
};

static bool row_applies(const cli_row *row, const cli_command *command) {
    return (row->commands & command->bit) != 0;
}

// ---------------------------------------------------------------------------------------------
// Names

int cli_distance(const char *a, const char *b) {
    size_t n = strlen(b);
    if (n >= NAME_MAX_LEN || strlen(a) >= NAME_MAX_LEN)
        return NAME_MAX_LEN;
    int row[NAME_MAX_LEN]; // of Levenshtein's table
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

int cli_command_unknown(const cli_table *table, const char *name, base_err *err) {
    const char *best = NULL;
    int distance = NAME_MAX_LEN;
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

// A flag as it was found among the names: a row, and whether it was spelled --no-.
typedef struct found {
    int row; // -1: none
    bool negated;
} found;

typedef struct search {
    const char *name; // normalised, without dashes
    size_t len;
    found exact, prefix, nearest;
    int n_prefix, distance;
    base_str prefixes; // for the message
} search;

static void consider(search *s, const char *name, found f) {
    if (strcmp(name, s->name) == 0)
        s->exact = f;
    if (strncmp(name, s->name, s->len) == 0) {
        s->prefix = f;
        base_str_printf(&s->prefixes, "%s--%s", s->n_prefix++ > 0 ? ", " : "", name);
    }
    int distance = cli_distance(s->name, name);
    if (distance < s->distance) {
        s->distance = distance;
        s->nearest = f;
    }
}

static int fail_unknown(const search *s, const cli_table *table, base_err *err) {
    if (s->nearest.row >= 0 && near_enough(s->distance, table->rows[s->nearest.row].name))
        return base_fail(err, BASE_ERR_USAGE, "unknown option --%s; did you mean --%s%s?", s->name,
                         s->nearest.negated ? "no-" : "", table->rows[s->nearest.row].name);
    return base_fail(err, BASE_ERR_USAGE, "unknown option --%s", s->name);
}

// `name` is what stands between "--" and "=" or the end.
static int find_long(const cli_options *o, const char *name, size_t len, found *out,
                     base_err *err) {
    char normal[NAME_MAX_LEN];
    if (len >= sizeof normal)
        return base_fail(err, BASE_ERR_USAGE, "unknown option --%.*s", (int)len, name);
    for (size_t i = 0; i < len; i++)
        normal[i] = name[i] == '_' ? '-' : name[i];
    normal[len] = '\0';
    const found none = {.row = -1};
    search s = {.name = normal,
                .len = len,
                .exact = none,
                .prefix = none,
                .nearest = none,
                .distance = NAME_MAX_LEN};
    for (int i = 0; i < o->table->n_rows; i++) {
        const cli_row *row = &o->table->rows[i];
        if (!row_applies(row, o->command))
            continue;
        consider(&s, row->name, (found){.row = i});
        if (row->type == CLI_BOOL) {
            char negated[NAME_MAX_LEN] = "no-";
            strncat(negated, row->name, sizeof negated - 4);
            consider(&s, negated, (found){.row = i, .negated = true});
        }
    }
    int rc = 0;
    if (s.exact.row >= 0)
        *out = s.exact;
    else if (s.n_prefix == 1)
        *out = s.prefix;
    else if (s.n_prefix > 1)
        rc = base_fail(err, BASE_ERR_USAGE, "ambiguous option --%s: could be %s", normal,
                       s.prefixes.data);
    else
        rc = fail_unknown(&s, o->table, err);
    base_str_free(&s.prefixes);
    return rc;
}

static int find_alias(const cli_options *o, const char *arg, size_t len, found *out,
                      base_err *err) {
    for (int i = 0; i < o->table->n_rows; i++) {
        const cli_row *row = &o->table->rows[i];
        if (!row_applies(row, o->command) || row->alias == NULL)
            continue;
        if (strlen(row->alias) == len && memcmp(row->alias, arg, len) == 0) {
            *out = (found){.row = i};
            return 0;
        }
    }
    return base_fail(err, BASE_ERR_USAGE, "unknown option %.*s", (int)len, arg);
}

// ---------------------------------------------------------------------------------------------
// Flags

static bool looks_like_flag(const char *arg) {
    return arg[0] == '-' && arg[1] == '-' && isalpha((unsigned char)arg[2]);
}

// Takes the flag args[*at], and its value if that is the next argument.
static int take_flag(cli_options *o, int n, char *const *args, int *at, base_err *err) {
    const char *arg = args[*at];
    bool is_long = arg[1] == '-';
    const char *equals = strchr(arg, '=');
    size_t len = equals != NULL ? (size_t)(equals - arg) : strlen(arg);
    found f = {.row = -1};
    int rc = is_long ? find_long(o, arg + 2, len - 2, &f, err) : find_alias(o, arg, len, &f, err);
    if (rc != 0)
        return rc;
    const cli_row *row = &o->table->rows[f.row];
    cli_value *value = &o->values[f.row];
    char what[NAME_MAX_LEN + 3] = "--";
    strncat(what, row->name, sizeof what - 3);
    const char *text;
    if (row->type == CLI_BOOL && equals == NULL) {
        text = f.negated ? "false" : "true";
    } else if (f.negated) {
        return base_fail(err, BASE_ERR_USAGE, "--no-%s takes no value", row->name);
    } else if (equals != NULL) {
        text = equals + 1;
    } else {
        if (*at + 1 >= n || looks_like_flag(args[*at + 1]))
            return base_fail(err, BASE_ERR_USAGE, "%s needs a value", what);
        text = args[++*at];
    }
    value->flagged = value->given = true;
    return cli_value_parse(value, row, text, what, err);
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
// Environment and defaults

void cli_row_variable(const cli_row *row, base_str *out) {
    base_str_adds(out, "ABRUZZI_");
    for (const char *p = row->name; *p != '\0'; p++) {
        char c = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        base_str_add(out, &c, 1);
    }
}

static int take_environment(cli_options *o, base_err *err) {
    base_str variable = {0};
    int rc = 0;
    for (int i = 0; i < o->table->n_rows && rc == 0; i++) {
        const cli_row *row = &o->table->rows[i];
        if (!row_applies(row, o->command) || o->values[i].given)
            continue;
        base_str_clear(&variable);
        cli_row_variable(row, &variable);
        const char *text = getenv(variable.data);
        if (text == NULL || *text == '\0')
            continue;
        o->values[i].given = true;
        rc = cli_value_parse(&o->values[i], row, text, variable.data, err);
    }
    base_str_free(&variable);
    return rc;
}

static int take_defaults(cli_options *o, base_err *err) {
    for (int i = 0; i < o->table->n_rows; i++) {
        const cli_row *row = &o->table->rows[i];
        if (!row_applies(row, o->command) || o->values[i].given || row->fallback == NULL)
            continue;
        int rc = cli_value_parse(&o->values[i], row, row->fallback, row->name, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int check_arguments(const cli_options *o, base_err *err) {
    const cli_command *c = o->command;
    for (int i = 0; i < o->table->n_rows; i++) {
        if (strcmp(o->table->rows[i].name, "help") == 0 && o->values[i].flag)
            return 0;
    }
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
    o->values = base_calloc((size_t)table->n_rows, sizeof *o->values);
    o->arguments = base_calloc((size_t)n + 1, sizeof *o->arguments);
    int rc = take_all(o, n, args, err);
    if (rc == 0)
        rc = take_environment(o, err);
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
    for (int i = 0; i < o->table->n_rows; i++)
        cli_value_free(&o->values[i]);
    base_free(o->values);
    base_free(o->arguments);
    base_free(o);
}

// ---------------------------------------------------------------------------------------------
// Access

static int find_row(const cli_options *o, const char *name) {
    for (int i = 0; i < o->table->n_rows; i++) {
        if (row_applies(&o->table->rows[i], o->command) &&
            strcmp(o->table->rows[i].name, name) == 0)
            return i;
    }
    base_error("command %s has no option --%s", o->command->name, name);
    abort();
}

static const cli_value *get(const cli_options *o, const char *name, unsigned types) {
    int i = find_row(o, name);
    if ((types >> o->table->rows[i].type & 1) == 0) {
        base_error("option --%s is read as another type", name);
        abort();
    }
    return &o->values[i];
}

bool cli_has(const cli_options *o, const char *name) {
    return o->values[find_row(o, name)].present;
}

bool cli_given(const cli_options *o, const char *name) {
    return o->values[find_row(o, name)].given;
}

bool cli_flagged(const cli_options *o, const char *name) {
    return o->values[find_row(o, name)].flagged;
}

bool cli_bool(const cli_options *o, const char *name) {
    return get(o, name, 1u << CLI_BOOL)->flag;
}

int64_t cli_int(const cli_options *o, const char *name) {
    return get(o, name, 1u << CLI_INT | 1u << CLI_COUNT)->integer;
}

double cli_float(const cli_options *o, const char *name) {
    return get(o, name, 1u << CLI_FLOAT)->number;
}

const char *cli_string(const cli_options *o, const char *name) {
    return get(o, name, ~(1u << CLI_STRINGS | 1u << CLI_IDS))->text;
}

const char *const *cli_strings(const cli_options *o, const char *name, int *n) {
    const cli_value *value = get(o, name, 1u << CLI_STRINGS);
    *n = value->n_list;
    return value->list;
}

const base_ids *cli_ids(const cli_options *o, const char *name) {
    return &get(o, name, 1u << CLI_IDS)->ids;
}

int cli_n_arguments(const cli_options *o) {
    return o->n_arguments;
}

const char *cli_argument(const cli_options *o, int i) {
    return i < o->n_arguments ? o->arguments[i] : NULL;
}

const cli_command *cli_options_command(const cli_options *o) {
    return o->command;
}

static void describe_value(const cli_row *row, const cli_value *value, base_str *out) {
    switch (row->type) {
    case CLI_BOOL:
        base_str_adds(out, value->flag ? "True" : "False");
        break;
    case CLI_INT:
    case CLI_COUNT:
        base_str_printf(out, "%lld", (long long)value->integer);
        break;
    case CLI_FLOAT:
        base_json_add_double(out, value->number);
        break;
    case CLI_CHOICE:
    case CLI_STRING:
        base_str_printf(out, "'%s'", value->text);
        break;
    case CLI_STRINGS:
        base_str_adds(out, "[");
        for (int i = 0; i < value->n_list; i++)
            base_str_printf(out, "%s'%s'", i > 0 ? ", " : "", value->list[i]);
        base_str_adds(out, "]");
        break;
    case CLI_IDS:
        base_str_adds(out, "[");
        for (size_t i = 0; i < value->ids.len; i++)
            base_str_printf(out, "%s%d", i > 0 ? ", " : "", value->ids.data[i]);
        base_str_adds(out, "]");
        break;
    }
}

void cli_options_describe(const cli_options *o, base_str *out) {
    base_str_adds(out, "{");
    const char *separator = "";
    for (int i = 0; i < o->table->n_rows; i++) {
        if (!o->values[i].given)
            continue;
        base_str_printf(out, "%s'", separator);
        for (const char *p = o->table->rows[i].name; *p != '\0'; p++)
            base_str_add(out, *p == '-' ? "_" : p, 1);
        base_str_adds(out, "': ");
        if (o->table->rows[i].secret)
            base_str_adds(out, "'***'");
        else
            describe_value(&o->table->rows[i], &o->values[i], out);
        separator = ", ";
    }
    base_str_adds(out, "}");
}
