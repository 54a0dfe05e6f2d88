// The inside of synthesis: a preset becomes a config, the config a plan of shards and tensors, the
// plan values. Only synth*.c and their tests include this; others call model_synth (model.h).
#ifndef MODEL_SYNTH_H
#define MODEL_SYNTH_H

#include "model/model.h"
#include <jansson.h>

// ---------------------------------------------------------------------------------------------
// synth_vocab.c: the tokenizer's two files and the ids that config.json repeats.

enum { SYNTH_CONTROL_TOKENS = 256 };

typedef struct synth_tokenizer {
    base_str model, config; // tiktoken.model, tokenizer_config.json
    int n_ordinary, n_ids;
    int32_t bos, eos, pad; // -1: the tokenizer has none
} synth_tokenizer;

// A byte-level vocabulary of `vocab_size` ids, the last SYNTH_CONTROL_TOKENS of them Kimi's control
// tokens. Depends on nothing but the number.
int synth_tokenizer_generate(synth_tokenizer *out, int vocab_size, base_err *err);
// Reads and checks the files of an existing tokenizer.
int synth_tokenizer_read(synth_tokenizer *out, const char *dir, base_err *err);
void synth_tokenizer_free(synth_tokenizer *t);

// ---------------------------------------------------------------------------------------------
// synth_config.c

// The preset with the options' numbers and overrides in it; token ids are still the preset's. With
// a tokenizer (`n_ids` > 0) its size is the default vocabulary. The caller owns the result.
json_t *synth_config_make(const model_synth_options *options, int n_ids, base_err *err);
// Puts the tokenizer's ids where the preset has them and the overrides have none.
int synth_config_set_ids(json_t *config, const model_synth_options *options,
                         const synth_tokenizer *tokenizer, base_err *err);
// As transformers writes it: sorted keys, indented by 2, shortest doubles, a final newline.
void synth_config_print(const json_t *config, base_str *out);

// ---------------------------------------------------------------------------------------------
// synth_plan.c

typedef enum {
    SYNTH_NORMAL, // BF16 weights, normal with deviation `size`
    SYNTH_NORM,   // BF16 norm weights around 1
    SYNTH_BIAS,   // F32, normal with deviation `size`
    SYNTH_CODES,  // I32 words of 8 nibbles
    SYNTH_SCALES, // BF16 scales that give code x scale the deviation `size`
    SYNTH_SHAPE,  // I32 [2]: rows, cols
} synth_kind;

typedef struct synth_tensor {
    char *name;
    model_dtype dtype;
    synth_kind kind;
    int n_dims;
    int64_t shape[2];
    int32_t rows, cols;     // SYNTH_SHAPE's values
    uint64_t offset, bytes; // in the shard's data
    double size;
    // SYNTH_NORMAL: bytes from here on are a quarter of the size. lm_head's rows of control tokens
    // are, so that random text is made of ordinary tokens and does not end by chance.
    uint64_t quiet_from;
} synth_tensor;

typedef struct synth_shard {
    char file[64];
    synth_tensor *tensors; // in file order
    int n_tensors, cap;
    uint64_t bytes; // of tensor data
} synth_shard;

typedef struct synth_plan {
    synth_shard *shards; // layers in order, then embedding, final norm and lm_head
    int n_shards;
    int64_t n_tensors;
    uint64_t bytes;
} synth_plan;

// Lays out every tensor of a config that model_config_parse accepted, without writing anything.
// `n_ordinary` is where control tokens begin.
void synth_plan_make(synth_plan *out, const model_config *config, int n_ordinary);
void synth_plan_free(synth_plan *plan);
// The shard's safetensors header, length word included, padded to 8 bytes with spaces.
void synth_plan_header(const synth_shard *shard, base_str *out);
// model.safetensors.index.json
void synth_plan_index(const synth_plan *plan, base_str *out);

// ---------------------------------------------------------------------------------------------
// synth_fill.c: a byte of a tensor depends on seed, tensor name and its place alone.

enum { SYNTH_LEVELS = 4096 };

typedef struct synth_tables {
    double normal[SYNTH_LEVELS]; // standard normal at SYNTH_LEVELS equally likely levels, ascending
    double spread[SYNTH_LEVELS]; // factors of scales: log-normal with mean square 1
    uint8_t codes[SYNTH_LEVELS]; // a byte of two stored nibbles (code + 8), the lower one first
    double code_rms;
} synth_tables;

void synth_tables_init(synth_tables *tables);
// Writes bytes [begin, end) of the tensor.
void synth_fill(const synth_tables *tables, const synth_tensor *t, uint64_t seed, uint64_t begin,
                uint64_t end, unsigned char *out);

// ---------------------------------------------------------------------------------------------
// synth_write.c

// Creates DIR/FILE of every shard, which must not exist.
int synth_write_shards(const char *dir, const synth_plan *plan, uint64_t seed, int threads,
                       base_err *err);

#endif
