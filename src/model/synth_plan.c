// Config -> every tensor's shard, name, shape, place and size of values. Nothing is written here.
//
// The sizes keep activations sane through any number of layers: a normalised row has mean square 1,
// a matrix with deviation 1 / sqrt(cols) keeps that, and what attention and MLP add to the residual
// is chosen below, for the embedding's mean square of 1.
#include "model/synth.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Deviation of attention scores before softmax: some positions count, none alone.
static const double score_size = 1.5;
// What a sublayer adds to the residual (attention: for one position; averages over many are less).
static const double attention_size = 0.8, mlp_size = 0.6;
// sqrt(E[silu(a)^2 b^2]) for independent standard normal a and b.
static const double silu_size = 0.596;
// Router logits: sigmoids spread over (0.05, 0.95), no expert always chosen. The correction bias
// moves some choices.
static const double router_size = 1.0, bias_size = 0.03;
// Logits: the best of many thousand ids is clearly apart from the second.
static const double logit_size = 2.5;

enum { GROUP = 32, CODES_PER_WORD = 8 };

// ---------------------------------------------------------------------------------------------
// Adding tensors to a shard

static size_t dtype_bytes(model_dtype dtype) {
    return dtype == MODEL_BF16 ? 2 : dtype == MODEL_I64 ? 8 : 4;
}

static synth_tensor *add(synth_shard *shard, synth_kind kind, model_dtype dtype, int64_t rows,
                         int64_t cols, double size, const char *prefix, const char *suffix) {
    if (shard->n_tensors == shard->cap) {
        shard->cap = shard->cap ? 2 * shard->cap : 64;
        shard->tensors = base_realloc(shard->tensors, shard->cap * sizeof *shard->tensors);
    }
    base_str name = {0};
    base_str_printf(&name, "%s%s", prefix, suffix);
    synth_tensor *t = &shard->tensors[shard->n_tensors++];
    *t = (synth_tensor){.name = name.data, // handed over; freed by synth_plan_free
                        .dtype = dtype,
                        .kind = kind,
                        .n_dims = cols ? 2 : 1,
                        .shape = {rows, cols},
                        .bytes = (uint64_t)rows * (cols ? cols : 1) * dtype_bytes(dtype),
                        .size = size};
    t->quiet_from = t->bytes;
    return t;
}

static synth_tensor *add_matrix(synth_shard *shard, const char *prefix, const char *suffix,
                                int64_t rows, int64_t cols, double out_size) {
    return add(shard, SYNTH_NORMAL, MODEL_BF16, rows, cols, out_size / sqrt((double)cols), prefix,
               suffix);
}

static void add_norm(synth_shard *shard, const char *prefix, const char *suffix, int64_t n) {
    add(shard, SYNTH_NORM, MODEL_BF16, n, 0, 0, prefix, suffix);
}

// An expert's matrix: three tensors when quantised, one when not. `prefix` ends with the
// projection's name.
static void add_expert_matrix(synth_shard *shard, bool int4, const char *prefix, int rows, int cols,
                              double out_size) {
    if (!int4) {
        add_matrix(shard, prefix, ".weight", rows, cols, out_size);
        return;
    }
    add(shard, SYNTH_CODES, MODEL_I32, rows, cols / CODES_PER_WORD, 0, prefix, ".weight_packed");
    add(shard, SYNTH_SCALES, MODEL_BF16, rows, cols / GROUP, out_size / sqrt((double)cols), prefix,
        ".weight_scale");
    synth_tensor *shape = add(shard, SYNTH_SHAPE, MODEL_I32, 2, 0, 0, prefix, ".weight_shape");
    shape->rows = rows;
    shape->cols = cols;
}

// ---------------------------------------------------------------------------------------------
// Layers

// The deviation of a query's elements that makes scores score_size.
static double query_size(const model_config *c) {
    double *inv_freq = base_calloc((size_t)c->qk_rope_head_dim / 2 + 1, sizeof *inv_freq);
    double cos_sin_scale, softmax_scale;
    model_rope_init(c, inv_freq, &cos_sin_scale, &softmax_scale);
    base_free(inv_freq);
    return score_size / (sqrt(c->qk_nope_head_dim + c->qk_rope_head_dim) * softmax_scale);
}

