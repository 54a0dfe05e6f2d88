// model: a checkpoint directory -> checked weights, shapes and a memory plan.
//
// Takes a directory in Hugging Face layout (or a hub id found in the local cache), gives the
// configuration, one description per weight matrix, checked reads of their bytes, rotary
// frequencies, and the memory plan; and it writes synthetic checkpoints of the same format. It must
// never know about requests or kernels.
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/base.h"
#include <stdbool.h>
#include <stdint.h>

// ---------------------------------------------------------------------------------------------
// Configuration (config.json). Every number is range-checked on reading; limits in config.c.

enum { MODEL_MAX_EOS = 16, MODEL_PARTS = 8 };

typedef struct model_rope {
    double theta;
    bool yarn; // false: plain rotary embedding, the fields below are unused
    double factor, beta_fast, beta_slow, mscale, mscale_all_dim;
    int original_max_position;
} model_rope;

typedef struct model_config {
    char architecture[64]; // architectures[0]
    char model_type[64];
    int hidden_size, n_layers, n_heads, vocab_size;
    int q_lora_rank; // 0: q_proj directly
    int kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim;
    int intermediate_size;     // dense MLP
    int moe_intermediate_size; // one routed expert
    int n_routed_experts, n_experts_per_tok, n_shared_experts;
    int first_k_dense_replace, moe_layer_freq;
    int n_nextn_layers; // multi-token-prediction layers after the others: ignored
    int n_group, topk_group;
    bool norm_topk_prob;
    double routed_scaling_factor;
    double rms_norm_eps;
    double inner_norm_eps; // q_a and kv_a norms: rms_norm_eps unless overridden (kimi.md 3.1)
    int max_position_embeddings;
    model_rope rope;
    int32_t eos_ids[MODEL_MAX_EOS]; // union of config.json and generation_config.json
    int n_eos;
    bool int4_experts; // pack-quantized group 32, else BF16
} model_config;

// Reads config.json text. `what` names it in errors. eos_ids are those of config.json alone.
int model_config_parse(model_config *out, const char *json, size_t len, const char *what,
                       base_err *err);

// generation_config.json: the defaults for requests. has_x false: the key is not there.
typedef struct model_generation {
    bool has_temperature, has_top_p, has_top_k, has_min_p, has_repetition, has_max_new_tokens;
    double temperature, top_p, min_p, repetition_penalty;
    int top_k, max_new_tokens;
} model_generation;

// Layers l < first_k_dense_replace, or with l % moe_layer_freq != 0, are dense.
bool model_layer_is_moe(const model_config *config, int layer);

// ---------------------------------------------------------------------------------------------
// Weights

// Weights that are used have one of these types; ignored tensors may have any of the format's.
typedef enum {
    MODEL_BF16,
    MODEL_F32,
    MODEL_I32,
    MODEL_I64,
    MODEL_OTHER_DTYPE,
} model_dtype;

enum { MODEL_MAX_DIMS = 8 };

typedef struct model_tensor {
    const char *name; // owned by the checkpoint
    model_dtype dtype;
    const char *dtype_name; // as in the file: "BF16"; static text
    int n_dims;
    int64_t shape[MODEL_MAX_DIMS];
    int file;        // index into the checkpoint's shards
    uint64_t offset; // of the first byte in that file
    uint64_t bytes;
} model_tensor;

typedef enum { MODEL_MATRIX_BF16, MODEL_MATRIX_INT4 } model_matrix_kind;

// y = W x with W [rows, cols]. INT4: `packed` [rows, cols / 8] words of 8 offset-binary nibbles,
// lowest first, `scale` [rows, cols / 32] BF16; w = (nibble - 8) * scale (kimi.md 2.3).
typedef struct model_matrix {
    model_matrix_kind kind;
    int rows, cols;
    const model_tensor *weight;         // BF16
    const model_tensor *packed, *scale; // INT4
} model_matrix;

typedef struct model_layer {
    const model_tensor *input_norm, *post_norm; // [hidden] BF16
    model_matrix q_proj;                        // [heads * (nope + rope), hidden]; q_lora_rank == 0
    model_matrix q_a, q_b;                      // q_lora_rank > 0
    const model_tensor *q_a_norm;               // [q_lora_rank]
    model_matrix kv_a;                          // [kv_lora + rope, hidden]
    const model_tensor *kv_a_norm;              // [kv_lora_rank]
    model_matrix kv_b; // [heads * (nope + v), kv_lora], per head nope then v
    model_matrix o;    // [hidden, heads * v]
    bool is_moe;
    model_matrix gate, up, down;                      // dense MLP
    model_matrix router;                              // [n_routed_experts, hidden]
    const model_tensor *router_bias;                  // [n_routed_experts] F32 (BF16 accepted)
    model_matrix shared_gate, shared_up, shared_down; // width n_shared * moe_intermediate; rows 0
                                                      // when there are none
    model_matrix *expert_gate, *expert_up, *expert_down; // [n_routed_experts]
} model_layer;

// The directory of a checkpoint, or of a tokenizer alone, given as a path or as a hub id "org/name"
// found in the Hugging Face cache; the caller frees it.
int model_hub_resolve(char **out, const char *dir_or_id, base_err *err);

typedef struct model model; // an opened checkpoint; immutable, reads are thread-safe

