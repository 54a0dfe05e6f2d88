// Dense and mixture-of-experts MLPs, in two parallel phases (gate and up; down).
//
// Rows are grouped by expert, so that an expert's weights are read once a step. Phase 1 works on
// (expert, tile of intermediate columns), phase 2 on tiles of hidden columns: there one worker
// walks all experts in ascending order and keeps a sum per row and part, which is the canonical
// order (DESIGN promise 2): for each of the eight parts of the intermediate dimension the sum over
// slots of weight x expert part, then the shared expert's part, then the tree over parts.
//
// A dense MLP is the same with no routed expert, its matrices in the shared expert's place.
#include "backend/cpu/cpu.h"
#include <string.h>

typedef struct mlp_job {
    cpu_backend *b;
    const cpu_layer *layer;
    const cpu_mlp **experts; // [n_groups] acquired
    int n_groups, rows;
    int expert_tiles, shared_tiles; // phase 1 items per expert, and of the shared expert
    int expert_inter;
    int expert_bounds[MODEL_PARTS + 1], shared_bounds[MODEL_PARTS + 1];
} mlp_job;

// y [m][CPU_ACT_COLS] = W[tile] x for f32 activations, INT4 or BF16 weights, whole reduction.
static void tile_f32(const cpu_backend *b, float *y, const float *x, size_t ldx, int m,
                     const cpu_matrix *w, int panel, int n_panels) {
    if (w->kind == MODEL_MATRIX_BF16) {
        cpu_tile_bf16(b, y, CPU_ACT_COLS, x, ldx, m, w, panel, n_panels, 0, w->cols);
        return;
    }
    size_t codes = cpu_int4_panel_bytes(w->cols), scales = cpu_int4_panel_scales(w->cols);
    b->k->gemm_int4_f32(y, CPU_ACT_COLS, x, ldx, m, w->codes + (size_t)panel * codes, codes,
                        w->scales + (size_t)panel * scales, scales, n_panels, 0, w->cols, 0);
}

// `k` values of `x` to INT8 at column `col` of a row of `to`.
static void quantize_into(const cpu_backend *b, const cpu_int8_buffer *to, int row, int col,
                          const float *x, int k) {
    size_t group = (size_t)row * to->stride_groups + (size_t)(col / CPU_GROUP);
    b->k->quantize_int8(to->codes + (size_t)row * to->stride_codes + col, to->scales + group,
                        to->sums8 + group, x, k);
}

static void tile_int8(const cpu_backend *b, float *y, size_t ldy, const cpu_int8_rows *x, int m,
                      const cpu_matrix *w, int panel, int n_panels, int begin, int end) {
    size_t codes = cpu_int4_panel_bytes(w->cols), scales = cpu_int4_panel_scales(w->cols);
    b->k->gemm_int4_int8(y, ldy, x, m, w->codes + (size_t)panel * codes, codes,
                         w->scales + (size_t)panel * scales, scales, n_panels, begin, end, 0);
}

// ---------------------------------------------------------------------------------------------
// Before phase 1: the experts' input rows, contiguous per expert.

static void quantize_row(void *arg, int row, int worker) {
    (void)worker;
    const mlp_job *job = arg;
    const cpu_backend *b = job->b;
    quantize_into(b, &b->x8, row, 0, b->x + (size_t)row * b->x_stride, b->config->hidden_size);
}

static void gather_row(void *arg, int item, int worker) {
    (void)worker;
    const mlp_job *job = arg;
    const cpu_backend *b = job->b;
    size_t row = (size_t)b->assign_row[item], at = (size_t)item;
    size_t hidden = (size_t)b->config->hidden_size;
    if (!b->int8_experts) {
        memcpy(b->gathered + at * b->x_stride, b->x + row * b->x_stride, hidden * sizeof(float));
        return;
    }
    const cpu_int8_buffer *from = &b->x8, *to = &b->gathered8;
    size_t to_group = at * to->stride_groups, from_group = row * from->stride_groups;
    size_t groups = hidden / CPU_GROUP;
    memcpy(to->codes + at * to->stride_codes, from->codes + row * from->stride_codes, hidden);
    memcpy(to->scales + to_group, from->scales + from_group, groups * sizeof(float));
    memcpy(to->sums8 + to_group, from->sums8 + from_group, groups * sizeof(int32_t));
}

// ---------------------------------------------------------------------------------------------
// Phase 1: act = silu(gate x) * (up x), for one tile of intermediate columns

