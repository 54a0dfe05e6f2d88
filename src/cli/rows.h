// What the files of rows share.
#ifndef CLI_ROWS_H
#define CLI_ROWS_H

#include "cli/cli.h"

extern const cli_section cli_rows_model, cli_rows_chat, cli_rows_prompt, cli_rows_server,
    cli_rows_api, cli_rows_engine, cli_rows_eval, cli_rows_bench, cli_rows_offline;

enum {
    CLI_BENCH_OFFLINE = CLI_BENCH_THROUGHPUT | CLI_BENCH_LATENCY,
    // commands that run a model
    CLI_RUN = CLI_COMPLETE | CLI_CHAT | CLI_SERVE | CLI_EVAL_GSM8K | CLI_BENCH_OFFLINE,
    CLI_PLAN = CLI_RUN | CLI_INSPECT, // that plan its memory
    CLI_READ = CLI_PLAN | CLI_VERIFY, // that read a checkpoint
    CLI_ALL = ~0,
};

#define CLI_INT64_LOW (-0x1p63)
#define CLI_INT64_HIGH 0x1p63
#define CLI_ID_HIGH 0x7fffffff

#endif