typedef struct model_open_options {
    double inner_norm_eps; // > 0 overrides config (for parity with Hugging Face: 1e-6)
    bool config_only; // do not look at weights (replay engine): only the configuration is there
    bool dummy;       // --load-format dummy: no weight file is looked at; model_read makes up
                      // what model_synth with seed 0 would write. Needs tokenizer files too
} model_open_options;

// Opens DIR, or a hub id "org/name" found in the Hugging Face cache. Checks config, index, every
// shard header and every tensor's presence, dtype and shape; reads no weights but weight_shape.
// Errors are BASE_ERR_MODEL and name file and tensor. `options` may be NULL.
int model_open(model **out, const char *dir_or_id, const model_open_options *options,
               base_err *err);
void model_close(model *m); // NULL is fine

const char *model_dir(const model *m);
const model_config *model_get_config(const model *m);
const model_generation *model_get_generation(const model *m);
const model_layer *model_get_layer(const model *m, int layer);
const model_matrix *model_embed(const model *m);   // [vocab, hidden]
const model_matrix *model_lm_head(const model *m); // [vocab, hidden]
const model_tensor *model_final_norm(const model *m);

// Reads bytes [offset, offset + bytes) of a tensor and refuses NaN and infinity in BF16 and F32
// (BASE_ERR_MODEL with the tensor's name and the element's index). Thread-safe.
int model_read(const model *m, const model_tensor *t, uint64_t offset, uint64_t bytes, void *out,
               base_err *err);

// The whole checkpoint, for inspect and verify: all tensors, also the ignored ones.
int model_n_tensors(const model *m);
const model_tensor *model_tensor_at(const model *m, int i, bool *ignored);
int model_n_shards(const model *m);
const char *model_shard_path(const model *m, int shard);

// Reads every byte of every tensor that is used (finite checks), and compares all shards' hashes
// with a manifest (DIR/SHA256SUMS) or the hub cache's LFS names where there are any. Shows progress
// from 1 GiB on; `report` gets one line per problem, or "ok" facts. Returns 0 when all is well.
// Dummy weights are refused (BASE_ERR_USAGE).
int model_verify(const model *m, int threads, base_str *report, base_err *err);

// ---------------------------------------------------------------------------------------------
// Rotary embedding (kimi.md 3.3, 3.4)

// inv_freq [qk_rope_head_dim / 2], computed in double. `cos_sin_scale` multiplies cos and sin;
// `softmax_scale` includes the squared YaRN mscale.
void model_rope_init(const model_config *config, double *inv_freq, double *cos_sin_scale,
                     double *softmax_scale);

// ---------------------------------------------------------------------------------------------
// Sharding rule for sums (DESIGN, promise 2): a reduction over `cols` is cut into MODEL_PARTS parts
// at multiples of `unit` (32, or the head size for o_proj), as equal as possible, larger ones
// first. Part p is [bounds[p], bounds[p + 1]); parts may be empty. cols % unit must be 0.
void model_part_bounds(int cols, int unit, int bounds[MODEL_PARTS + 1]);

// ---------------------------------------------------------------------------------------------
// Memory plan

typedef struct model_plan_options {
    int tensor_parallel, decode_context_parallel; // 1, 2, 4, 8; the second divides the first
    bool exact;                                   // float32 latent cache, else BF16
    int block_size;                               // tokens
    int max_rows;                                 // token rows of a step
    int max_num_seqs;
    int threads;           // of a rank; 0: all cores
    int max_model_len;     // tokens; 0: config's
    uint64_t memory_bytes; // for all ranks together; 0: measured (available memory, cgroup limit)
    uint64_t kv_bytes;     // > 0: --kv-cache-memory-bytes, per rank
} model_plan_options;

typedef struct model_plan {
    uint64_t embed_bytes, attention_bytes, dense_bytes, shared_bytes, expert_bytes, other_bytes;
    uint64_t weight_bytes;     // the sum, per rank
    uint64_t activation_bytes; // step buffers, an upper estimate
    uint64_t kv_token_bytes;   // per token of context, per rank, all layers
    uint64_t kv_bytes;         // for the cache, per rank
    int64_t n_blocks;          // per rank
    int64_t kv_tokens;         // n_blocks * block_size * dcp
    uint64_t memory_bytes;     // what one rank may use
    int max_model_len;         // after shrinking
    bool shrunk;               // config's max_position_embeddings did not fit
} model_plan;

// Computes the plan. A max_model_len asked for that does not fit is BASE_ERR_RESOURCE with the
// number that does, as are weights that do not fit; the bytes counted until then are in `out`.
// Options out of range are BASE_ERR_USAGE.
int model_plan_make(model_plan *out, const model_config *config, const model_plan_options *options,
                    base_err *err);
void model_plan_print(const model_plan *plan, base_str *out); // a small table

// ---------------------------------------------------------------------------------------------
// Synthesis: random checkpoints in the exact file format

typedef struct model_synth_options {
    const char *preset;                  // "tiny", "moonlight", "k2-slice", "k2"
    int n_layers, n_experts, vocab_size; // 0: the preset's
    const char *tokenizer_dir; // NULL: a generated byte-level vocabulary plus Kimi's control tokens
    uint64_t seed;
    int threads;
    const char *overrides; // NULL or a JSON object merged over config.json (tests: odd shapes)
} model_synth_options;

// Writes the checkpoint into `dir` (made if missing; must be empty or hold an older synthesis).
int model_synth(const char *dir, const model_synth_options *options, base_err *err);

#endif
