// The CPU backend through backend.h, over shapes that fill no vector, panel or tile: its
// log-probabilities against the reference backend's, and the promises that hold bit by bit (kernel
// level, thread count, cuts, blocks, neighbours, a neighbour whose numbers are not finite).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
// cmocka wants the three above first
#include <cmocka.h>

#include "backend/backend.h"
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// With an interleave of 16 the first class of N_IDS positions has more than one tile of 16 keys.
enum { BLOCK = 8, N_IDS = 150, TABLE = (N_IDS + BLOCK - 1) / BLOCK, MAX_SEQS = 3 };
enum { N_BLOCKS = MAX_SEQS * TABLE };

static const double tolerance = 1e-4; // what exact numerics promise

// ---------------------------------------------------------------------------------------------
// Checkpoints

typedef struct shape {
    const char *name, *overrides;
    int vocab; // at least 256 bytes and 256 control tokens
} shape;

static const shape shapes[] = {
    {"no multiple of 16",
     "{\"hidden_size\": 96, \"intermediate_size\": 160, \"num_hidden_layers\": 3,"
     " \"num_attention_heads\": 3, \"num_key_value_heads\": 3, \"q_lora_rank\": 50,"
     " \"kv_lora_rank\": 40, \"qk_nope_head_dim\": 10, \"qk_rope_head_dim\": 8,"
     " \"v_head_dim\": 20, \"moe_intermediate_size\": 32, \"n_routed_experts\": 5,"
     " \"num_experts_per_tok\": 2}",
     523},
    {"one of everything",
     "{\"hidden_size\": 32, \"intermediate_size\": 32, \"num_hidden_layers\": 2,"
     " \"num_attention_heads\": 1, \"num_key_value_heads\": 1, \"q_lora_rank\": 2,"
     " \"kv_lora_rank\": 2, \"qk_nope_head_dim\": 2, \"qk_rope_head_dim\": 2, \"v_head_dim\": 2,"
     " \"moe_intermediate_size\": 32, \"n_routed_experts\": 1, \"num_experts_per_tok\": 1,"
     " \"first_k_dense_replace\": 0}",
     513},
    {"all experts, none shared, no q latent",
     "{\"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2,"
     " \"num_attention_heads\": 7, \"num_key_value_heads\": 7, \"q_lora_rank\": null,"
     " \"kv_lora_rank\": 18, \"qk_nope_head_dim\": 6, \"qk_rope_head_dim\": 4, \"v_head_dim\": 34,"
     " \"moe_intermediate_size\": 96, \"n_routed_experts\": 6, \"num_experts_per_tok\": 6,"
     " \"n_shared_experts\": 0, \"rope_scaling\": null}",
     530},
    {"BF16 experts in groups, three shared",
     "{\"hidden_size\": 160, \"intermediate_size\": 288, \"num_hidden_layers\": 3,"
     " \"num_attention_heads\": 5, \"num_key_value_heads\": 5, \"q_lora_rank\": 18,"
     " \"kv_lora_rank\": 72, \"qk_nope_head_dim\": 18, \"qk_rope_head_dim\": 24,"
     " \"v_head_dim\": 14, \"moe_intermediate_size\": 64, \"n_routed_experts\": 12,"
     " \"num_experts_per_tok\": 3, \"n_shared_experts\": 3, \"n_group\": 4, \"topk_group\": 2,"
     " \"quantization_config\": null, \"norm_topk_prob\": false}",
     600},
    {"more heads than a work item, tiles with a rest",
     "{\"hidden_size\": 224, \"intermediate_size\": 416, \"num_hidden_layers\": 2,"
     " \"num_attention_heads\": 67, \"num_key_value_heads\": 67, \"q_lora_rank\": 34,"
     " \"kv_lora_rank\": 66, \"qk_nope_head_dim\": 4, \"qk_rope_head_dim\": 2, \"v_head_dim\": 6,"
     " \"moe_intermediate_size\": 160, \"n_routed_experts\": 9, \"num_experts_per_tok\": 8}",
     577},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef struct checkpoint {
    char dir[40];
    model *m;
    int vocab;
} checkpoint;

static checkpoint checkpoints[N_SHAPES];

static int remove_entry(const char *path, const struct stat *s, int flag, struct FTW *ftw) {
    (void)s, (void)flag, (void)ftw;
    return remove(path);
}

static int group_setup(void **state) {
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        checkpoint *c = &checkpoints[i];
        strcpy(c->dir, "/tmp/abruzzi-test-cpu-XXXXXX");
        assert_non_null(mkdtemp(c->dir));
        model_synth_options options = {.preset = "tiny",
                                       .vocab_size = shapes[i].vocab,
                                       .seed = 5,
                                       .threads = 1,
                                       .overrides = shapes[i].overrides};
        base_err err;
        if (model_synth(c->dir, &options, &err) || model_open(&c->m, c->dir, NULL, &err))
            fail_msg("%s: %s", shapes[i].name, err.message);
        c->vocab = shapes[i].vocab;
    }
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    int failed = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        model_close(checkpoints[i].m);
        failed |= nftw(checkpoints[i].dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
    return failed;
}

// ---------------------------------------------------------------------------------------------
// Sequences

static backend_options usual_options(const checkpoint *c) {
    return (backend_options){.threads = 1,
                             .block_size = BLOCK,
                             .n_blocks = N_BLOCKS,
                             .interleave = 1,
                             .max_rows = N_IDS, // steps of one whole sequence fill all buffers
                             .max_seqs = MAX_SEQS,
                             .max_outputs = N_IDS,
                             .max_logprobs = c->vocab,
                             .max_model_len = N_IDS};
}

static backend *open_backend(const char *name, const checkpoint *c,
                             const backend_options *options) {
    base_err err;
    backend *b;
    if (backend_open(&b, name, c->m, options, &err))
        fail_msg("%s", err.message);
    return b;
}

// A sequence and all that came out: the log-probabilities of every id after every position, NAN
// where the backend said so.
typedef struct sequence {
    int32_t ids[N_IDS], table[TABLE];
    int position, vocab;
    float *logprobs; // [N_IDS][vocab]
} sequence;

// Blocks first, first + step, ... modulo their number.
static void sequence_init(sequence *s, const checkpoint *c, int seed, int first, int step) {
    *s = (sequence){.vocab = c->vocab};
    s->logprobs = base_calloc((size_t)N_IDS * (size_t)c->vocab, sizeof *s->logprobs);
    for (int i = 0; i < N_IDS; i++)
        s->ids[i] = (i * 7919 + i * i * 31 + seed * 131) % c->vocab;
    for (int i = 0; i < TABLE; i++)
        s->table[i] = (first + i * step) % N_BLOCKS;
}

static void sequence_free(sequence *s) {
    base_free(s->logprobs);
}

static void keep(sequence *s, int position, const backend_output_result *r) {
    float *out = s->logprobs + (size_t)position * (size_t)s->vocab;
    assert_int_not_equal(r->status, BACKEND_OUTPUT_EMPTY);
    if (r->status == BACKEND_OUTPUT_NAN) {
        for (int i = 0; i < s->vocab; i++)
            out[i] = NAN;
        return;
    }
    assert_int_equal(r->n_top, s->vocab);
    for (int i = 0; i < s->vocab; i++)
        out[r->top_ids[i]] = r->top_logprobs[i];
}

// The next rows[i] rows of each sequence in one step; sequences without rows are not in it.
static void step(backend *b, sequence *const *sequences, const int *rows, int n) {
    static int32_t ids[N_IDS];
    static backend_output outputs[N_IDS];
    backend_seq seqs[MAX_SEQS];
    backend_plan plan = {.ids = ids, .seqs = seqs, .outputs = outputs};
    for (int i = 0; i < n; i++) {
        sequence *s = sequences[i];
        if (rows[i] == 0)
            continue;
        seqs[plan.n_seqs++] = (backend_seq){plan.n_rows, rows[i], s->position, s->table, TABLE};
        for (int r = 0; r < rows[i]; r++, plan.n_rows++) {
            ids[plan.n_rows] = s->ids[s->position + r];
            outputs[plan.n_rows] = (backend_output){.row = plan.n_rows, .n_logprobs = s->vocab};
        }
    }
    plan.n_outputs = plan.n_rows;
    backend_result result;
    backend_submit(b, &plan);
    backend_wait(b, &result);
    assert_int_equal(result.n_outputs, plan.n_rows);
    for (int i = 0, row = 0; i < n; i++)
        for (int r = 0; r < rows[i]; r++)
            keep(sequences[i], sequences[i]->position++, &result.outputs[row++]);
}

// All of a sequence: `prefill` rows a step until `decode_from`, then row by row.
static void run(backend *b, sequence *s, int prefill, int decode_from) {
    while (s->position < N_IDS) {
        int rows = 1;
        if (s->position < decode_from)
            rows = base_min_int(prefill, decode_from - s->position);
        step(b, &s, &rows, 1);
    }
}

static sequence run_fresh(const char *name, const checkpoint *c, const backend_options *options,
                          int prefill, int decode_from) {
    sequence s;
    sequence_init(&s, c, 1, 0, 1);
    backend *b = open_backend(name, c, options);
    run(b, &s, prefill, decode_from);
    backend_stats stats;
    backend_get_stats(b, &stats);
    if (stats.near_ties)
        fail_msg("%s: another seed is needed, %d selections are nearly ties", name,
                 (int)stats.near_ties);
    backend_close(b);
    return s;
}

static void assert_close(const sequence *a, const sequence *b, const char *what) {
    double worst = 0;
    for (size_t i = 0; i < (size_t)N_IDS * (size_t)a->vocab; i++) {
        double difference = fabs((double)a->logprobs[i] - (double)b->logprobs[i]);
        worst = difference <= worst ? worst : difference; // a NaN is taken
    }
    if (!(worst <= tolerance))
        fail_msg("%s: log-probabilities differ by %g", what, worst);
}

// The same bits at positions [0, n).
static void assert_same(const sequence *a, const sequence *b, int n, const char *what) {
    size_t bytes = (size_t)n * (size_t)a->vocab * sizeof *a->logprobs;
    if (memcmp(a->logprobs, b->logprobs, bytes) != 0)
        fail_msg("%s: not the same bits", what);
}

// ---------------------------------------------------------------------------------------------

static void test_against_reference(void **state) {
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        const checkpoint *c = &checkpoints[i];
        backend_options options = usual_options(c);
        sequence want = run_fresh("reference", c, &options, N_IDS, N_IDS);
        for (options.interleave = 1; options.interleave <= 16; options.interleave *= 2) {
            sequence got = run_fresh("cpu", c, &options, 37, 120);
            assert_close(&want, &got, shapes[i].name);
            sequence_free(&got);
        }
        sequence_free(&want);
    }
}

