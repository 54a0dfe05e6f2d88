// The memory plan: what a rank holds, from the configuration alone. Rank 0 is counted: it gets the
// larger parts of an uneven cut.
#include "model/internal.h"

enum {
    MAX_SEQS = 1 << 20,
    MAX_ROWS = 1 << 20,
    MAX_BLOCK = 1 << 16,
    MAX_THREADS = 4096,
    SLACK_BYTES = 32 << 20, // sampler, queues, threads' stacks
    LOGIT_ROWS = 64,
    TILE_FLOATS = 1024, // of a worker for each row of the step
    QUERY_ROWS = 2560,  // of a worker's attention: work items, their partial sums in 8 classes
};

static const double KV_SHARE = 0.9;

static uint64_t bf16(int rows, int cols) {
    return 2 * (uint64_t)rows * (uint64_t)cols;
}

static uint64_t int4(int rows, int cols) {
    return (uint64_t)rows * (uint64_t)cols / 2 + bf16(rows, cols / 32);
}

// Columns of rank 0 when `cols` are cut at multiples of `unit`.
static int share(int cols, int unit, int tp) {
    int bounds[MODEL_PARTS + 1];
    model_part_bounds(cols, unit, bounds);
    return bounds[MODEL_PARTS / tp];
}

static uint64_t mlp_bytes(uint64_t (*bytes)(int, int), int hidden, int width) {
    return 2 * bytes(width, hidden) + bytes(hidden, width);
}

// Heads, MLP columns and the vocabulary are split; q_a, kv_a, router and norms are replicated.
static void count_weights(model_plan *p, const model_config *c, int tp) {
    int hidden = c->hidden_size, qk = c->qk_nope_head_dim + c->qk_rope_head_dim;
    int heads = share(c->n_heads, 1, tp), width = share(c->moe_intermediate_size, 32, tp);
    int shared = share(c->n_shared_experts * c->moe_intermediate_size, 32, tp);
    int n_moe = 0;
    for (int l = 0; l < c->n_layers; l++)
        n_moe += model_layer_is_moe(c, l);
    uint64_t layers = (uint64_t)c->n_layers, moe = (uint64_t)n_moe;

    uint64_t q = c->q_lora_rank ? bf16(c->q_lora_rank, hidden) + bf16(heads * qk, c->q_lora_rank)
                                : bf16(heads * qk, hidden);
    p->embed_bytes = 2 * bf16((c->vocab_size + tp - 1) / tp, hidden);
    p->attention_bytes =
        layers * (q + bf16(c->kv_lora_rank + c->qk_rope_head_dim, hidden) +
                  bf16(heads * (c->qk_nope_head_dim + c->v_head_dim), c->kv_lora_rank) +
                  bf16(hidden, heads * c->v_head_dim));
    p->dense_bytes = (layers - moe) * mlp_bytes(bf16, hidden, share(c->intermediate_size, 32, tp));
    p->shared_bytes = moe * mlp_bytes(bf16, hidden, shared);
    p->expert_bytes = moe * (uint64_t)c->n_routed_experts *
                      mlp_bytes(c->int4_experts ? int4 : bf16, hidden, width);
    p->other_bytes =
        layers * (2 * bf16(hidden, 1) + bf16(c->q_lora_rank, 1) + bf16(c->kv_lora_rank, 1)) +
        bf16(hidden, 1) +
        moe * (bf16(c->n_routed_experts, hidden) + 4 * (uint64_t)c->n_routed_experts);
    p->weight_bytes = p->embed_bytes + p->attention_bytes + p->dense_bytes + p->shared_bytes +
                      p->expert_bytes + p->other_bytes;
}

