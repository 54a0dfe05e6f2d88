// What the files of the model room share. Parsers work on memory, so that tests and fuzzers can
// call them without a file.
#ifndef MODEL_INTERNAL_H
#define MODEL_INTERNAL_H

#include "model/model.h"

// ---------------------------------------------------------------------------------------------
// names.c: a table from names to numbers.

typedef struct model_name_slot {
    const char *name; // NULL: free
    int value;
} model_name_slot;

// Zero-initialised is empty and valid. Names are not copied.
typedef struct model_names {
    model_name_slot *slots; // [capacity], a power of two
    size_t capacity, count;
} model_names;

typedef enum { MODEL_NAME_ADDED, MODEL_NAME_TWICE, MODEL_NAME_NO_MEMORY } model_name_result;

model_name_result model_names_add(model_names *t, const char *name, int value);
int model_names_find(const model_names *t, const char *name); // -1: not there
void model_names_free(model_names *t);

// ---------------------------------------------------------------------------------------------
// scan.c: a strict JSON scanner for headers and indexes, which have hundreds of thousands of keys.
// The first failure fills `err` and makes every later call return false.

typedef struct model_scan {
    const char *begin, *at, *end;
    const char *what; // for messages
    base_err *err;
    int code; // 0, or that of the first failure
} model_scan;

bool model_scan_fail(model_scan *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool model_scan_no_memory(model_scan *s); // fails with BASE_ERR_RESOURCE
// Skips white space and takes `c`.
bool model_scan_take(model_scan *s, char c);
// Skips white space; true when `c` is next. Never fails.
bool model_scan_peek(model_scan *s, char c);
// A string, decoded and NUL-terminated, into `out`, which must hold (end - at + 1) bytes. Invalid
// UTF-8, control characters and NULs are refused.
bool model_scan_string(model_scan *s, char *out, size_t *len);
// A non-negative integer without sign, fraction, exponent or leading zeros.
bool model_scan_u64(model_scan *s, uint64_t *out);
// Any value, checked and dropped.
bool model_scan_skip(model_scan *s);
// After a member or element: takes ',' and returns true with *more set, or takes `close`.
bool model_scan_next(model_scan *s, char close, bool *more);

// ---------------------------------------------------------------------------------------------
// safetensors.c

enum { MODEL_HEADER_MAX = 100000000 };

typedef struct model_header {
    model_tensor *tensors; // [n_tensors] by offset; offsets from the start of the data, file 0
    int n_tensors;
    char *names; // memory of the names
} model_header;

// The length field of a file of `file_bytes` bytes.
int model_header_length(const unsigned char first[8], uint64_t file_bytes, uint64_t *len,
                        const char *what, base_err *err);
// `json` [len] is the header, `data_bytes` what follows it in the file.
int model_header_parse(model_header *out, const char *json, size_t len, uint64_t data_bytes,
                       const char *what, base_err *err);
void model_header_free(model_header *h);

// ---------------------------------------------------------------------------------------------
// index.c

typedef struct model_index {
    const char **names; // [n_tensors]
    int *files;         // [n_tensors] index into file_names
    int n_tensors;
    char **file_names; // [n_files] plain names, ascending
    int n_files;
    char *text; // memory of the names
} model_index;

int model_index_parse(model_index *out, const char *json, size_t len, const char *what,
                      base_err *err);
void model_index_free(model_index *x);

// ---------------------------------------------------------------------------------------------
// config.c, quantization.c, generation.c

// Adds the ids of an eos_token_id (integer, list or null) that `config` does not have yet.
int model_config_add_eos(model_config *config, const json_t *value, const char *what,
                         base_err *err);
// Checks a quantization_config object; only compressed-tensors INT4 in groups of 32 passes.
int model_quantization_check(const json_t *quantization, const char *what, base_err *err);
// Reads generation_config.json text; its eos ids join those of `config`.
int model_generation_parse(model_generation *out, model_config *config, const char *json,
                           size_t len, const char *what, base_err *err);

// ---------------------------------------------------------------------------------------------
// checkpoint.c, inventory.c

typedef struct model_shard {
    char *path;
    int fd;
    uint64_t file_bytes, data_start;
    char *names;                  // memory of its tensors' names
    int first_tensor, end_tensor; // its tensors, by offset
} model_shard;

typedef struct model_dummy model_dummy;

struct model {
    char *dir;
    model_config config;
    model_generation generation;
    model_shard *shards;
    int n_shards;
    model_tensor *tensors; // by shard, then by offset
    bool *used;            // [n_tensors]
    int n_tensors;
    model_names by_name; // -> index into tensors
    char prefix[64];     // of all names of the language model, e.g. "language_model."
    model_layer *layers; // [config.n_layers]
    model_matrix embed, lm_head;
    const model_tensor *final_norm;
    model_dummy *dummy; // NULL: the weights are in files
};

// Finds and checks every tensor the configuration asks for; classifies the others.
int model_inventory(model *m, base_err *err);

// ---------------------------------------------------------------------------------------------
// dummy.c

// Fills in tensors and shards as if they had been read.
int model_dummy_open(model *m, base_err *err);
// [offset, offset + bytes) must be within the tensor.
void model_dummy_read(const model *m, const model_tensor *t, uint64_t offset, size_t bytes,
                      void *out);
void model_dummy_free(model_dummy *d); // NULL is fine

// ---------------------------------------------------------------------------------------------
// read.c

// The first NaN or infinity of `bytes` bytes of a tensor's data: its index, or -1. Types that have
// none give -1.
int64_t model_find_non_finite(model_dtype dtype, const void *data, size_t bytes);
size_t model_dtype_bytes(model_dtype dtype); // of the four that are used

// ---------------------------------------------------------------------------------------------
// memory.c

// Bytes that this process may still use: the least of MemAvailable and what the limits of its
// control groups (v1 and v2) leave. `root` is prepended to /proc and /sys ("" outside of tests).
int model_memory_available(uint64_t *out, const char *root, base_err *err);

#endif
