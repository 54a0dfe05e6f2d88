// abruzzi inspect: what a checkpoint is, and what running it would take.
#include "cli/stack.h"
#include <stdio.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// Tensors by kind

typedef struct kind {
    const char *name, *part; // tensors whose names contain `part`; the first that fits counts
    int n;
    uint64_t bytes;
} kind;

enum { N_KINDS = 12 };

static const kind all_kinds[N_KINDS] = {
    {.name = "ignored", .part = NULL}, // by the model room's judgement, not by name
    {.name = "embedding", .part = "embed_tokens"},
    {.name = "lm_head", .part = "lm_head"},
    {.name = "attention", .part = ".self_attn."},
    {.name = "router", .part = ".mlp.gate."},
    {.name = "shared experts", .part = ".mlp.shared_experts."},
    {.name = "expert codes", .part = ".weight_packed"},
    {.name = "expert scales", .part = ".weight_scale"},
    {.name = "expert shapes", .part = ".weight_shape"},
    {.name = "experts, BF16", .part = ".mlp.experts."},
    {.name = "dense MLP", .part = ".mlp."},
    {.name = "norms", .part = "norm"},
};

static void count_kinds(const model *m, kind *kinds, kind *total) {
    memcpy(kinds, all_kinds, sizeof all_kinds);
    *total = (kind){.name = "all"};
    for (int i = 0; i < model_n_tensors(m); i++) {
        bool ignored;
        const model_tensor *t = model_tensor_at(m, i, &ignored);
        int k = 0;
        if (!ignored) {
            for (k = 1; k < N_KINDS - 1 && strstr(t->name, kinds[k].part) == NULL;)
                k++;
        }
        kinds[k].n++;
        kinds[k].bytes += t->bytes;
        total->n++;
        total->bytes += t->bytes;
    }
}

// ---------------------------------------------------------------------------------------------
// Config

typedef struct field {
    const char *name;
    bool is_integer;
    double value;
} field;

