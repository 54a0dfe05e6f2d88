// cli: the command line.
//
// Takes argv and the environment, gives an exit status. One option table (options.h, table.c,
// rows_*.c), a file per command, and the sequence every command that runs a model shares (stack.h).
// It must not know the insides of any other room.
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "cli/options.h"

// Bits of cli_command and cli_row.
enum {
    CLI_SYNTH = 1 << 0,
    CLI_INSPECT = 1 << 1,
    CLI_VERIFY = 1 << 2,
    CLI_COMPLETE = 1 << 3,
    CLI_COMPLETION = 1 << 4,
    CLI_MAN = 1 << 5,
    CLI_SERVE = 1 << 6,
    CLI_CHAT = 1 << 7,
    CLI_BENCH_SERVE = 1 << 8,
    CLI_BENCH_THROUGHPUT = 1 << 9,
    CLI_BENCH_LATENCY = 1 << 10,
    CLI_EVAL_GSM8K = 1 << 11,
};

// Each returns an exit status; where it is not 0, `err` says why.
int cmd_synth(const cli_options *o, base_err *err);
int cmd_inspect(const cli_options *o, base_err *err);
int cmd_verify(const cli_options *o, base_err *err);
int cmd_chat(const cli_options *o, base_err *err);
int cmd_complete(const cli_options *o, base_err *err);
int cmd_serve(const cli_options *o, base_err *err);
int cmd_eval_gsm8k(const cli_options *o, base_err *err);
int cmd_bench_serve(const cli_options *o, base_err *err);
int cmd_bench_throughput(const cli_options *o, base_err *err);
int cmd_bench_latency(const cli_options *o, base_err *err);
int cmd_completion(const cli_options *o, base_err *err);
int cmd_man(const cli_options *o, base_err *err);

// MODEL as the argument or as --model, of commands that have both; BASE_ERR_USAGE for none or two.
int cli_model_argument(const cli_options *o, const char **out, base_err *err);
// --threads, by default the physical cores in the affinity mask.
int cli_threads(const cli_options *o);
// --log-level takes effect.
void cli_set_log_level(const cli_options *o);

// The status of a process that ended by Ctrl-C, as shells count it.
enum { CLI_INTERRUPTED = 130 };

#endif
