// The commands and their options: all sections of rows are one table. A new option is a row in one
// of the rows_*.c and one place that reads it.
#include "cli/rows.h"

static const cli_row general[] = {
    // -- inspect
    {.name = "json",
     .type = CLI_BOOL,
     .fallback = "false",
     .group = "Output",
     .help = "Prints one JSON object.",
     .commands = CLI_INSPECT},
    {.name = "tensors",
     .type = CLI_BOOL,
     .fallback = "false",
     .group = "Output",
     .help = "Lists every tensor.",
     .commands = CLI_INSPECT},

    // -- everywhere
    {.name = "log-level",
     .type = CLI_CHOICE,
     .fallback = "info",
     .words = "debug|info|warning|error",
     .group = "General",
     .help = "What is logged on standard error.",
     .commands = (CLI_READ | CLI_SYNTH) & ~CLI_CHAT},
    {.name = "log-level",
     .type = CLI_CHOICE,
     .fallback = "warning",
     .words = "debug|info|warning|error",
     .group = "General",
     .help = "What is logged on standard error.",
     .commands = CLI_CHAT},
    {.name = "help",
     .alias = "-h",
     .type = CLI_BOOL,
     .group = "General",
     .help = "Prints this and exits.",
     .commands = (unsigned)CLI_ALL},
};

static const cli_command commands[] = {
    {.name = "serve",
     .bit = CLI_SERVE,
     .arguments = "[MODEL]",
     .max_arguments = 1,
     .summary = "Serves a model to OpenAI's clients over HTTP.",
     .text = "MODEL is a directory in Hugging Face layout, or a hub id such as "
             "moonshotai/Kimi-K2-Thinking found in the local Hugging Face cache. SIGTERM and "
             "Ctrl-C let running requests end; the second one quits at once.",
     .run = cmd_serve},
    {.name = "chat",
     .bit = CLI_CHAT,
     .arguments = "[MODEL]",
     .max_arguments = 1,
     .summary = "Talks with a model in the terminal.",
     .text = "With MODEL the model runs in this process; without, a server is asked (--url). "
             "/help lists what can be typed besides messages. Ctrl-C stops an answer, Ctrl-D (or "
             "Ctrl-C at the prompt) leaves.",
     .run = cmd_chat},
    {.name = "complete",
     .bit = CLI_COMPLETE,
     .arguments = "[MODEL]",
     .max_arguments = 1,
     .summary = "Completes text with a model in this process, or with a server.",
     .text = "MODEL is a directory in Hugging Face layout, or a hub id such as "
             "moonshotai/Kimi-K2-Thinking found in the local Hugging Face cache. Ctrl-C ends a "
             "completion, Ctrl-D (or Ctrl-C at the prompt) the program.",
     .run = cmd_complete},
    {.name = "eval gsm8k",
     .bit = CLI_EVAL_GSM8K,
     .arguments = "[MODEL]",
     .max_arguments = 1,
     .summary = "Counts the questions of GSM8K a model answers, as lm-eval does.",
     .text = "Prompts, stop strings, filters and the table are those of lm-eval's task gsm8k, "
             "version 3. The model runs in this process, or a server is asked (--url). Questions "
             "that get no answer are no part of the table; they are reported, and the exit status "
             "is 71 then.",
     .run = cmd_eval_gsm8k},
    {.name = "bench serve",
     .bit = CLI_BENCH_SERVE,
     .arguments = "",
     .summary = "Puts load on a server and measures it as vLLM's bench serve does.",
     .text = "Flags, definitions, table and result file are those of vllm bench serve. Ctrl-C "
             "prints what there is. --compare prints the gains between two results.",
     .run = cmd_bench_serve},
    {.name = "bench throughput",
     .bit = CLI_BENCH_THROUGHPUT,
     .arguments = "[MODEL]",
     .max_arguments = 1,
     .summary = "Measures how many tokens a second a model in this process makes.",
     .text = "All requests are there from the start, as in vLLM's offline benchmark. Beside the "
             "throughput stands how fast the steps read weights, and what share that is of what "
             "the same threads read from memory when they do nothing else.",
     .run = cmd_bench_throughput},
    {.name = "bench latency",
     .bit = CLI_BENCH_LATENCY,
     .arguments = "[MODEL]",
     .max_arguments = 1,
     .summary = "Measures how long a batch of requests takes in this process.",
     .text = "The same batch again and again, without prefix caching unless it is asked for, as in "
             "vLLM's benchmark. How near the steps come to the memory's speed is told as by bench "
             "throughput.",
     .run = cmd_bench_latency},
    {.name = "synth",
     .bit = CLI_SYNTH,
     .arguments = "OUT",
     .min_arguments = 1,
     .max_arguments = 1,
     .summary = "Writes a random-weight checkpoint in the exact K2-Thinking file format.",
     .run = cmd_synth},
    {.name = "inspect",
     .bit = CLI_INSPECT,
     .arguments = "MODEL",
     .min_arguments = 1,
     .max_arguments = 1,
     .summary = "Prints config, tensor inventory, bytes by kind and the memory plan.",
     .run = cmd_inspect},
    {.name = "verify",
     .bit = CLI_VERIFY,
     .arguments = "MODEL",
     .min_arguments = 1,
     .max_arguments = 1,
     .summary = "Checks shards, shapes, dtypes, scales and, with a manifest, hashes.",
     .text = "Every value that is used must be finite. Hashes are checked against SHA256SUMS in "
             "the directory, or against the names of the hub cache's files.",
     .run = cmd_verify},
    {.name = "completion",
     .bit = CLI_COMPLETION,
     .arguments = "bash",
     .min_arguments = 1,
     .max_arguments = 1,
     .summary = "Prints a completion script: eval \"$(abruzzi completion bash)\".",
     .run = cmd_completion},
    {.name = "man",
     .bit = CLI_MAN,
     .arguments = "",
     .summary = "Prints the man page: abruzzi man | man -l -",
     .run = cmd_man},
};

static const cli_section rows_general = {general, sizeof general / sizeof *general};

// Groups stand in help in the order of their first row.
static const cli_section *const sections[] = {
    &cli_rows_eval,   &cli_rows_bench,  &cli_rows_offline, &cli_rows_model,  &cli_rows_chat,
    &cli_rows_prompt, &cli_rows_server, &cli_rows_api,     &cli_rows_engine, &rows_general,
};

const cli_table cli_the_table = {sections, sizeof sections / sizeof *sections, commands,
                                 sizeof commands / sizeof *commands};
