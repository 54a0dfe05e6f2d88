// Makes the requests of a dataset for the tests that compare with vLLM's: a JSON object a line.
//   samples TOKENIZER random N INPUT OUTPUT PREFIX RANGE SEED COMPAT_2025
//   samples TOKENIZER sharegpt|custom|agent FILE N OUTPUT SEED [no-shuffle] [no-oversample]
//           [template]
#include "measure/sample.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(const measure_samples *s) {
    base_str out = {0};
    for (int i = 0; i < s->n; i++) {
        const measure_sample *at = &s->at[i];
        base_str_printf(&out, "{\"prompt_len\":%d,\"output_len\":%d,\"conversation\":%d,",
                        at->prompt_len, at->output_len, at->conversation);
        base_str_printf(&out, "\"messages\":%s,\"tools\":%s,\"prompt\":",
                        at->is_messages ? "true" : "false", at->tools ? at->tools : "null");
        base_json_add_string(&out, at->prompt, at->prompt_bytes);
        base_str_adds(&out, "}\n");
    }
    if (out.len > 0)
        fwrite(out.data, 1, out.len, stdout);
    base_str_free(&out);
}

static int make_random(measure_samples *s, const token_vocab *vocab, char **arg, base_err *err) {
    const measure_random_options o = {.n = atoi(arg[0]),
                                      .input_len = atoi(arg[1]),
                                      .output_len = atoi(arg[2]),
                                      .prefix_len = atoi(arg[3]),
                                      .input_range = atof(arg[4]),
                                      .output_range = atof(arg[4]),
                                      .seed = strtoull(arg[5], NULL, 10),
                                      .compat_2025 = atoi(arg[6]) != 0};
    return measure_samples_random(s, vocab, &o, err);
}

static int read_file(measure_samples *s, const token_vocab *vocab, const char *name, int n,
                     char **arg, base_err *err) {
    measure_file_options o = {.path = arg[0],
                              .n = atoi(arg[1]),
                              .output_len = atoi(arg[2]),
                              .seed = strtoull(arg[3], NULL, 10)};
    for (int i = 4; i < n; i++) {
        o.skip_shuffle |= strcmp(arg[i], "no-shuffle") == 0;
        o.no_oversample |= strcmp(arg[i], "no-oversample") == 0;
        o.chat_template |= strcmp(arg[i], "template") == 0;
    }
    if (strcmp(name, "sharegpt") == 0)
        return measure_samples_sharegpt(s, vocab, &o, err);
    return (strcmp(name, "custom") == 0 ? measure_samples_custom : measure_samples_agent)(s, vocab,
                                                                                          &o, err);
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: samples TOKENIZER NAME ARGUMENTS\n");
        return BASE_ERR_USAGE;
    }
    base_err err = {0};
    token_vocab *vocab;
    measure_samples s = {0};
    int rc = token_vocab_load(&vocab, argv[1], &err);
    if (rc == 0) {
        if (strcmp(argv[2], "random") == 0 && argc == 10)
            rc = make_random(&s, vocab, argv + 3, &err);
        else
            rc = read_file(&s, vocab, argv[2], argc - 3, argv + 3, &err);
        token_vocab_free(vocab);
    }
    if (rc != 0)
        fprintf(stderr, "%s\n", err.message);
    print(&s);
    measure_samples_free(&s);
    return rc;
}
