#include "cli/defaults.h"
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE_BYTES = 16 << 20 };

// ---------------------------------------------------------------------------------------------
// The keys, with the ranges that requests have

typedef struct field {
    const char *key;
    double low, high;
    float *real;
    int *integer;
} field;

enum { N_FIELDS = 8 };

static void find_fields(api_defaults *d, field out[N_FIELDS]) {
    const field fields[N_FIELDS] = {
        {"temperature", 0, 2, &d->temperature, NULL},
        {"top_p", 1e-9, 1, &d->top_p, NULL},
        {"top_k", -1, INT_MAX, NULL, &d->top_k},
        {"min_p", 0, 1, &d->min_p, NULL},
        {"repetition_penalty", 1e-3, 1e3, &d->repetition, NULL},
        {"presence_penalty", -2, 2, &d->presence, NULL},
        {"frequency_penalty", -2, 2, &d->frequency, NULL},
        {"max_new_tokens", 1, INT_MAX, NULL, &d->max_tokens},
    };
    memcpy(out, fields, sizeof fields);
}

static int take_field(const field *f, const json_t *value, const char *what, int code,
                      base_str *taken, base_err *err) {
    if (f->integer != NULL ? !json_is_integer(value) : !json_is_number(value))
        return base_fail(err, code, "%s: %s: must be %s", what, f->key,
                         f->integer != NULL ? "an integer" : "a number");
    double number = json_number_value(value);
    if (!(number >= f->low && number <= f->high))
        return base_fail(err, code, "%s: %s: %.10g is not between %.10g and %.10g", what, f->key,
                         number, f->low, f->high);
    if (f->integer != NULL)
        *f->integer = number < 0 ? 0 : (int)number; // top_k: -1 and 0 are off
    else
        *f->real = (float)number;
    base_str_printf(taken, "%s'%s': %.10g", taken->len > 0 ? ", " : "", f->key, number);
    return 0;
}

// Puts the keys of an object over the defaults. `strict`: any other key is an error.
static int merge(api_defaults *d, json_t *object, bool strict, const char *what, int code,
                 base_str *taken, base_err *err) {
    if (!json_is_object(object))
        return base_fail(err, code, "%s: not a JSON object", what);
    field fields[N_FIELDS];
    find_fields(d, fields);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        int i = 0;
        while (i < N_FIELDS && strcmp(fields[i].key, key) != 0)
            i++;
        if (i == N_FIELDS && strict)
            return base_fail(err, code,
                             "%s: %s: not one of temperature, top_p, top_k, min_p, "
                             "repetition_penalty, presence_penalty, frequency_penalty, "
                             "max_new_tokens",
                             what, key);
        if (i == N_FIELDS || json_is_null(value))
            continue;
        int rc = take_field(&fields[i], value, what, code, taken, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// The file

// Tokens that end a text are known since the model was opened; another file cannot add to them.
static int check_eos(const model *m, const json_t *object, const char *what, base_err *err) {
    const model_config *config = model_get_config(m);
    const json_t *eos = json_object_get(object, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : json_is_integer(eos) ? 1 : 0;
    for (size_t i = 0; i < n; i++) {
        json_int_t id = json_integer_value(json_is_array(eos) ? json_array_get(eos, i) : eos);
        bool known = false;
        for (int j = 0; j < config->n_eos; j++)
            known |= config->eos_ids[j] == id;
        if (!known)
            return base_fail(err, BASE_ERR_MODEL,
                             "%s: eos_token_id: %lld is none of the model's own; that cannot be "
                             "changed by --generation-config",
                             what, (long long)id);
    }
    return 0;
}

static int merge_file(api_defaults *d, const model *m, const char *path, base_err *err) {
    base_str text = {0}, taken = {0};
    int rc = base_file_read(path, MAX_FILE_BYTES, BASE_ERR_MODEL, &text, err);
    json_t *object = NULL;
    if (rc == 0) {
        object = base_json_parse(text.data != NULL ? text.data : "", text.len, path, BASE_ERR_MODEL,
                                 err);
        rc = object != NULL ? merge(d, object, false, path, BASE_ERR_MODEL, &taken, err)
                            : BASE_ERR_MODEL;
    }
    if (rc == 0)
        rc = check_eos(m, object, path, err);
    if (rc == 0 && taken.len > 0)
        base_info(
            "Default sampling parameters from %s: {%s}; --generation-config vllm ignores them",
            path, taken.data);
    json_decref(object);
    base_str_free(&text);
    base_str_free(&taken);
    return rc;
}

// The path of the file to read; NULL: none.
static int find_file(const cli_options *o, const model *m, char **out, base_err *err) {
    const char *choice = cli_string(o, "generation-config");
    bool is_auto = strcmp(choice, "auto") == 0;
    *out = NULL;
    if (strcmp(choice, "vllm") == 0)
        return 0;
    struct stat st;
    if (!is_auto && stat(choice, &st) == 0 && !S_ISDIR(st.st_mode)) {
        *out = base_strdup(choice);
        return 0;
    }
    *out = base_path_join(is_auto ? model_dir(m) : choice, "generation_config.json");
    if (access(*out, F_OK) == 0)
        return 0;
    int rc =
        is_auto ? 0 : base_fail(err, BASE_ERR_USAGE, "--generation-config: there is no %s", *out);
    base_free(*out);
    *out = NULL;
    return rc;
}

int cli_defaults_find(const cli_options *o, const model *m, api_defaults *out, base_err *err) {
    *out = (api_defaults){.temperature = 1.0f, .top_p = 1.0f, .repetition = 1.0f};
    char *path;
    int rc = find_file(o, m, &path, err);
    if (rc == 0 && path != NULL)
        rc = merge_file(out, m, path, err);
    base_free(path);
    const char *text = cli_string(o, "override-generation-config");
    if (rc != 0 || text == NULL)
        return rc;
    static const char what[] = "--override-generation-config";
    json_t *object = base_json_parse(text, strlen(text), what, BASE_ERR_USAGE, err);
    if (object == NULL)
        return BASE_ERR_USAGE;
    base_str taken = {0};
    rc = merge(out, object, true, what, BASE_ERR_USAGE, &taken, err);
    base_str_free(&taken);
    json_decref(object);
    return rc;
}
