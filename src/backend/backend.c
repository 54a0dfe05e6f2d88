// Opening a backend by name, and the checks that all backends share: options are an outside input
// and are refused with a message; a plan comes from the engine, so a bad one is a bug and aborts
// before it can read or write memory that is not its own.
#include "backend/internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*open)(backend **out, const model *m, const backend_options *options, base_err *err);
} backends[] = {
    {"cpu", backend_cpu_open},
    {"reference", backend_reference_open},
};

static int options_check(const backend_options *o, int vocab_size, base_err *err) {
    const struct {
        const char *name;
        int64_t value, low, high;
    } fields[] = {
        {"threads", o->threads, 1, 4096},
        {"block_size", o->block_size, 8, 1 << 16},
        {"n_blocks", o->n_blocks, 1, INT32_MAX},
        {"interleave", o->interleave, 1, 1 << 16},
        {"max_rows", o->max_rows, 1, 1 << 24},
        {"max_seqs", o->max_seqs, 1, 1 << 24},
        {"max_outputs", o->max_outputs, 1, 1 << 24},
        {"max_logprobs", o->max_logprobs, 0, vocab_size},
        {"max_model_len", o->max_model_len, 1, 1 << 30},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value < fields[i].low || fields[i].value > fields[i].high)
            return base_fail(err, BASE_ERR_USAGE, "%s: %lld is not in [%lld, %lld]", fields[i].name,
                             (long long)fields[i].value, (long long)fields[i].low,
                             (long long)fields[i].high);
    if (o->block_size % 8 != 0)
        return base_fail(err, BASE_ERR_USAGE, "block_size: %d is not a multiple of 8",
                         o->block_size);
    if (o->numerics != BACKEND_EXACT && o->numerics != BACKEND_FAST)
        return base_fail(err, BASE_ERR_USAGE, "numerics: neither exact nor fast");
    return 0;
}

static void set_up(backend *b, const model_config *config, const backend_options *options) {
    b->config = config;
    b->options = *options;
    b->last_outputs = 0;
    b->in_flight = false;
}

int backend_open(backend **out, const char *name, const model *m, const backend_options *options,
                 base_err *err) {
    *out = NULL;
    const model_config *config = model_get_config(m);
    int rc = options_check(options, config->vocab_size, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        if (strcmp(backends[i].name, name) != 0)
            continue;
        backend *b;
        rc = backends[i].open(&b, m, options, err);
        if (rc)
            return rc;
        set_up(b, config, options);
        *out = b;
        return 0;
    }
    return base_fail(err, BASE_ERR_USAGE, "backend %s: there is none of that name", name);
}

int backend_open_replay(backend **out, const backend_script *scripts, int n_scripts,
                        const model_config *config, const backend_options *options, base_err *err) {
    *out = NULL;
    int rc = options_check(options, config->vocab_size, err);
    backend *b;
    if (rc == 0)
        rc = backend_replay_open(&b, scripts, n_scripts, config, options, err);
    if (rc != 0)
        return rc;
    set_up(b, config, options);
    *out = b;
    return 0;
}

void backend_close(backend *b) {
    if (b)
        b->ops->close(b);
}

// ---------------------------------------------------------------------------------------------
// Plans

__attribute__((format(printf, 1, 2))) static _Noreturn void plan_bug(const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    base_error("a step plan is wrong: %s", text);
    abort();
}

static void sampling_check(const backend_sampling *s, int vocab_size, int output) {
    if (s->n_prompt < 0 || s->n_prompt > s->n_history)
        plan_bug("output %d: %d prompt ids in a history of %d", output, s->n_prompt, s->n_history);
    if (!s->history && (s->presence != 0 || s->frequency != 0 || s->repetition != 1))
        plan_bug("output %d: penalties without a history", output);
    for (int i = 0; i < s->n_bias; i++)
        if (s->bias_ids[i] < 0 || s->bias_ids[i] >= vocab_size)
            plan_bug("output %d: bias for id %d", output, s->bias_ids[i]);
    for (int i = 0; i < s->n_banned; i++)
        if (s->banned[i] < 0 || s->banned[i] >= vocab_size)
            plan_bug("output %d: ban of id %d", output, s->banned[i]);
}