static void test_levels_and_cuts(void **state) {
    (void)state;
    const char *const levels[] = {"scalar", "avx2"};
    for (int i = 0; i < 2 * N_SHAPES; i++) {
        const checkpoint *c = &checkpoints[i / 2];
        backend_options options = usual_options(c);
        options.numerics = i % 2 ? BACKEND_FAST : BACKEND_EXACT;
        sequence want = run_fresh("cpu", c, &options, N_IDS, N_IDS);
        options.threads = 3;
        sequence got = run_fresh("cpu", c, &options, 41, 100);
        assert_same(&want, &got, N_IDS, shapes[i / 2].name);
        sequence_free(&got);
        options.threads = 1;
        options.max_rows = options.max_seqs = options.max_outputs = 1;
        got = run_fresh("cpu", c, &options, 1, N_IDS);
        assert_same(&want, &got, N_IDS, shapes[i / 2].name);
        sequence_free(&got);
        options = usual_options(c);
        options.numerics = i % 2 ? BACKEND_FAST : BACKEND_EXACT;
        for (int l = 0; l < 2; l++) {
            setenv("ABRUZZI_CPU", levels[l], 1);
            backend *b;
            base_err err;
            // The levels of this CPU; a machine without AVX2 has only one.
            if (backend_open(&b, "cpu", c->m, &options, &err) == 0) {
                sequence_init(&got, c, 1, 0, 1);
                run(b, &got, 64, N_IDS);
                assert_same(&want, &got, N_IDS, levels[l]);
                sequence_free(&got);
                backend_close(b);
            }
            unsetenv("ABRUZZI_CPU");
        }
        sequence_free(&want);
    }
}

