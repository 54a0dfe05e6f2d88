// One step of the model, top to bottom (kimi.md 3). Every operation works on all rows of the step;
// no row's result depends on another row's, but through the cache of its own sequence.
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

static void resolve_rows(cpu_backend *b, const backend_plan *plan) {
    for (int i = 0; i < plan->n_rows; i++) {
        int32_t id = plan->ids[i] < 0 ? b->sampled[-1 - plan->ids[i]] : plan->ids[i];
        // An output that failed sampled -1; whoever planned on it before knowing discards the row.
        b->ids[i] = id < 0 ? 0 : id;
    }
    for (int s = 0; s < plan->n_seqs; s++) {
        const backend_seq *seq = &plan->seqs[s];
        for (int i = 0; i < seq->n_rows; i++) {
            b->row_seq[seq->first_row + i] = s;
            b->row_position[seq->first_row + i] = seq->position + i;
        }
    }
}

// Embedding row -> residual stream, and the row's rotation angles, once for all layers. Angles are
// reduced in double: at position 262,143 a float angle would be off by 0.01.
static void embed_row(void *arg, int row, int worker) {
    (void)worker;
    const cpu_backend *b = arg;
    int hidden = b->config->hidden_size, pairs = b->config->qk_rope_head_dim / 2;
    const uint16_t *from = b->weights.embed + (size_t)b->ids[row] * hidden;
    float *h = b->h + (size_t)row * hidden, *cs = b->rope_cs + (size_t)row * pairs * 2;
    for (int i = 0; i < hidden; i++)
        h[i] = base_bf16_to_f32(from[i]);
    for (int i = 0; i < pairs; i++) {
        double angle = b->row_position[row] * b->inv_freq[i];
        cs[2 * i] = (float)(cos(angle) * b->cos_sin_scale);
        cs[2 * i + 1] = (float)(sin(angle) * b->cos_sin_scale);
    }
}

// Pairs are interleaved: (x[2i], x[2i + 1]) turns by the i-th angle.
static void rotate(float *y, const float *x, const float *cs, int n) {
    for (int i = 0; i < n; i += 2) {
        float a = x[i], c = x[i + 1], cosine = cs[i], sine = cs[i + 1];
        y[i] = a * cosine - c * sine;
        y[i + 1] = c * cosine + a * sine;
    }
}

typedef struct norm_job {
    cpu_backend *b;
    float *y;
    size_t ldy;
    const float *x;
    size_t ldx;
    const float *weight;
    int n;
    float eps;
} norm_job;

static void norm_row(void *arg, int row, int worker) {
    (void)worker;
    const norm_job *j = arg;
    j->b->k->rmsnorm(j->y + (size_t)row * j->ldy, j->x + (size_t)row * j->ldx, j->weight, j->n,
                     j->eps);
}

static void norm(cpu_backend *b, float *y, size_t ldy, const float *x, size_t ldx, int rows,
                 const float *weight, int n, double eps) {
    norm_job j = {.b = b,
                  .y = y,
                  .ldy = ldy,
                  .x = x,
                  .ldx = ldx,
                  .weight = weight,
                  .n = n,
                  .eps = (float)eps};
    base_pool_run(b->pool, rows, norm_row, &j);
}

typedef struct layer_job {
    cpu_backend *b;
    const cpu_layer *l;
    int layer, rows;
} layer_job;

// The latent, normed, and the rotated shared key of one row go into its cache slot.
static void cache_row(void *arg, int row, int worker) {
    (void)worker;
    const layer_job *job = arg;
    cpu_backend *b = job->b;
    int latent = b->config->kv_lora_rank, rope = b->config->qk_rope_head_dim;
    float *kv = b->kv + (size_t)row * b->kv_stride;
    b->k->rmsnorm(kv, kv, job->l->kv_a_norm, latent, (float)b->config->inner_norm_eps);
    rotate(kv + latent, kv + latent, b->rope_cs + (size_t)row * rope, rope);

    const backend_seq *seq = &b->plan->seqs[b->row_seq[row]];
    int t = b->row_position[row], block_size = b->options.block_size;
    size_t slot = (size_t)seq->block_table[t / block_size] * block_size + t % block_size;
    uint8_t *to = b->cache + (size_t)job->layer * b->cache_layer_bytes + slot * b->cache_row_bytes;
    if (!b->bf16_cache) {
        memcpy(to, kv, (size_t)(latent + rope) * sizeof(float));
        return;
    }
    for (int i = 0; i < latent + rope; i++)
        ((uint16_t *)to)[i] = base_f32_to_bf16(kv[i]);
}

// q_abs = [W_UK^T q_nope | rotated q_rope] for one head. Heads are independent and their matrices
// small, so a work item is one head times CPU_HEAD_ROWS rows.
static void absorb_item(void *arg, int item, int worker) {
    (void)worker;
    const layer_job *job = arg;
    const cpu_backend *b = job->b;
    int heads = b->config->n_heads, nope = b->config->qk_nope_head_dim;
    int latent = b->config->kv_lora_rank, rope = b->config->qk_rope_head_dim;
    int head = item % heads, row = item / heads * CPU_HEAD_ROWS;
    int m = base_min_int(CPU_HEAD_ROWS, job->rows - row);
    const float *q = b->q + (size_t)row * b->q_row_stride + (size_t)head * (nope + rope);
    float *out = b->q_abs + ((size_t)row * heads + head) * b->q_stride;
    const cpu_matrix *w = &job->l->k_up[head];
    // Pad columns of the last panel land where the rotated part goes next.
    cpu_tile_bf16(b, out, heads * b->q_stride, q, b->q_row_stride, m, w, 0, w->n_panels, 0,
                  w->cols);
    for (int i = 0; i < m; i++)
        rotate(out + (size_t)i * heads * b->q_stride + latent,
               q + (size_t)i * b->q_row_stride + nope, b->rope_cs + (size_t)(row + i) * rope, rope);
}

