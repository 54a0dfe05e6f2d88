#include "cli/settings.h"
#include <string.h>
#include <yaml.h>

enum {
    MAX_FILE_BYTES = 1 << 20,
    MAX_SETTINGS = 256,
    MAX_VALUES = 1024, // of a list
};

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; // the current one; always initialised
    const char *what;
    base_err *err;
    cli_settings *settings;
} reader;

static int line_of(const yaml_event_t *event) {
    return (int)event->start_mark.line + 1;
}

static int refuse(const reader *r, int line, const char *reason) {
    return base_fail(r->err, BASE_ERR_USAGE, "%s:%d: %s", r->what, line, reason);
}

// The next event becomes the current one.
static int advance(reader *r) {
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event))
        return 0;
    memset(&r->event, 0, sizeof r->event);
    const char *problem = r->parser.problem != NULL ? r->parser.problem : "not YAML";
    bool has_mark = r->parser.error == YAML_SCANNER_ERROR || r->parser.error == YAML_PARSER_ERROR;
    if (has_mark)
        return refuse(r, (int)r->parser.problem_mark.line + 1, problem);
    return base_fail(r->err, BASE_ERR_USAGE, "%s: %s at byte %zu", r->what, problem,
                     r->parser.problem_offset);
}

// ---------------------------------------------------------------------------------------------
// Scalars

// Nothing that YAML resolves to null, which no flag can mean.
static bool is_null(const yaml_event_t *event) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        if (strcmp((const char *)event->data.scalar.value, nulls[i]) == 0)
            return true;
    }
    return false;
}

// A new string, or NULL with the error filled: `name` says whose value it is, NULL for a name.
static char *take_scalar(reader *r, const char *name) {
    const yaml_event_t *e = &r->event;
    base_str reason = {0};
    if (e->type == YAML_ALIAS_EVENT)
        base_str_adds(&reason, "aliases (*) are not supported");
    else if (e->type != YAML_SCALAR_EVENT && name == NULL)
        base_str_adds(&reason, "a flag's name is expected here");
    else if (e->type != YAML_SCALAR_EVENT)
        base_str_printf(&reason, "%s: must be a value or a list of values", name);
    else if (e->data.scalar.anchor != NULL)
        base_str_adds(&reason, "anchors (&) are not supported");
    else if (e->data.scalar.tag != NULL)
        base_str_adds(&reason, "tags (!) are not supported");
    else if (memchr(e->data.scalar.value, '\0', e->data.scalar.length) != NULL)
        base_str_adds(&reason, "a NUL character cannot be part of a value");
    else if (is_null(e))
        base_str_printf(&reason, "%s%s", name != NULL ? name : "",
                        name != NULL ? ": has no value" : "a flag's name is missing");
    char *text = NULL;
    if (reason.len == 0)
        text = base_strndup((const char *)e->data.scalar.value, e->data.scalar.length);
    else
        refuse(r, line_of(e), reason.data);
    base_str_free(&reason);
    return text;
}

// ---------------------------------------------------------------------------------------------
// Settings

static int add_value(reader *r, cli_setting *s) {
    if (s->n_values == MAX_VALUES)
        return refuse(r, line_of(&r->event), "too many values");
    char *text = take_scalar(r, s->name);
    if (text == NULL)
        return BASE_ERR_USAGE;
    s->values = base_realloc(s->values, (size_t)(s->n_values + 1) * sizeof *s->values);
    s->values[s->n_values++] = text;
    return 0;
}

// The current event begins a list.
static int take_list(reader *r, cli_setting *s) {
    if (r->event.data.sequence_start.anchor != NULL)
        return refuse(r, line_of(&r->event), "anchors (&) are not supported");
    if (r->event.data.sequence_start.tag != NULL)
        return refuse(r, line_of(&r->event), "tags (!) are not supported");
    s->list = true;
    for (;;) {
        int rc = advance(r);
        if (rc != 0 || r->event.type == YAML_SEQUENCE_END_EVENT)
            return rc;
        rc = add_value(r, s);
        if (rc != 0)
            return rc;
    }
}