// Three sequences over scattered blocks, mixed in all proportions, against each alone.
static void test_blocks_and_neighbours(void **state) {
    (void)state;
    for (int i = 0; i < 2 * N_SHAPES; i++) {
        const checkpoint *c = &checkpoints[i / 2];
        backend_options options = usual_options(c);
        options.numerics = i % 2 ? BACKEND_FAST : BACKEND_EXACT;
        backend *b = open_backend("cpu", c, &options);
        sequence alone[MAX_SEQS], mixed[MAX_SEQS], *all[MAX_SEQS];
        for (int s = 0; s < MAX_SEQS; s++) {
            sequence_init(&alone[s], c, s, 0, 1);
            run(b, &alone[s], N_IDS, N_IDS);
            // Every third block, backwards.
            sequence_init(&mixed[s], c, s, N_BLOCKS - 1 - s, N_BLOCKS - MAX_SEQS);
            all[s] = &mixed[s];
        }
        for (int n = 0; mixed[0].position + mixed[1].position + mixed[2].position < 3 * N_IDS;
             n++) {
            int rows[MAX_SEQS];
            for (int s = 0; s < MAX_SEQS; s++)
                rows[s] = base_min_int((n * (s + 3) + s) % 19, N_IDS - mixed[s].position);
            if (rows[0] + rows[1] + rows[2] > 0)
                step(b, all, rows, MAX_SEQS);
        }
        for (int s = 0; s < MAX_SEQS; s++) {
            assert_same(&alone[s], &mixed[s], N_IDS, shapes[i / 2].name);
            sequence_free(&alone[s]);
            sequence_free(&mixed[s]);
        }
        backend_close(b);
    }
}