static void add_attention(synth_shard *shard, const model_config *c, const char *layer) {
    int64_t hidden = c->hidden_size, heads = c->n_heads;
    int64_t q_rows = heads * (c->qk_nope_head_dim + c->qk_rope_head_dim);
    if (c->q_lora_rank > 0) {
        add_matrix(shard, layer, "self_attn.q_a_proj.weight", c->q_lora_rank, hidden, 1);
        add_norm(shard, layer, "self_attn.q_a_layernorm.weight", c->q_lora_rank);
        add_matrix(shard, layer, "self_attn.q_b_proj.weight", q_rows, c->q_lora_rank,
                   query_size(c));
    } else {
        add_matrix(shard, layer, "self_attn.q_proj.weight", q_rows, hidden, query_size(c));
    }
    add_matrix(shard, layer, "self_attn.kv_a_proj_with_mqa.weight",
               c->kv_lora_rank + c->qk_rope_head_dim, hidden, 1);
    add_norm(shard, layer, "self_attn.kv_a_layernorm.weight", c->kv_lora_rank);
    add_matrix(shard, layer, "self_attn.kv_b_proj.weight",
               heads * (c->qk_nope_head_dim + c->v_head_dim), c->kv_lora_rank, 1);
    add_matrix(shard, layer, "self_attn.o_proj.weight", hidden, heads * c->v_head_dim,
               attention_size);
}

static void add_mlp(synth_shard *shard, const char *prefix, int64_t hidden, int64_t width,
                    double out_size) {
    add_matrix(shard, prefix, "gate_proj.weight", width, hidden, 1);
    add_matrix(shard, prefix, "up_proj.weight", width, hidden, 1);
    add_matrix(shard, prefix, "down_proj.weight", hidden, width, out_size / silu_size);
}

// What one expert must give so that the weighted sum has size 1: the weights are about equal, and
// add up to the scaling factor if they are normalised.
static double expert_size(const model_config *c) {
    double each = c->norm_topk_prob ? 1.0 / c->n_experts_per_tok : 0.7;
    double mixed = each * c->routed_scaling_factor * sqrt(c->n_experts_per_tok);
    return mixed > 0 ? 1 / mixed : 1;
}

static void add_experts(synth_shard *shard, const model_config *c, const char *layer) {
    int hidden = c->hidden_size, width = c->moe_intermediate_size;
    double share = c->n_shared_experts > 0 ? sqrt(0.5) : 1;
    add_matrix(shard, layer, "mlp.gate.weight", c->n_routed_experts, hidden, router_size);
    add(shard, SYNTH_BIAS, MODEL_F32, c->n_routed_experts, 0, bias_size, layer,
        "mlp.gate.e_score_correction_bias");
    char prefix[128];
    if (c->n_shared_experts > 0) {
        snprintf(prefix, sizeof prefix, "%smlp.shared_experts.", layer);
        add_mlp(shard, prefix, hidden, (int64_t)width * c->n_shared_experts, mlp_size * share);
    }
    for (int e = 0; e < c->n_routed_experts; e++) {
        snprintf(prefix, sizeof prefix, "%smlp.experts.%d.gate_proj", layer, e);
        add_expert_matrix(shard, c->int4_experts, prefix, width, hidden, 1);
        snprintf(prefix, sizeof prefix, "%smlp.experts.%d.up_proj", layer, e);
        add_expert_matrix(shard, c->int4_experts, prefix, width, hidden, 1);
        snprintf(prefix, sizeof prefix, "%smlp.experts.%d.down_proj", layer, e);
        add_expert_matrix(shard, c->int4_experts, prefix, hidden, width,
                          mlp_size * share * expert_size(c) / silu_size);
    }
}

static void add_layer(synth_shard *shard, const model_config *c, int l) {
    char layer[64], mlp[96];
    snprintf(layer, sizeof layer, "model.layers.%d.", l);
    snprintf(mlp, sizeof mlp, "%smlp.", layer);
    add_norm(shard, layer, "input_layernorm.weight", c->hidden_size);
    add_norm(shard, layer, "post_attention_layernorm.weight", c->hidden_size);
    add_attention(shard, c, layer);
    if (model_layer_is_moe(c, l))
        add_experts(shard, c, layer);
    else
        add_mlp(shard, mlp, c->hidden_size, c->intermediate_size, mlp_size);
}

