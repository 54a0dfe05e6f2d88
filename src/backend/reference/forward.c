// The model's formula in float64: one pass over the layers, in reading order.
//
// Deliberately naive. Attention expands every cached latent into the keys and values of a head
// (the other backends fold these matrices into the query), experts run one after the other in
// ascending order, and every dot product is the same sum whatever else is in the step.
#include "backend/reference/reference.h"
#include <math.h>
#include <string.h>

// Eight partial sums, only so that additions need not wait for each other.
static double dot(const double *a, const double *b, size_t n) {
    double s[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            s[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        s[0] += a[i] * b[i];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

// Row `row` of W into r->weight_row.
static void widen(reference *r, const reference_matrix *w, int row) {
    reference_matrix_row(w, row, r->weight_row);
    r->weight_bytes_read += reference_matrix_row_bytes(w);
}

// y [n][rows] = x [n][cols] W^T
static void matmul(reference *r, double *y, const double *x, const reference_matrix *w, int n) {
    size_t rows = (size_t)w->rows, cols = (size_t)w->cols;
    for (size_t o = 0; o < rows; o++) {
        widen(r, w, (int)o);
        for (size_t i = 0; i < (size_t)n; i++)
            y[i * rows + o] = dot(r->weight_row, x + i * cols, cols);
    }
}

// y may be x.
static void rmsnorm(double *y, const double *x, const double *weight, int n, double eps) {
    double scale = 1 / sqrt(dot(x, x, (size_t)n) / n + eps);
    for (int i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

static void rmsnorm_rows(double *y, const double *x, const double *weight, int n_rows, int n,
                         double eps) {
    for (int i = 0; i < n_rows; i++)
        rmsnorm(y + (size_t)i * n, x + (size_t)i * n, weight, n, eps);
}

static void add_rows(double *h, const double *y, int n_rows, int n) {
    for (size_t i = 0; i < (size_t)n_rows * n; i++)
        h[i] += y[i];
}

// ---------------------------------------------------------------------------------------------
// Attention

// Pair i of the rotary dimensions is (x[2i], x[2i + 1]).
static void rotate(const reference *r, double *x, int position) {
    for (int i = 0; i < r->config->qk_rope_head_dim / 2; i++) {
        double angle = position * r->inv_freq[i];
        double c = cos(angle) * r->cos_sin_scale, s = sin(angle) * r->cos_sin_scale;
        double a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c - b * s;
        x[2 * i + 1] = a * s + b * c;
    }
}

// The cache line [kv_lora + rope] of a position.
static double *cache_line(const reference *r, int layer, const backend_seq *seq, int position) {
    size_t block_size = (size_t)r->options.block_size;
    size_t width = (size_t)(r->config->kv_lora_rank + r->config->qk_rope_head_dim);
    size_t block = (size_t)seq->block_table[position / r->options.block_size];
    size_t slot = block * block_size + (size_t)position % block_size;
    return r->cache + ((size_t)layer * (size_t)r->options.n_blocks * block_size + slot) * width;
}

// Keys and values [position][nope + v] of one head for all positions of a sequence.
static void expand_head(reference *r, int layer, const backend_seq *seq, int head) {
    const model_config *c = r->config;
    int width = c->qk_nope_head_dim + c->v_head_dim, end = seq->position + seq->n_rows;
    for (int o = 0; o < width; o++) {
        widen(r, &r->weights.layers[layer].kv_b, head * width + o);
        for (int t = 0; t < end; t++)
            r->head_kv[(size_t)t * width + o] =
                dot(r->weight_row, cache_line(r, layer, seq, t), (size_t)c->kv_lora_rank);
    }
}

// One query [nope + rope] over the positions up to its own, out [v].
static void attend(reference *r, int layer, const backend_seq *seq, int position, const double *q,
                   double *out) {
    const model_config *c = r->config;
    size_t nope = (size_t)c->qk_nope_head_dim, v = (size_t)c->v_head_dim;
    double *p = r->probability, max = -INFINITY, sum = 0;
    for (int t = 0; t <= position; t++) {
        const double *k_pe = cache_line(r, layer, seq, t) + c->kv_lora_rank;
        p[t] = (dot(q, r->head_kv + (size_t)t * (nope + v), nope) +
                dot(q + nope, k_pe, (size_t)c->qk_rope_head_dim)) *
               r->softmax_scale;
        max = p[t] > max ? p[t] : max;
    }
    for (int t = 0; t <= position; t++)
        sum += p[t] = exp(p[t] - max);
    memset(out, 0, v * sizeof *out);
    for (int t = 0; t <= position; t++)
        for (size_t d = 0; d < v; d++)
            out[d] += p[t] / sum * r->head_kv[(size_t)t * (nope + v) + nope + d];
}

static void attend_seq(reference *r, int layer, const backend_seq *seq) {
    const model_config *c = r->config;
    size_t q_width = (size_t)(c->qk_nope_head_dim + c->qk_rope_head_dim);
    for (int head = 0; head < c->n_heads; head++) {
        expand_head(r, layer, seq, head);
        for (int i = 0; i < seq->n_rows; i++) {
            size_t at = (size_t)(seq->first_row + i) * c->n_heads + head;
            double *q = r->q + at * q_width;
            rotate(r, q + c->qk_nope_head_dim, seq->position + i);
            attend(r, layer, seq, seq->position + i, q, r->head_out + at * c->v_head_dim);
        }
    }
}

// x [row][hidden] -> y [row][hidden]
static void attention(reference *r, int layer, const backend_plan *plan) {
    const model_config *c = r->config;
    const reference_layer *w = &r->weights.layers[layer];
    int n = plan->n_rows;
    if (c->q_lora_rank > 0) {
        matmul(r, r->q_a, r->x, &w->q_a, n);
        rmsnorm_rows(r->q_a, r->q_a, w->q_a_norm, n, c->q_lora_rank, c->inner_norm_eps);
        matmul(r, r->q, r->q_a, &w->q_b, n);
    } else {
        matmul(r, r->q, r->x, &w->q, n);
    }
    matmul(r, r->kv_a, r->x, &w->kv_a, n);
    for (int s = 0; s < plan->n_seqs; s++) {
        const backend_seq *seq = &plan->seqs[s];
        for (int i = 0; i < seq->n_rows; i++) {
            size_t width = (size_t)(c->kv_lora_rank + c->qk_rope_head_dim);
            const double *in = r->kv_a + (size_t)(seq->first_row + i) * width;
            double *line = cache_line(r, layer, seq, seq->position + i);
            rmsnorm(line, in, w->kv_a_norm, c->kv_lora_rank, c->inner_norm_eps);
            memcpy(line + c->kv_lora_rank, in + c->kv_lora_rank,
                   (size_t)c->qk_rope_head_dim * sizeof *line);
            rotate(r, line + c->kv_lora_rank, seq->position + i);
        }
    }
    for (int s = 0; s < plan->n_seqs; s++)
        attend_seq(r, layer, &plan->seqs[s]);
    matmul(r, r->y, r->head_out, &w->o, n);
}

// ---------------------------------------------------------------------------------------------
// MLP and experts

// y [n][hidden] = down(silu(gate(x)) * up(x))
static void mlp(reference *r, double *y, const double *x, const reference_mlp *w, int n) {
    matmul(r, r->gate, x, &w->gate, n);
    matmul(r, r->up, x, &w->up, n);
    for (size_t i = 0; i < (size_t)n * w->gate.rows; i++)
        r->gate[i] = r->gate[i] / (1 + exp(-r->gate[i])) * r->up[i];
    matmul(r, y, r->gate, &w->down, n);
}

// The k largest of v [n], largest first, ties by the lower index. A NaN is as good as any other
// value: it must not make this fail, it ends at the logits.
static void pick(const double *v, int n, int k, int *out) {
    for (int j = 0; j < k; j++) {
        int best = -1;
        for (int i = 0; i < n; i++) {
            bool taken = false;
            for (int l = 0; l < j; l++)
                taken |= out[l] == i;
            if (!taken && (best < 0 || v[i] > v[best]))
                best = i;
        }
        out[j] = best;
    }
}

// Whether the last of the k picked leads the best of the others by less than 1e-6 of its own value.
static bool near_tie(const double *v, int n, int k, const int *picked) {
    double last = v[picked[k - 1]];
    for (int i = 0; i < n; i++) {
        bool taken = false;
        for (int l = 0; l < k; l++)
            taken |= picked[l] == i;
        if (!taken && last - v[i] < 1e-6 * fabs(last))
            return true;
    }
    return false;
}

// Group-limited choice: only the experts of the topk_group groups with the largest sum of their two
// best stay; the others' count 0 (not minus infinity, as in the published code). Returns whether
// the groups were nearly tied.
static bool mask_groups(reference *r) {
    const model_config *c = r->config;
    int size = c->n_routed_experts / c->n_group, best[2];
    for (int g = 0; g < c->n_group; g++) {
        const double *in = r->choice + (size_t)g * size;
        pick(in, size, size < 2 ? 1 : 2, best);
        r->group_score[g] = size < 2 ? in[best[0]] : in[best[0]] + in[best[1]];
    }
    pick(r->group_score, c->n_group, c->topk_group, r->groups);
    for (int e = 0; e < c->n_routed_experts; e++) {
        bool kept = false;
        for (int l = 0; l < c->topk_group; l++)
            kept |= r->groups[l] == e / size;
        if (!kept)
            r->choice[e] = 0;
    }
    return near_tie(r->group_score, c->n_group, c->topk_group, r->groups);
}

// The experts of one row and their weights. The correction bias only chooses, it does not weigh.
static void route(reference *r, const double *logits, const double *bias, int *chosen,
                  double *weight) {
    const model_config *c = r->config;
    int n = c->n_routed_experts, k = c->n_experts_per_tok;
    for (int e = 0; e < n; e++) {
        r->score[e] = 1 / (1 + exp(-logits[e]));
        r->choice[e] = r->score[e] + bias[e];
    }
    bool tie = c->n_group > 1 && mask_groups(r);
    pick(r->choice, n, k, chosen);
    r->near_ties += tie || near_tie(r->choice, n, k, chosen);
    double sum = 0;
    for (int j = 0; j < k; j++)
        sum += weight[j] = r->score[chosen[j]];
    for (int j = 0; j < k; j++)
        weight[j] =
            (c->norm_topk_prob ? weight[j] / (sum + 1e-20) : weight[j]) * c->routed_scaling_factor;
}

// Adds expert e, weighted, to y of the rows that chose it.
static void add_expert(reference *r, const reference_mlp *w, int e, int n_rows) {
    size_t hidden = (size_t)r->config->hidden_size;
    int k = r->config->n_experts_per_tok, n = 0;
    for (int i = 0; i < n_rows * k; i++)
        if (r->chosen[i] == e)
            r->expert_slots[n++] = i;
    for (int j = 0; j < n; j++)
        memcpy(r->expert_x + (size_t)j * hidden, r->x + (size_t)(r->expert_slots[j] / k) * hidden,
               hidden * sizeof *r->x);
    if (n > 0)
        mlp(r, r->expert_y, r->expert_x, w, n);
    for (int j = 0; j < n; j++)
        for (size_t d = 0; d < hidden; d++)
            r->y[(size_t)(r->expert_slots[j] / k) * hidden + d] +=
                r->routing[r->expert_slots[j]] * r->expert_y[(size_t)j * hidden + d];
}

// x [row][hidden] -> y [row][hidden]
static void moe(reference *r, const reference_layer *w, int n_rows) {
    const model_config *c = r->config;
    matmul(r, r->router_logits, r->x, &w->router, n_rows);
    for (int i = 0; i < n_rows; i++)
        route(r, r->router_logits + (size_t)i * c->n_routed_experts, w->router_bias,
              r->chosen + (size_t)i * c->n_experts_per_tok,
              r->routing + (size_t)i * c->n_experts_per_tok);
    memset(r->y, 0, (size_t)n_rows * c->hidden_size * sizeof *r->y);
    for (int e = 0; e < c->n_routed_experts; e++)
        add_expert(r, &w->experts[e], e, n_rows);
    if (w->mlp.gate.rows > 0) {
        mlp(r, r->expert_y, r->x, &w->mlp, n_rows);
        add_rows(r->y, r->expert_y, n_rows, c->hidden_size);
    }
}

// ---------------------------------------------------------------------------------------------

static void embed(reference *r, const backend_plan *plan) {
    for (int i = 0; i < plan->n_rows; i++) {
        int32_t id = plan->ids[i];
        if (id < 0)
            id = r->last_ids[-1 - id];
        reference_matrix_row(&r->weights.embed, id, r->h + (size_t)i * r->config->hidden_size);
    }
}

void reference_forward(reference *r, const backend_plan *plan) {
    const model_config *c = r->config;
    int n = plan->n_rows, hidden = c->hidden_size;
    embed(r, plan);
    for (int l = 0; l < c->n_layers; l++) {
        const reference_layer *w = &r->weights.layers[l];
        rmsnorm_rows(r->x, r->h, w->input_norm, n, hidden, c->rms_norm_eps);
        attention(r, l, plan);
        add_rows(r->h, r->y, n, hidden);
        rmsnorm_rows(r->x, r->h, w->post_norm, n, hidden, c->rms_norm_eps);
        if (w->experts)
            moe(r, w, n);
        else
            mlp(r, r->y, r->x, &w->mlp, n);
        add_rows(r->h, r->y, n, hidden);
    }
}

void reference_logits(reference *r, int row) {
    int hidden = r->config->hidden_size;
    rmsnorm(r->x, r->h + (size_t)row * hidden, r->weights.final_norm, hidden,
            r->config->rms_norm_eps);
    matmul(r, r->logits, r->x, &r->weights.lm_head, 1);
}
