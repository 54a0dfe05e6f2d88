// model.safetensors.index.json: {"metadata": {...}, "weight_map": {tensor: shard file}}.
#include "model/internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 65536, MAX_FILE_NAME = 255 };

typedef struct index_reader {
    model_scan scan;
    model_index *out;
    size_t text_used;
    size_t capacity, file_capacity;
    model_names tensors, files;
} index_reader;

static char *keep_string(index_reader *r, size_t *len) {
    char *at = r->out->text + r->text_used;
    if (!model_scan_string(&r->scan, at, len))
        return NULL;
    r->text_used += *len + 1;
    return at;
}

// A shard lies in the checkpoint's own directory: no separators, no "..".
static bool is_plain_file_name(const char *name, size_t len) {
    static const char suffix[] = ".safetensors";
    size_t n = sizeof suffix - 1;
    return len > n && len <= MAX_FILE_NAME && name[0] != '.' && !strchr(name, '/') &&
           strcmp(name + len - n, suffix) == 0;
}

static bool grow_tensors(index_reader *r) {
    model_index *x = r->out;
    size_t capacity = r->capacity ? r->capacity * 2 : 256;
    const char **names = base_try_realloc(x->names, capacity * sizeof *names);
    if (names)
        x->names = names;
    int *files = base_try_realloc(x->files, capacity * sizeof *files);
    if (files)
        x->files = files;
    if (!names || !files)
        return model_scan_no_memory(&r->scan);
    r->capacity = capacity;
    return true;
}

static bool add_file(index_reader *r, const char *name, size_t len, int *file) {
    model_index *x = r->out;
    *file = model_names_find(&r->files, name);
    if (*file >= 0)
        return true;
    if (!is_plain_file_name(name, len))
        return model_scan_fail(&r->scan,
                               "shard \"%s\" is not the plain name of a .safetensors file", name);
    if (x->n_files == MAX_FILES)
        return model_scan_fail(&r->scan, "more than %d shards", (int)MAX_FILES);
    if ((size_t)x->n_files == r->file_capacity) {
        r->file_capacity = r->file_capacity ? r->file_capacity * 2 : 64;
        x->file_names = base_realloc(x->file_names, r->file_capacity * sizeof *x->file_names);
    }
    *file = x->n_files;
    x->file_names[x->n_files] = base_strdup(name);
    if (model_names_add(&r->files, x->file_names[x->n_files++], *file) != MODEL_NAME_ADDED)
        return model_scan_no_memory(&r->scan);
    return true;
}

static bool read_entry(index_reader *r) {
    model_index *x = r->out;
    size_t len;
    const char *name = keep_string(r, &len);
    if (!name || !model_scan_take(&r->scan, ':'))
        return false;
    if (len == 0)
        return model_scan_fail(&r->scan, "a tensor without a name");
    model_name_result added = model_names_add(&r->tensors, name, 0);
    if (added != MODEL_NAME_ADDED)
        return added == MODEL_NAME_TWICE
                   ? model_scan_fail(&r->scan, "tensor \"%s\" is there twice", name)
                   : model_scan_no_memory(&r->scan);
    size_t mark = r->text_used;
    const char *file_name = keep_string(r, &len);
    int file;
    if (!file_name || !add_file(r, file_name, len, &file))
        return false;
    r->text_used = mark;
    if ((size_t)x->n_tensors == r->capacity && !grow_tensors(r))
        return false;
    x->names[x->n_tensors] = name;
    x->files[x->n_tensors++] = file;
    return true;
}

static bool read_weight_map(index_reader *r) {
    if (!model_scan_take(&r->scan, '{'))
        return false;
    bool more = !model_scan_peek(&r->scan, '}');
    if (!more)
        return model_scan_take(&r->scan, '}');
    while (more)
        if (!read_entry(r) || !model_scan_next(&r->scan, '}', &more))
            return false;
    return true;
}

static bool read_members(index_reader *r) {
    model_scan *s = &r->scan;
    bool has_map = false;
    if (!model_scan_take(s, '{'))
        return false;
    bool more = !model_scan_peek(s, '}');
    if (!more && !model_scan_take(s, '}'))
        return false;
    while (more) {
        size_t mark = r->text_used, len;
        const char *key = keep_string(r, &len);
        if (!key || !model_scan_take(s, ':'))
            return false;
        bool is_map = strcmp(key, "weight_map") == 0;
        r->text_used = mark;
        if (is_map && has_map)
            return model_scan_fail(s, "\"weight_map\" is there twice");
        has_map = has_map || is_map;
        if (!(is_map ? read_weight_map(r) : model_scan_skip(s)) || !model_scan_next(s, '}', &more))
            return false;
    }
    while (s->at < s->end && strchr(" \t\r\n", *s->at) && *s->at)
        s->at++;
    if (s->at < s->end)
        return model_scan_fail(s, "bytes after the last '}'");
    if (!has_map || r->out->n_tensors == 0)
        return model_scan_fail(s, "\"weight_map\" is %s", has_map ? "empty" : "missing");
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// Shards ascending by name, whatever the order of the map.
static void sort_files(index_reader *r) {
    model_index *x = r->out;
    int *position = base_alloc((size_t)x->n_files * sizeof *position);
    qsort(x->file_names, (size_t)x->n_files, sizeof *x->file_names, by_name);
    for (int i = 0; i < x->n_files; i++)
        position[model_names_find(&r->files, x->file_names[i])] = i;
    for (int i = 0; i < x->n_tensors; i++)
        x->files[i] = position[x->files[i]];
    base_free(position);
}

int model_index_parse(model_index *out, const char *json, size_t len, const char *what,
                      base_err *err) {
    *out = (model_index){0};
    out->text = base_try_alloc(len + 1);
    if (!out->text)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: no memory for it", what);
    index_reader r = {
        .scan = {.begin = json, .at = json, .end = json + len, .what = what, .err = err},
        .out = out,
    };
    if (read_members(&r))
        sort_files(&r);
    model_names_free(&r.tensors);
    model_names_free(&r.files);
    if (r.scan.code != 0)
        model_index_free(out);
    return r.scan.code;
}

void model_index_free(model_index *x) {
    for (int i = 0; i < x->n_files; i++)
        base_free(x->file_names[i]);
    base_free(x->file_names);
    base_free(x->names);
    base_free(x->files);
    base_free(x->text);
    *x = (model_index){0};
}