static const backend_sampling greedy = {.top_p = 1, .repetition = 1};

// Two prompts in one step, then a row each in the other order, whose ids are what the first step
// sampled: by reference, or as the numbers they turned out to be.
static void follow(backend *b, const checkpoint *c, bool by_reference, sequence *out) {
    sequence s[2];
    int32_t prompt[30];
    for (int i = 0; i < 2; i++)
        sequence_init(&s[i], c, i, i * TABLE, 1);
    memcpy(prompt, s[0].ids, 20 * sizeof *prompt);
    memcpy(prompt + 20, s[1].ids, 10 * sizeof *prompt);
    backend_seq seqs[] = {{0, 20, 0, s[0].table, TABLE}, {20, 10, 0, s[1].table, TABLE}};
    backend_output outputs[] = {{.row = 19, .sample = &greedy, .n_logprobs = -1},
                                {.row = 29, .sample = &greedy, .n_logprobs = -1}};
    backend_plan plan = {30, prompt, 2, seqs, 2, outputs};
    backend_result result;
    backend_submit(b, &plan);
    backend_wait(b, &result);
    int32_t sampled[2] = {result.outputs[0].id, result.outputs[1].id};
    assert_int_not_equal(sampled[0], sampled[1]);
    int32_t next[] = {by_reference ? BACKEND_ID_FROM_OUTPUT(1) : sampled[1],
                      by_reference ? BACKEND_ID_FROM_OUTPUT(0) : sampled[0]};
    backend_seq next_seqs[] = {{0, 1, 10, s[1].table, TABLE}, {1, 1, 20, s[0].table, TABLE}};
    backend_output next_outputs[] = {{.row = 0, .n_logprobs = c->vocab},
                                     {.row = 1, .n_logprobs = c->vocab}};
    plan = (backend_plan){2, next, 2, next_seqs, 2, next_outputs};
    backend_submit(b, &plan);
    backend_wait(b, &result);
    keep(out, 0, &result.outputs[0]);
    keep(out, 1, &result.outputs[1]);
    sequence_free(&s[0]);
    sequence_free(&s[1]);
}