static void outputs_check(const backend *b, const backend_plan *plan) {
    int last_row = 0;
    for (int i = 0; i < plan->n_outputs; i++) {
        const backend_output *o = &plan->outputs[i];
        if (o->row < last_row || o->row >= plan->n_rows)
            plan_bug("output %d: row %d after %d, of %d", i, o->row, last_row, plan->n_rows);
        last_row = o->row;
        if (o->n_logprobs < -1 || o->n_logprobs > b->options.max_logprobs)
            plan_bug("output %d: %d log-probabilities", i, o->n_logprobs);
        if (o->sample)
            sampling_check(o->sample, b->config->vocab_size, i);
        else if (o->target < 0 || o->target >= b->config->vocab_size)
            plan_bug("output %d: target id %d", i, o->target);
    }
}

static void seq_check(const backend *b, const backend_seq *s, int index, int first_row) {
    const backend_options *o = &b->options;
    if (s->first_row != first_row || s->n_rows < 1)
        plan_bug("sequence %d: rows %d + %d instead of %d", index, s->first_row, s->n_rows,
                 first_row);
    if (s->position < 0 || s->n_rows > o->max_model_len - s->position)
        plan_bug("sequence %d: positions %d + %d of %d", index, s->position, s->n_rows,
                 o->max_model_len);
    int n_used = (s->position + s->n_rows + o->block_size - 1) / o->block_size;
    if (s->n_blocks < n_used)
        plan_bug("sequence %d: %d blocks where %d are needed", index, s->n_blocks, n_used);
    for (int i = 0; i < n_used; i++)
        if (s->block_table[i] < 0 || s->block_table[i] >= o->n_blocks)
            plan_bug("sequence %d: block id %d", index, s->block_table[i]);
}

static void plan_check(const backend *b, const backend_plan *plan) {
    const backend_options *o = &b->options;
    if (plan->n_rows < 1 || plan->n_rows > o->max_rows)
        plan_bug("%d rows, at most %d", plan->n_rows, o->max_rows);
    if (plan->n_seqs < 1 || plan->n_seqs > o->max_seqs)
        plan_bug("%d sequences, at most %d", plan->n_seqs, o->max_seqs);
    if (plan->n_outputs < 0 || plan->n_outputs > o->max_outputs)
        plan_bug("%d outputs, at most %d", plan->n_outputs, o->max_outputs);
    int64_t row = 0;
    for (int i = 0; i < plan->n_seqs; i++) {
        seq_check(b, &plan->seqs[i], i, (int)row);
        row += plan->seqs[i].n_rows;
        if (row > plan->n_rows)
            plan_bug("sequence %d goes beyond %d rows", i, plan->n_rows);
    }
    if (row != plan->n_rows)
        plan_bug("sequences have %d rows of %d", (int)row, plan->n_rows);
    for (int i = 0; i < plan->n_rows; i++) {
        int32_t id = plan->ids[i];
        if (id >= b->config->vocab_size || id < BACKEND_ID_FROM_OUTPUT(b->last_outputs - 1))
            plan_bug("row %d: id %d", i, id);
    }
    outputs_check(b, plan);
}

void backend_submit(backend *b, const backend_plan *plan) {
    if (b->in_flight)
        plan_bug("submitted while another step is in flight");
    plan_check(b, plan);
    b->in_flight = true;
    b->last_outputs = plan->n_outputs;
    b->ops->submit(b, plan);
}

void backend_wait(backend *b, backend_result *result) {
    if (!b->in_flight)
        plan_bug("waited for when none is in flight");
    b->ops->wait(b, result);
    b->in_flight = false;
}

void backend_get_stats(const backend *b, backend_stats *out) {
    b->ops->get_stats(b, out);
}

const char *backend_describe(const backend *b) {
    return b->ops->describe(b);
}
