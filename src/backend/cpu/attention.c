// Absorbed multi-head latent attention over the paged cache (kimi.md 3.2).
//
// A work item is a few tokens of one sequence times some of their heads, at most CPU_ATTN_ROWS
// query rows, because all of them read the same keys: a tile of 16 keys is loaded once for all. The
// keys are walked in the canonical order (DESIGN promise 2): eight classes of positions, each in
// tiles of 16 from its first position, merged in the stride tree c with c + 4, c + 2, c + 1. When
// there are fewer items than workers want, an item's classes become items of their own; the merge
// is the same.
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

enum { CLASSES = 8, MAX_TOKENS = 16 };

typedef struct attn_item {
    int seq, first_token, n_tokens; // tokens of the sequence's rows in this step
    int first_head, n_heads;
} attn_item;

typedef struct attn_job {
    cpu_backend *b;
    int layer;
    int item_rows; // query rows of an item, at most
    int n_items;
} attn_job;

// Partial result of some query rows over some keys.
typedef struct attn_partial {
    float *max, *sum; // [rows]
    float *acc;       // [rows][kv_lora]
} attn_partial;

// How many of the positions [0, n) are of class c.
static int class_count(int n, int c, int interleave) {
    int whole = n / (CLASSES * interleave) * interleave;
    int rest = n % (CLASSES * interleave) - c * interleave;
    return whole + (rest < 0 ? 0 : base_min_int(rest, interleave));
}

// The position of the i-th key of class c.
static int class_position(int i, int c, int interleave) {
    return (i / interleave * CLASSES + c) * interleave + i % interleave;
}

static int item_tokens(const backend_seq *seq) {
    return base_min_int(seq->n_rows, MAX_TOKENS);
}

static int item_heads(const attn_job *job, const backend_seq *seq) {
    int heads = job->item_rows / item_tokens(seq);
    return heads < 1 ? 1 : base_min_int(heads, job->b->config->n_heads);
}

static int head_groups(const attn_job *job, const backend_seq *seq) {
    return base_ceil_div(job->b->config->n_heads, item_heads(job, seq));
}

// Cuts the step into items: those of sequence s are [attn_first[s], attn_first[s + 1]).
static void cut_items(attn_job *job, int item_rows) {
    const backend_plan *plan = job->b->plan;
    job->item_rows = item_rows;
    job->n_items = 0;
    for (int s = 0; s < plan->n_seqs; s++) {
        const backend_seq *seq = &plan->seqs[s];
        job->b->attn_first[s] = job->n_items;
        job->n_items += base_ceil_div(seq->n_rows, item_tokens(seq)) * head_groups(job, seq);
    }
    job->b->attn_first[plan->n_seqs] = job->n_items;
}

static attn_item item_at(const attn_job *job, int index) {
    const backend_plan *plan = job->b->plan;
    const int *first = job->b->attn_first;
    int low = 0, high = plan->n_seqs - 1; // the last sequence whose first item is <= index
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (first[middle] <= index)
            low = middle;
        else
            high = middle - 1;
    }
    const backend_seq *seq = &plan->seqs[low];
    int groups = head_groups(job, seq), heads = item_heads(job, seq);
    index -= first[low];
    attn_item it = {.seq = low,
                    .first_token = index / groups * item_tokens(seq),
                    .first_head = index % groups * heads};
    it.n_tokens = base_min_int(item_tokens(seq), seq->n_rows - it.first_token);
    it.n_heads = base_min_int(heads, job->b->config->n_heads - it.first_head);
    return it;
}

// The item's query rows, contiguous: row = token * n_heads + head.
static void gather_queries(const cpu_backend *b, const attn_item *it, float *q) {
    int first = b->plan->seqs[it->seq].first_row + it->first_token, heads = b->config->n_heads;
    for (int t = 0; t < it->n_tokens; t++)
        memcpy(q + (size_t)(t * it->n_heads) * b->q_stride,
               b->q_abs + ((size_t)(first + t) * heads + it->first_head) * b->q_stride,
               (size_t)it->n_heads * b->q_stride * sizeof(float));
}

static void walk_class(const attn_job *job, const attn_item *it, int class, cpu_worker *w,
                       attn_partial out) {
    const cpu_backend *b = job->b;
    const backend_seq *seq = &b->plan->seqs[it->seq];
    int latent = b->config->kv_lora_rank, rope = b->config->qk_rope_head_dim;
    int rows = it->n_tokens * it->n_heads, interleave = b->options.interleave;
    int block_size = b->options.block_size;
    const uint8_t *cache = b->cache + (size_t)job->layer * b->cache_layer_bytes;
    for (int r = 0; r < rows; r++) {
        out.max[r] = -INFINITY;
        out.sum[r] = 0.0f;
    }
    memset(out.acc, 0, (size_t)rows * latent * sizeof(float));

    int first = seq->position + it->first_token, last = first + it->n_tokens - 1;
    int n_keys = class_count(last + 1, class, interleave);
    for (int begin = 0; begin < n_keys; begin += CPU_KEYS) {
        const void *keys[CPU_KEYS] = {NULL};
        for (int i = 0; i < base_min_int(CPU_KEYS, n_keys - begin); i++) {
            int t = class_position(begin + i, class, interleave);
            size_t slot = (size_t)seq->block_table[t / block_size] * block_size + t % block_size;
            keys[i] = cache + slot * b->cache_row_bytes;
        }
        if (b->bf16_cache)
            b->k->attn_load_bf16(w->kt, w->v, keys, latent, rope);
        else
            b->k->attn_load_f32(w->kt, w->v, keys, latent, rope);
        int valid[CPU_ATTN_ROWS];
        for (int t = 0; t < it->n_tokens; t++) {
            int n = class_count(first + t + 1, class, interleave) - begin;
            n = n < 0 ? 0 : base_min_int(n, CPU_KEYS);
            for (int h = 0; h < it->n_heads; h++)
                valid[t * it->n_heads + h] = n;
        }
        b->k->attn_tile(out.max, out.sum, out.acc, w->q, b->q_stride, rows, w->kt, w->v, valid,
                        latent, rope, b->softmax_scale);
    }
}