static void test_id_from_output(void **state) {
    (void)state;
    const checkpoint *c = &checkpoints[0];
    backend_options options = usual_options(c);
    backend *b = open_backend("cpu", c, &options);
    sequence given, referred;
    sequence_init(&given, c, 0, 0, 1);
    sequence_init(&referred, c, 0, 0, 1);
    follow(b, c, false, &given);
    follow(b, c, true, &referred);
    assert_same(&given, &referred, 2, "ids from outputs");
    sequence_free(&given);
    sequence_free(&referred);
    backend_close(b);
}

// ---------------------------------------------------------------------------------------------
// Numbers that are not finite

// A copy of a BF16 tensor's bytes as stored.
static uint16_t *read_tensor(const model *m, const model_tensor *t) {
    uint16_t *values = base_alloc(t->bytes);
    int fd = open(model_shard_path(m, t->file), O_RDONLY);
    assert_int_equal(pread(fd, values, t->bytes, (off_t)t->offset), t->bytes);
    close(fd);
    return values;
}

static void write_tensor(const model *m, const model_tensor *t, const uint16_t *values) {
    int fd = open(model_shard_path(m, t->file), O_WRONLY);
    assert_int_equal(pwrite(fd, values, t->bytes, (off_t)t->offset), t->bytes);
    close(fd);
}

static void test_weights_that_are_not_finite(void **state) {
    (void)state;
    const checkpoint *c = &checkpoints[0];
    const model_tensor *t = model_get_layer(c->m, 1)->shared_up.weight;
    uint16_t *values = read_tensor(c->m, t), good = values[77];
    values[77] = 0x7fc0;
    write_tensor(c->m, t, values);
    backend_options options = usual_options(c);
    options.threads = 3;
    base_err err;
    backend *b;
    assert_int_equal(backend_open(&b, "cpu", c->m, &options, &err), BASE_ERR_MODEL);
    assert_null(b);
    assert_non_null(strstr(err.message, t->name));
    assert_non_null(strstr(err.message, "77"));
    values[77] = good;
    write_tensor(c->m, t, values);
    base_free(values);
}

enum { POISON = 300, POISON_AT = 61 };

// Finite weights that overflow for one id alone: only its embedding has anything in column 0, and
// the first layer's latents are that times the largest number.
typedef struct poison {
    const model_tensor *embed, *kv_a;
    uint16_t *embed_was, *kv_a_was;
} poison;

static void fill_column(const model *m, const model_tensor *t, uint16_t *was, uint16_t value,
                        int64_t row, uint16_t value_at_row) {
    uint16_t *values = base_alloc(t->bytes);
    memcpy(values, was, t->bytes);
    for (int64_t i = 0; i < t->shape[0]; i++)
        values[i * t->shape[1]] = i == row ? value_at_row : value;
    write_tensor(m, t, values);
    base_free(values);
}

static poison poison_put(const model *m) {
    poison p = {model_embed(m)->weight, model_get_layer(m, 0)->kv_a.weight, NULL, NULL};
    p.embed_was = read_tensor(m, p.embed);
    p.kv_a_was = read_tensor(m, p.kv_a);
    fill_column(m, p.embed, p.embed_was, 0, POISON, 0x4300); // 128
    fill_column(m, p.kv_a, p.kv_a_was, 0x7f7f, -1, 0);
    return p;
}

static void poison_remove(const model *m, poison *p) {
    write_tensor(m, p->embed, p->embed_was);
    write_tensor(m, p->kv_a, p->kv_a_was);
    base_free(p->embed_was);
    base_free(p->kv_a_was);
}

