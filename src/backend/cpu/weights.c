// Checkpoint -> panels. One arena holds everything, in the order of the pass; a layout function
// runs twice, first to count bytes, then to hand out addresses and list what is to be read. The
// reads run on the pool in chunks of a few MB, each worker repacking from its own staging buffer,
// so only one copy of the weights is ever resident.
#include "backend/cpu/cpu.h"
#include <pthread.h>
#include <string.h>

enum { STAGE_BYTES = 4 << 20 };

typedef enum { LOAD_PANELS, LOAD_K_UP, LOAD_V_UP, LOAD_FLOATS, LOAD_RAW } load_kind;

// One chunk: rows [row, row + n_rows) of a matrix, or a whole vector.
typedef struct load_task {
    load_kind kind;
    const model_matrix *from;
    cpu_matrix *to;
    const model_tensor *tensor; // LOAD_FLOATS, LOAD_RAW
    void *floats;               // LOAD_FLOATS: float *, LOAD_RAW: uint16_t *
    int row, n_rows;
} load_task;

typedef struct loader {
    const model *m;
    const model_config *config;
    uint8_t *base; // NULL while counting
    size_t used;
    load_task *tasks;
    int n_tasks, cap_tasks;
    uint8_t **stage; // [workers]
    size_t stage_bytes;
    base_progress *progress;
    pthread_mutex_t lock;
    base_err first; // error, when `failed`
    int failed;
} loader;

static void *take(loader *l, size_t bytes) {
    uint8_t *p = l->base ? l->base + l->used : NULL;
    l->used += cpu_part_bytes(bytes);
    if (p)
        base_big_guard(p + bytes, cpu_part_bytes(bytes) - bytes);
    return p;
}

static void add_task(loader *l, load_task t) {
    if (!l->base)
        return;
    if (l->n_tasks == l->cap_tasks) {
        l->cap_tasks = l->cap_tasks ? 2 * l->cap_tasks : 1024;
        l->tasks = base_realloc(l->tasks, (size_t)l->cap_tasks * sizeof *l->tasks);
    }
    l->tasks[l->n_tasks++] = t;
}

static size_t source_row_bytes(const model_matrix *m) {
    return m->kind == MODEL_MATRIX_BF16 ? (size_t)m->cols * 2
                                        : (size_t)m->cols / 2 + (size_t)m->cols / CPU_GROUP * 2;
}

size_t cpu_matrix_bytes(const cpu_matrix *m) {
    size_t panel = m->kind == MODEL_MATRIX_BF16
                       ? 2 * cpu_bf16_panel_elems(m->cols)
                       : cpu_int4_panel_bytes(m->cols) + 2 * cpu_int4_panel_scales(m->cols);
    return (size_t)m->n_panels * panel;
}