static void expert_act_tile(const mlp_job *job, int group, int tile, float *scratch) {
    const cpu_backend *b = job->b;
    const cpu_group *g = &b->groups[group];
    const cpu_mlp *e = job->experts[group];
    int col = tile * CPU_ACT_COLS, cols = base_min_int(CPU_ACT_COLS, job->expert_inter - col);
    int panel = col / CPU_LANES, n_panels = base_ceil_div(cols, CPU_LANES);
    float *gate = scratch, *up = scratch + (size_t)g->count * CPU_ACT_COLS;
    if (b->int8_experts) {
        const cpu_int8_rows x = cpu_int8_at(&b->gathered8, g->first);
        tile_int8(b, gate, CPU_ACT_COLS, &x, g->count, &e->gate, panel, n_panels, 0, e->gate.cols);
        tile_int8(b, up, CPU_ACT_COLS, &x, g->count, &e->up, panel, n_panels, 0, e->up.cols);
    } else {
        const float *x = b->gathered + (size_t)g->first * b->x_stride;
        tile_f32(b, gate, x, b->x_stride, g->count, &e->gate, panel, n_panels);
        tile_f32(b, up, x, b->x_stride, g->count, &e->up, panel, n_panels);
    }
    for (int i = 0; i < g->count; i++) {
        float *y = gate + (size_t)i * CPU_ACT_COLS;
        b->k->silu_mul(y, y, up + (size_t)i * CPU_ACT_COLS, cols);
        int at = g->first + i;
        if (b->int8_experts) {
            quantize_into(b, &b->act8, at, col, y, cols);
        } else {
            memcpy(b->expert_act + (size_t)at * job->expert_inter + col, y,
                   (size_t)cols * sizeof(float));
        }
    }
}

static void shared_act_tile(const mlp_job *job, int tile, float *scratch) {
    const cpu_backend *b = job->b;
    const cpu_mlp *s = &job->layer->mlp;
    int col = tile * CPU_ACT_COLS, cols = base_min_int(CPU_ACT_COLS, s->gate.rows - col);
    int panel = col / CPU_LANES, n_panels = base_ceil_div(cols, CPU_LANES);
    float *gate = scratch, *up = scratch + (size_t)job->rows * CPU_ACT_COLS;
    tile_f32(b, gate, b->x, b->x_stride, job->rows, &s->gate, panel, n_panels);
    tile_f32(b, up, b->x, b->x_stride, job->rows, &s->up, panel, n_panels);
    for (int i = 0; i < job->rows; i++)
        b->k->silu_mul(b->mlp_act + (size_t)i * b->mlp_act_stride + col,
                       gate + (size_t)i * CPU_ACT_COLS, up + (size_t)i * CPU_ACT_COLS, cols);
}

static void act_item(void *arg, int item, int worker) {
    const mlp_job *job = arg;
    float *scratch = job->b->workers[worker].tile;
    // The shared expert's tiles have all rows and take longest: they go first.
    if (item < job->shared_tiles)
        shared_act_tile(job, item, scratch);
    else
        expert_act_tile(job, (item - job->shared_tiles) / job->expert_tiles,
                        (item - job->shared_tiles) % job->expert_tiles, scratch);
}

// ---------------------------------------------------------------------------------------------
// Phase 2: h += down(act), for one tile of hidden columns

// sums [rows][CPU_TILE_COLS] += weight x (part p of expert `group`'s down projection).
static void add_expert_part(const mlp_job *job, int group, int p, int panel, int n_panels,
                            float *tile, float *sums) {
    const cpu_backend *b = job->b;
    const cpu_group *g = &b->groups[group];
    const cpu_matrix *w = &job->experts[group]->down;
    int begin = job->expert_bounds[p], end = job->expert_bounds[p + 1];
    if (b->int8_experts) {
        const cpu_int8_rows x = cpu_int8_at(&b->act8, g->first);
        tile_int8(b, tile, CPU_TILE_COLS, &x, g->count, w, panel, n_panels, begin, end);
    } else {
        const float *x = b->expert_act + (size_t)g->first * job->expert_inter;
        if (w->kind == MODEL_MATRIX_BF16) {
            cpu_tile_bf16(b, tile, CPU_TILE_COLS, x, (size_t)job->expert_inter, g->count, w, panel,
                          n_panels, begin, end);
        } else {
            size_t codes = cpu_int4_panel_bytes(w->cols), scales = cpu_int4_panel_scales(w->cols);
            b->k->gemm_int4_f32(tile, CPU_TILE_COLS, x, (size_t)job->expert_inter, g->count,
                                w->codes + (size_t)panel * codes, codes,
                                w->scales + (size_t)panel * scales, scales, n_panels, begin, end,
                                0);
        }
    }
    for (int i = 0; i < g->count; i++)
        b->k->axpy(sums + (size_t)b->assign_row[g->first + i] * CPU_TILE_COLS,
                   b->assign_weight[g->first + i], tile + (size_t)i * CPU_TILE_COLS,
                   n_panels * CPU_LANES);
}

