// Reading a checkpoint's weights, as they are stored.
#include "backend/reference/reference.h"

typedef struct loader {
    const model *m;
    reference_weights *w;
    base_progress *progress;
    base_err *err;
} loader;

// The sizes come from the checkpoint, so they may be more than there is memory for.
static int read_tensor(loader *l, const model_tensor *t, void **out) {
    *out = base_try_alloc((size_t)t->bytes);
    if (!*out)
        return base_fail(l->err, BASE_ERR_RESOURCE, "%s: no memory for %llu bytes", t->name,
                         (unsigned long long)t->bytes);
    l->w->bytes += t->bytes;
    base_progress_add(l->progress, t->bytes);
    return model_read(l->m, t, 0, t->bytes, *out, l->err);
}

static int load_vector(loader *l, double **out, const model_tensor *t) {
    void *raw = NULL;
    int rc = read_tensor(l, t, &raw);
    if (rc == 0) {
        size_t n = (size_t)t->shape[0];
        *out = base_calloc(n, sizeof **out);
        for (size_t i = 0; i < n; i++)
            (*out)[i] = t->dtype == MODEL_F32 ? ((const float *)raw)[i]
                                              : base_bf16_to_f32(((const uint16_t *)raw)[i]);
    }
    base_free(raw);
    return rc;
}

static int load_matrix(loader *l, reference_matrix *out, const model_matrix *in) {
    out->rows = in->rows;
    out->cols = in->cols;
    if (in->rows == 0)
        return 0;
    if (in->kind == MODEL_MATRIX_BF16)
        return read_tensor(l, in->weight, (void **)&out->bf16);
    // A word holds 8 columns, lowest nibble first: as little-endian bytes, 2 columns each.
    int rc = read_tensor(l, in->packed, (void **)&out->nibbles);
    return rc ? rc : read_tensor(l, in->scale, (void **)&out->scale);
}

static int load_mlp(loader *l, reference_mlp *out, const model_matrix *gate, const model_matrix *up,
                    const model_matrix *down) {
    int rc = load_matrix(l, &out->gate, gate);
    if (rc == 0)
        rc = load_matrix(l, &out->up, up);
    if (rc == 0)
        rc = load_matrix(l, &out->down, down);
    return rc;
}

static int load_attention(loader *l, reference_layer *out, const model_layer *in) {
    int rc;
    if ((rc = load_vector(l, &out->input_norm, in->input_norm)) ||
        (rc = load_matrix(l, &out->kv_a, &in->kv_a)) ||
        (rc = load_vector(l, &out->kv_a_norm, in->kv_a_norm)) ||
        (rc = load_matrix(l, &out->kv_b, &in->kv_b)) || (rc = load_matrix(l, &out->o, &in->o)))
        return rc;
    if (model_get_config(l->m)->q_lora_rank == 0)
        return load_matrix(l, &out->q, &in->q_proj);
    if ((rc = load_matrix(l, &out->q_a, &in->q_a)) ||
        (rc = load_vector(l, &out->q_a_norm, in->q_a_norm)))
        return rc;
    return load_matrix(l, &out->q_b, &in->q_b);
}

static int load_layer(loader *l, reference_layer *out, const model_layer *in) {
    int rc = load_attention(l, out, in);
    if (rc == 0)
        rc = load_vector(l, &out->post_norm, in->post_norm);
    if (rc == 0 && !in->is_moe)
        return load_mlp(l, &out->mlp, &in->gate, &in->up, &in->down);
    if (rc == 0)
        rc = load_matrix(l, &out->router, &in->router);
    if (rc == 0)
        rc = load_vector(l, &out->router_bias, in->router_bias);
    if (rc == 0)
        rc = load_mlp(l, &out->mlp, &in->shared_gate, &in->shared_up, &in->shared_down);
    if (rc)
        return rc;
    out->experts = base_calloc((size_t)l->w->n_experts, sizeof *out->experts);
    for (int e = 0; e < l->w->n_experts && rc == 0; e++)
        rc = load_mlp(l, &out->experts[e], &in->expert_gate[e], &in->expert_up[e],
                      &in->expert_down[e]);
    return rc;
}

static uint64_t used_bytes(const model *m) {
    uint64_t bytes = 0;
    for (int i = 0; i < model_n_tensors(m); i++) {
        bool ignored;
        const model_tensor *t = model_tensor_at(m, i, &ignored);
        if (!ignored)
            bytes += t->bytes;
    }
    return bytes;
}

int reference_weights_load(reference_weights *w, const model *m, bool progress, base_err *err) {
    const model_config *config = model_get_config(m);
    *w = (reference_weights){.n_layers = config->n_layers, .n_experts = config->n_routed_experts};
    w->layers = base_calloc((size_t)w->n_layers, sizeof *w->layers);
    loader l = {m, w, progress ? base_progress_start("Loading weights", used_bytes(m)) : NULL, err};
    int rc = load_matrix(&l, &w->embed, model_embed(m));
    for (int i = 0; i < w->n_layers && rc == 0; i++)
        rc = load_layer(&l, &w->layers[i], model_get_layer(m, i));
    if (rc == 0)
        rc = load_vector(&l, &w->final_norm, model_final_norm(m));
    if (rc == 0)
        rc = load_matrix(&l, &w->lm_head, model_lm_head(m));
    if (l.progress)
        base_progress_end(l.progress);
    return rc;
}

static void free_matrix(reference_matrix *w) {
    base_free(w->bf16);
    base_free(w->nibbles);
    base_free(w->scale);
}

static void free_mlp(reference_mlp *w) {
    free_matrix(&w->gate);
    free_matrix(&w->up);
    free_matrix(&w->down);
}

static void free_layer(reference_layer *l, int n_experts) {
    reference_matrix *matrices[] = {&l->q, &l->q_a, &l->q_b, &l->kv_a, &l->kv_b, &l->o, &l->router};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        free_matrix(matrices[i]);
    base_free(l->input_norm);
    base_free(l->post_norm);
    base_free(l->q_a_norm);
    base_free(l->kv_a_norm);
    base_free(l->router_bias);
    free_mlp(&l->mlp);
    for (int e = 0; l->experts && e < n_experts; e++)
        free_mlp(&l->experts[e]);
    base_free(l->experts);
}

void reference_weights_free(reference_weights *w) {
    for (int i = 0; w->layers && i < w->n_layers; i++)
        free_layer(&w->layers[i], w->n_experts);
    base_free(w->layers);
    base_free(w->final_norm);
    free_matrix(&w->embed);
    free_matrix(&w->lm_head);
    *w = (reference_weights){0};
}

void reference_matrix_row(const reference_matrix *w, int row, double *out) {
    size_t cols = (size_t)w->cols;
    if (w->bf16) {
        const uint16_t *in = w->bf16 + (size_t)row * cols;
        for (size_t c = 0; c < cols; c++)
            out[c] = base_bf16_to_f32(in[c]);
        return;
    }
    const uint8_t *in = w->nibbles + (size_t)row * cols / 2;
    const uint16_t *scale = w->scale + (size_t)row * cols / 32;
    for (size_t c = 0; c < cols; c++) {
        int code = (in[c / 2] >> (c % 2 * 4) & 15) - 8;
        out[c] = code * (double)base_bf16_to_f32(scale[c / 32]);
    }
}

size_t reference_matrix_row_bytes(const reference_matrix *w) {
    size_t cols = (size_t)w->cols;
    return w->bf16 ? cols * sizeof *w->bf16 : cols / 2 + cols / 32 * sizeof *w->scale;
}