// An upper estimate of a step's buffers, everything float32: residual, the attention's projections
// in both forms, the widest MLP, a copy of each row per chosen expert, and workers' tiles.
static void count_activations(model_plan *p, const model_config *c, const model_plan_options *o) {
    int tp = o->tensor_parallel, threads = o->threads ? o->threads : base_cpu_count();
    uint64_t heads = (uint64_t)share(c->n_heads, 1, tp);
    uint64_t latent = (uint64_t)(c->kv_lora_rank + c->qk_rope_head_dim);
    uint64_t head = (uint64_t)(c->qk_nope_head_dim + c->qk_rope_head_dim + c->v_head_dim);
    int dense = share(c->intermediate_size, 32, tp);
    int shared = share(c->n_shared_experts * c->moe_intermediate_size, 32, tp);
    uint64_t routed = (uint64_t)(c->hidden_size + share(c->moe_intermediate_size, 32, tp) + 8);
    uint64_t row = 4 * (uint64_t)c->hidden_size + (uint64_t)c->q_lora_rank + latent +
                   heads * (head + 2 * latent) + (uint64_t)(dense > shared ? dense : shared) +
                   (uint64_t)c->n_routed_experts + (uint64_t)c->n_experts_per_tok * routed +
                   (uint64_t)threads * TILE_FLOATS;
    uint64_t logits = (uint64_t)c->vocab_size * (LOGIT_ROWS + 4 * (uint64_t)threads);
    uint64_t attention = (uint64_t)threads * QUERY_ROWS * (latent + 2);
    p->activation_bytes = 4 * ((uint64_t)o->max_rows * row + logits + attention) + SLACK_BYTES;
}

static bool is_parallel_size(int n) {
    return n == 1 || n == 2 || n == 4 || n == 8;
}

static int check_range(const char *name, int value, int low, int high, base_err *err) {
    return value >= low && value <= high
               ? 0
               : base_fail(err, BASE_ERR_USAGE, "%s: %d; must be in [%d, %d]", name, value, low,
                           high);
}

static int check_options(const model_plan_options *o, const model_config *c, base_err *err) {
    int tp = o->tensor_parallel, dcp = o->decode_context_parallel;
    if (!is_parallel_size(tp))
        return base_fail(err, BASE_ERR_USAGE, "tensor-parallel-size: %d; must be 1, 2, 4 or 8", tp);
    if (!is_parallel_size(dcp) || tp % dcp != 0)
        return base_fail(err, BASE_ERR_USAGE,
                         "decode-context-parallel-size: %d; must divide tensor-parallel-size %d",
                         dcp, tp);
    int rc = check_range("block-size", o->block_size, 1, MAX_BLOCK, err);
    if (rc == 0)
        rc = check_range("max-num-batched-tokens", o->max_rows, 1, MAX_ROWS, err);
    if (rc == 0)
        rc = check_range("max-num-seqs", o->max_num_seqs, 1, MAX_SEQS, err);
    if (rc == 0)
        rc = check_range("threads", o->threads, 0, MAX_THREADS, err);
    if (rc == 0 && (o->max_model_len < 0 || o->max_model_len > c->max_position_embeddings))
        rc = base_fail(err, BASE_ERR_USAGE,
                       "max-model-len: %d; must be in [1, %d] (max_position_embeddings in "
                       "config.json)",
                       o->max_model_len, c->max_position_embeddings);
    return rc;
}

static double gib(uint64_t bytes) {
    return (double)bytes / (1024.0 * 1024 * 1024);
}

// The bytes the cache may have: given, or a share of what is left.
static int find_kv_bytes(model_plan *p, const model_plan_options *o, base_err *err) {
    uint64_t fixed = p->weight_bytes + p->activation_bytes;
    if (fixed > p->memory_bytes)
        return base_fail(err, BASE_ERR_RESOURCE,
                         "a rank needs %.2f GiB (weights %.2f, step buffers %.2f); %.2f GiB are "
                         "available to it",
                         gib(fixed), gib(p->weight_bytes), gib(p->activation_bytes),
                         gib(p->memory_bytes));
    uint64_t left = p->memory_bytes - fixed;
    if (o->kv_bytes > left)
        return base_fail(err, BASE_ERR_RESOURCE,
                         "kv-cache-memory-bytes: %llu; only %llu are left after weights and step "
                         "buffers",
                         (unsigned long long)o->kv_bytes, (unsigned long long)left);
    p->kv_bytes = o->kv_bytes ? o->kv_bytes : (uint64_t)(KV_SHARE * (double)left);
    return 0;
}

// Blocks for one context of `len` tokens, spread over the DCP ranks.
static int64_t blocks_for(const model_plan_options *o, int64_t len) {
    int64_t span = (int64_t)o->block_size * o->decode_context_parallel;
    return (len + span - 1) / span;
}

