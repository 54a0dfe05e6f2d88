// Opening, closing and stepping the CPU backend.
#include "backend/cpu/cpu.h"
#include "backend/internal.h"
#include <string.h>

static size_t pad(int n) {
    return base_round_up((size_t)n, CPU_LANES);
}

// Hands out pieces of the step arena; `base` is NULL in the pass that only counts.
typedef struct carver {
    uint8_t *base;
    size_t used;
} carver;

static void *carve(carver *a, size_t count, size_t size) {
    uint8_t *p = a->base ? a->base + a->used : NULL;
    a->used += cpu_part_bytes(count * size);
    if (p)
        base_big_guard(p + count * size, cpu_part_bytes(count * size) - count * size);
    return p;
}

static float *carve_floats(carver *a, size_t rows, size_t stride) {
    return carve(a, rows * stride, sizeof(float));
}

static void carve_int8(carver *a, cpu_int8_buffer *x, size_t rows, int cols) {
    x->stride_codes = base_round_up((size_t)cols, 64);
    x->stride_groups = x->stride_codes / CPU_GROUP;
    x->codes = carve(a, rows, x->stride_codes);
    x->scales = carve_floats(a, rows, x->stride_groups);
    x->sums8 = carve(a, rows * x->stride_groups, sizeof(int32_t));
}

static int widest_mlp(const cpu_backend *b) {
    int widest = 0;
    for (int i = 0; i < b->config->n_layers; i++)
        widest = base_max_int(widest, b->weights.layers[i].mlp.gate.rows);
    return widest;
}

static bool has_moe(const model_config *c) {
    for (int i = 0; i < c->n_layers; i++)
        if (model_layer_is_moe(c, i))
            return true;
    return false;
}

static void carve_attention(cpu_backend *b, carver *a) {
    const model_config *c = b->config;
    size_t rows = (size_t)b->options.max_rows, heads = (size_t)c->n_heads;
    int latent = c->kv_lora_rank, rope = c->qk_rope_head_dim;
    b->rope_cs = carve_floats(a, rows, (size_t)rope);
    b->q_a_stride = pad(c->q_lora_rank);
    b->q_a = carve_floats(a, rows, b->q_a_stride);
    b->q_row_stride = pad(c->n_heads * (c->qk_nope_head_dim + rope));
    b->q = carve_floats(a, rows, b->q_row_stride);
    b->kv_stride = pad(latent + rope);
    b->kv = carve_floats(a, rows, b->kv_stride);
    b->q_stride = pad(latent + rope);
    b->q_abs = carve_floats(a, rows * heads, b->q_stride);
    b->o_lat = carve_floats(a, rows * heads, (size_t)latent);
    b->attn_out = carve_floats(a, rows * heads, (size_t)c->v_head_dim);
    b->attn_first = carve(a, (size_t)b->options.max_seqs + 1, sizeof(int));
    b->partials = carve_floats(a, (size_t)cpu_attention_split_items(b->n_workers) * 8,
                               cpu_attention_partial_floats(b));
}

static void carve_mlp(cpu_backend *b, carver *a) {
    const model_config *c = b->config;
    size_t rows = (size_t)b->options.max_rows;
    b->mlp_act_stride = pad(widest_mlp(b));
    b->mlp_act = carve_floats(a, rows, b->mlp_act_stride);
    if (!has_moe(c))
        return;
    size_t experts = (size_t)c->n_routed_experts, assigned = rows * (size_t)c->n_experts_per_tok;
    b->router_stride = pad(c->n_routed_experts);
    b->router_logits = carve_floats(a, rows, b->router_stride);
    b->slot_expert = carve(a, assigned, sizeof(int));
    b->slot_weight = carve(a, assigned, sizeof(float));
    b->groups = carve(a, experts, sizeof *b->groups);
    b->group_experts = carve(a, experts, sizeof *b->group_experts);
    b->group_of_expert = carve(a, experts, sizeof(int));
    b->assign_row = carve(a, assigned, sizeof(int));
    b->assign_weight = carve(a, assigned, sizeof(float));
    if (b->int8_experts) {
        carve_int8(a, &b->x8, rows, c->hidden_size);
        carve_int8(a, &b->gathered8, assigned, c->hidden_size);
        carve_int8(a, &b->act8, assigned, c->moe_intermediate_size);
    } else {
        b->gathered = carve_floats(a, assigned, b->x_stride);
        b->expert_act = carve_floats(a, assigned, (size_t)c->moe_intermediate_size);
    }
}