static void finish_rows(const cpu_backend *b, const attn_item *it, attn_partial p) {
    int latent = b->config->kv_lora_rank, heads = b->config->n_heads;
    int first = b->plan->seqs[it->seq].first_row + it->first_token;
    for (int t = 0; t < it->n_tokens; t++) {
        for (int h = 0; h < it->n_heads; h++) {
            int r = t * it->n_heads + h;
            const float *acc = p.acc + (size_t)r * latent;
            float *out = b->o_lat + ((size_t)(first + t) * heads + it->first_head + h) * latent;
            float inverse = 1.0f / p.sum[r];
            for (int d = 0; d < latent; d++)
                out[d] = acc[d] * inverse;
        }
    }
}

static void merge(const cpu_backend *b, attn_partial into, attn_partial from, int rows) {
    b->k->attn_merge(into.max, into.sum, into.acc, from.max, from.sum, from.acc, rows,
                     b->config->kv_lora_rank);
}

static attn_partial worker_partial(const cpu_backend *b, cpu_worker *w, int level) {
    return (attn_partial){.max = w->max + (size_t)level * CPU_ATTN_ROWS,
                          .sum = w->sum + (size_t)level * CPU_ATTN_ROWS,
                          .acc = w->acc + (size_t)level * CPU_ATTN_ROWS * b->config->kv_lora_rank};
}

// The subtree of classes {class, class + step, class + 2 step, ...} < 8 into partial `level`; its
// right half uses the levels above, so that never more than four partials live.
static void walk_tree(const attn_job *job, const attn_item *it, int class, int step, int level,
                      cpu_worker *w) {
    attn_partial left = worker_partial(job->b, w, level);
    if (step == CLASSES) {
        walk_class(job, it, class, w, left);
        return;
    }
    walk_tree(job, it, class, 2 * step, level, w);
    walk_tree(job, it, class + step, 2 * step, level + 1, w);
    merge(job->b, left, worker_partial(job->b, w, level + 1), it->n_tokens * it->n_heads);
}

static void whole_item(void *arg, int index, int worker) {
    const attn_job *job = arg;
    cpu_worker *w = &job->b->workers[worker];
    attn_item it = item_at(job, index);
    gather_queries(job->b, &it, w->q);
    walk_tree(job, &it, 0, 1, 0, w);
    finish_rows(job->b, &it, worker_partial(job->b, w, 0));
}

// ---------------------------------------------------------------------------------------------
// Items split over classes

size_t cpu_attention_partial_floats(const cpu_backend *b) {
    return (size_t)CPU_ATTN_ROWS * (2 + (size_t)b->config->kv_lora_rank);
}

int cpu_attention_split_items(int threads) {
    return 4 * threads;
}

static attn_partial split_partial(const attn_job *job, int index, int class) {
    float *p =
        job->b->partials + ((size_t)index * CLASSES + class) * cpu_attention_partial_floats(job->b);
    return (attn_partial){.max = p, .sum = p + CPU_ATTN_ROWS, .acc = p + 2 * CPU_ATTN_ROWS};
}

static void class_item(void *arg, int index, int worker) {
    const attn_job *job = arg;
    cpu_worker *w = &job->b->workers[worker];
    attn_item it = item_at(job, index / CLASSES);
    gather_queries(job->b, &it, w->q);
    walk_class(job, &it, index % CLASSES, w, split_partial(job, index / CLASSES, index % CLASSES));
}

static void merge_item(void *arg, int index, int worker) {
    (void)worker;
    const attn_job *job = arg;
    attn_item it = item_at(job, index);
    for (int step = CLASSES / 2; step > 0; step /= 2)
        for (int c = 0; c < step; c++)
            merge(job->b, split_partial(job, index, c), split_partial(job, index, c + step),
                  it.n_tokens * it.n_heads);
    finish_rows(job->b, &it, split_partial(job, index, 0));
}

void cpu_attention(cpu_backend *b, int layer) {
    attn_job job = {.b = b, .layer = layer};
    cut_items(&job, CPU_ATTN_ROWS);
    if (job.n_items > cpu_attention_split_items(b->n_workers)) {
        base_pool_run(b->pool, job.n_items, whole_item, &job);
        return;
    }
    // Still too few with a class each: fewer rows an item, down to a vector's worth.
    while (job.item_rows > CPU_LANES && job.n_items * CLASSES < 2 * b->n_workers)
        cut_items(&job, job.item_rows / 2);
    base_pool_run(b->pool, job.n_items * CLASSES, class_item, &job);
    base_pool_run(b->pool, job.n_items, merge_item, &job);
}
