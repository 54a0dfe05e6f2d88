// Which tensor is what. Everything the configuration asks for must be there with its type and
// shape; everything else must be known to be needless.
#include "model/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct inventory {
    model *m;
    base_err *err;
    char scope[160]; // what the names of the moment begin with
    int *shapes;     // [n_shapes] weight_shape tensors whose values are still to be checked
    int n_shapes, shapes_capacity;
    int (*shape_values)[2]; // [n_shapes] what they must hold
} inventory;

static void print_shape(char *out, size_t size, const int64_t *shape, int n) {
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (at < size)
        snprintf(out + at, size - at, "]");
}

static const char *shard_path(const inventory *v, const model_tensor *t) {
    return v->m->shards[t->file].path;
}

// The tensor SCOPE + stem + suffix, marked as used; -1 when it is missing.
static int find(inventory *v, const char *stem, const char *suffix) {
    char name[320];
    snprintf(name, sizeof name, "%s%s%s", v->scope, stem, suffix);
    int i = model_names_find(&v->m->by_name, name);
    if (i < 0)
        base_fail(v->err, BASE_ERR_MODEL, "%s: tensor \"%s\" is missing", v->m->dir, name);
    else
        v->m->used[i] = true;
    return i;
}

// The same with its type and shape [rows, cols], or [rows] when cols is 0; NULL on failure.
static const model_tensor *want(inventory *v, model_dtype dtype, int rows, int cols,
                                const char *stem, const char *suffix) {
    static const char *const names[] = {"BF16", "F32", "I32", "I64"};
    int at = find(v, stem, suffix);
    if (at < 0)
        return NULL;
    const model_tensor *t = &v->m->tensors[at];
    if (t->dtype != dtype) {
        base_fail(v->err, BASE_ERR_MODEL, "%s: tensor \"%s\": dtype %s, must be %s",
                  shard_path(v, t), t->name, t->dtype_name, names[dtype]);
        return NULL;
    }
    int64_t shape[2] = {rows, cols};
    int n = cols ? 2 : 1;
    if (t->n_dims == n && memcmp(t->shape, shape, (size_t)n * sizeof *shape) == 0)
        return t;
    char has[200], must[64];
    print_shape(has, sizeof has, t->shape, t->n_dims);
    print_shape(must, sizeof must, shape, n);
    base_fail(v->err, BASE_ERR_MODEL, "%s: tensor \"%s\": shape %s, must be %s by config.json",
              shard_path(v, t), t->name, has, must);
    return NULL;
}

static bool take_vector(inventory *v, const model_tensor **out, int size, const char *stem) {
    *out = want(v, MODEL_BF16, size, 0, stem, ".weight");
    return *out != NULL;
}

static bool take_bf16(inventory *v, model_matrix *out, int rows, int cols, const char *stem) {
    *out = (model_matrix){.kind = MODEL_MATRIX_BF16, .rows = rows, .cols = cols};
    out->weight = want(v, MODEL_BF16, rows, cols, stem, ".weight");
    return out->weight != NULL;
}

// weight_shape [2] I32 or I64; its values are read later, all in one go.
static bool take_shape(inventory *v, int rows, int cols, const char *stem) {
    int at = find(v, stem, ".weight_shape");
    if (at < 0)
        return false;
    const model_tensor *t = &v->m->tensors[at];
    if ((t->dtype != MODEL_I32 && t->dtype != MODEL_I64) || t->n_dims != 1 || t->shape[0] != 2) {
        base_fail(v->err, BASE_ERR_MODEL, "%s: tensor \"%s\": must be I32 or I64 of shape [2]",
                  shard_path(v, t), t->name);
        return false;
    }
    if (v->n_shapes == v->shapes_capacity) {
        v->shapes_capacity = v->shapes_capacity ? v->shapes_capacity * 2 : 1024;
        size_t n = (size_t)v->shapes_capacity;
        v->shapes = base_realloc(v->shapes, n * sizeof *v->shapes);
        v->shape_values = base_realloc(v->shape_values, n * sizeof *v->shape_values);
    }
    v->shapes[v->n_shapes] = at;
    v->shape_values[v->n_shapes][0] = rows;
    v->shape_values[v->n_shapes++][1] = cols;
    return true;
}