static void carve_outputs(cpu_backend *b, carver *a) {
    size_t outputs = (size_t)b->options.max_outputs, top = (size_t)b->options.max_logprobs;
    b->logits_stride = pad(b->config->vocab_size);
    b->logits = carve_floats(a, CPU_LOGIT_ROWS, b->logits_stride);
    b->out_x = carve_floats(a, CPU_LOGIT_ROWS, b->x_stride);
    b->results = carve(a, outputs, sizeof *b->results);
    b->sampled = carve(a, outputs, sizeof *b->sampled);
    b->top_ids = carve(a, outputs * top, sizeof *b->top_ids);
    b->top_logprobs = carve_floats(a, outputs, top);
}

static void carve_worker(cpu_backend *b, carver *a, cpu_worker *w) {
    const model_config *c = b->config;
    size_t rows = (size_t)b->options.max_rows, latent = (size_t)c->kv_lora_rank;
    size_t rope = (size_t)c->qk_rope_head_dim;
    size_t tile = rows * 2 * CPU_ACT_COLS, head = CPU_HEAD_ROWS * pad(c->v_head_dim);
    w->tile = carve_floats(a, 1, tile > head ? tile : head);
    w->part_sums =
        carve_floats(a, MODEL_PARTS * (rows > CPU_PART_ROWS ? rows : CPU_PART_ROWS), CPU_TILE_COLS);
    w->q = carve_floats(a, CPU_ATTN_ROWS, b->q_stride);
    w->acc = carve_floats(a, 4 * CPU_ATTN_ROWS, latent);
    w->max = carve_floats(a, 4, CPU_ATTN_ROWS);
    w->sum = carve_floats(a, 4, CPU_ATTN_ROWS);
    w->kt = carve_floats(a, latent + rope, CPU_KEYS);
    w->v = carve_floats(a, CPU_KEYS, latent);
    w->route = carve_floats(a, 3, pad(c->n_routed_experts));
}

static void carve_all(cpu_backend *b, carver *a) {
    const model_config *c = b->config;
    size_t rows = (size_t)b->options.max_rows;
    b->ids = carve(a, rows, sizeof(int32_t));
    b->row_position = carve(a, rows, sizeof(int));
    b->row_seq = carve(a, rows, sizeof(int));
    b->h = carve_floats(a, rows, (size_t)c->hidden_size);
    b->x_stride = pad(c->hidden_size);
    b->x = carve_floats(a, rows, b->x_stride);
    carve_attention(b, a);
    carve_mlp(b, a);
    carve_outputs(b, a);
    for (int i = 0; i < b->n_workers; i++)
        carve_worker(b, a, &b->workers[i]);
    b->near_ties = carve(a, (size_t)b->n_workers, sizeof(uint64_t));
}

static int alloc_step_buffers(cpu_backend *b, base_err *err) {
    carver a = {0};
    carve_all(b, &a);
    b->arena_bytes = a.used;
    b->arena = base_big_alloc(a.used);
    if (!b->arena)
        return base_fail(err, BASE_ERR_RESOURCE, "no memory for %.2f GiB of step buffers",
                         (double)a.used / (1 << 30));
    a = (carver){.base = b->arena};
    carve_all(b, &a);
    for (int i = 0; i < b->n_workers; i++)
        b->workers[i].sample = sample_scratch_create(b->config->vocab_size);
    return 0;
}

static int alloc_cache(cpu_backend *b, base_err *err) {
    const model_config *c = b->config;
    size_t width = (size_t)(c->kv_lora_rank + c->qk_rope_head_dim), slots, bytes;
    b->cache_row_bytes = width * (b->bf16_cache ? 2 : 4);
    if (!base_mul_size((size_t)b->options.n_blocks, (size_t)b->options.block_size, &slots) ||
        !base_mul_size(slots, b->cache_row_bytes, &b->cache_layer_bytes) ||
        !base_mul_size(b->cache_layer_bytes, (size_t)c->n_layers, &bytes))
        return base_fail(err, BASE_ERR_RESOURCE, "the KV cache's size overflows");
    b->cache = base_big_alloc(bytes);
    if (!b->cache)
        return base_fail(err, BASE_ERR_RESOURCE, "no memory for %.2f GiB of KV cache",
                         (double)bytes / (1 << 30));
    b->cache_bytes = bytes;
    return 0;
}

