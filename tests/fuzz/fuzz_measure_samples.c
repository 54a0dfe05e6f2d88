// Datasets of any bytes: they give requests or an error that names the file, and the requests keep
// what their header promises. The first byte chooses the dataset and the flags, the second one the
// number of requests; what follows is the file.
#include "chat_fixture.h"
#include "measure/sample.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_REQUESTS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool good) {
    if (!good)
        abort();
}

static void check_request(const measure_sample *s, const measure_file_options *o, bool agent) {
    require(s->prompt_len >= 0 && s->output_len >= 1);
    require(o->output_len <= 0 || s->output_len == o->output_len);
    require(s->prompt[s->prompt_bytes] == '\0');
    require(s->is_messages == agent && (s->conversation >= 0) == agent);
    if (!agent)
        return;
    base_err err;
    json_t *messages = base_json_parse(s->prompt, s->prompt_bytes, "prompt", 1, &err);
    require(json_is_array(messages) && json_array_size(messages) > 0);
    json_decref(messages);
}

static void read_dataset(const token_vocab *vocab, int kind, const measure_file_options *o) {
    static int (*const readers[])(measure_samples *, const token_vocab *,
                                  const measure_file_options *, base_err *) = {
        measure_samples_sharegpt, measure_samples_custom, measure_samples_agent};
    measure_samples samples;
    base_err err = {0};
    int rc = readers[kind](&samples, vocab, o, &err);
    if (rc != 0) {
        require(rc == err.code && strncmp(err.message, o->path, strlen(o->path)) == 0);
        require(samples.n == 0 && samples.at == NULL);
        return;
    }
    require(o->n <= 0 || samples.n <= o->n);
    require(o->n <= 0 || o->no_oversample || samples.n == o->n);
    for (int i = 0; i < samples.n; i++)
        check_request(&samples.at[i], o, kind == 2);
    measure_samples_free(&samples);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static token_vocab *vocab;
    static int file;
    static char path[32];
    if (vocab == NULL) {
        vocab = fixture_chat_vocab(NULL);
        file = memfd_create("dataset", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        base_log_set_level(BASE_LOG_ERROR);
    }
    if (size < 2)
        return 0;
    require(ftruncate(file, 0) == 0 && pwrite(file, data + 2, size - 2, 0) == (ssize_t)size - 2);
    const measure_file_options options = {.path = path,
                                          .n = data[1] % MAX_REQUESTS,
                                          .output_len = data[0] & 4 ? 7 : 0,
                                          .seed = data[1],
                                          .skip_shuffle = (data[0] & 8) != 0,
                                          .no_oversample = (data[0] & 16) != 0,
                                          .chat_template = (data[0] & 32) != 0};
    read_dataset(vocab, data[0] % 4 % 3, &options);
    return 0;
}