static bool take_expert(inventory *v, model_matrix *out, int rows, int cols, int expert,
                        const char *projection) {
    char stem[80];
    snprintf(stem, sizeof stem, "mlp.experts.%d.%s", expert, projection);
    if (!v->m->config.int4_experts)
        return take_bf16(v, out, rows, cols, stem);
    *out = (model_matrix){.kind = MODEL_MATRIX_INT4, .rows = rows, .cols = cols};
    out->packed = want(v, MODEL_I32, rows, cols / 8, stem, ".weight_packed");
    if (!out->packed)
        return false;
    out->scale = want(v, MODEL_BF16, rows, cols / 32, stem, ".weight_scale");
    return out->scale && take_shape(v, rows, cols, stem);
}

static bool take_attention(inventory *v, model_layer *l) {
    const model_config *c = &v->m->config;
    int q_rows = c->n_heads * (c->qk_nope_head_dim + c->qk_rope_head_dim);
    bool q = c->q_lora_rank == 0
                 ? take_bf16(v, &l->q_proj, q_rows, c->hidden_size, "self_attn.q_proj")
                 : take_bf16(v, &l->q_a, c->q_lora_rank, c->hidden_size, "self_attn.q_a_proj") &&
                       take_vector(v, &l->q_a_norm, c->q_lora_rank, "self_attn.q_a_layernorm") &&
                       take_bf16(v, &l->q_b, q_rows, c->q_lora_rank, "self_attn.q_b_proj");
    return q &&
           take_bf16(v, &l->kv_a, c->kv_lora_rank + c->qk_rope_head_dim, c->hidden_size,
                     "self_attn.kv_a_proj_with_mqa") &&
           take_vector(v, &l->kv_a_norm, c->kv_lora_rank, "self_attn.kv_a_layernorm") &&
           take_bf16(v, &l->kv_b, c->n_heads * (c->qk_nope_head_dim + c->v_head_dim),
                     c->kv_lora_rank, "self_attn.kv_b_proj") &&
           take_bf16(v, &l->o, c->hidden_size, c->n_heads * c->v_head_dim, "self_attn.o_proj");
}

static bool take_router(inventory *v, model_layer *l) {
    const model_config *c = &v->m->config;
    static const char bias[] = "mlp.gate.e_score_correction_bias";
    if (!take_bf16(v, &l->router, c->n_routed_experts, c->hidden_size, "mlp.gate"))
        return false;
    int at = find(v, bias, "");
    if (at < 0)
        return false;
    model_dtype dtype = v->m->tensors[at].dtype == MODEL_BF16 ? MODEL_BF16 : MODEL_F32;
    l->router_bias = want(v, dtype, c->n_routed_experts, 0, bias, "");
    return l->router_bias != NULL;
}

static bool take_experts(inventory *v, model_layer *l) {
    const model_config *c = &v->m->config;
    int hidden = c->hidden_size, width = c->moe_intermediate_size;
    size_t n = (size_t)c->n_routed_experts;
    l->expert_gate = base_calloc(n, sizeof *l->expert_gate);
    l->expert_up = base_calloc(n, sizeof *l->expert_up);
    l->expert_down = base_calloc(n, sizeof *l->expert_down);
    for (int e = 0; e < c->n_routed_experts; e++)
        if (!take_expert(v, &l->expert_gate[e], width, hidden, e, "gate_proj") ||
            !take_expert(v, &l->expert_up[e], width, hidden, e, "up_proj") ||
            !take_expert(v, &l->expert_down[e], hidden, width, e, "down_proj"))
            return false;
    return true;
}

static bool take_moe(inventory *v, model_layer *l) {
    const model_config *c = &v->m->config;
    int hidden = c->hidden_size, width = c->n_shared_experts * c->moe_intermediate_size;
    if (!take_router(v, l))
        return false;
    if (width > 0 &&
        (!take_bf16(v, &l->shared_gate, width, hidden, "mlp.shared_experts.gate_proj") ||
         !take_bf16(v, &l->shared_up, width, hidden, "mlp.shared_experts.up_proj") ||
         !take_bf16(v, &l->shared_down, hidden, width, "mlp.shared_experts.down_proj")))
        return false;
    return take_experts(v, l);
}

