// The CPU backend's own types. The pass is in forward.c; the rest is what it calls.
//
//   weights.c    checkpoint -> repacked panels in one arena
//   linear.c     y = W x over the pool, whole or in the eight parts of a sharded dimension
//   attention.c  absorbed multi-head latent attention over the paged cache
//   mlp.c        dense and mixture-of-experts MLPs: grouped GEMM, part-major sums
//   route.c      expert selection
//   forward.c    one step, top to bottom
//   cpu.c        open, submit, wait, close
#ifndef BACKEND_CPU_CPU_H
#define BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/sample/sample.h"

// A weight matrix [rows, cols] as panels of 16 rows (kernels.h). The configuration's checks see to
// it that cols is even.
typedef struct cpu_matrix {
    model_matrix_kind kind;
    int rows, cols, n_panels; // rows == 0: absent
    uint16_t *panels;         // BF16
    uint8_t *codes;           // INT4
    uint16_t *scales;         // INT4
} cpu_matrix;

typedef struct cpu_mlp {
    cpu_matrix gate, up, down;
} cpu_mlp;

typedef struct cpu_layer {
    float *input_norm, *post_norm; // [hidden]
    float *q_a_norm, *kv_a_norm;   // [q_lora], [kv_lora]
    cpu_matrix q_proj;             // when q_lora_rank == 0
    cpu_matrix q_a, q_b;
    cpu_matrix kv_a;
    cpu_matrix *k_up; // [heads] of [kv_lora, nope]: W_UK transposed, q_lat = k_up q_nope
    cpu_matrix *v_up; // [heads] of [v_head, kv_lora]: W_UV
    cpu_matrix o;
    bool is_moe;
    cpu_mlp mlp; // the dense MLP, or the shared experts as one
    cpu_matrix router;
    float *router_bias; // [n_routed_experts]
    cpu_mlp *experts;   // [n_routed_experts]
} cpu_layer;

typedef struct cpu_weights {
    uint16_t *embed; // [vocab, hidden] bf16, as stored
    cpu_matrix lm_head;
    float *final_norm; // [hidden]
    cpu_layer *layers;
    void *arena;
    size_t arena_bytes;
} cpu_weights;

// Reads and repacks every weight with the pool's threads.
int cpu_weights_load(cpu_weights *w, const model *m, base_pool *pool, bool progress, base_err *err);
void cpu_weights_free(cpu_weights *w, int n_layers);
// Bytes of all layers' matrices but the routed experts'.
size_t cpu_weights_dense_bytes(const cpu_weights *w, const model_config *config);
// Bytes of one matrix as stored in panels.
size_t cpu_matrix_bytes(const cpu_matrix *m);

// Activation rows in INT8 (kernels.h), writable; cpu_int8_at gives the kernels' view of them.
typedef struct cpu_int8_buffer {
    int8_t *codes;  // [rows][stride_codes]
    float *scales;  // [rows][stride_groups]
    int32_t *sums8; // [rows][stride_groups]
    size_t stride_codes, stride_groups;
} cpu_int8_buffer;

static inline cpu_int8_rows cpu_int8_at(const cpu_int8_buffer *x, int row) {
    return (cpu_int8_rows){.codes = x->codes + (size_t)row * x->stride_codes,
                           .scales = x->scales + (size_t)row * x->stride_groups,
                           .sums8 = x->sums8 + (size_t)row * x->stride_groups,
                           .stride_codes = x->stride_codes,
                           .stride_groups = x->stride_groups};
}

// One expert that at least one row of the step chose.
typedef struct cpu_group {
    int expert;
    int first, count; // assignments [first, first + count), ascending rows
} cpu_group;

// What a worker may scribble on.
typedef struct cpu_worker {
    float *tile;      // GEMM output: two of [rows][CPU_ACT_COLS], or [CPU_HEAD_ROWS][v_head]
    float *part_sums; // [MODEL_PARTS][rows][CPU_TILE_COLS] of a down projection, or of
                      // CPU_PART_ROWS rows of another sharded one
    float *q;         // attention: [CPU_ATTN_ROWS][q_stride]
    float *acc;       // attention: [4][CPU_ATTN_ROWS][kv_lora]
    float *max, *sum; // attention: [4][CPU_ATTN_ROWS]
    float *kt, *v;    // attention: a tile of keys
    float *route;     // [3 * n_routed_experts] scores, choices and group scores of one row
    sample_scratch *sample;
} cpu_worker;

enum {
    CPU_TILE_PANELS = 4,
    CPU_TILE_COLS = CPU_TILE_PANELS * CPU_LANES,
    CPU_ACT_COLS = 2 * CPU_TILE_COLS, // of an MLP's gate and up tile; a multiple of CPU_GROUP
    CPU_HEAD_ROWS = 64,               // rows of a work item of one head's absorbed matrix
    CPU_PART_ROWS = 128,              // rows of a tile whose part sums stay in the L2 cache
    CPU_ATTN_ROWS = 64,               // query rows (tokens x heads) of an attention work item
    CPU_LOGIT_ROWS = 32               // output rows whose logits exist at the same time
};

// What a part of an arena takes: parts begin at cache lines and end in a guard.
static inline size_t cpu_part_bytes(size_t bytes) {
    return base_round_up(bytes, 64) + 64;
}

