// Languages of schemas, answers and names, found in the cache or made.
#include "grammar/constraint.h"

#include <string.h>

// A schema of more text is refused: printing it is the first thing that is done with it.
#define MAX_KEY_BYTES ((size_t)16 << 20)

// The first byte of a key says what the rest is.
enum { KEY_SCHEMA = 'S', KEY_REGEX = 'R', KEY_CHOICE = 'C', KEY_NAMES = 'N' };

static int too_large(const char *field, base_err *err) {
    return base_fail(err, BASE_ERR_USAGE, "%s: too large", field);
}

static void key_begin(base_str *key, char kind, unsigned flags) {
    char head[2] = {kind, (char)flags};
    base_str_add(key, head, sizeof head);
}

static bool key_add(base_str *key, const void *bytes, size_t len) {
    if (len > MAX_KEY_BYTES || key->len > MAX_KEY_BYTES - len)
        return false;
    base_str_add(key, bytes, len);
    return true;
}

static bool key_add_sized(base_str *key, const void *bytes, size_t len) {
    return key_add(key, &len, sizeof len) && key_add(key, bytes, len);
}

static int key_dump(const char *bytes, size_t len, void *key) {
    return key_add(key, bytes, len) ? 0 : -1;
}

// Takes `key` and `program` over.
static int keep(grammar_cached **out, grammar_vocab *v, base_str *key, grammar_program *program,
                base_str *relaxed, const char *field, base_err *err) {
    grammar_language *language = program ? grammar_language_create(v->trie, program) : NULL;
    if (language)
        *out = grammar_cache_add(&v->cache, key, language, relaxed, field, err);
    else
        base_fail(err, BASE_ERR_RESOURCE, "%s: out of memory", field);
    base_str_free(key);
    base_str_free(relaxed);
    return *out ? 0 : BASE_ERR_RESOURCE;
}

int grammar_language_schema(grammar_cached **out, grammar_vocab *v, const json_t *schema,
                            const grammar_schema_options *options, base_str *relaxed,
                            base_err *err) {
    base_str key = {0}, notes = {0};
    grammar_program *program;
    *out = NULL;
    key_begin(&key, KEY_SCHEMA,
              1u + options->strict + 2u * options->no_whitespace + 4u * options->no_additional +
                  8u * options->object);
    if (json_dump_callback(schema, key_dump, &key, JSON_COMPACT | JSON_ENCODE_ANY) != 0) {
        base_str_free(&key);
        return too_large(options->field, err);
    }
    *out = grammar_cache_find(&v->cache, &key);
    int rc = 0;
    if (!*out) {
        rc = grammar_program_schema(&program, schema, options, &notes, err);
        if (rc == 0)
            rc = keep(out, v, &key, program, &notes, options->field, err);
    }
    if (rc == 0)
        grammar_cached_report(*out, options->field, relaxed);
    base_str_free(&key);
    base_str_free(&notes);
    return rc;
}

// Takes `key` over, and `dfa` unless `rc` says it was not made.
static int keep_scalar(grammar_cached **out, grammar_vocab *v, base_str *key, int rc,
                       grammar_dfa *dfa, const char *field, base_err *err) {
    base_str none = {0};
    if (rc == 0 && grammar_dfa_is_empty(dfa)) {
        grammar_dfa_free(dfa);
        rc = base_fail(err, BASE_ERR_USAGE, "nothing matches it");
    }
    if (rc != 0) {
        base_str_free(key);
        return base_fail_prefix(err, "%s", field);
    }
    return keep(out, v, key, grammar_program_scalar(dfa), &none, field, err);
}

static int make_regex(grammar_cached **out, grammar_vocab *v, const grammar_spec *spec,
                      base_err *err) {
    base_str key = {0};
    grammar_dfa *dfa = NULL;
    key_begin(&key, KEY_REGEX, 0);
    if (!key_add(&key, spec->regex, spec->regex_len)) {
        base_str_free(&key);
        return too_large(spec->answer_field, err);
    }
    *out = grammar_cache_find(&v->cache, &key);
    if (!*out) {
        int rc = grammar_dfa_regex(&dfa, spec->regex, spec->regex_len, 0, err);
        return keep_scalar(out, v, &key, rc, dfa, spec->answer_field, err);
    }
    base_str_free(&key);
    return 0;
}