static void no_poison(sequence *s) {
    for (int i = 0; i < N_IDS; i++)
        if (s->ids[i] == POISON)
            s->ids[i] = 0;
}

static void test_not_finite_stays_alone(void **state) {
    (void)state;
    for (int i = 0; i < 2 * N_SHAPES; i++) {
        const checkpoint *c = &checkpoints[i / 2];
        const char *name = shapes[i / 2].name;
        poison p = poison_put(c->m);
        backend_options options = usual_options(c);
        options.numerics = i % 2 ? BACKEND_FAST : BACKEND_EXACT;
        options.threads = 1 + i % 2;
        backend *b = open_backend("cpu", c, &options);
        sequence alone, healthy, again, sick, sound;
        sequence_init(&alone, c, 1, 0, 1);
        no_poison(&alone);
        run(b, &alone, N_IDS, N_IDS);
        sequence_init(&sound, c, 2, 0, 1);
        no_poison(&sound);
        run(b, &sound, N_IDS, N_IDS);

        sequence_init(&healthy, c, 1, 1, 2);
        no_poison(&healthy);
        sequence_init(&sick, c, 2, 0, 2);
        no_poison(&sick);
        sick.ids[POISON_AT] = POISON;
        sequence *both[] = {&sick, &healthy};
        while (healthy.position < N_IDS) {
            int rows = base_min_int(healthy.position < 100 ? 33 : 1, N_IDS - healthy.position);
            step(b, both, (int[]){rows, rows}, 2);
        }
        assert_same(&alone, &healthy, N_IDS, name);
        assert_same(&sound, &sick, POISON_AT, name);
        for (int at = POISON_AT; at < N_IDS; at++)
            if (!isnan(sick.logprobs[(size_t)at * (size_t)c->vocab]))
                fail_msg("%s: position %d after one that overflowed is finite", name, at);

        // The sick sequence's blocks, as it left them, for another sequence.
        sequence_init(&again, c, 1, 0, 2);
        no_poison(&again);
        run(b, &again, 7, 140);
        assert_same(&alone, &again, N_IDS, name);
        sequence_free(&alone);
        sequence_free(&healthy);
        sequence_free(&again);
        sequence_free(&sick);
        sequence_free(&sound);
        backend_close(b);
        poison_remove(c->m, &p);
    }
}

// What a failed output sampled stands in the next step's plan before anybody knows.
static void test_id_from_failed_output(void **state) {
    (void)state;
    const checkpoint *c = &checkpoints[0];
    poison p = poison_put(c->m);
    backend_options options = usual_options(c);
    backend *b = open_backend("cpu", c, &options);
    sequence s;
    sequence_init(&s, c, 0, 0, 1);
    s.ids[4] = POISON;
    backend_seq seq = {0, 5, 0, s.table, TABLE};
    backend_output output = {.row = 4, .sample = &greedy, .n_logprobs = -1};
    backend_plan plan = {5, s.ids, 1, &seq, 1, &output};
    backend_result result;
    backend_submit(b, &plan);
    backend_wait(b, &result);
    assert_int_equal(result.outputs[0].status, BACKEND_OUTPUT_NAN);
    int32_t id = BACKEND_ID_FROM_OUTPUT(0);
    seq = (backend_seq){0, 1, 5, s.table, TABLE};
    output.row = 0;
    plan = (backend_plan){1, &id, 1, &seq, 1, &output};
    backend_submit(b, &plan);
    backend_wait(b, &result);
    assert_int_equal(result.outputs[0].status, BACKEND_OUTPUT_NAN);
    sequence_free(&s);
    backend_close(b);
    poison_remove(c->m, &p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_levels_and_cuts),
        cmocka_unit_test(test_blocks_and_neighbours),
        cmocka_unit_test(test_id_from_output),
        cmocka_unit_test(test_weights_that_are_not_finite),
        cmocka_unit_test(test_not_finite_stays_alone),
        cmocka_unit_test(test_id_from_failed_output),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
