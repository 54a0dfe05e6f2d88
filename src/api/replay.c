// The script file of --engine replay:FILE: one JSON object a line.
#include "api/api.h"

#include <stdio.h>
#include <string.h>

enum { MAX_FILE = 256 << 20, MAX_IDS = 1 << 24, MAX_CHUNK = 1 << 20, MAX_MS = 86400 * 1000 };

typedef struct script {
    char *match; // NULL: every prompt
    size_t match_len;
    base_ids ids;
    int *chunks;
} script;

struct api_replay {
    script *scripts;
    backend_script *played; // what the backend is given of them
    int n, cap;
};

void api_replay_free(api_replay *r) {
    if (!r)
        return;
    for (int i = 0; i < r->n; i++) {
        base_free(r->scripts[i].match);
        base_ids_free(&r->scripts[i].ids);
        base_free(r->scripts[i].chunks);
    }
    base_free(r->scripts);
    base_free(r->played);
    base_free(r);
}

const backend_script *api_replay_scripts(const api_replay *r, int *n) {
    *n = r->n;
    return r->played;
}

int api_replay_match(const api_replay *r, const char *text, size_t len) {
    for (int i = 0; i < r->n; i++) {
        const script *s = &r->scripts[i];
        if (!s->match || (len > 0 && memmem(text, len, s->match, s->match_len)))
            return i;
    }
    return -1;
}

static int read_match(script *s, const json_t *value, base_err *err) {
    if (!json_is_string(value) || json_string_length(value) == 0)
        return base_fail(err, BASE_ERR_USAGE, "match: must be a string, \"*\" for every prompt");
    if (strcmp(json_string_value(value), "*") != 0)
        s->match = base_strndup(json_string_value(value), json_string_length(value));
    s->match_len = json_string_length(value);
    return 0;
}

static int read_ids(script *s, const json_t *list, const token_vocab *vocab, base_err *err) {
    size_t i;
    const json_t *item;
    if (!json_is_array(list))
        return base_fail(err, BASE_ERR_USAGE, "token_ids: must be a list of token ids");
    json_array_foreach(list, i, item) {
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id >= token_vocab_size(vocab))
            return base_fail(err, BASE_ERR_USAGE, "token_ids[%zu]: must be an id below %d", i,
                             token_vocab_size(vocab));
        base_ids_add(&s->ids, (int32_t)id);
    }
    return 0;
}

static int read_output(script *s, const json_t *line, const token_vocab *vocab, base_err *err) {
    const json_t *ids = json_object_get(line, "token_ids"), *text = json_object_get(line, "text");
    if ((ids != NULL) == (text != NULL))
        return base_fail(err, BASE_ERR_USAGE, "text: either it or token_ids must be given");
    if (ids)
        return read_ids(s, ids, vocab, err);
    if (!json_is_string(text))
        return base_fail(err, BASE_ERR_USAGE, "text: must be a string");
    token_encode(vocab, json_string_value(text), json_string_length(text), TOKEN_ALLOW_SPECIAL,
                 &s->ids);
    return 0;
}

static int read_chunks(script *s, backend_script *played, const json_t *list, base_err *err) {
    size_t i, n = json_array_size(list);
    const json_t *item;
    if (!list)
        return 0;
    if (!json_is_array(list) || n == 0 || n > MAX_IDS)
        return base_fail(err, BASE_ERR_USAGE, "chunks: must be a list of numbers of tokens");
    s->chunks = base_calloc(n, sizeof *s->chunks);
    json_array_foreach(list, i, item) {
        json_int_t count = json_integer_value(item);
        if (!json_is_integer(item) || count < 1 || count > MAX_CHUNK)
            return base_fail(err, BASE_ERR_USAGE, "chunks[%zu]: must be from 1 to %d", i,
                             MAX_CHUNK);
        s->chunks[i] = (int)count;
    }
    played->chunks = s->chunks;
    played->n_chunks = (int)n;
    return 0;
}

static int read_ms(int64_t *ns, const char *name, const json_t *value, base_err *err) {
    double ms = json_number_value(value);
    if (value && (!json_is_number(value) || !(ms >= 0 && ms <= MAX_MS)))
        return base_fail(err, BASE_ERR_USAGE, "%s: must be from 0 to %d milliseconds", name,
                         MAX_MS);
    *ns = (int64_t)(ms * 1e6);
    return 0;
}