static bool take_layer(inventory *v, int layer) {
    const model_config *c = &v->m->config;
    model_layer *l = &v->m->layers[layer];
    int hidden = c->hidden_size, width = c->intermediate_size;
    snprintf(v->scope, sizeof v->scope, "%smodel.layers.%d.", v->m->prefix, layer);
    if (!take_vector(v, &l->input_norm, hidden, "input_layernorm") ||
        !take_vector(v, &l->post_norm, hidden, "post_attention_layernorm") || !take_attention(v, l))
        return false;
    l->is_moe = model_layer_is_moe(c, layer);
    if (l->is_moe)
        return take_moe(v, l);
    return take_bf16(v, &l->gate, width, hidden, "mlp.gate_proj") &&
           take_bf16(v, &l->up, width, hidden, "mlp.up_proj") &&
           take_bf16(v, &l->down, hidden, width, "mlp.down_proj");
}

static bool take_all(inventory *v) {
    model *m = v->m;
    const model_config *c = &m->config;
    snprintf(v->scope, sizeof v->scope, "%s", m->prefix);
    if (!take_bf16(v, &m->embed, c->vocab_size, c->hidden_size, "model.embed_tokens") ||
        !take_bf16(v, &m->lm_head, c->vocab_size, c->hidden_size, "lm_head") ||
        !take_vector(v, &m->final_norm, c->hidden_size, "model.norm"))
        return false;
    m->layers = base_calloc((size_t)c->n_layers, sizeof *m->layers);
    for (int layer = 0; layer < c->n_layers; layer++)
        if (!take_layer(v, layer))
            return false;
    return true;
}

// ---------------------------------------------------------------------------------------------
// What comes before "model.embed_tokens.weight" comes before every name of the language model.

static int find_prefix(model *m, base_err *err) {
    static const char anchor[] = "model.embed_tokens.weight";
    const char *found = NULL;
    for (int i = 0; i < m->n_tensors; i++) {
        const char *name = m->tensors[i].name;
        size_t len = strlen(name), n = sizeof anchor - 1;
        if (len < n || strcmp(name + len - n, anchor) != 0 || (len > n && name[len - n - 1] != '.'))
            continue;
        if (found)
            return base_fail(err, BASE_ERR_MODEL, "%s: both \"%s\" and \"%s\" are there", m->dir,
                             found, name);
        if (len - n >= sizeof m->prefix)
            return base_fail(err, BASE_ERR_MODEL, "%s: tensor \"%s\": prefix too long", m->dir,
                             name);
        found = name;
        memcpy(m->prefix, name, len - n);
        m->prefix[len - n] = 0;
    }
    if (!found)
        return base_fail(err, BASE_ERR_MODEL, "%s: tensor \"%s\" is missing", m->dir, anchor);
    return 0;
}

