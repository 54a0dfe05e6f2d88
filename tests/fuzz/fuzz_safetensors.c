// A whole safetensors file: length field, header, data. What is accepted must hold the promises the
// rest of the program builds on.
#include "model/internal.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const model_header *h, uint64_t data_bytes) {
    uint64_t at = 0;
    for (int i = 0; i < h->n_tensors; i++) {
        const model_tensor *t = &h->tensors[i];
        if (t->offset != at || t->bytes > data_bytes - at || t->name[0] == 0 || !t->dtype_name)
            abort();
        at += t->bytes;
        if (t->dtype == MODEL_OTHER_DTYPE)
            continue;
        uint64_t elements = 1;
        for (int k = 0; k < t->n_dims; k++)
            elements *= (uint64_t)t->shape[k];
        if (elements * model_dtype_bytes(t->dtype) != t->bytes)
            abort();
    }
    if (at != data_bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t first[8] = {0};
    uint64_t len;
    base_err err = {0};
    memcpy(first, data, size < 8 ? size : 8);
    if (model_header_length(first, size, &len, "fuzz", &err) != 0) {
        if (err.code != BASE_ERR_MODEL || err.message[0] == 0)
            abort();
        return 0;
    }
    model_header h;
    uint64_t data_bytes = size - 8 - len;
    int rc = model_header_parse(&h, (const char *)data + 8, (size_t)len, data_bytes, "fuzz", &err);
    if (rc != 0) {
        if (err.code != rc || err.message[0] == 0)
            abort();
        return 0;
    }
    check(&h, data_bytes);
    model_header_free(&h);
    return 0;
}
