// Opening a checkpoint: configuration, index, shard headers, and that they agree with each other.
#include "model/internal.h"

#include <string.h>
#include <unistd.h>

enum {
    MAX_CONFIG_BYTES = 16 << 20,
    MAX_INDEX_BYTES = 512 << 20,
};

static int read_config(model *m, const model_open_options *options, base_err *err) {
    base_str text = {0};
    char *path = base_path_join(m->dir, "config.json");
    int rc = base_file_read(path, MAX_CONFIG_BYTES, BASE_ERR_MODEL, &text, err);
    if (rc == 0)
        rc = model_config_parse(&m->config, text.data ? text.data : "", text.len, path, err);
    base_free(path);
    path = base_path_join(m->dir, "generation_config.json");
    if (rc == 0 && access(path, F_OK) == 0) {
        rc = base_file_read(path, MAX_CONFIG_BYTES, BASE_ERR_MODEL, &text, err);
        if (rc == 0)
            rc = model_generation_parse(&m->generation, &m->config, text.data ? text.data : "",
                                        text.len, path, err);
    }
    base_free(path);
    base_str_free(&text);
    if (options && options->inner_norm_eps > 0)
        m->config.inner_norm_eps = options->inner_norm_eps;
    return rc;
}

static int read_header(model_shard *shard, model_header *header, base_err *err) {
    unsigned char first[8] = {0};
    uint64_t len;
    shard->fd = base_file_open(shard->path, BASE_ERR_MODEL, &shard->file_bytes, err);
    if (shard->fd < 0)
        return BASE_ERR_MODEL;
    size_t n = shard->file_bytes < 8 ? (size_t)shard->file_bytes : 8;
    int rc = base_file_pread(shard->fd, first, n, 0, shard->path, err);
    if (rc == 0)
        rc = model_header_length(first, shard->file_bytes, &len, shard->path, err);
    if (rc != 0)
        return rc;
    char *json = base_try_alloc((size_t)len + 1);
    if (!json)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: no memory for its header", shard->path);
    rc = base_file_pread(shard->fd, json, (size_t)len, 8, shard->path, err);
    shard->data_start = 8 + len;
    if (rc == 0)
        rc = model_header_parse(header, json, (size_t)len, shard->file_bytes - shard->data_start,
                                shard->path, err);
    base_free(json);
    return rc;
}

// Appends the tensors of a header, their offsets now counted from the start of the file.
static int add_tensors(model *m, int file, model_header *header, base_err *err) {
    model_shard *shard = &m->shards[file];
    size_t total = (size_t)m->n_tensors + (size_t)header->n_tensors;
    model_tensor *tensors = base_try_realloc(m->tensors, (total + 1) * sizeof *tensors);
    if (!tensors || total > INT32_MAX) {
        m->tensors = tensors ? tensors : m->tensors;
        model_header_free(header);
        return base_fail(err, BASE_ERR_RESOURCE, "%s: no memory for %zu tensors", shard->path,
                         total);
    }
    m->tensors = tensors;
    shard->first_tensor = m->n_tensors;
    shard->end_tensor = (int)total;
    for (int i = 0; i < header->n_tensors; i++) {
        model_tensor *t = &m->tensors[m->n_tensors++];
        *t = header->tensors[i];
        t->file = file;
        t->offset += shard->data_start;
    }
    shard->names = header->names;
    header->names = NULL;
    model_header_free(header);
    return 0;
}

// No tensor may be in two shards. Done when all are there: the array no longer moves.
static int build_table(model *m, base_err *err) {
    for (int i = 0; i < m->n_tensors; i++) {
        const model_tensor *t = &m->tensors[i];
        model_name_result added = model_names_add(&m->by_name, t->name, i);
        if (added == MODEL_NAME_NO_MEMORY)
            return base_fail(err, BASE_ERR_RESOURCE, "%s: no memory for its names", m->dir);
        if (added == MODEL_NAME_TWICE) {
            const model_tensor *other = &m->tensors[model_names_find(&m->by_name, t->name)];
            return base_fail(err, BASE_ERR_MODEL, "%s: tensor \"%s\" is also in %s",
                             m->shards[t->file].path, t->name, m->shards[other->file].path);
        }
    }
    m->used = base_calloc((size_t)m->n_tensors + 1, sizeof *m->used);
    return 0;
}

static int open_shards(model *m, char *const *names, int n, base_err *err) {
    m->shards = base_calloc((size_t)n, sizeof *m->shards);
    for (int i = 0; i < n; i++)
        m->shards[i] = (model_shard){.path = base_path_join(m->dir, names[i]), .fd = -1};
    m->n_shards = n;
    for (int i = 0; i < n; i++) {
        model_header header;
        int rc = read_header(&m->shards[i], &header, err);
        if (rc == 0)
            rc = add_tensors(m, i, &header, err);
        if (rc != 0)
            return rc;
    }
    return build_table(m, err);
}