#define INTEGER(c, name)                                                                           \
    { #name, true, (double)(c)->name }
#define REAL(c, name)                                                                              \
    { #name, false, (c)->name }

enum { MAX_FIELDS = 40 };

static int config_fields(const model_config *c, field *out) {
    const field fields[] = {
        INTEGER(c, hidden_size),
        {"num_hidden_layers", true, (double)c->n_layers},
        {"num_attention_heads", true, (double)c->n_heads},
        INTEGER(c, vocab_size),
        INTEGER(c, q_lora_rank),
        INTEGER(c, kv_lora_rank),
        INTEGER(c, qk_nope_head_dim),
        INTEGER(c, qk_rope_head_dim),
        INTEGER(c, v_head_dim),
        INTEGER(c, intermediate_size),
        INTEGER(c, moe_intermediate_size),
        INTEGER(c, n_routed_experts),
        {"num_experts_per_tok", true, (double)c->n_experts_per_tok},
        INTEGER(c, n_shared_experts),
        INTEGER(c, first_k_dense_replace),
        INTEGER(c, moe_layer_freq),
        INTEGER(c, n_group),
        INTEGER(c, topk_group),
        REAL(c, routed_scaling_factor),
        REAL(c, rms_norm_eps),
        INTEGER(c, max_position_embeddings),
        {"rope_theta", false, c->rope.theta},
        {"rope_scaling_factor", false, c->rope.yarn ? c->rope.factor : 1.0},
    };
    memcpy(out, fields, sizeof fields);
    return sizeof fields / sizeof *fields;
}

static void add_field_value(base_str *out, const field *f) {
    if (f->is_integer)
        base_str_printf(out, "%.0f", f->value);
    else
        base_json_add_double(out, f->value);
}

// ---------------------------------------------------------------------------------------------
// Text

static void text_config(const model *m, base_str *out) {
    const model_config *c = model_get_config(m);
    field fields[MAX_FIELDS];
    int n = config_fields(c, fields);
    base_str_printf(out, "%s\n\nConfig\n  %-24s %s\n", model_dir(m), "architecture",
                    c->architecture);
    for (int i = 0; i < n; i++) {
        base_str_printf(out, "  %-24s ", fields[i].name);
        add_field_value(out, &fields[i]);
        base_str_adds(out, "\n");
    }
    base_str_printf(out, "  %-24s %s\n", "experts",
                    c->int4_experts ? "INT4, groups of 32, BF16 scales" : "BF16");
    base_str_printf(out, "  %-24s", "eos_token_id");
    for (int i = 0; i < c->n_eos; i++)
        base_str_printf(out, " %d", c->eos_ids[i]);
    base_str_adds(out, "\n");
}

static void text_kind(const kind *k, base_str *out) {
    char count[32], bytes[32];
    if (k->n > 0)
        base_str_printf(out, "  %-16s %9s %22s %10.3f\n", k->name, base_thousands(count, k->n),
                        base_thousands(bytes, (int64_t)k->bytes), (double)k->bytes / 0x1p30);
}

static void text_tensors(const model *m, base_str *out) {
    kind kinds[N_KINDS], total;
    count_kinds(m, kinds, &total);
    base_str_printf(out, "\nTensors in %d shards\n  %-16s %9s %22s %10s\n", model_n_shards(m),
                    "kind", "tensors", "bytes", "GiB");
    for (int i = 1; i < N_KINDS; i++)
        text_kind(&kinds[i], out);
    text_kind(&kinds[0], out);
    text_kind(&total, out);
}

static void text_tensor_list(const model *m, base_str *out) {
    base_str_adds(out, "\n");
    for (int i = 0; i < model_n_tensors(m); i++) {
        bool ignored;
        const model_tensor *t = model_tensor_at(m, i, &ignored);
        base_str_printf(out, "  %s %s [", t->name, t->dtype_name);
        for (int d = 0; d < t->n_dims; d++)
            base_str_printf(out, "%s%lld", d > 0 ? ", " : "", (long long)t->shape[d]);
        base_str_printf(out, "]%s\n", ignored ? " ignored" : "");
    }
}

// ---------------------------------------------------------------------------------------------
// JSON

static void json_kind(const kind *k, base_str *out) {
    base_str_printf(out, "\"%s\": {\"tensors\": %d, \"bytes\": %llu}", k->name, k->n,
                    (unsigned long long)k->bytes);
}

static void json_model(const model *m, base_str *out) {
    const model_config *c = model_get_config(m);
    field fields[MAX_FIELDS];
    int n = config_fields(c, fields);
    base_str_adds(out, "{\"model\": ");
    base_json_add_string(out, model_dir(m), strlen(model_dir(m)));
    base_str_adds(out, ", \"config\": {\"architecture\": ");
    base_json_add_string(out, c->architecture, strlen(c->architecture));
    for (int i = 0; i < n; i++) {
        base_str_printf(out, ", \"%s\": ", fields[i].name);
        add_field_value(out, &fields[i]);
    }
    base_str_printf(out, ", \"int4_experts\": %s, \"eos_token_id\": [",
                    c->int4_experts ? "true" : "false");
    for (int i = 0; i < c->n_eos; i++)
        base_str_printf(out, "%s%d", i > 0 ? ", " : "", c->eos_ids[i]);
    kind kinds[N_KINDS], total;
    count_kinds(m, kinds, &total);
    base_str_printf(out, "]}, \"shards\": %d, \"tensors\": %d, \"bytes\": %llu, \"kinds\": {",
                    model_n_shards(m), total.n, (unsigned long long)total.bytes);
    for (int i = 0; i < N_KINDS; i++) {
        base_str_adds(out, i > 0 ? ", " : "");
        json_kind(&kinds[i], out);
    }
    base_str_adds(out, "}");
}

static void json_tensor_list(const model *m, base_str *out) {
    base_str_adds(out, ", \"tensor_list\": [");
    for (int i = 0; i < model_n_tensors(m); i++) {
        bool ignored;
        const model_tensor *t = model_tensor_at(m, i, &ignored);
        base_str_adds(out, i > 0 ? ", {\"name\": " : "{\"name\": ");
        base_json_add_string(out, t->name, strlen(t->name));
        base_str_printf(out, ", \"dtype\": \"%s\", \"shape\": [", t->dtype_name);
        for (int d = 0; d < t->n_dims; d++)
            base_str_printf(out, "%s%lld", d > 0 ? ", " : "", (long long)t->shape[d]);
        base_str_printf(out, "], \"bytes\": %llu, \"ignored\": %s}", (unsigned long long)t->bytes,
                        ignored ? "true" : "false");
    }
    base_str_adds(out, "]");
}

static void json_plan(const model_plan *p, const char *problem, base_str *out) {
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"embed_bytes", p->embed_bytes},       {"attention_bytes", p->attention_bytes},
        {"dense_bytes", p->dense_bytes},       {"shared_bytes", p->shared_bytes},
        {"expert_bytes", p->expert_bytes},     {"other_bytes", p->other_bytes},
        {"weight_bytes", p->weight_bytes},     {"activation_bytes", p->activation_bytes},
        {"kv_token_bytes", p->kv_token_bytes}, {"kv_bytes", p->kv_bytes},
        {"n_blocks", (uint64_t)p->n_blocks},   {"kv_tokens", (uint64_t)p->kv_tokens},
        {"memory_bytes", p->memory_bytes},     {"max_model_len", (uint64_t)p->max_model_len},
    };
    base_str_printf(out, ", \"plan\": {\"fits\": %s", problem == NULL ? "true" : "false");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        base_str_printf(out, ", \"%s\": %llu", numbers[i].name,
                        (unsigned long long)numbers[i].value);
    if (problem != NULL) {
        base_str_adds(out, ", \"problem\": ");
        base_json_add_string(out, problem, strlen(problem));
    }
    base_str_adds(out, "}}\n");
}

// ---------------------------------------------------------------------------------------------

// A plan that does not fit is an answer too: the numbers, and what is missing.
static int print_all(const model *m, const cli_options *o, base_err *err) {
    model_plan_options options;
    model_plan plan;
    cli_plan_options(o, &options);
    options.tensor_parallel = (int)cli_int(o, "tensor-parallel-size");
    options.decode_context_parallel = (int)cli_int(o, "decode-context-parallel-size");
    int rc = model_plan_make(&plan, model_get_config(m), &options, err);
    if (rc != 0 && rc != BASE_ERR_RESOURCE)
        return rc;
    const char *problem = rc != 0 ? err->message : NULL;
    base_str out = {0};
    if (cli_bool(o, "json")) {
        json_model(m, &out);
        if (cli_bool(o, "tensors"))
            json_tensor_list(m, &out);
        json_plan(&plan, problem, &out);
    } else {
        text_config(m, &out);
        text_tensors(m, &out);
        if (cli_bool(o, "tensors"))
            text_tensor_list(m, &out);
        base_str_adds(&out, "\n");
        model_plan_print(&plan, &out);
        if (problem != NULL)
            base_str_printf(&out, "Does not fit here: %s\n", problem);
    }
    fwrite(out.data, 1, out.len, stdout);
    base_str_free(&out);
    return 0;
}

int cmd_inspect(const cli_options *o, base_err *err) {
    cli_set_log_level(o);
    model *m;
    int rc = model_open(&m, cli_argument(o, 0), NULL, err);
    if (rc != 0)
        return rc;
    rc = print_all(m, o, err);
    model_close(m);
    return rc;
}