static void add_shared_part(const mlp_job *job, int p, int panel, int n_panels, float *tile,
                            float *sums) {
    const cpu_backend *b = job->b;
    const cpu_matrix *w = &job->layer->mlp.down;
    cpu_tile_bf16(b, tile, CPU_TILE_COLS, b->mlp_act, b->mlp_act_stride, job->rows, w, panel,
                  n_panels, job->shared_bounds[p], job->shared_bounds[p + 1]);
    for (int i = 0; i < job->rows; i++)
        b->k->add(sums + (size_t)i * CPU_TILE_COLS, tile + (size_t)i * CPU_TILE_COLS,
                  n_panels * CPU_LANES);
}

static void down_item(void *arg, int item, int worker) {
    const mlp_job *job = arg;
    cpu_backend *b = job->b;
    int hidden = b->config->hidden_size;
    int col = item * CPU_TILE_COLS, cols = base_min_int(CPU_TILE_COLS, hidden - col);
    int panel = item * CPU_TILE_PANELS, n_panels = base_ceil_div(cols, CPU_LANES);
    float *tile = b->workers[worker].tile, *sums = b->workers[worker].part_sums;
    size_t part = (size_t)job->rows * CPU_TILE_COLS;
    memset(sums, 0, MODEL_PARTS * part * sizeof(float));

    // With few rows an expert's panels are read once for all parts, in memory order. With many, the
    // sums of all parts would not stay in the L2 cache: then the experts are walked once per part.
    int pass = job->rows <= 256 ? MODEL_PARTS : 1;
    for (int first = 0; first < MODEL_PARTS; first += pass)
        for (int g = 0; g < job->n_groups; g++)
            for (int p = first; p < first + pass; p++)
                add_expert_part(job, g, p, panel, n_panels, tile, sums + (size_t)p * part);
    if (job->shared_tiles > 0)
        for (int p = 0; p < MODEL_PARTS; p++)
            add_shared_part(job, p, panel, n_panels, tile, sums + (size_t)p * part);
    cpu_parts_tree_add(b->k, b->h, (size_t)hidden, job->rows, col, cols, sums);
}

void cpu_mlp_add(cpu_backend *b, int layer, int rows) {
    const model_config *c = b->config;
    const cpu_layer *l = &b->weights.layers[layer];
    mlp_job job = {.b = b, .layer = l, .rows = rows, .experts = b->group_experts};
    if (l->is_moe) {
        cpu_linear(b, b->router_logits, b->router_stride, b->x, b->x_stride, rows, &l->router);
        cpu_route(b, layer, rows);
        job.n_groups = b->n_groups;
        job.expert_inter = c->moe_intermediate_size;
        job.expert_tiles = base_ceil_div(job.expert_inter, CPU_ACT_COLS);
        model_part_bounds(job.expert_inter, CPU_GROUP, job.expert_bounds);
        for (int g = 0; g < b->n_groups; g++) {
            job.experts[g] = cpu_expert_acquire(b, layer, b->groups[g].expert);
            b->weight_bytes_read += cpu_matrix_bytes(&job.experts[g]->gate) +
                                    cpu_matrix_bytes(&job.experts[g]->up) +
                                    cpu_matrix_bytes(&job.experts[g]->down);
        }
        if (b->int8_experts)
            base_pool_run(b->pool, rows, quantize_row, &job);
        base_pool_run(b->pool, rows * c->n_experts_per_tok, gather_row, &job);
    }
    if (l->mlp.gate.rows > 0) {
        job.shared_tiles = base_ceil_div(l->mlp.gate.rows, CPU_ACT_COLS);
        model_part_bounds(l->mlp.down.cols, CPU_GROUP, job.shared_bounds);
    }
    base_pool_run(b->pool, job.n_groups * job.expert_tiles + job.shared_tiles, act_item, &job);
    base_pool_run(b->pool, base_ceil_div(c->hidden_size, CPU_TILE_COLS), down_item, &job);
    for (int g = 0; g < job.n_groups; g++)
        cpu_expert_release(b, layer, b->groups[g].expert);
}