// Every tensor of the index must be in the shard it names, and no shard may hold others: else
// shards of two checkpoints were mixed.
static int check_index(const model *m, const model_index *x, const char *index_path,
                       base_err *err) {
    bool *listed = base_calloc((size_t)m->n_tensors + 1, sizeof *listed);
    int rc = 0;
    for (int i = 0; rc == 0 && i < x->n_tensors; i++) {
        int found = model_names_find(&m->by_name, x->names[i]);
        const char *shard = m->shards[x->files[i]].path;
        if (found < 0)
            rc = base_fail(err, BASE_ERR_MODEL, "%s: tensor \"%s\" is missing; %s promises it",
                           shard, x->names[i], index_path);
        else if (m->tensors[found].file != x->files[i])
            rc = base_fail(err, BASE_ERR_MODEL, "%s: tensor \"%s\" belongs into %s, says %s",
                           m->shards[m->tensors[found].file].path, x->names[i], shard, index_path);
        else
            listed[found] = true;
    }
    for (int i = 0; rc == 0 && i < m->n_tensors; i++)
        if (!listed[i])
            rc = base_fail(err, BASE_ERR_MODEL, "%s: tensor \"%s\" is not in %s",
                           m->shards[m->tensors[i].file].path, m->tensors[i].name, index_path);
    base_free(listed);
    return rc;
}

static int open_indexed(model *m, const char *index_path, base_err *err) {
    base_str text = {0};
    model_index index = {0};
    int rc = base_file_read(index_path, MAX_INDEX_BYTES, BASE_ERR_MODEL, &text, err);
    if (rc == 0)
        rc = model_index_parse(&index, text.data ? text.data : "", text.len, index_path, err);
    base_str_free(&text);
    if (rc == 0)
        rc = open_shards(m, index.file_names, index.n_files, err);
    if (rc == 0)
        rc = check_index(m, &index, index_path, err);
    model_index_free(&index);
    return rc;
}

static int open_files(model *m, base_err *err) {
    static char single_name[] = "model.safetensors";
    char *const single[] = {single_name};
    char *index_path = base_path_join(m->dir, "model.safetensors.index.json");
    char *single_path = base_path_join(m->dir, single_name);
    int rc;
    if (access(index_path, F_OK) == 0)
        rc = open_indexed(m, index_path, err);
    else if (access(single_path, F_OK) == 0)
        rc = open_shards(m, single, 1, err);
    else
        rc = base_fail(err, BASE_ERR_MODEL,
                       "%s: neither model.safetensors.index.json nor model.safetensors is there",
                       m->dir);
    base_free(index_path);
    base_free(single_path);
    return rc;
}

static int open_dummy(model *m, base_err *err) {
    int rc = model_dummy_open(m, err);
    return rc != 0 ? rc : build_table(m, err);
}

int model_open(model **out, const char *dir_or_id, const model_open_options *options,
               base_err *err) {
    model *m = base_calloc(1, sizeof *m);
    int rc = model_hub_resolve(&m->dir, dir_or_id, err);
    if (rc == 0)
        rc = read_config(m, options, err);
    if (rc == 0 && !(options && options->config_only)) {
        rc = options && options->dummy ? open_dummy(m, err) : open_files(m, err);
        if (rc == 0)
            rc = model_inventory(m, err);
    }
    if (rc != 0) {
        model_close(m);
        m = NULL;
    }
    *out = m;
    return rc;
}

void model_close(model *m) {
    if (!m)
        return;
    for (int i = 0; i < m->n_shards; i++) {
        if (m->shards[i].fd >= 0)
            close(m->shards[i].fd);
        base_free(m->shards[i].path);
        base_free(m->shards[i].names);
    }
    for (int i = 0; m->layers && i < m->config.n_layers; i++) {
        base_free(m->layers[i].expert_gate);
        base_free(m->layers[i].expert_up);
        base_free(m->layers[i].expert_down);
    }
    model_names_free(&m->by_name);
    model_dummy_free(m->dummy);
    base_free(m->layers);
    base_free(m->shards);
    base_free(m->tensors);
    base_free(m->used);
    base_free(m->dir);
    base_free(m);
}

const char *model_dir(const model *m) {
    return m->dir;
}

const model_config *model_get_config(const model *m) {
    return &m->config;
}

const model_generation *model_get_generation(const model *m) {
    return &m->generation;
}

const model_layer *model_get_layer(const model *m, int layer) {
    return m->layers ? &m->layers[layer] : NULL;
}

const model_matrix *model_embed(const model *m) {
    return &m->embed;
}

const model_matrix *model_lm_head(const model *m) {
    return &m->lm_head;
}

const model_tensor *model_final_norm(const model *m) {
    return m->final_norm;
}

int model_n_tensors(const model *m) {
    return m->n_tensors;
}

const model_tensor *model_tensor_at(const model *m, int i, bool *ignored) {
    if (ignored)
        *ignored = !m->used[i];
    return &m->tensors[i];
}

int model_n_shards(const model *m) {
    return m->n_shards;
}

const char *model_shard_path(const model *m, int shard) {
    return m->shards[shard].path;
}