typedef struct cpu_backend {
    backend base;
    const model_config *config;
    backend_options options;
    const cpu_kernels *k;
    base_pool *pool;
    int n_workers;
    cpu_worker *workers;
    cpu_weights weights;
    bool int8_experts; // numerics fast with INT4 experts
    bool bf16_cache;   // numerics fast
    float softmax_scale, cos_sin_scale;
    double *inv_freq; // [rope / 2]

    // The latent cache: [layer][block][slot][kv_lora + rope], f32 or bf16. Lazily touched.
    uint8_t *cache;
    size_t cache_bytes, cache_row_bytes, cache_layer_bytes;

    // Step buffers for max_rows rows. Strides are in floats.
    int32_t *ids;      // [rows] resolved
    int *row_position; // [rows]
    int *row_seq;      // [rows]
    float *h;          // [rows][hidden] the residual stream
    float *x;          // [rows][x_stride] normed input of a block
    float *rope_cs;    // [rows][rope] cos, sin of each pair
    float *q_a;        // [rows][q_a_stride]
    float *q;          // [rows][q_row_stride] per head nope then rope
    float *kv;         // [rows][kv_stride] latent then rope
    float *q_abs;      // [rows][heads][q_stride] latent then rotated rope
    float *o_lat;      // [rows][heads][kv_lora]
    float *attn_out;   // [rows][heads * v_head]
    size_t x_stride, q_a_stride, q_row_stride, kv_stride, q_stride;
    float *partials; // attention split over classes: [item][class][rows] max, sum, acc
    int *attn_first; // [max_seqs + 1] first work item of each sequence

    // Mixture of experts.
    float *router_logits; // [rows][router_stride]
    size_t router_stride;
    int *slot_expert;   // [rows][top_k] ascending
    float *slot_weight; // [rows][top_k]
    // For measurements (docs/NUMERICS.md): the experts a step chose are kept in route_trace
    // [n_layers][max_rows][top_k], or taken from it.
    enum { CPU_ROUTE_NORMAL, CPU_ROUTE_TRACED, CPU_ROUTE_FORCED } route_mode;
    int *route_trace;
    cpu_group *groups;             // [n_routed_experts]
    const cpu_mlp **group_experts; // [n_routed_experts] acquired, by group
    int n_groups;
    int *group_of_expert; // [n_routed_experts] running offsets while grouping
    int *assign_row;      // [rows * top_k]
    float *assign_weight; // [rows * top_k]
    float *gathered;      // [rows * top_k][hidden] f32, unless int8_experts
    float *expert_act;    // [rows * top_k][moe_intermediate] f32, unless int8_experts
    float *mlp_act;       // [rows][widest dense or shared MLP] f32
    size_t mlp_act_stride;
    cpu_int8_buffer x8, gathered8, act8; // int8_experts

    // Outputs.
    float *logits; // [CPU_LOGIT_ROWS][logits_stride]
    size_t logits_stride;
    float *out_x;                   // [CPU_LOGIT_ROWS][x_stride]
    backend_output_result *results; // [max_outputs]
    int32_t *top_ids;               // [max_outputs][max_logprobs]
    float *top_logprobs;
    int32_t *sampled; // [max_outputs] of the previous step

    const backend_plan *plan;
    size_t dense_bytes; // of all matrices that every step reads, without lm_head
    uint64_t weight_bytes_read;
    double seconds;
    uint64_t *near_ties; // [n_workers]

    // One allocation behind all step buffers.
    uint8_t *arena;
    size_t arena_bytes;
    char description[96];
} cpu_backend;

// Experts are acquired for the time of a layer's MLP and released after it, so that a store that
// keeps some of them elsewhere can take the place of RAM.
static inline const cpu_mlp *cpu_expert_acquire(const cpu_backend *b, int layer, int expert) {
    return &b->weights.layers[layer].experts[expert];
}
static inline void cpu_expert_release(const cpu_backend *b, int layer, int expert) {
    (void)b, (void)layer, (void)expert;
}

// linear.c ------------------------------------------------------------------------------------

// y [m][ldy] = W x, x [m][ldx]; W is BF16. ldy >= n_panels * 16: pad columns are written.
void cpu_linear(cpu_backend *b, float *y, size_t ldy, const float *x, size_t ldx, int m,
                const cpu_matrix *w);
// h [m][hidden] += W x, the reduction cut into parts at multiples of `unit` and added as a tree.
void cpu_linear_parts_add(cpu_backend *b, float *h, const float *x, size_t ldx, int m,
                          const cpu_matrix *w, int unit);
// h [m][ldh] columns [col, col + cols) += the balanced contiguous tree over parts
// [MODEL_PARTS][m][CPU_TILE_COLS].
void cpu_parts_tree_add(const cpu_kernels *k, float *h, size_t ldh, int m, int col, int cols,
                        float *parts);
// One tile: y [m][n_panels * 16] = or += W[panels] x over columns [begin, end) for a BF16 matrix.
static inline void cpu_tile_bf16(const cpu_backend *b, float *y, size_t ldy, const float *x,
                                 size_t ldx, int m, const cpu_matrix *w, int panel, int n_panels,
                                 int begin, int end) {
    size_t stride = cpu_bf16_panel_elems(w->cols);
    b->k->gemm_bf16(y, ldy, x, ldx, m, w->panels + (size_t)panel * stride, stride, n_panels, begin,
                    end, 0);
}

// attention.c ---------------------------------------------------------------------------------

// o_lat <- attention of the step's rows over the cache of `layer`, from q_abs.
void cpu_attention(cpu_backend *b, int layer);
int cpu_attention_split_items(int threads); // how many items may be split over classes
size_t cpu_attention_partial_floats(const cpu_backend *b); // of one item and class

// route.c -------------------------------------------------------------------------------------

// router_logits [rows] -> slot_expert, slot_weight, and the groups of rows per expert.
void cpu_route(cpu_backend *b, int layer, int rows);

// mlp.c ---------------------------------------------------------------------------------------

// h += MLP(x): dense, or routed and shared experts.
void cpu_mlp_add(cpu_backend *b, int layer, int rows);

// forward.c -----------------------------------------------------------------------------------

void cpu_forward(cpu_backend *b, const backend_plan *plan);

#endif