static void cpu_close(backend *base) {
    cpu_backend *b = (cpu_backend *)base;
    for (int i = 0; b->workers && i < b->n_workers; i++)
        sample_scratch_free(b->workers[i].sample);
    base_free(b->workers);
    base_free(b->inv_freq);
    base_big_free(b->arena, b->arena_bytes);
    base_big_free(b->cache, b->cache_bytes);
    if (b->weights.layers)
        cpu_weights_free(&b->weights, b->config->n_layers);
    base_pool_destroy(b->pool);
    base_free(b);
}

static void cpu_submit(backend *base, const backend_plan *plan) {
    ((cpu_backend *)base)->plan = plan;
}

static void cpu_wait(backend *base, backend_result *result) {
    cpu_backend *b = (cpu_backend *)base;
    double start = base_now_s();
    base_pool_wake(b->pool);
    cpu_forward(b, b->plan);
    base_pool_rest(b->pool);
    b->seconds += base_now_s() - start;
    *result = (backend_result){.n_outputs = b->plan->n_outputs, .outputs = b->results};
}

static void cpu_get_stats(const backend *base, backend_stats *out) {
    const cpu_backend *b = (const cpu_backend *)base;
    *out = (backend_stats){.weight_bytes_resident = b->weights.arena_bytes,
                           .cache_bytes = b->cache_bytes,
                           .weight_bytes_read = b->weight_bytes_read,
                           .seconds = b->seconds};
    for (int i = 0; i < b->n_workers; i++)
        out->near_ties += b->near_ties[i];
}

static const char *cpu_describe(const backend *base) {
    return ((const cpu_backend *)base)->description;
}

static const backend_ops cpu_ops = {.close = cpu_close,
                                    .submit = cpu_submit,
                                    .wait = cpu_wait,
                                    .get_stats = cpu_get_stats,
                                    .describe = cpu_describe};

static void init_numerics(cpu_backend *b) {
    const model_config *c = b->config;
    double cos_sin_scale, softmax_scale;
    b->inv_freq = base_calloc((size_t)c->qk_rope_head_dim / 2, sizeof(double));
    model_rope_init(c, b->inv_freq, &cos_sin_scale, &softmax_scale);
    b->cos_sin_scale = (float)cos_sin_scale;
    b->softmax_scale = (float)softmax_scale;
    b->bf16_cache = b->options.numerics == BACKEND_FAST;
    b->int8_experts = b->options.numerics == BACKEND_FAST && c->int4_experts;
    snprintf(b->description, sizeof b->description, "cpu, %s kernels, %s numerics, %d threads",
             b->k->name, b->options.numerics == BACKEND_FAST ? "fast" : "exact", b->n_workers);
}

int backend_cpu_open(backend **out, const model *m, const backend_options *options, base_err *err) {
    const cpu_kernels *kernels = cpu_kernels_get();
    if (!kernels)
        return base_fail(err, BASE_ERR_USAGE,
                         "ABRUZZI_CPU: not a kernel level this CPU can run (scalar, avx2, avx512)");
    base_pool *pool = base_pool_create(options->threads);
    if (!pool)
        return base_fail(err, BASE_ERR_RESOURCE, "%d threads cannot be started", options->threads);
    cpu_backend *b = base_calloc(1, sizeof *b);
    b->base.ops = &cpu_ops;
    b->config = model_get_config(m);
    b->options = *options;
    b->k = kernels;
    b->pool = pool;
    b->n_workers = base_pool_threads(pool);
    b->workers = base_calloc((size_t)b->n_workers, sizeof *b->workers);
    init_numerics(b);
    int code = cpu_weights_load(&b->weights, m, b->pool, options->progress, err);
    if (!code) {
        b->dense_bytes = cpu_weights_dense_bytes(&b->weights, b->config);
        code = alloc_step_buffers(b, err);
    }
    if (!code)
        code = alloc_cache(b, err);
    if (code) {
        cpu_close(&b->base);
        return code;
    }
    *out = &b->base;
    return 0;
}
