// The flags of abruzzi bench serve, read and checked.
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli/options.h"
#include "measure/measure.h"

typedef struct cli_bench {
    const cli_options *o;
    bool compat_2025;
    measure_load_options load; // model: the name that is sent
    measure_metrics_options metrics;
    measure_report_options report;
    json_t *extra; // what load.extra is
    base_str url;  // without a path
    char *model;   // as it is called in results
    char *served;  // as it is called in requests
    char *tokenizer;
    char *id_prefix;
    token_vocab *vocab;
    measure_samples samples;
    measure_client *client;
} cli_bench;

// What flags alone decide.
int cli_bench_read(cli_bench *b, const cli_options *o, base_err *err);
// The samples; needs the vocabulary.
int cli_bench_make_samples(cli_bench *b, base_err *err);
void cli_bench_free(cli_bench *b);

#endif
