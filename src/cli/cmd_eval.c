// abruzzi eval gsm8k: how many questions of GSM8K a model answers, asked as lm-eval asks them.
#include "cli/interrupt.h"
#include "cli/request.h"
#include "cli/stack.h"
#include "measure/measure.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// Flags

static int check_remote(const cli_options *o, base_err *err) {
    if (cli_argument(o, 0) != NULL)
        return base_fail(err, BASE_ERR_USAGE, "MODEL and --url exclude each other");
    const cli_row *row;
    for (int i = 0; (row = cli_table_row(&cli_the_table, i)) != NULL; i++) {
        bool ours = strcmp(row->group, "Engine") == 0 || strcmp(row->group, "Model") == 0;
        if (ours && (row->commands & CLI_EVAL_GSM8K) && strcmp(row->name, "config") != 0 &&
            cli_flagged(o, row->name))
            return base_fail(err, BASE_ERR_USAGE,
                             "--%s is for a model in this process, not for the server of --url",
                             row->name);
    }
    return 0;
}

static int check_local(const cli_options *o, base_err *err) {
    static const char *const remote[] = {"api-key", "timeout"};
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++) {
        if (cli_flagged(o, remote[i]))
            return base_fail(err, BASE_ERR_USAGE, "--%s needs --url", remote[i]);
    }
    return 0;
}

static int check_flags(const cli_options *o, base_err *err) {
    if (!cli_given(o, "data"))
        return base_fail(err, BASE_ERR_USAGE,
                         "--data is missing: a folder with GSM8K's "
                         "train.jsonl and test.jsonl");
    return cli_given(o, "url") ? check_remote(o, err) : check_local(o, err);
}

// The server without the path of the API, which people give as lm-eval or as OpenAI's clients want
// it. The caller frees it.
static char *server_url(const char *url) {
    static const char *const ends[] = {"/", "/completions", "/", "/v1", "/"};
    size_t len = strlen(url);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (len > n && strncmp(url + len - n, ends[i], n) == 0)
            len -= n;
    }
    return base_strndup(url, len);
}

// ---------------------------------------------------------------------------------------------
// Who is asked

static int ask_server(const cli_options *o, measure_gsm8k *e, base_err *err) {
    char *url = server_url(cli_string(o, "url"));
    const measure_client_options where = {
        .base_url = url,
        .key = cli_request_key(o),
        .timeout_s = cli_float(o, "timeout"),
        .max_open = (int)cli_int(o, "num-concurrent"),
    };
    cli_interrupt_running();
    int rc = measure_gsm8k_ask_server(e, &where, cli_string(o, "model"), err);
    base_free(url);
    return rc;
}

static void ask_model(cli_stack *stack, measure_gsm8k *e) {
    const model_config *config = model_get_config(stack->model);
    const measure_gsm8k_engine where = {
        .engine = stack->engine,
        .vocab = stack->vocab,
        .eos_ids = config->eos_ids,
        .n_eos = config->n_eos,
    };
    cli_interrupt_running();
    measure_gsm8k_ask_engine(e, &where);
}

// ---------------------------------------------------------------------------------------------
// What came of it

static int write_samples(const measure_gsm8k *e, FILE *out, const char *path, base_err *err) {
    base_str text = {0};
    measure_gsm8k_print_samples(e, &text);
    errno = 0;
    fwrite(text.data, 1, text.len, out);
    base_str_free(&text);
    if (fflush(out) != 0 || ferror(out))
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", path,
                         errno != 0 ? strerror(errno) : "write error");
    return 0;
}

static void warn_failures(const measure_gsm8k *e) {
    base_str text = {0};
    measure_gsm8k_print_failures(e, &text);
    for (char *line = text.data, *end; line != NULL && (end = strchr(line, '\n')) != NULL;
         line = end + 1) {
        *end = '\0';
        base_warn("%s", line);
    }
    base_str_free(&text);
}

// The table is of what was answered; that something was not is the exit status.
static int print_result(const measure_gsm8k *e, base_err *err) {
    int n = measure_gsm8k_asked(e), failed = measure_gsm8k_failed(e);
    warn_failures(e);
    if (cli_interrupted) {
        base_warn("interrupted: %d of %d questions were answered", n - failed, n);
        return CLI_INTERRUPTED;
    }
    if (failed < n) {
        base_str table = {0};
        measure_gsm8k_print_table(e, &table);
        fwrite(table.data, 1, table.len, stdout);
        base_str_free(&table);
    }
    if (failed == n)
        return base_fail(err, BASE_ERR_RESOURCE, "none of %d questions was answered", n);
    if (failed > 0)
        return base_fail(err, BASE_ERR_RESOURCE,
                         "%d of %d questions failed; the table is of the other %d", failed, n,
                         n - failed);
    return 0;
}

// ---------------------------------------------------------------------------------------------

static int evaluate(const cli_options *o, cli_stack *stack, FILE *samples, base_err *err) {
    int concurrent = (int)cli_int(o, "num-concurrent");
    if (stack != NULL && concurrent > stack->limits.max_num_seqs)
        concurrent = stack->limits.max_num_seqs;
    const measure_gsm8k_options options = {
        .data = cli_string(o, "data"),
        .limit = cli_given(o, "limit") ? cli_float(o, "limit") : 0.0,
        .n_shot = (int)cli_int(o, "num-fewshot"),
        .seed = (uint64_t)cli_int(o, "seed"),
        .max_tokens = (int)cli_int(o, "max-gen-toks"),
        .concurrent = concurrent,
        .interrupted = &cli_interrupted,
    };
    measure_gsm8k *e;
    int rc = measure_gsm8k_create(&e, &options, err);
    if (rc != 0)
        return rc;
    base_info("%d questions of GSM8K, %d-shot, seed %llu, %d at once", measure_gsm8k_asked(e),
              options.n_shot, (unsigned long long)options.seed, concurrent);
    if (stack != NULL)
        ask_model(stack, e);
    else
        rc = ask_server(o, e, err);
    if (rc == 0 && samples != NULL)
        rc = write_samples(e, samples, cli_string(o, "output"), err);
    if (rc == 0)
        rc = print_result(e, err);
    measure_gsm8k_free(e);
    return rc;
}

static int evaluate_somewhere(const cli_options *o, FILE *samples, base_err *err) {
    if (cli_given(o, "url"))
        return evaluate(o, NULL, samples, err);
    cli_stack stack;
    int rc = cli_stack_open(&stack, o, &(cli_stack_needs){0}, err);
    if (rc != 0)
        return rc;
    rc = evaluate(o, &stack, samples, err);
    cli_stack_close(&stack);
    return rc;
}

int cmd_eval_gsm8k(const cli_options *o, base_err *err) {
    cli_set_log_level(o);
    int rc = check_flags(o, err);
    if (rc != 0)
        return rc;
    FILE *samples = NULL;
    const char *path = cli_string(o, "output");
    if (path != NULL && (samples = fopen(path, "w")) == NULL)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", path, strerror(errno));
    rc = evaluate_somewhere(o, samples, err);
    if (samples != NULL)
        fclose(samples);
    return cli_interrupted ? CLI_INTERRUPTED : rc;
}
