// Weights that are in no file: tensors from synthesis' plan of the configuration, values made up
// when they are read. The inventory checks them like those of a checkpoint.
#include "model/internal.h"
#include "model/synth.h"
#include "token/token.h"
#include <string.h>

struct model_dummy {
    synth_plan plan;
    const synth_tensor **tensors; // [model.n_tensors] which of the plan's each is
    synth_tables tables;
};

static const uint64_t dummy_seed = 0;

// One shard that is no file: messages name it.
static void add_shard(model *m) {
    base_str path = {0};
    base_str_printf(&path, "%s (dummy weights)", m->dir);
    m->shards = base_calloc(1, sizeof *m->shards);
    m->shards[0] = (model_shard){.path = path.data, .fd = -1, .end_tensor = m->n_tensors};
    m->n_shards = 1;
}

static model_tensor describe(const synth_tensor *from, uint64_t offset) {
    static const char *const dtype_names[] = {
        [MODEL_BF16] = "BF16", [MODEL_F32] = "F32", [MODEL_I32] = "I32", [MODEL_I64] = "I64"};
    model_tensor t = {.name = from->name,
                      .dtype = from->dtype,
                      .dtype_name = dtype_names[from->dtype],
                      .n_dims = from->n_dims,
                      .offset = offset,
                      .bytes = from->bytes};
    memcpy(t.shape, from->shape, sizeof from->shape);
    return t;
}

static void add_tensors(model *m) {
    model_dummy *d = m->dummy;
    size_t n = (size_t)d->plan.n_tensors;
    uint64_t offset = 0;
    m->tensors = base_calloc(n, sizeof *m->tensors);
    d->tensors = base_calloc(n, sizeof *d->tensors);
    for (int i = 0; i < d->plan.n_shards; i++)
        for (int k = 0; k < d->plan.shards[i].n_tensors; k++) {
            const synth_tensor *t = &d->plan.shards[i].tensors[k];
            d->tensors[m->n_tensors] = t;
            m->tensors[m->n_tensors++] = describe(t, offset);
            offset += t->bytes;
        }
}

int model_dummy_open(model *m, base_err *err) {
    token_vocab *vocab; // its control tokens get small logits, as in a synthesis
    int rc = token_vocab_load(&vocab, m->dir, err);
    if (rc != 0)
        return rc;
    m->dummy = base_calloc(1, sizeof *m->dummy);
    synth_tables_init(&m->dummy->tables);
    synth_plan_make(&m->dummy->plan, &m->config, token_vocab_ordinary(vocab));
    token_vocab_free(vocab);
    add_tensors(m);
    add_shard(m);
    return 0;
}

void model_dummy_read(const model *m, const model_tensor *t, uint64_t offset, size_t bytes,
                      void *out) {
    const model_dummy *d = m->dummy;
    const synth_tensor *from = d->tensors[model_names_find(&m->by_name, t->name)];
    synth_fill(&d->tables, from, dummy_seed, offset, offset + bytes, out);
}

void model_dummy_free(model_dummy *d) {
    if (!d)
        return;
    synth_plan_free(&d->plan);
    base_free(d->tensors);
    base_free(d);
}
