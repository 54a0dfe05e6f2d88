// What a parsed command line says.
#include "cli/parsed.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// -1: the command has no such row.
static int look_for_row(const cli_options *o, const char *name) {
    const cli_row *row;
    for (int i = 0; (row = cli_table_row(o->table, i)) != NULL; i++) {
        if (cli_row_applies(row, o->command) && strcmp(row->name, name) == 0)
            return i;
    }
    return -1;
}

static int find_row(const cli_options *o, const char *name) {
    int i = look_for_row(o, name);
    if (i >= 0)
        return i;
    base_error("command %s has no option --%s", o->command->name, name);
    abort();
}

static const cli_value *get(const cli_options *o, const char *name, unsigned types) {
    int i = find_row(o, name);
    if ((types >> cli_table_row(o->table, i)->type & 1) == 0) {
        base_error("option --%s is read as another type", name);
        abort();
    }
    return &o->values[i];
}

bool cli_knows(const cli_options *o, const char *name) {
    return look_for_row(o, name) >= 0;
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
    return get(o, name, ~(1u << CLI_STRINGS | 1u << CLI_WORDS | 1u << CLI_IDS))->text;
}

const char *const *cli_strings(const cli_options *o, const char *name, int *n) {
    const cli_value *value = get(o, name, 1u << CLI_STRINGS | 1u << CLI_WORDS);
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
        if (isinf(value->number))
            base_str_adds(out, "inf");
        else
            base_json_add_double(out, value->number);
        break;
    case CLI_CHOICE:
    case CLI_STRING:
        base_str_printf(out, "'%s'", value->text);
        break;
    case CLI_STRINGS:
    case CLI_WORDS:
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

static void underscored(const char *name, base_str *out) {
    for (const char *p = name; *p != '\0'; p++)
        base_str_add(out, *p == '-' ? "_" : p, 1);
}

void cli_options_namespace(const cli_options *o, base_str *out) {
    base_str_adds(out, "Namespace(");
    const char *separator = "";
    const cli_row *row;
    for (int i = 0; (row = cli_table_row(o->table, i)) != NULL; i++) {
        if (!cli_row_listed(row, o->command) || strcmp(row->name, "help") == 0)
            continue;
        base_str_adds(out, separator);
        underscored(row->name, out);
        base_str_adds(out, "=");
        if (!o->values[i].present)
            base_str_adds(out, "None");
        else if (row->secret)
            base_str_adds(out, "'***'");
        else
            describe_value(row, &o->values[i], out);
        separator = ", ";
    }
    base_str_adds(out, ")");
}

void cli_options_describe(const cli_options *o, base_str *out) {
    base_str_adds(out, "{");
    const char *separator = "";
    const cli_row *row;
    for (int i = 0; (row = cli_table_row(o->table, i)) != NULL; i++) {
        if (!o->values[i].given)
            continue;
        base_str_printf(out, "%s'", separator);
        underscored(row->name, out);
        base_str_adds(out, "': ");
        if (row->secret)
            base_str_adds(out, "'***'");
        else
            describe_value(row, &o->values[i], out);
        separator = ", ";
    }
    base_str_adds(out, "}");
}