static int read_finish(script *s, const json_t *value, int32_t eos_id, base_err *err) {
    const char *finish = value ? json_string_value(value) : "stop";
    if (!finish || (strcmp(finish, "stop") != 0 && strcmp(finish, "length") != 0))
        return base_fail(err, BASE_ERR_USAGE, "finish: must be \"stop\" or \"length\"");
    if (strcmp(finish, "stop") == 0)
        base_ids_add(&s->ids, eos_id);
    if (s->ids.len == 0)
        return base_fail(err, BASE_ERR_USAGE, "finish: an output cut at its length needs tokens");
    if (s->ids.len > MAX_IDS)
        return base_fail(err, BASE_ERR_USAGE, "text: more than %d tokens", MAX_IDS);
    return 0;
}

// A field that is misspelt would otherwise be a script that does something else.
static int check_fields(const json_t *line, base_err *err) {
    static const char *const known[] = {"match",    "token_ids",  "text",  "chunks",
                                        "delay_ms", "prefill_ms", "finish"};
    for (void *i = json_object_iter((json_t *)line); i;
         i = json_object_iter_next((json_t *)line, i)) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(json_object_iter_key(i), known[k]) != 0)
            k++;
        if (k == sizeof known / sizeof *known)
            return base_fail(err, BASE_ERR_USAGE, "%.60s: there is no such field",
                             json_object_iter_key(i));
    }
    return 0;
}

static int read_script(api_replay *r, const json_t *line, const token_vocab *vocab, int32_t eos_id,
                       base_err *err) {
    if (r->n == r->cap) {
        r->cap = r->cap < 16 ? 16 : r->cap * 2;
        r->scripts = base_realloc(r->scripts, (size_t)r->cap * sizeof *r->scripts);
        r->played = base_realloc(r->played, (size_t)r->cap * sizeof *r->played);
    }
    script *s = &r->scripts[r->n];
    backend_script *played = &r->played[r->n++];
    *s = (script){0};
    *played = (backend_script){0};
    int rc;
    if (!json_is_object(line))
        return base_fail(err, BASE_ERR_USAGE, "not a JSON object");
    if ((rc = check_fields(line, err)) ||
        (rc = read_match(s, json_object_get(line, "match"), err)) ||
        (rc = read_output(s, line, vocab, err)) ||
        (rc = read_chunks(s, played, json_object_get(line, "chunks"), err)) ||
        (rc = read_ms(&played->step_ns, "delay_ms", json_object_get(line, "delay_ms"), err)) ||
        (rc = read_ms(&played->prefill_ns, "prefill_ms", json_object_get(line, "prefill_ms"),
                      err)) ||
        (rc = read_finish(s, json_object_get(line, "finish"), eos_id, err)))
        return rc;
    played->ids = s->ids.data;
    played->n_ids = (int)s->ids.len;
    return 0;
}

static bool blank(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r", text[i]) || text[i] == '\0')
            return false;
    return true;
}

static int read_lines(api_replay *r, const char *path, const base_str *file,
                      const token_vocab *vocab, int32_t eos_id, base_err *err) {
    size_t at = 0;
    for (int number = 1; at < file->len; number++) {
        const char *line = file->data + at, *end = memchr(line, '\n', file->len - at);
        size_t len = end ? (size_t)(end - line) : file->len - at;
        at += len + 1;
        if (blank(line, len))
            continue;
        json_t *json = base_json_parse(line, len, "not JSON", BASE_ERR_USAGE, err);
        int rc = json ? read_script(r, json, vocab, eos_id, err) : BASE_ERR_USAGE;
        json_decref(json);
        if (rc)
            return base_fail_prefix(err, "%s: line %d", path, number);
    }
    if (r->n == 0)
        return base_fail(err, BASE_ERR_USAGE, "%s: there is no script in it", path);
    return 0;
}

int api_replay_load(api_replay **out, const char *path, const token_vocab *vocab, int32_t eos_id,
                    base_err *err) {
    base_str file = {0};
    *out = NULL;
    int rc = base_file_read(path, MAX_FILE, BASE_ERR_USAGE, &file, err);
    if (rc == 0) {
        api_replay *r = base_calloc(1, sizeof *r);
        rc = read_lines(r, path, &file, vocab, eos_id, err);
        if (rc)
            api_replay_free(r);
        else
            *out = r;
    }
    base_str_free(&file);
    return rc;
}