// attn_out = W_UV o_lat for one head.
static void unabsorb_item(void *arg, int item, int worker) {
    const layer_job *job = arg;
    const cpu_backend *b = job->b;
    int heads = b->config->n_heads, latent = b->config->kv_lora_rank, v = b->config->v_head_dim;
    int head = item % heads, row = item / heads * CPU_HEAD_ROWS;
    int m = base_min_int(CPU_HEAD_ROWS, job->rows - row);
    const cpu_matrix *w = &job->l->v_up[head];
    size_t ldt = (size_t)w->n_panels * CPU_LANES;
    float *tile = b->workers[worker].tile;
    cpu_tile_bf16(b, tile, ldt, b->o_lat + ((size_t)row * heads + head) * latent,
                  (size_t)heads * latent, m, w, 0, w->n_panels, 0, w->cols);
    for (int i = 0; i < m; i++)
        memcpy(b->attn_out + ((size_t)(row + i) * heads + head) * v, tile + (size_t)i * ldt,
               (size_t)v * sizeof(float));
}

static void attention_add(cpu_backend *b, int layer, int rows) {
    const model_config *c = b->config;
    const cpu_layer *l = &b->weights.layers[layer];
    size_t hidden = (size_t)c->hidden_size;
    int head_items = base_ceil_div(rows, CPU_HEAD_ROWS) * c->n_heads;
    layer_job job = {.b = b, .l = l, .layer = layer, .rows = rows};

    norm(b, b->x, b->x_stride, b->h, hidden, rows, l->input_norm, c->hidden_size, c->rms_norm_eps);
    if (c->q_lora_rank > 0) {
        cpu_linear(b, b->q_a, b->q_a_stride, b->x, b->x_stride, rows, &l->q_a);
        norm(b, b->q_a, b->q_a_stride, b->q_a, b->q_a_stride, rows, l->q_a_norm, c->q_lora_rank,
             c->inner_norm_eps);
        cpu_linear(b, b->q, b->q_row_stride, b->q_a, b->q_a_stride, rows, &l->q_b);
    } else {
        cpu_linear(b, b->q, b->q_row_stride, b->x, b->x_stride, rows, &l->q_proj);
    }
    cpu_linear(b, b->kv, b->kv_stride, b->x, b->x_stride, rows, &l->kv_a);
    base_pool_run(b->pool, rows, cache_row, &job);
    base_pool_run(b->pool, head_items, absorb_item, &job);
    cpu_attention(b, layer);
    base_pool_run(b->pool, head_items, unabsorb_item, &job);
    cpu_linear_parts_add(b, b->h, b->attn_out, (size_t)c->n_heads * c->v_head_dim, rows, &l->o,
                         c->v_head_dim);
}

typedef struct output_job {
    cpu_backend *b;
    int first; // output of logits row 0
} output_job;

static void output_norm_row(void *arg, int i, int worker) {
    (void)worker;
    const output_job *job = arg;
    const cpu_backend *b = job->b;
    int hidden = b->config->hidden_size, row = b->plan->outputs[job->first + i].row;
    b->k->rmsnorm(b->out_x + (size_t)i * b->x_stride, b->h + (size_t)row * hidden,
                  b->weights.final_norm, hidden, (float)b->config->rms_norm_eps);
}

static void output_sample_row(void *arg, int i, int worker) {
    const output_job *job = arg;
    cpu_backend *b = job->b;
    size_t at = (size_t)(job->first + i);
    const backend_output *output = &b->plan->outputs[at];
    sample_row(b->workers[worker].sample, b->logits + (size_t)i * b->logits_stride,
               b->config->vocab_size, output, b->row_position[output->row],
               b->top_ids + at * b->options.max_logprobs,
               b->top_logprobs + at * b->options.max_logprobs, &b->results[at]);
}

// Logits exist for CPU_LOGIT_ROWS rows at a time only: prompt log-probabilities want many.
static void outputs(cpu_backend *b, const backend_plan *plan) {
    for (int first = 0; first < plan->n_outputs; first += CPU_LOGIT_ROWS) {
        output_job job = {.b = b, .first = first};
        int n = base_min_int(CPU_LOGIT_ROWS, plan->n_outputs - first);
        base_pool_run(b->pool, n, output_norm_row, &job);
        cpu_linear(b, b->logits, b->logits_stride, b->out_x, b->x_stride, n, &b->weights.lm_head);
        base_pool_run(b->pool, n, output_sample_row, &job);
        b->weight_bytes_read += cpu_matrix_bytes(&b->weights.lm_head);
    }

    for (int i = 0; i < plan->n_outputs; i++)
        b->sampled[i] = b->results[i].id;
}

void cpu_forward(cpu_backend *b, const backend_plan *plan) {
    const model_config *c = b->config;
    size_t hidden = (size_t)c->hidden_size;
    b->plan = plan;
    resolve_rows(b, plan);
    base_pool_run(b->pool, plan->n_rows, embed_row, b);
    for (int layer = 0; layer < c->n_layers; layer++) {
        attention_add(b, layer, plan->n_rows);
        norm(b, b->x, b->x_stride, b->h, hidden, plan->n_rows, b->weights.layers[layer].post_norm,
             c->hidden_size, c->rms_norm_eps);
        cpu_mlp_add(b, layer, plan->n_rows);
    }
    outputs(b, plan);
    b->weight_bytes_read += b->dense_bytes;
}
