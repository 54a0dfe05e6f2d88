// The reference backend behind backend.h: buffers, steps, sampling. One thread; a step runs inside
// submit. `threads`, `interleave` and `numerics` have nothing to change here.
#include "backend/reference/reference.h"
#include "backend/internal.h"
#include <string.h>

static void reference_close(backend *b) {
    reference *r = (reference *)b;
    reference_weights_free(&r->weights);
    base_big_free(r->cache, r->cache_bytes);
    for (int i = 0; i < r->n_buffers; i++)
        base_free(r->buffers[i]);
    if (r->scratch)
        sample_scratch_free(r->scratch);
    base_free(r);
}

static void output(reference *r, const backend_plan *plan, int i) {
    const backend_output *o = &plan->outputs[i];
    backend_output_result *result = &r->results[i];
    int vocab = r->config->vocab_size;
    reference_logits(r, o->row);
    for (int t = 0; t < vocab; t++)
        r->sample_logits[t] = (float)r->logits[t];
    size_t top = (size_t)i * r->options.max_logprobs;
    sample_row(r->scratch, r->sample_logits, vocab, o, r->positions[o->row], r->top_ids + top,
               r->top_logprobs + top, result);
    // The engine drops a sequence whose output is not OK, but may have planned its next row
    // already.
    r->last_ids[i] = result->status == BACKEND_OUTPUT_OK ? result->id : 0;
}

static void reference_submit(backend *b, const backend_plan *plan) {
    reference *r = (reference *)b;
    double start = base_now_s();
    reference_forward(r, plan);
    for (int s = 0; s < plan->n_seqs; s++)
        for (int i = 0; i < plan->seqs[s].n_rows; i++)
            r->positions[plan->seqs[s].first_row + i] = plan->seqs[s].position + i;
    for (int i = 0; i < plan->n_outputs; i++)
        output(r, plan, i);
    r->n_results = plan->n_outputs;
    r->seconds += base_now_s() - start;
}

static void reference_wait(backend *b, backend_result *result) {
    reference *r = (reference *)b;
    *result = (backend_result){r->n_results, r->results};
}

static void reference_get_stats(const backend *b, backend_stats *out) {
    const reference *r = (const reference *)b;
    *out = (backend_stats){
        .weight_bytes_resident = r->weights.bytes,
        .cache_bytes = r->cache_bytes,
        .weight_bytes_read = r->weight_bytes_read,
        .seconds = r->seconds,
        .near_ties = r->near_ties,
    };
}

static const char *reference_describe(const backend *b) {
    (void)b;
    return "float64";
}

static const backend_ops ops = {
    reference_close, reference_submit, reference_wait, reference_get_stats, reference_describe,
};

static int make_buffers(reference *r, base_err *err) {
    const model_config *c = r->config;
    const backend_options *o = &r->options;
    int heads = c->n_heads, q_dim = c->qk_nope_head_dim + c->qk_rope_head_dim;
    int mlp = base_max_int(c->intermediate_size,
                           c->moe_intermediate_size * base_max_int(1, c->n_shared_experts));
    int widest = base_max_int(
        base_max_int(mlp, c->hidden_size),
        base_max_int(base_max_int(c->q_lora_rank, c->kv_lora_rank), heads * c->v_head_dim));
    const size_t d = sizeof(double), i = sizeof(int);
    const struct {
        void *out; // of a pointer
        int lines, width;
        size_t size;
    } list[] = {
        {&r->inv_freq, 1, c->qk_rope_head_dim / 2, d},
        {&r->h, o->max_rows, c->hidden_size, d},
        {&r->x, o->max_rows, c->hidden_size, d},
        {&r->y, o->max_rows, c->hidden_size, d},
        {&r->q_a, o->max_rows, c->q_lora_rank, d},
        {&r->q, o->max_rows, heads * q_dim, d},
        {&r->kv_a, o->max_rows, c->kv_lora_rank + c->qk_rope_head_dim, d},
        {&r->head_out, o->max_rows, heads * c->v_head_dim, d},
        {&r->gate, o->max_rows, mlp, d},
        {&r->up, o->max_rows, mlp, d},
        {&r->expert_x, o->max_rows, c->hidden_size, d},
        {&r->expert_y, o->max_rows, c->hidden_size, d},
        {&r->expert_slots, o->max_rows, 1, i},
        {&r->router_logits, o->max_rows, c->n_routed_experts, d},
        {&r->score, 1, c->n_routed_experts, d},
        {&r->choice, 1, c->n_routed_experts, d},
        {&r->group_score, 1, c->n_group, d},
        {&r->groups, 1, c->topk_group, i},
        {&r->chosen, o->max_rows, c->n_experts_per_tok, i},
        {&r->routing, o->max_rows, c->n_experts_per_tok, d},
        {&r->weight_row, 1, widest, d},
        {&r->head_kv, o->max_model_len, c->qk_nope_head_dim + c->v_head_dim, d},
        {&r->probability, 1, o->max_model_len, d},
        {&r->logits, 1, c->vocab_size, d},
        {&r->sample_logits, 1, c->vocab_size, sizeof(float)},
        {&r->positions, o->max_rows, 1, i},
        {&r->last_ids, o->max_outputs, 1, sizeof(int32_t)},
        {&r->results, o->max_outputs, 1, sizeof(backend_output_result)},
        {&r->top_ids, o->max_outputs, o->max_logprobs, sizeof(int32_t)},
        {&r->top_logprobs, o->max_outputs, o->max_logprobs, sizeof(float)},
    };
    for (size_t j = 0; j < sizeof list / sizeof *list; j++) {
        size_t count = (size_t)list[j].lines * (size_t)list[j].width;
        void *p = base_try_calloc(count + 1, list[j].size);
        if (!p)
            return base_fail(err, BASE_ERR_RESOURCE, "no memory for a buffer of %d x %d numbers",
                             list[j].lines, list[j].width);
        r->buffers[r->n_buffers++] = p;
        memcpy(list[j].out, &p, sizeof p);
    }
    return 0;
}

static int make_cache(reference *r, base_err *err) {
    const model_config *c = r->config;
    size_t slots = (size_t)r->options.n_blocks * (size_t)r->options.block_size;
    size_t line = (size_t)(c->kv_lora_rank + c->qk_rope_head_dim) * sizeof(double), bytes;
    if (base_mul_size(slots, line * (size_t)c->n_layers, &bytes))
        r->cache = base_big_alloc(bytes);
    if (!r->cache)
        return base_fail(err, BASE_ERR_RESOURCE, "no memory for a cache of %lld blocks",
                         (long long)r->options.n_blocks);
    r->cache_bytes = bytes;
    return 0;
}

int backend_reference_open(backend **out, const model *m, const backend_options *options,
                           base_err *err) {
    reference *r = base_calloc(1, sizeof *r);
    r->base.ops = &ops;
    r->config = model_get_config(m);
    r->options = *options;
    int rc = make_buffers(r, err);
    if (rc == 0)
        rc = make_cache(r, err);
    if (rc == 0)
        rc = reference_weights_load(&r->weights, m, options->progress, err);
    if (rc) {
        reference_close(&r->base);
        return rc;
    }
    model_rope_init(r->config, r->inv_freq, &r->cos_sin_scale, &r->softmax_scale);
    r->scratch = sample_scratch_create(r->config->vocab_size);
    *out = &r->base;
    return 0;
}
