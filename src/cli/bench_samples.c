// The datasets of abruzzi bench serve, by its flags.
#include "cli/bench.h"
#include <string.h>

// "0.5", or {"input": 0.5, "output": 0}.
static int read_ratio(measure_random_options *r, const char *text, base_err *err) {
    if (base_parse_f64(text, 0, 1, &r->input_range)) {
        r->output_range = r->input_range;
    } else {
        json_t *both =
            base_json_parse(text, strlen(text), "--random-range-ratio", BASE_ERR_USAGE, err);
        if (both == NULL)
            return BASE_ERR_USAGE;
        const json_t *input = json_object_get(both, "input");
        const json_t *output = json_object_get(both, "output");
        bool ok = json_is_number(input) && json_is_number(output);
        r->input_range = ok ? json_number_value(input) : -1;
        r->output_range = ok ? json_number_value(output) : -1;
        json_decref(both);
    }
    if (!(r->input_range >= 0 && r->input_range < 1 && r->output_range >= 0 && r->output_range < 1))
        return base_fail(err, BASE_ERR_USAGE,
                         "--random-range-ratio: %s: not a number from 0 to less than 1, nor JSON "
                         "with two of them as input and output",
                         text);
    return 0;
}

static int make_random(cli_bench *b, base_err *err) {
    const cli_options *o = b->o;
    measure_random_options r = {
        .n = (int)cli_int(o, "num-prompts"),
        .input_len = (int)cli_int(o, cli_has(o, "input-len") ? "input-len" : "random-input-len"),
        .output_len =
            (int)cli_int(o, cli_has(o, "output-len") ? "output-len" : "random-output-len"),
        .prefix_len = (int)cli_int(o, "random-prefix-len"),
        .seed = (uint64_t)cli_int(o, "seed"),
        .compat_2025 = b->compat_2025,
    };
    int rc = read_ratio(&r, cli_string(o, "random-range-ratio"), err);
    return rc == 0 ? measure_samples_random(&b->samples, b->vocab, &r, err) : rc;
}

static int make_from_file(cli_bench *b, const char *dataset, base_err *err) {
    const cli_options *o = b->o;
    bool chat = b->load.api == MEASURE_CHAT;
    measure_file_options f = {
        .path = cli_string(o, "dataset-path"),
        .n = (int)cli_int(o, "num-prompts"),
        .output_len = (int)cli_int(o, "output-len"),
        .seed = (uint64_t)cli_int(o, "seed"),
        .skip_shuffle = cli_bool(o, "disable-shuffle"),
        .no_oversample = cli_bool(o, "no-oversample"),
        // On the way of chats the server does it.
        .chat_template = !chat && !cli_bool(o, "skip-chat-template"),
    };
    if (f.path == NULL)
        return base_fail(err, BASE_ERR_USAGE, "--dataset-path: dataset %s needs a file", dataset);
    if (strcmp(dataset, "sharegpt") == 0) {
        if (!cli_has(o, "output-len"))
            f.output_len = (int)cli_int(o, "sharegpt-output-len");
        return measure_samples_sharegpt(&b->samples, b->vocab, &f, err);
    }
    if (strcmp(dataset, "custom") == 0) {
        if (!cli_has(o, "output-len"))
            f.output_len = (int)cli_int(o, "custom-output-len");
        return measure_samples_custom(&b->samples, b->vocab, &f, err);
    }
    if (!chat)
        return base_fail(err, BASE_ERR_USAGE,
                         "--dataset-name agent has messages: it needs --backend openai-chat");
    return measure_samples_agent(&b->samples, b->vocab, &f, err);
}

int cli_bench_make_samples(cli_bench *b, base_err *err) {
    const char *dataset = cli_string(b->o, "dataset-name");
    int rc = strcmp(dataset, "random") == 0 ? make_random(b, err) : make_from_file(b, dataset, err);
    if (rc == 0 && b->samples.n == 0)
        rc = base_fail(err, BASE_ERR_USAGE, "--dataset-path: there is no prompt in it");
    return rc;
}
