// abruzzi complete: text in, its continuation out, in this process.
#include "cli/answer.h"
#include "cli/complete_url.h"
#include "cli/interrupt.h"
#include "cli/lines.h"
#include "cli/stack.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

typedef struct complete {
    const cli_options *o;
    cli_stack stack;
    engine_params params; // of every prompt; the seed too, if one was given
    cli_answer_options answer;
    bool json;
    uint64_t next_id;
} complete;

// ---------------------------------------------------------------------------------------------
// Parameters

// The flag's value; else the model's, which is then named in `taken`; else the built-in one.
static float real_default(const cli_options *o, const char *name, bool has, double model_value,
                          double built_in, base_str *taken) {
    if (cli_given(o, name))
        return (float)cli_float(o, name);
    if (!has)
        return (float)built_in;
    base_str_printf(taken, "%s%s %g", taken->len > 0 ? ", " : "", name, model_value);
    return (float)model_value;
}

static int integer_default(const cli_options *o, const char *name, bool has, int model_value,
                           int built_in, base_str *taken) {
    if (cli_given(o, name))
        return (int)cli_int(o, name);
    if (!has)
        return built_in;
    base_str_printf(taken, "%s%s %d", taken->len > 0 ? ", " : "", name, model_value);
    return model_value;
}

static void model_defaults(complete *c) {
    const cli_options *o = c->o;
    const model_generation *g = model_get_generation(c->stack.model);
    engine_params *p = &c->params;
    base_str taken = {0};
    p->temperature =
        real_default(o, "temperature", g->has_temperature, g->temperature, 1.0, &taken);
    p->top_p = real_default(o, "top-p", g->has_top_p, g->top_p, 1.0, &taken);
    p->top_k = integer_default(o, "top-k", g->has_top_k, g->top_k, 0, &taken);
    p->min_p = real_default(o, "min-p", g->has_min_p, g->min_p, 0.0, &taken);
    p->repetition = real_default(o, "repetition-penalty", g->has_repetition, g->repetition_penalty,
                                 1.0, &taken);
    p->max_tokens =
        integer_default(o, "max-tokens", g->has_max_new_tokens, g->max_new_tokens, 16, &taken);
    if (taken.len > 0)
        base_info("Sampling defaults from the model's generation_config.json: %s", taken.data);
    base_str_free(&taken);
    if (p->temperature < 1e-5f) { // as the API
        p->temperature = 0.0f;
    } else if (p->temperature < 0.01f) {
        base_warn("temperature %g is raised to 0.01", (double)p->temperature);
        p->temperature = 0.01f;
    }
}

static int find_params(complete *c, base_err *err) {
    const cli_options *o = c->o;
    engine_params *p = &c->params;
    engine_params_init(p);
    model_defaults(c);
    p->n = (int)cli_int(o, "n");
    p->min_tokens = (int)cli_int(o, "min-tokens");
    p->presence = (float)cli_float(o, "presence-penalty");
    p->frequency = (float)cli_float(o, "frequency-penalty");
    p->has_seed = cli_given(o, "seed");
    p->seed = (uint64_t)cli_int(o, "seed");
    p->ignore_eos = cli_bool(o, "ignore-eos");
    int vocab_size = model_get_config(c->stack.model)->vocab_size;
    if (cli_given(o, "logprobs"))
        p->n_logprobs = cli_int(o, "logprobs") < 0 ? vocab_size : (int)cli_int(o, "logprobs");
    if (cli_given(o, "prompt-logprobs"))
        p->n_prompt_logprobs =
            cli_int(o, "prompt-logprobs") < 0 ? vocab_size : (int)cli_int(o, "prompt-logprobs");
    const base_ids *stop_ids = cli_ids(o, "stop-token-ids");
    p->stop_ids = stop_ids->data;
    p->n_stop_ids = (int)stop_ids->len;
    if (p->temperature < 1e-5f && p->n > 1)
        return base_fail(err, BASE_ERR_USAGE, "--n must be 1 for greedy sampling, got %d", p->n);
    return 0;
}

