// model.safetensors.index.json. No accepted shard name may leave the directory.
#include "model/internal.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    model_index x;
    base_err err = {0};
    int rc = model_index_parse(&x, (const char *)data, size, "fuzz", &err);
    if (rc != 0) {
        if (err.code != rc || err.message[0] == 0)
            abort();
        return 0;
    }
    for (int i = 0; i < x.n_files; i++)
        if (strchr(x.file_names[i], '/') || strcmp(x.file_names[i], "..") == 0 ||
            (i > 0 && strcmp(x.file_names[i - 1], x.file_names[i]) >= 0))
            abort();
    for (int i = 0; i < x.n_tensors; i++)
        if (x.names[i][0] == 0 || x.files[i] < 0 || x.files[i] >= x.n_files)
            abort();
    model_index_free(&x);
    return 0;
}
