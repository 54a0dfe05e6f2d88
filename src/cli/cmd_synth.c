// abruzzi synth: a random checkpoint.
#include "cli/cli.h"
#include "model/model.h"

int cmd_synth(const cli_options *o, base_err *err) {
    cli_set_log_level(o);
    const char *dir = cli_argument(o, 0);
    model_synth_options options = {
        .preset = cli_string(o, "preset"),
        .n_layers = (int)cli_int(o, "layers"),
        .n_experts = (int)cli_int(o, "experts"),
        .vocab_size = (int)cli_int(o, "vocab"),
        .tokenizer_dir = cli_string(o, "tokenizer"),
        .seed = (uint64_t)cli_int(o, "seed"),
        .threads = cli_threads(o),
        .overrides = cli_string(o, "hf-overrides"),
    };
    double start = base_now_s();
    int rc = model_synth(dir, &options, err);
    if (rc == 0)
        base_info("Wrote %s (%s, seed %llu) in %.1f seconds", dir, options.preset,
                  (unsigned long long)options.seed, base_now_s() - start);
    return rc;
}