static bool starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *text, const char *suffix) {
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

// `name` without the prefix. Layers behind the last one are only needless when config.json counts
// them as prediction layers: else num_hidden_layers is wrong and the model would be cut short.
static bool is_needless(const model_config *c, const char *name) {
    if (ends_with(name, ".rotary_emb.inv_freq"))
        return true;
    if (!starts_with(name, "model.layers."))
        return false;
    char *end;
    long layer = strtol(name + strlen("model.layers."), &end, 10);
    return *end == '.' && layer >= c->n_layers && layer < c->n_layers + c->n_nextn_layers;
}

static int check_unused(const model *m, base_err *err) {
    static const char *const leftovers[] = {".weight_zero_point", ".weight_g_idx",
                                            ".weight_scale_inv"};
    int n_unknown = 0;
    const char *unknown = NULL;
    size_t prefix = strlen(m->prefix);
    for (int i = 0; i < m->n_tensors; i++) {
        const model_tensor *t = &m->tensors[i];
        if (m->used[i])
            continue;
        bool ours = strncmp(t->name, m->prefix, prefix) == 0;
        const char *name = ours ? t->name + prefix : t->name;
        if (ours && is_needless(&m->config, name))
            continue;
        for (size_t k = 0; k < sizeof leftovers / sizeof *leftovers; k++)
            if (ends_with(name, leftovers[k]))
                return base_fail(err, BASE_ERR_MODEL,
                                 "%s: tensor \"%s\": this kind of quantization is not supported",
                                 m->shards[t->file].path, t->name);
        if (ours && (starts_with(name, "model.") || starts_with(name, "lm_head.")))
            return base_fail(err, BASE_ERR_MODEL,
                             "%s: tensor \"%s\" has no place in the model of config.json",
                             m->shards[t->file].path, t->name);
        if (starts_with(name, "vision_tower.") || starts_with(name, "mm_projector."))
            continue;
        unknown = unknown ? unknown : t->name;
        n_unknown++;
    }
    if (n_unknown > 0)
        base_warn("%s: %d unknown tensors are ignored, e.g. \"%s\"", m->dir, n_unknown, unknown);
    return 0;
}

// ---------------------------------------------------------------------------------------------
// weight_shape values: K2 has 69,120 of them, 8 bytes each, scattered over all shards.

enum { SHAPES_PER_ITEM = 512, SHAPE_THREADS = 8 };

typedef struct shape_check {
    const inventory *v;
    base_err *errors; // [items]
} shape_check;

static int check_shape(const inventory *v, int k, base_err *err) {
    const model_tensor *t = &v->m->tensors[v->shapes[k]];
    const int *must = v->shape_values[k];
    unsigned char raw[16];
    int rc = model_read(v->m, t, 0, t->bytes, raw, err);
    if (rc != 0)
        return rc;
    int64_t value[2];
    for (int i = 0; i < 2; i++) {
        int32_t narrow;
        memcpy(&narrow, raw + 4 * i, sizeof narrow);
        value[i] = narrow;
        if (t->dtype == MODEL_I64)
            memcpy(&value[i], raw + 8 * i, sizeof value[i]);
    }
    if (value[0] == must[0] && value[1] == must[1])
        return 0;
    return base_fail(err, BASE_ERR_MODEL,
                     "%s: tensor \"%s\": values [%lld, %lld], must be [%d, %d]", shard_path(v, t),
                     t->name, (long long)value[0], (long long)value[1], must[0], must[1]);
}

static void check_item(void *arg, int item, int worker) {
    (void)worker;
    const shape_check *check = arg;
    int end = (item + 1) * SHAPES_PER_ITEM;
    for (int k = item * SHAPES_PER_ITEM; k < end && k < check->v->n_shapes; k++)
        if (check_shape(check->v, k, &check->errors[item]) != 0)
            return;
}

static void advise(const model *m, int advice) {
    for (int i = 0; i < m->n_shards; i++)
        posix_fadvise(m->shards[i].fd, 0, 0, advice);
}

static int check_shapes(const inventory *v, base_err *err) {
    int items = (v->n_shapes + SHAPES_PER_ITEM - 1) / SHAPES_PER_ITEM, rc = 0;
    if (items == 0)
        return 0;
    shape_check check = {v, base_calloc((size_t)items, sizeof *check.errors)};
    advise(v->m, POSIX_FADV_RANDOM); // no read-ahead around 8 bytes
    base_pool *pool = items > 1 ? base_pool_create(SHAPE_THREADS) : NULL;
    if (pool)
        base_pool_run(pool, items, check_item, &check);
    else
        for (int i = 0; i < items; i++)
            check_item(&check, i, 0);
    base_pool_destroy(pool);
    advise(v->m, POSIX_FADV_SEQUENTIAL);
    for (int i = 0; rc == 0 && i < items; i++)
        if (check.errors[i].code != 0)
            rc = base_fail(err, check.errors[i].code, "%s", check.errors[i].message);
    base_free(check.errors);
    return rc;
}

int model_inventory(model *m, base_err *err) {
    base_err first = {0};
    inventory v = {.m = m, .err = &first};
    int rc = find_prefix(m, err);
    if (rc != 0)
        return rc;
    if (!take_all(&v))
        rc = base_fail(err, first.code, "%s", first.message);
    if (rc == 0)
        rc = check_unused(m, err);
    if (rc == 0)
        rc = check_shapes(&v, err);
    base_free(v.shapes);
    base_free(v.shape_values);
    return rc;
}