static int fit_cache(model_plan *p, const model_config *c, const model_plan_options *o,
                     base_err *err) {
    uint64_t block_bytes = p->kv_token_bytes * (uint64_t)o->block_size;
    int64_t span = (int64_t)o->block_size * o->decode_context_parallel;
    uint64_t fit = p->kv_bytes / block_bytes;
    int64_t blocks = fit < INT32_MAX ? (int64_t)fit : INT32_MAX;
    if (blocks == 0)
        return base_fail(err, BASE_ERR_RESOURCE,
                         "no KV cache fits: a block of %d tokens needs %llu bytes, %llu are left",
                         o->block_size, (unsigned long long)block_bytes,
                         (unsigned long long)p->kv_bytes);
    p->max_model_len = o->max_model_len ? o->max_model_len : c->max_position_embeddings;
    if (blocks < blocks_for(o, p->max_model_len)) {
        if (o->max_model_len)
            return base_fail(
                err, BASE_ERR_RESOURCE,
                "max-model-len: %d tokens need %.2f GiB of KV cache per rank; %.2f GiB are left, "
                "which is enough for --max-model-len %lld",
                p->max_model_len, gib((uint64_t)blocks_for(o, p->max_model_len) * block_bytes),
                gib(p->kv_bytes), (long long)(blocks * span));
        p->max_model_len = (int)(blocks * span);
        p->shrunk = true;
    }
    int64_t most = o->max_num_seqs * blocks_for(o, p->max_model_len);
    p->n_blocks = blocks < most || o->kv_bytes ? blocks : most;
    p->kv_bytes = (uint64_t)p->n_blocks * block_bytes;
    p->kv_tokens = p->n_blocks * span;
    return 0;
}

int model_plan_make(model_plan *out, const model_config *config, const model_plan_options *options,
                    base_err *err) {
    *out = (model_plan){0};
    int rc = check_options(options, config, err);
    if (rc != 0)
        return rc;
    uint64_t memory = options->memory_bytes;
    if (memory == 0 && (rc = model_memory_available(&memory, "", err)) != 0)
        return rc;
    out->memory_bytes = memory / (uint64_t)options->tensor_parallel;
    count_weights(out, config, options->tensor_parallel);
    count_activations(out, config, options);
    out->kv_token_bytes = (uint64_t)(config->kv_lora_rank + config->qk_rope_head_dim) *
                          (options->exact ? 4 : 2) * (uint64_t)config->n_layers;
    rc = find_kv_bytes(out, options, err);
    return rc != 0 ? rc : fit_cache(out, config, options, err);
}

static void print_line(base_str *out, bool indent, const char *label, uint64_t bytes) {
    bool large = bytes >= UINT64_C(1) << 30;
    base_str_printf(out, "%s%-*s %10.2f %s\n", indent ? "  " : "", indent ? 20 : 22, label,
                    large ? gib(bytes) : gib(bytes) * 1024, large ? "GiB" : "MiB");
}

void model_plan_print(const model_plan *p, base_str *out) {
    char tokens[32], each[32], len[32];
    base_str_adds(out, "Memory per rank\n");
    print_line(out, true, "embedding, lm_head", p->embed_bytes);
    print_line(out, true, "attention", p->attention_bytes);
    print_line(out, true, "dense MLP", p->dense_bytes);
    print_line(out, true, "shared experts", p->shared_bytes);
    print_line(out, true, "routed experts", p->expert_bytes);
    print_line(out, true, "router, norms", p->other_bytes);
    print_line(out, false, "weights", p->weight_bytes);
    print_line(out, false, "step buffers, at most", p->activation_bytes);
    print_line(out, false, "KV cache", p->kv_bytes);
    print_line(out, false, "available", p->memory_bytes);
    base_str_printf(out, "KV cache: %s tokens, %s bytes per token and rank; max_model_len %s%s\n",
                    base_thousands(tokens, p->kv_tokens),
                    base_thousands(each, (int64_t)p->kv_token_bytes),
                    base_thousands(len, p->max_model_len), p->shrunk ? " (shrunk to fit)" : "");
}
