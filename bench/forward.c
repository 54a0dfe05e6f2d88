// Tokens per second of the CPU backend on a checkpoint: prefill, decode at depth, batched decode,
// each beside the machine's own limits measured in the same run.
//
//   build/bench/forward MODEL [--threads N] [--numerics exact|fast] [--depth N] [--repeat N]
//                       [--only NAME]  cases whose name begins so
//
// "memory" is the share of the measured read bandwidth that the weights a step must read amount to;
// "compute" is the share of the step's time that its multiply-adds would take at the measured peaks
// (float32 FMA for BF16 weights and attention, INT8 dot products for INT4 experts in fast
// numerics).
#include "backend/backend.h"
#include "probe.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 64, MAX_ROWS = 2048, MAX_BATCH = 16 };

typedef struct bench {
    const model_config *c;
    backend *b;
    backend_numerics numerics;
    int threads, depth, repeat;
    const char *only;
    int32_t *ids;
    int32_t *tables[MAX_BATCH]; // block tables
    int table_blocks;
    double read_gbs, fma_gflops, int8_gops;
} bench;

static uint32_t draw(void) {
    static uint64_t state = 42;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void die(const base_err *err) {
    fprintf(stderr, "%s\n", err->message);
    exit(err->code);
}

// One step: `batch` sequences of `rows` rows each at `position`; the last row of each is sampled.
// Returns seconds.
static double step(bench *t, int batch, int rows, int position) {
    backend_sampling greedy = {.top_p = 1, .repetition = 1};
    backend_seq seqs[MAX_BATCH];
    backend_output outputs[MAX_BATCH];
    for (int i = 0; i < batch; i++) {
        seqs[i] = (backend_seq){.first_row = i * rows,
                                .n_rows = rows,
                                .position = position,
                                .block_table = t->tables[i],
                                .n_blocks = t->table_blocks};
        outputs[i] =
            (backend_output){.row = i * rows + rows - 1, .sample = &greedy, .n_logprobs = -1};
    }
    for (int i = 0; i < batch * rows; i++)
        t->ids[i] = (int32_t)(draw() % (uint32_t)t->c->vocab_size);
    backend_plan plan = {.n_rows = batch * rows,
                         .ids = t->ids,
                         .n_seqs = batch,
                         .seqs = seqs,
                         .n_outputs = batch,
                         .outputs = outputs};
    backend_result result;
    double start = base_now_s();
    backend_submit(t->b, &plan);
    backend_wait(t->b, &result);
    double seconds = base_now_s() - start;
    if (result.outputs[0].status != BACKEND_OUTPUT_OK) {
        fprintf(stderr, "logits are not finite\n");
        exit(1);
    }
    return seconds;
}

typedef struct work {
    double f32, int8; // multiply-adds
} work;

// Multiply-adds of a step of `tokens` rows that see `keys` keys each on average, `outputs` of them
// with logits.
static work count_work(const bench *t, double tokens, double keys, double outputs) {
    const model_config *c = t->c;
    double hidden = c->hidden_size, heads = c->n_heads, q_dim = c->qk_nope_head_dim;
    double latent = c->kv_lora_rank, rope = c->qk_rope_head_dim, v = c->v_head_dim;
    double q_in = c->q_lora_rank > 0 ? c->q_lora_rank : hidden;
    work w = {0};
    for (int l = 0; l < c->n_layers; l++) {
        if (c->q_lora_rank > 0)
            w.f32 += hidden * q_in;
        w.f32 += q_in * heads * (q_dim + rope) + hidden * (latent + rope);
        w.f32 += heads * latent * (q_dim + v) + heads * v * hidden;
        w.f32 += heads * keys * (2 * latent + rope);
        double expert = 3 * hidden * c->moe_intermediate_size;
        if (!model_layer_is_moe(c, l)) {
            w.f32 += 3 * hidden * c->intermediate_size;
            continue;
        }
        w.f32 += hidden * c->n_routed_experts + expert * c->n_shared_experts;
        bool int8 = t->numerics == BACKEND_FAST && c->int4_experts;
        *(int8 ? &w.int8 : &w.f32) += expert * c->n_experts_per_tok;
    }
    w.f32 = w.f32 * tokens + outputs * hidden * c->vocab_size;
    w.int8 *= tokens;
    return w;
}

static void report(const bench *t, const char *name, double tokens, double seconds, uint64_t bytes,
                   work w) {
    double gbs = (double)bytes / seconds / 1e9;
    double ideal = 2 * w.f32 / (t->fma_gflops * 1e9) + 2 * w.int8 / (t->int8_gops * 1e9);
    printf("| %-22s | %9.2f | %9.1f | %7.1f | %6.0f %% | %7.0f %% |\n", name, tokens / seconds,
           seconds * 1e3, gbs, 100 * gbs / t->read_gbs, 100 * ideal / seconds);
    fflush(stdout);
}

static uint64_t bytes_read(const bench *t) {
    backend_stats s;
    backend_get_stats(t->b, &s);
    return s.weight_bytes_read;
}

// The fastest of `repeat` runs: the machine is shared, and noise only ever adds time.
static void measure(bench *t, const char *name, int batch, int rows, int position) {
    if (strncmp(name, t->only, strlen(t->only)))
        return;
    double best = INFINITY;
    uint64_t bytes = 0;
    for (int i = 0; i < t->repeat; i++) {
        uint64_t before = bytes_read(t);
        double seconds = step(t, batch, rows, position);
        if (seconds < best) {
            best = seconds;
            bytes = bytes_read(t) - before;
        }
    }
    double tokens = (double)batch * rows;
    report(t, name, tokens, best, bytes, count_work(t, tokens, position + (rows + 1) / 2.0, batch));
}

static void run(bench *t) {
    printf("| %-22s | %9s | %9s | %7s | %8s | %9s |\n", "case", "tokens/s", "step ms", "GB/s",
           "memory", "compute");
    printf("|------------------------|-----------|-----------|---------|----------|-----------|\n");
    int repeat = t->repeat;
    measure(t, "prefill 128", 1, 128, 0);
    measure(t, "prefill 512", 1, 512, 0);
    t->repeat = repeat > 2 ? 2 : repeat;
    measure(t, "prefill 2048", 1, 2048, 0);
    t->repeat = 4 * repeat;
    step(t, MAX_BATCH, 8, 0);
    measure(t, "decode, depth 8", 1, 1, 8);
    measure(t, "decode, batch 4", 4, 1, 8);
    measure(t, "decode, batch 16", 16, 1, 8);
    char name[64];
    snprintf(name, sizeof name, "decode, depth %d", t->depth);
    if (strncmp(name, t->only, strlen(t->only)))
        return;
    for (int p = 0; p < t->depth; p += 512)
        step(t, 1, t->depth - p < 512 ? t->depth - p : 512, p);
    measure(t, name, 1, 1, t->depth);
}

int main(int argc, char **argv) {
    bench t = {.threads = 2, .depth = 4096, .repeat = 3, .only = "", .numerics = BACKEND_FAST};
    const char *dir = NULL;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--threads"))
            t.threads = atoi(value), i++;
        else if (!strcmp(argv[i], "--depth"))
            t.depth = atoi(value), i++;
        else if (!strcmp(argv[i], "--repeat"))
            t.repeat = atoi(value), i++;
        else if (!strcmp(argv[i], "--only"))
            t.only = value, i++;
        else if (!strcmp(argv[i], "--numerics"))
            t.numerics = strcmp(value, "exact") ? BACKEND_FAST : BACKEND_EXACT, i++;
        else
            dir = argv[i];
    }
    if (!dir || t.threads < 1 || t.depth < 1 || t.repeat < 1) {
        fprintf(stderr, "usage: forward MODEL [--threads N] [--numerics exact|fast] [--depth N] "
                        "[--repeat N] [--only NAME]\n");
        return 64;
    }
    base_err err = {0};
    model *m;
    if (model_open(&m, dir, NULL, &err))
        die(&err);
    t.c = model_get_config(m);
    t.table_blocks = (t.depth > MAX_ROWS ? t.depth : MAX_ROWS) / BLOCK + 1;
    backend_options options = {.numerics = t.numerics,
                               .threads = t.threads,
                               .block_size = BLOCK,
                               .n_blocks = t.table_blocks + MAX_BATCH,
                               .interleave = 1,
                               .max_rows = MAX_ROWS,
                               .max_seqs = MAX_BATCH,
                               .max_outputs = MAX_BATCH,
                               .max_logprobs = 1,
                               .max_model_len = t.table_blocks * BLOCK,
                               .progress = true};
    if (backend_open(&t.b, "cpu", m, &options, &err))
        die(&err);
    t.ids = base_alloc(MAX_ROWS * sizeof *t.ids);
    for (int i = 0; i < MAX_BATCH; i++) {
        // Sequence 0 owns the long table; the others one block each behind it.
        t.tables[i] = base_calloc((size_t)t.table_blocks, sizeof **t.tables);
        for (int j = 0; j < t.table_blocks; j++)
            t.tables[i][j] = i == 0 ? j : t.table_blocks + i;
    }
    t.read_gbs = probe_read_gbs(t.threads);
    t.fma_gflops = probe_fma_gflops(t.threads);
    t.int8_gops = probe_int8_gops(t.threads);
    printf("%s\nread %.1f GB/s, float32 FMA %.0f GFLOP/s, INT8 dot %.0f GOP/s\n\n",
           backend_describe(t.b), t.read_gbs, t.fma_gflops, t.int8_gops);
    run(&t);
    for (int i = 0; i < MAX_BATCH; i++)
        base_free(t.tables[i]);
    base_free(t.ids);
    backend_close(t.b);
    model_close(m);
    return 0;
}