// '-' and '_' are one character in names.
static bool same_name(const char *a, const char *b) {
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        if ((*a == '_' ? '-' : *a) != (*b == '_' ? '-' : *b))
            return false;
    }
    return *a == *b;
}

// The current event is a name.
static int take_setting(reader *r) {
    cli_settings *all = r->settings;
    int line = line_of(&r->event);
    if (all->n == MAX_SETTINGS)
        return refuse(r, line, "too many settings");
    char *name = take_scalar(r, NULL);
    if (name == NULL)
        return BASE_ERR_USAGE;
    cli_setting *s = &all->at[all->n++];
    *s = (cli_setting){.name = name, .line = line};
    for (int i = 0; i < all->n - 1; i++) {
        if (same_name(all->at[i].name, name))
            return base_fail(r->err, BASE_ERR_USAGE, "%s:%d: %s is on line %d already", r->what,
                             line, name, all->at[i].line);
    }
    int rc = advance(r);
    if (rc != 0)
        return rc;
    return r->event.type == YAML_SEQUENCE_START_EVENT ? take_list(r, s) : add_value(r, s);
}

// The current event begins the document's content.
static int take_mapping(reader *r) {
    const yaml_event_t *e = &r->event;
    if (e->type == YAML_SCALAR_EVENT && is_null(e))
        return 0; // nothing but comments
    if (e->type != YAML_MAPPING_START_EVENT)
        return refuse(r, line_of(e), "must be lines of the form \"flag: value\"");
    if (e->data.mapping_start.anchor != NULL || e->data.mapping_start.tag != NULL)
        return refuse(r, line_of(e), "anchors (&) and tags (!) are not supported");
    for (;;) {
        int rc = advance(r);
        if (rc != 0 || r->event.type == YAML_MAPPING_END_EVENT)
            return rc;
        rc = take_setting(r);
        if (rc != 0)
            return rc;
    }
}

static int take_stream(reader *r) {
    int rc = advance(r); // the stream's start
    if (rc == 0)
        rc = advance(r);
    if (rc != 0 || r->event.type == YAML_STREAM_END_EVENT)
        return rc;
    rc = advance(r); // behind the document's start
    if (rc == 0)
        rc = take_mapping(r);
    if (rc == 0)
        rc = advance(r); // the document's end
    if (rc == 0)
        rc = advance(r);
    if (rc == 0 && r->event.type != YAML_STREAM_END_EVENT)
        rc = refuse(r, line_of(&r->event), "only one document is expected");
    return rc;
}

int cli_settings_parse(cli_settings **out, const char *text, size_t len, const char *what,
                       base_err *err) {
    reader r = {.what = what, .err = err};
    *out = NULL;
    if (!yaml_parser_initialize(&r.parser))
        return base_fail(err, BASE_ERR_RESOURCE, "%s: no memory for its parser", what);
    r.settings = base_calloc(1, sizeof *r.settings);
    r.settings->at = base_calloc(MAX_SETTINGS, sizeof *r.settings->at);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    int rc = take_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (rc == 0)
        *out = r.settings;
    else
        cli_settings_free(r.settings);
    return rc;
}

int cli_settings_read(cli_settings **out, const char *path, base_err *err) {
    base_str text = {0};
    *out = NULL;
    int rc = base_file_read(path, MAX_FILE_BYTES, BASE_ERR_USAGE, &text, err);
    if (rc == 0)
        rc = cli_settings_parse(out, text.data != NULL ? text.data : "", text.len, path, err);
    base_str_free(&text);
    return rc;
}

void cli_settings_free(cli_settings *s) {
    if (s == NULL)
        return;
    for (int i = 0; i < s->n; i++) {
        for (int j = 0; j < s->at[i].n_values; j++)
            base_free(s->at[i].values[j]);
        base_free(s->at[i].values);
        base_free(s->at[i].name);
    }
    base_free(s->at);
    base_free(s);
}