static int check_flags(const cli_options *o, base_err *err) {
    int n_stops;
    const char *const *stops = cli_strings(o, "stop", &n_stops);
    for (int i = 0; i < n_stops; i++) {
        if (stops[i][0] == '\0')
            return base_fail(err, BASE_ERR_USAGE, "--stop: an empty string stops nothing");
    }
    if ((cli_given(o, "logprobs") || cli_given(o, "prompt-logprobs")) && !cli_bool(o, "json"))
        return base_fail(err, BASE_ERR_USAGE, "--logprobs and --prompt-logprobs need --json");
    if (cli_given(o, "quick") && cli_given(o, "prompt-ids"))
        return base_fail(err, BASE_ERR_USAGE, "--quick and --prompt-ids exclude each other");
    if (cli_int(o, "n") > cli_int(o, "max-num-seqs"))
        return base_fail(err, BASE_ERR_USAGE, "--n %lld needs --max-num-seqs %lld",
                         (long long)cli_int(o, "n"), (long long)cli_int(o, "n"));
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Output

static void show(void *arg, int choice, const char *text, size_t len) {
    (void)arg;
    (void)choice;
    fwrite(text, 1, len, stdout);
    fflush(stdout);
}

static void show_prompt(const complete *c, const base_ids *prompt, base_str *out) {
    token_decoder decoder = {0};
    for (size_t i = 0; i < prompt->len; i++)
        token_decode(&decoder, c->stack.vocab, prompt->data[i], false, out);
    token_decode_end(&decoder, out);
}

static void print_choices(const complete *c, const cli_answer *a, const base_ids *prompt,
                          const base_str *echo) {
    const cli_answer_json_options options = {
        .prompt = prompt->data,
        .n_prompt = (int)prompt->len,
        .echo = echo->len > 0 ? echo->data : "",
        .echo_len = echo->len,
        .logprobs = c->params.n_logprobs >= 0,
        .prompt_logprobs = c->params.n_prompt_logprobs >= 0,
    };
    base_str out = {0};
    for (int i = 0; i < a->options.n; i++) {
        if (c->json) {
            cli_answer_json(a, i, &options, &out);
        } else if (a->options.n > 1) {
            base_str_printf(&out, "[%d] ", i);
            base_str_add(&out, echo->data, echo->len);
            base_str_add(&out, a->choices[i].text.data, a->choices[i].text.len);
            base_str_adds(&out, "\n");
        } else {
            base_str_adds(&out, "\n"); // the text has been shown as it came
        }
    }
    fwrite(out.data, 1, out.len, stdout);
    fflush(stdout);
    base_str_free(&out);
}

static double per_second(double amount, double seconds) {
    return seconds > 0.0 ? amount / seconds : 0.0;
}

// `first` and `last` are the backend's counters at the first token and at the end.
static void print_stats(const cli_answer *a, int n_prompt, int64_t start_ns,
                        const backend_stats *first, const backend_stats *last) {
    double prefill = (double)(a->first_ns - start_ns) * 1e-9;
    double decode = (double)(a->last_ns - a->first_ns) * 1e-9;
    int computed = n_prompt - a->choices[0].n_cached;
    double bytes = (double)(last->weight_bytes_read - first->weight_bytes_read);
    fprintf(stderr,
            "TTFT %.1f ms, prefill %d tokens at %.1f tokens/s, decode %d tokens at %.1f tokens/s, "
            "%.2f GB/s of weights\n",
            prefill * 1e3, computed, per_second(computed, prefill), a->n_tokens,
            per_second(a->n_tokens - a->options.n, decode),
            per_second(bytes * 1e-9, last->seconds - first->seconds));
}

// ---------------------------------------------------------------------------------------------
// One prompt

// Steps until every choice has ended; Ctrl-C and stop strings end them early.
static void run_engine(complete *c, uint64_t id, cli_answer *a, backend_stats *first) {
    engine *e = c->stack.engine;
    bool aborted = false;
    while (a->n_finished < a->options.n) {
        if (!aborted && (cli_interrupted || a->n_done == a->options.n)) {
            engine_abort(e, id);
            aborted = true;
        }
        engine_step(e);
        bool waiting = a->first_ns == 0;
        for (engine_event event; engine_next_event(e, &event);)
            cli_answer_take(a, &event);
        if (waiting && a->first_ns != 0)
            backend_get_stats(c->stack.backend, first);
    }
}

static int fail_errors(const cli_answer *a, base_err *err) {
    for (int i = 0; i < a->options.n; i++) {
        if (a->choices[i].error != NULL)
            return base_fail(err, BASE_ERR_RANK, "choice %d: %s", i, a->choices[i].error);
    }
    return 0;
}

static int answer_prompt(complete *c, const base_ids *prompt, base_err *err) {
    engine_params params = c->params;
    if (!params.has_seed &&
        getrandom(&params.seed, sizeof params.seed, 0) != (ssize_t)sizeof params.seed)
        return base_fail(err, BASE_ERR_RESOURCE, "getrandom: %s", strerror(errno));
    params.has_seed = true;
    base_str echo = {0};
    if (cli_bool(c->o, "echo"))
        show_prompt(c, prompt, &echo);
    if (c->answer.show != NULL && echo.len > 0)
        show(NULL, 0, echo.data, echo.len);
    cli_answer a;
    cli_answer_init(&a, &c->answer);
    backend_stats first = {0}, last;
    int64_t start = base_now_ns();
    uint64_t id = c->next_id++;
    int rc = 0;
    if (engine_submit(c->stack.engine, id, prompt->data, (int)prompt->len, &params, err) ==
        ENGINE_ACCEPTED) {
        run_engine(c, id, &a, &first);
        backend_get_stats(c->stack.backend, &last);
        print_choices(c, &a, prompt, &echo);
        if (cli_bool(c->o, "stats") && a.first_ns != 0)
            print_stats(&a, (int)prompt->len, start, &first, &last);
        rc = fail_errors(&a, err);
    } else {
        rc = err->code;
    }
    cli_answer_free(&a);
    base_str_free(&echo);
    return rc;
}

static int answer_text(complete *c, const char *text, size_t len, base_err *err) {
    base_ids prompt = {0};
    token_encode(c->stack.vocab, text, len, TOKEN_ALLOW_SPECIAL, &prompt);
    int rc = answer_prompt(c, &prompt, err);
    base_ids_free(&prompt);
    return rc;
}

// ---------------------------------------------------------------------------------------------
// Lines from standard input

// A prompt that cannot be run is reported and does not end the loop; a broken model does.
static int answer_lines(complete *c, base_err *err) {
    if (!c->json)
        printf("Using model: %s\n", model_dir(c->stack.model));
    cli_lines *lines = cli_lines_create(c->json);
    const char *line;
    int rc = 0;
    for (size_t len; rc == 0 && (line = cli_lines_next(lines, "> ", &len)) != NULL;) {
        rc = len > 0 ? answer_text(c, line, len, err) : 0;
        if (rc == BASE_ERR_USAGE) {
            fflush(stdout);
            base_error("%s", err->message);
            *err = (base_err){0};
            rc = 0;
        }
    }
    if (rc == 0)
        rc = cli_lines_check(lines, err);
    cli_lines_free(lines);
    return rc;
}

// ---------------------------------------------------------------------------------------------

static int answer_all(complete *c, base_err *err) {
    const cli_options *o = c->o;
    const model_config *config = model_get_config(c->stack.model);
    int rc = find_params(c, err);
    if (rc != 0)
        return rc;
    c->json = cli_bool(o, "json");
    c->answer = (cli_answer_options){
        .vocab = c->stack.vocab,
        .n = c->params.n,
        .stop_ids = c->params.stop_ids,
        .n_stop_ids = c->params.n_stop_ids,
        .eos_ids = config->eos_ids,
        .n_eos = c->params.ignore_eos ? 0 : config->n_eos,
        .show = c->json || c->params.n > 1 ? NULL : show,
    };
    c->answer.stops = cli_strings(o, "stop", &c->answer.n_stops);
    cli_interrupt_running();
    if (cli_given(o, "quick")) {
        const char *text = cli_string(o, "quick");
        rc = answer_text(c, text, strlen(text), err);
    } else if (cli_given(o, "prompt-ids")) {
        rc = answer_prompt(c, cli_ids(o, "prompt-ids"), err);
    } else {
        return answer_lines(c, err);
    }
    return rc == 0 && cli_interrupted ? CLI_INTERRUPTED : rc;
}

int cmd_complete(const cli_options *o, base_err *err) {
    int rc = check_flags(o, err);
    if (rc != 0)
        return rc;
    if (cli_given(o, "url"))
        return cli_complete_url(o, err);
    bool of_prompt = cli_given(o, "prompt-logprobs");
    int64_t most = cli_given(o, "logprobs") ? cli_int(o, "logprobs") : 0;
    int64_t most_of_prompt = of_prompt ? cli_int(o, "prompt-logprobs") : 0;
    if (most >= 0 && (most_of_prompt < 0 || most_of_prompt > most))
        most = most_of_prompt;
    const cli_stack_needs needs = {
        .max_logprobs = (int)most,
        .max_outputs = of_prompt ? CLI_PROMPT_OUTPUTS : 0,
        .max_queue = 0,
    };
    complete c = {.o = o};
    rc = cli_stack_open(&c.stack, o, &needs, err);
    if (rc != 0)
        return rc;
    rc = answer_all(&c, err);
    cli_stack_close(&c.stack);
    return rc;
}