static void add_ends(synth_shard *shard, const model_config *c, int n_ordinary) {
    add(shard, SYNTH_NORMAL, MODEL_BF16, c->vocab_size, c->hidden_size, 1, "model.",
        "embed_tokens.weight");
    add_norm(shard, "model.", "norm.weight", c->hidden_size);
    synth_tensor *head =
        add_matrix(shard, "", "lm_head.weight", c->vocab_size, c->hidden_size, logit_size);
    head->quiet_from = (uint64_t)n_ordinary * c->hidden_size * 2;
}

// ---------------------------------------------------------------------------------------------
// The plan

// The order in which safetensors' own writer puts tensors: wider types first, then by name. So
// every tensor is aligned to its type.
static int compare_tensors(const void *a, const void *b) {
    const synth_tensor *x = a, *y = b;
    int rank_x = x->dtype == MODEL_F32 ? 0 : x->dtype == MODEL_I32 ? 1 : 2;
    int rank_y = y->dtype == MODEL_F32 ? 0 : y->dtype == MODEL_I32 ? 1 : 2;
    return rank_x != rank_y ? rank_x - rank_y : strcmp(x->name, y->name);
}

static void place_tensors(synth_plan *plan, synth_shard *shard) {
    qsort(shard->tensors, shard->n_tensors, sizeof *shard->tensors, compare_tensors);
    for (int i = 0; i < shard->n_tensors; i++) {
        shard->tensors[i].offset = shard->bytes;
        shard->bytes += shard->tensors[i].bytes;
    }
    plan->bytes += shard->bytes;
    plan->n_tensors += shard->n_tensors;
}

void synth_plan_make(synth_plan *out, const model_config *config, int n_ordinary) {
    *out = (synth_plan){.n_shards = config->n_layers + 1};
    out->shards = base_calloc(out->n_shards, sizeof *out->shards);
    for (int i = 0; i < out->n_shards; i++) {
        synth_shard *shard = &out->shards[i];
        snprintf(shard->file, sizeof shard->file, "model-%05d-of-%06d.safetensors", i + 1,
                 out->n_shards);
        if (i < config->n_layers)
            add_layer(shard, config, i);
        else
            add_ends(shard, config, n_ordinary);
        place_tensors(out, shard);
    }
}

void synth_plan_free(synth_plan *plan) {
    for (int i = 0; i < plan->n_shards; i++) {
        for (int k = 0; k < plan->shards[i].n_tensors; k++)
            base_free(plan->shards[i].tensors[k].name);
        base_free(plan->shards[i].tensors);
    }
    base_free(plan->shards);
    *plan = (synth_plan){0};
}

void synth_plan_header(const synth_shard *shard, base_str *out) {
    static const char *const dtypes[] = {
        [MODEL_BF16] = "BF16", [MODEL_F32] = "F32", [MODEL_I32] = "I32", [MODEL_I64] = "I64"};
    size_t start = out->len;
    uint64_t length = 0;
    base_str_add(out, &length, sizeof length);
    base_str_adds(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < shard->n_tensors; i++) {
        const synth_tensor *t = &shard->tensors[i];
        base_str_printf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%lld", t->name, dtypes[t->dtype],
                        (long long)t->shape[0]);
        if (t->n_dims == 2)
            base_str_printf(out, ",%lld", (long long)t->shape[1]);
        base_str_printf(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->offset,
                        (unsigned long long)(t->offset + t->bytes));
    }
    base_str_adds(out, "}");
    while ((out->len - start) % 8)
        base_str_adds(out, " ");
    length = out->len - start - sizeof length; // little-endian, like every machine we run on
    memcpy(out->data + start, &length, sizeof length);
}

typedef struct index_entry {
    const char *name, *file;
} index_entry;

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const index_entry *)a)->name, ((const index_entry *)b)->name);
}

void synth_plan_index(const synth_plan *plan, base_str *out) {
    index_entry *entries = base_calloc((size_t)plan->n_tensors, sizeof *entries);
    size_t n = 0;
    for (int i = 0; i < plan->n_shards; i++)
        for (int k = 0; k < plan->shards[i].n_tensors; k++)
            entries[n++] = (index_entry){plan->shards[i].tensors[k].name, plan->shards[i].file};
    qsort(entries, n, sizeof *entries, compare_entries);
    base_str_printf(out,
                    "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                    (unsigned long long)plan->bytes);
    for (size_t i = 0; i < n; i++)
        base_str_printf(out, "%s\n    \"%s\": \"%s\"", i ? "," : "", entries[i].name,
                        entries[i].file);
    base_str_adds(out, "\n  }\n}\n");
    base_free(entries);
}