static int make_choice(grammar_cached **out, grammar_vocab *v, const grammar_spec *spec,
                       base_err *err) {
    base_str key = {0};
    grammar_dfa *dfa = NULL;
    bool fits = true;
    key_begin(&key, KEY_CHOICE, 0);
    for (int i = 0; i < spec->n_choices && fits; i++)
        fits = key_add_sized(&key, spec->choices[i], spec->choice_lens[i]);
    if (!fits) {
        base_str_free(&key);
        return too_large(spec->answer_field, err);
    }
    *out = grammar_cache_find(&v->cache, &key);
    if (!*out) {
        int rc = grammar_dfa_literals(&dfa, spec->choices, spec->choice_lens,
                                      (size_t)spec->n_choices, err);
        return keep_scalar(out, v, &key, rc, dfa, spec->answer_field, err);
    }
    base_str_free(&key);
    return 0;
}

int grammar_language_answer(grammar_cached **out, grammar_vocab *v, const grammar_spec *spec,
                            base_str *relaxed, base_err *err) {
    bool any = spec->answer == GRAMMAR_ANSWER_OBJECT;
    grammar_schema_options options = {.strict = spec->strict && !any,
                                      .no_whitespace = spec->no_whitespace,
                                      .no_additional = spec->no_additional && !any,
                                      .object = any,
                                      .field = spec->answer_field};
    *out = NULL;
    switch (spec->answer) {
    case GRAMMAR_ANSWER_TEXT:
        return 0;
    case GRAMMAR_ANSWER_OBJECT:
        return grammar_language_schema(out, v, json_true(), &options, relaxed, err);
    case GRAMMAR_ANSWER_SCHEMA:
        return grammar_language_schema(out, v, spec->schema, &options, relaxed, err);
    case GRAMMAR_ANSWER_REGEX:
        return make_regex(out, v, spec, err);
    case GRAMMAR_ANSWER_CHOICE:
        return make_choice(out, v, spec, err);
    }
    return base_fail(err, BASE_ERR_USAGE, "%s: no such kind of answer", spec->answer_field);
}

// ---------------------------------------------------------------------------------------------

static int make_names(grammar_dfa **out, const grammar_declared *tools, int n_tools,
                      base_err *err) {
    base_str all = {0};
    const char **at = base_alloc((size_t)n_tools * sizeof *at);
    size_t *lens = base_alloc((size_t)n_tools * sizeof *lens);
    for (int i = 0; i < n_tools; i++) {
        lens[i] = all.len;
        base_str_adds(&all, "functions.");
        base_str_add(&all, tools[i].name, tools[i].name_len);
        base_str_adds(&all, ":");
    }
    for (int i = 0; i < n_tools; i++) { // the text no longer moves
        at[i] = all.data + lens[i];
        lens[i] = (i + 1 < n_tools ? lens[i + 1] : all.len) - lens[i];
    }
    int rc = grammar_dfa_literals(out, at, lens, (size_t)n_tools, err);
    base_free(at);
    base_free(lens);
    base_str_free(&all);
    return rc;
}

int grammar_language_names(grammar_cached **out, grammar_vocab *v, const grammar_declared *tools,
                           int n_tools, const char *field, base_err *err) {
    base_str key = {0};
    grammar_dfa *dfa = NULL;
    bool fits = true;
    key_begin(&key, KEY_NAMES, 0);
    for (int i = 0; i < n_tools && fits; i++)
        fits = key_add_sized(&key, tools[i].name, tools[i].name_len);
    *out = NULL;
    if (!fits) {
        base_str_free(&key);
        return too_large(field, err);
    }
    *out = grammar_cache_find(&v->cache, &key);
    if (!*out) {
        int rc = make_names(&dfa, tools, n_tools, err);
        return keep_scalar(out, v, &key, rc, dfa, field, err);
    }
    base_str_free(&key);
    return 0;
}