size_t cpu_weights_dense_bytes(const cpu_weights *w, const model_config *config) {
    size_t bytes = 0;
    for (int i = 0; i < config->n_layers; i++) {
        const cpu_layer *l = &w->layers[i];
        const cpu_matrix *all[] = {&l->q_proj, &l->q_a,      &l->q_b,    &l->kv_a,    &l->o,
                                   &l->router, &l->mlp.gate, &l->mlp.up, &l->mlp.down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            bytes += cpu_matrix_bytes(all[j]);
        for (int h = 0; h < config->n_heads; h++)
            bytes += cpu_matrix_bytes(&l->k_up[h]) + cpu_matrix_bytes(&l->v_up[h]);
    }
    return bytes;
}

static void shape_matrix(loader *l, cpu_matrix *to, model_matrix_kind kind, int rows, int cols) {
    to->kind = kind;
    to->rows = rows;
    to->cols = cols;
    to->n_panels = (rows + CPU_LANES - 1) / CPU_LANES;
    size_t n = (size_t)to->n_panels;
    if (kind == MODEL_MATRIX_BF16) {
        to->panels = take(l, n * cpu_bf16_panel_elems(cols) * 2);
    } else {
        to->codes = take(l, n * cpu_int4_panel_bytes(cols));
        to->scales = take(l, n * cpu_int4_panel_scales(cols) * 2);
    }
}

static void lay_matrix(loader *l, cpu_matrix *to, const model_matrix *from) {
    if (from->rows == 0)
        return;
    shape_matrix(l, to, from->kind, from->rows, from->cols);
    int chunk = (int)(STAGE_BYTES / source_row_bytes(from)) / CPU_LANES * CPU_LANES;
    if (chunk < CPU_LANES)
        chunk = CPU_LANES;
    for (int row = 0; row < from->rows; row += chunk) {
        int n = from->rows - row < chunk ? from->rows - row : chunk;
        add_task(l,
                 (load_task){.kind = LOAD_PANELS, .from = from, .to = to, .row = row, .n_rows = n});
    }
}

// kv_b [heads * (nope + v), kv_lora] becomes, per head, W_UK transposed and W_UV.
static void lay_kv_b(loader *l, cpu_layer *to, const model_matrix *from) {
    const model_config *c = l->config;
    int nope = c->qk_nope_head_dim, v = c->v_head_dim;
    for (int h = 0; h < c->n_heads; h++) {
        int row = h * (nope + v);
        shape_matrix(l, &to->k_up[h], MODEL_MATRIX_BF16, c->kv_lora_rank, nope);
        add_task(
            l,
            (load_task){
                .kind = LOAD_K_UP, .from = from, .to = &to->k_up[h], .row = row, .n_rows = nope});
        shape_matrix(l, &to->v_up[h], MODEL_MATRIX_BF16, v, c->kv_lora_rank);
        add_task(l, (load_task){.kind = LOAD_V_UP,
                                .from = from,
                                .to = &to->v_up[h],
                                .row = row + nope,
                                .n_rows = v});
    }
}

static float *lay_floats(loader *l, const model_tensor *t) {
    if (!t)
        return NULL;
    float *p = take(l, (size_t)t->shape[0] * sizeof(float));
    add_task(l, (load_task){.kind = LOAD_FLOATS, .tensor = t, .floats = p});
    return p;
}

static void lay_layer(loader *l, cpu_layer *to, const model_layer *from) {
    to->input_norm = lay_floats(l, from->input_norm);
    if (l->config->q_lora_rank > 0) {
        lay_matrix(l, &to->q_a, &from->q_a);
        to->q_a_norm = lay_floats(l, from->q_a_norm);
        lay_matrix(l, &to->q_b, &from->q_b);
    } else {
        lay_matrix(l, &to->q_proj, &from->q_proj);
    }
    lay_matrix(l, &to->kv_a, &from->kv_a);
    to->kv_a_norm = lay_floats(l, from->kv_a_norm);
    lay_kv_b(l, to, &from->kv_b);
    lay_matrix(l, &to->o, &from->o);
    to->post_norm = lay_floats(l, from->post_norm);
    to->is_moe = from->is_moe;
    if (!from->is_moe) {
        lay_matrix(l, &to->mlp.gate, &from->gate);
        lay_matrix(l, &to->mlp.up, &from->up);
        lay_matrix(l, &to->mlp.down, &from->down);
        return;
    }
    lay_matrix(l, &to->router, &from->router);
    to->router_bias = lay_floats(l, from->router_bias);
    lay_matrix(l, &to->mlp.gate, &from->shared_gate);
    lay_matrix(l, &to->mlp.up, &from->shared_up);
    lay_matrix(l, &to->mlp.down, &from->shared_down);
    for (int e = 0; e < l->config->n_routed_experts; e++) {
        lay_matrix(l, &to->experts[e].gate, &from->expert_gate[e]);
        lay_matrix(l, &to->experts[e].up, &from->expert_up[e]);
        lay_matrix(l, &to->experts[e].down, &from->expert_down[e]);
    }
}

static void lay_all(loader *l, cpu_weights *w) {
    const model_matrix *embed = model_embed(l->m);
    w->embed = take(l, (size_t)embed->rows * embed->cols * 2);
    // In chunks, like every other large matrix.
    int chunk = (int)(STAGE_BYTES / ((size_t)embed->cols * 2)) + 1;
    for (int row = 0; row < embed->rows; row += chunk) {
        int n = embed->rows - row < chunk ? embed->rows - row : chunk;
        add_task(l, (load_task){.kind = LOAD_RAW,
                                .from = embed,
                                .tensor = embed->weight,
                                .floats = w->embed,
                                .row = row,
                                .n_rows = n});
    }
    for (int i = 0; i < l->config->n_layers; i++)
        lay_layer(l, &w->layers[i], model_get_layer(l->m, i));
    w->final_norm = lay_floats(l, model_final_norm(l->m));
    lay_matrix(l, &w->lm_head, model_lm_head(l->m));
}

// ---------------------------------------------------------------------------------------------
// Reading

static int read_rows(const loader *l, const model_tensor *t, size_t row_bytes, int row, int n_rows,
                     void *out, base_err *err) {
    return model_read(l->m, t, (uint64_t)row * row_bytes, (uint64_t)n_rows * row_bytes, out, err);
}

static int load_panels(const loader *l, const load_task *t, uint8_t *stage, base_err *err) {
    int cols = t->from->cols, panel = t->row / CPU_LANES;
    if (t->from->kind == MODEL_MATRIX_BF16) {
        if (read_rows(l, t->from->weight, (size_t)cols * 2, t->row, t->n_rows, stage, err))
            return err->code;
        for (int r = 0; r < t->n_rows; r += CPU_LANES, panel++)
            cpu_pack_bf16(t->to->panels + (size_t)panel * cpu_bf16_panel_elems(cols),
                          (const uint16_t *)stage, t->n_rows, cols, r);
        return 0;
    }
    size_t row_codes = (size_t)cols / 2, row_scales = (size_t)cols / CPU_GROUP * 2;
    uint8_t *scales = stage + (size_t)t->n_rows * row_codes;
    if (read_rows(l, t->from->packed, row_codes, t->row, t->n_rows, stage, err) ||
        read_rows(l, t->from->scale, row_scales, t->row, t->n_rows, scales, err))
        return err->code;
    for (int r = 0; r < t->n_rows; r += CPU_LANES, panel++)
        cpu_pack_int4(t->to->codes + (size_t)panel * cpu_int4_panel_bytes(cols),
                      t->to->scales + (size_t)panel * cpu_int4_panel_scales(cols),
                      (const uint32_t *)stage, (const uint16_t *)scales, t->n_rows, cols, r);
    return 0;
}

static int load_kv_b(const loader *l, const load_task *t, uint8_t *stage, base_err *err) {
    int latent = t->from->cols;
    if (read_rows(l, t->from->weight, (size_t)latent * 2, t->row, t->n_rows, stage, err))
        return err->code;
    for (int panel = 0; panel < t->to->n_panels; panel++) {
        uint16_t *to = t->to->panels + (size_t)panel * cpu_bf16_panel_elems(t->to->cols);
        if (t->kind == LOAD_K_UP)
            cpu_pack_bf16_transposed(to, (const uint16_t *)stage, (size_t)latent, t->n_rows, latent,
                                     panel * CPU_LANES);
        else
            cpu_pack_bf16(to, (const uint16_t *)stage, t->n_rows, latent, panel * CPU_LANES);
    }
    return 0;
}

static int load_floats(const loader *l, const load_task *t, uint8_t *stage, base_err *err) {
    const model_tensor *from = t->tensor;
    float *out = t->floats;
    if (from->dtype == MODEL_F32)
        return model_read(l->m, from, 0, from->bytes, out, err);
    if (model_read(l->m, from, 0, from->bytes, stage, err))
        return err->code;
    for (int64_t i = 0; i < from->shape[0]; i++)
        out[i] = base_bf16_to_f32(((const uint16_t *)stage)[i]);
    return 0;
}

static size_t task_bytes(const load_task *t) {
    if (t->kind == LOAD_FLOATS)
        return (size_t)t->tensor->bytes;
    return (size_t)t->n_rows * source_row_bytes(t->from);
}

static int run_task(const loader *l, const load_task *t, uint8_t *stage, base_err *err) {
    switch (t->kind) {
    case LOAD_PANELS:
        return load_panels(l, t, stage, err);
    case LOAD_K_UP:
    case LOAD_V_UP:
        return load_kv_b(l, t, stage, err);
    case LOAD_FLOATS:
        return load_floats(l, t, stage, err);
    case LOAD_RAW:
        break;
    }
    size_t row_bytes = (size_t)t->from->cols * 2;
    return read_rows(l, t->tensor, row_bytes, t->row, t->n_rows,
                     (uint8_t *)t->floats + (size_t)t->row * row_bytes, err);
}

static void load_item(void *arg, int item, int worker) {
    loader *l = arg;
    if (__atomic_load_n(&l->failed, __ATOMIC_RELAXED))
        return;
    base_err err = {0};
    if (run_task(l, &l->tasks[item], l->stage[worker], &err)) {
        pthread_mutex_lock(&l->lock);
        if (!l->failed)
            l->first = err;
        __atomic_store_n(&l->failed, 1, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&l->lock);
        return;
    }
    base_progress_add(l->progress, task_bytes(&l->tasks[item]));
}

static void read_all(loader *l, base_pool *pool, bool progress) {
    uint64_t total = 0;
    for (int i = 0; i < l->n_tasks; i++) {
        size_t n = task_bytes(&l->tasks[i]);
        total += n;
        if (n > l->stage_bytes)
            l->stage_bytes = n;
    }
    int workers = base_pool_threads(pool);
    l->stage = base_calloc((size_t)workers, sizeof *l->stage);
    for (int i = 0; i < workers; i++)
        l->stage[i] = base_alloc(base_round_up(l->stage_bytes, 64));
    l->progress = progress ? base_progress_start("Loading weights", total) : NULL;
    base_pool_run(pool, l->n_tasks, load_item, l);
    if (l->progress)
        base_progress_end(l->progress);
    for (int i = 0; i < workers; i++)
        base_free(l->stage[i]);
    base_free(l->stage);
}

static void alloc_tables(cpu_weights *w, const model_config *c) {
    w->layers = base_calloc((size_t)c->n_layers, sizeof *w->layers);
    for (int i = 0; i < c->n_layers; i++) {
        cpu_layer *l = &w->layers[i];
        l->k_up = base_calloc((size_t)c->n_heads, sizeof *l->k_up);
        l->v_up = base_calloc((size_t)c->n_heads, sizeof *l->v_up);
        if (model_layer_is_moe(c, i))
            l->experts = base_calloc((size_t)c->n_routed_experts, sizeof *l->experts);
    }
}

int cpu_weights_load(cpu_weights *w, const model *m, base_pool *pool, bool progress,
                     base_err *err) {
    loader l = {.m = m, .config = model_get_config(m)};
    memset(w, 0, sizeof *w);
    alloc_tables(w, l.config);
    lay_all(&l, w);
    w->arena_bytes = l.used;
    w->arena = base_big_alloc(l.used);
    if (!w->arena) {
        cpu_weights_free(w, l.config->n_layers);
        return base_fail(err, BASE_ERR_RESOURCE, "no memory for %.2f GiB of weights",
                         (double)l.used / (1 << 30));
    }
    l.base = w->arena;
    l.used = 0;
    lay_all(&l, w);
    pthread_mutex_init(&l.lock, NULL);
    read_all(&l, pool, progress);
    pthread_mutex_destroy(&l.lock);
    base_free(l.tasks);
    if (!l.failed)
        return 0;
    cpu_weights_free(w, l.config->n_layers);
    return base_fail(err, l.first.code, "%s", l.first.message);
}

void cpu_weights_free(cpu_weights *w, int n_layers) {
    for (int i = 0; w->layers && i < n_layers; i++) {
        base_free(w->layers[i].k_up);
        base_free(w->layers[i].v_up);
        base_free(w->layers[i].experts);
    }
    base_free(w->layers);
    base_big_free(w->arena, w->arena_bytes);
    memset(w, 0, sizeof *w);
}
