// The reference backend's own header: weights as the checkpoint stores them, and the forward pass.
#ifndef BACKEND_REFERENCE_REFERENCE_H
#define BACKEND_REFERENCE_REFERENCE_H

#include "backend/backend.h"
#include "backend/sample/sample.h"

// ---------------------------------------------------------------------------------------------
// Weights (weights.c). Kept as stored and widened to double row by row, which is exact: a BF16
// number and the product of a 4 bit code with a BF16 scale both fit a double.

typedef struct reference_matrix { // y = W x
    int rows, cols;
    uint16_t *bf16;   // [rows, cols] bf16; NULL: INT4
    uint8_t *nibbles; // [rows, cols / 2] two offset-binary codes a byte, lower column low
    uint16_t *scale;  // [rows, cols / 32] bf16
} reference_matrix;

typedef struct reference_mlp {
    reference_matrix gate, up, down; // rows 0: absent
} reference_mlp;

typedef struct reference_layer {
    double *input_norm, *post_norm; // [hidden]
    reference_matrix q_a, q_b;      // q_lora_rank > 0, else
    reference_matrix q;             // from hidden directly
    double *q_a_norm;               // [q_lora_rank]
    reference_matrix kv_a, kv_b, o; // kv_b: per head nope rows, then v rows
    double *kv_a_norm;              // [kv_lora_rank]
    reference_mlp mlp;              // of a dense layer, or the shared experts
    reference_matrix router;        // rows 0: a dense layer
    double *router_bias;            // [n_routed_experts]
    reference_mlp *experts;         // [n_routed_experts]
} reference_layer;

typedef struct reference_weights {
    int n_layers, n_experts;
    reference_layer *layers;
    reference_matrix embed, lm_head; // [vocab, hidden]
    double *final_norm;              // [hidden]
    uint64_t bytes;
} reference_weights;

// On failure `w` may be partly filled; reference_weights_free is right either way.
int reference_weights_load(reference_weights *w, const model *m, bool progress, base_err *err);
void reference_weights_free(reference_weights *w);

// Row `row` of W as double [cols].
void reference_matrix_row(const reference_matrix *w, int row, double *out);
size_t reference_matrix_row_bytes(const reference_matrix *w); // as stored

// ---------------------------------------------------------------------------------------------
// Forward pass (forward.c)

typedef struct reference {
    backend base;
    const model_config *config;
    backend_options options;
    reference_weights weights;
    double *inv_freq; // [rope / 2]
    double cos_sin_scale, softmax_scale;

    // [layer][block][slot][kv_lora + rope]: the normed latent and the rotated key of a position.
    double *cache;
    size_t cache_bytes;

    // Activations of a step; [row] is one of max_rows token rows.
    double *h;                   // [row][hidden] the residual stream
    double *x;                   // [row][hidden] what a sublayer reads
    double *y;                   // [row][hidden] what it adds to h
    double *q_a;                 // [row][q_lora]
    double *q;                   // [row][heads][nope + rope]
    double *kv_a;                // [row][kv_lora + rope]
    double *head_out;            // [row][heads][v]
    double *gate, *up;           // [row][widest MLP]
    double *expert_x, *expert_y; // [row][hidden] of the rows that chose an expert, packed
    int *expert_slots;           // [row] the slots of `chosen` these come from
    double *router_logits;       // [row][n_routed_experts]
    double *score, *choice;      // [n_routed_experts] of one row
    double *group_score;         // [n_group] of one row
    int *groups;                 // [topk_group] of one row
    int *chosen;                 // [row][n_experts_per_tok]
    double *routing;             // [row][n_experts_per_tok] weights of the chosen
    double *weight_row;          // [widest matrix]
    double *head_kv;             // [max_model_len][nope + v] keys and values of one head
    double *probability;         // [max_model_len]
    double *logits;              // [vocab]

    int *positions;       // [row]
    float *sample_logits; // [vocab]
    sample_scratch *scratch;
    int32_t *last_ids;              // [max_outputs] sampled in the step before
    backend_output_result *results; // [max_outputs]
    int32_t *top_ids;               // [max_outputs][max_logprobs]
    float *top_logprobs;            // [max_outputs][max_logprobs]
    int n_results;

    void *buffers[48]; // all of the above but the cache and the sampler's scratch
    int n_buffers;

    uint64_t near_ties, weight_bytes_read;
    double seconds;
} reference;

// Runs the layers over the plan's rows; leaves the residual stream in r->h.
void reference_forward(reference *r, const backend_plan *plan);
// Logits of row `row` after reference_forward, into r->logits.
void reference_logits(reference *r, int row);

#endif
