#include "cli/bench.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

// ---------------------------------------------------------------------------------------------
// Where and when

static int read_server(cli_bench *b, base_err *err) {
    const cli_options *o = b->o;
    const char *host = cli_string(o, "host");
    b->load.api =
        strcmp(cli_string(o, "backend"), "openai-chat") == 0 ? MEASURE_CHAT : MEASURE_COMPLETIONS;
    if (cli_has(o, "base-url"))
        base_str_adds(&b->url, cli_string(o, "base-url"));
    else
        base_str_printf(&b->url, strchr(host, ':') != NULL ? "http://[%s]:%d" : "http://%s:%d",
                        host, (int)cli_int(o, "port"));
    const char *wanted = b->load.api == MEASURE_CHAT ? "/v1/chat/completions" : "/v1/completions";
    b->load.endpoint = cli_has(o, "endpoint") ? cli_string(o, "endpoint") : wanted;
    size_t len = strlen(b->load.endpoint), tail = strlen(wanted) - 3;
    bool is_chat = strstr(b->load.endpoint, "chat/completions") != NULL;
    if (b->load.endpoint[0] != '/')
        return base_fail(err, BASE_ERR_USAGE, "--endpoint: %s does not begin with '/'",
                         b->load.endpoint);
    if (is_chat != (b->load.api == MEASURE_CHAT) || len < tail ||
        strcmp(b->load.endpoint + len - tail, wanted + 3) != 0)
        return base_fail(err, BASE_ERR_USAGE,
                         "--endpoint: %s is none of backend %s, whose paths end in %s",
                         b->load.endpoint, cli_string(o, "backend"), wanted + 3);
    return 0;
}

static int read_arrivals(cli_bench *b, base_err *err) {
    const cli_options *o = b->o;
    const char *ramp = cli_string(o, "ramp-up-strategy");
    measure_arrivals *a = &b->load.arrivals;
    *a = (measure_arrivals){.rate = cli_float(o, "request-rate"),
                            .burstiness = cli_float(o, "burstiness"),
                            .seed = (uint32_t)cli_int(o, "seed")};
    if (ramp == NULL) {
        if (cli_has(o, "ramp-up-start-rps") || cli_has(o, "ramp-up-end-rps"))
            return base_fail(err, BASE_ERR_USAGE,
                             "--ramp-up-start-rps and --ramp-up-end-rps need --ramp-up-strategy");
        return 0;
    }
    a->ramp = strcmp(ramp, "linear") == 0 ? MEASURE_LINEAR : MEASURE_EXPONENTIAL;
    if (!isinf(a->rate))
        return base_fail(err, BASE_ERR_USAGE,
                         "--request-rate: a ramp has its own rates (--ramp-up-strategy)");
    if (!cli_has(o, "ramp-up-start-rps") || !cli_has(o, "ramp-up-end-rps"))
        return base_fail(err, BASE_ERR_USAGE,
                         "--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps");
    a->ramp_start = (double)cli_int(o, "ramp-up-start-rps");
    a->ramp_end = (double)cli_int(o, "ramp-up-end-rps");
    if (a->ramp_start >= a->ramp_end)
        return base_fail(err, BASE_ERR_USAGE,
                         "--ramp-up-start-rps: it must be less than --ramp-up-end-rps");
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Bodies

static int read_extra(cli_bench *b, base_err *err) {
    static const struct {
        const char *flag, *key;
        bool integer;
    } fields[] = {
        {"temperature", "temperature", false},
        {"top-p", "top_p", false},
        {"top-k", "top_k", true},
        {"min-p", "min_p", false},
        {"frequency-penalty", "frequency_penalty", false},
        {"presence-penalty", "presence_penalty", false},
        {"repetition-penalty", "repetition_penalty", false},
    };
    const cli_options *o = b->o;
    b->extra = json_object();
    b->load.extra = b->extra;
    if (b->compat_2025)
        json_object_set_new(b->extra, "temperature", json_real(0));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (cli_has(o, fields[i].flag))
            json_object_set_new(b->extra, fields[i].key,
                                fields[i].integer ? json_integer(cli_int(o, fields[i].flag))
                                                  : json_real(cli_float(o, fields[i].flag)));
    }
    bool random = strcmp(cli_string(o, "dataset-name"), "random") == 0;
    if (cli_bool(o, "ignore-eos") || (random && !b->compat_2025))
        json_object_set_new(b->extra, "ignore_eos", json_true());
    const char *text = cli_string(o, "extra-body");
    if (text == NULL)
        return 0;
    json_t *body = base_json_parse(text, strlen(text), "--extra-body", BASE_ERR_USAGE, err);
    int rc = body == NULL ? BASE_ERR_USAGE : 0;
    if (body != NULL && json_object_update(b->extra, body) != 0)
        rc = base_fail(err, BASE_ERR_USAGE, "--extra-body: not a JSON object");
    json_decref(body);
    return rc;
}

static int make_id_prefix(cli_bench *b, base_err *err) {
    const char *given = cli_string(b->o, "request-id-prefix");
    uint32_t random;
    char prefix[32];
    if (given == NULL) {
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            return base_fail(err, BASE_ERR_RESOURCE, "getrandom gives nothing");
        snprintf(prefix, sizeof prefix, "bench-%08x-", random);
        given = prefix;
    }
    for (const char *p = given; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~')
            return base_fail(err, BASE_ERR_USAGE,
                             "--request-id-prefix: a character that no header can carry");
    }
    b->id_prefix = base_strdup(given);
    b->load.id_prefix = b->id_prefix;
    return 0;
}

// ---------------------------------------------------------------------------------------------
// What comes out

static const char *const kind_names[MEASURE_KINDS] = {"ttft", "tpot", "itl", "e2el"};

static int find_kind(const char *name, size_t len) {
    for (int k = 0; k < MEASURE_KINDS; k++) {
        if (strlen(kind_names[k]) == len && memcmp(kind_names[k], name, len) == 0)
            return k;
    }
    return -1;
}

// Calls `take` for each part between commas.
static int each_part(const char *list, int (*take)(cli_bench *b, const char *part, base_err *err),
                     cli_bench *b, base_err *err) {
    char *copy = base_strdup(list);
    int rc = 0;
    for (char *p = copy, *next; p != NULL && rc == 0; p = next) {
        next = strchr(p, ',');
        if (next != NULL)
            *next++ = '\0';
        p += strspn(p, " ");
        rc = take(b, p, err);
    }
    base_free(copy);
    return rc;
}

static int take_kind(cli_bench *b, const char *part, base_err *err) {
    int kind = find_kind(part, strcspn(part, " "));
    if (kind < 0)
        return base_fail(err, BASE_ERR_USAGE,
                         "--percentile-metrics: '%s' is not one of ttft, tpot, itl, e2el", part);
    b->report.shown[kind] = true;
    return 0;
}

static int take_percentile(cli_bench *b, const char *part, base_err *err) {
    measure_metrics_options *m = &b->metrics;
    if (m->n_percentiles == MEASURE_MAX_PERCENTILES)
        return base_fail(err, BASE_ERR_USAGE, "--metric-percentiles: more than %d",
                         MEASURE_MAX_PERCENTILES);
    if (!base_parse_f64(part, 0, 100, &m->percentiles[m->n_percentiles]))
        return base_fail(err, BASE_ERR_USAGE,
                         "--metric-percentiles: '%s' is no number from 0 to 100", part);
    m->n_percentiles++;
    return 0;
}

static int read_goodput(cli_bench *b, base_err *err) {
    int n;
    const char *const *pairs = cli_strings(b->o, "goodput", &n);
    for (int k = 0; k < MEASURE_KINDS; k++)
        b->metrics.goodput_ms[k] = -1;
    for (int i = 0; i < n; i++) {
        size_t len = strcspn(pairs[i], ":");
        int kind = find_kind(pairs[i], len);
        if (kind < 0 || kind == MEASURE_ITL || pairs[i][len] != ':' ||
            !base_parse_f64(pairs[i] + len + 1, 0, 1e12, &b->metrics.goodput_ms[kind]))
            return base_fail(err, BASE_ERR_USAGE,
                             "--goodput: '%s' is not KIND:MS with ttft, tpot or e2el", pairs[i]);
    }
    b->report.goodput = n > 0;
    return 0;
}

static int check_metadata(const cli_options *o, base_err *err) {
    int n;
    const char *const *pairs = cli_strings(o, "metadata", &n);
    for (int i = 0; i < n; i++) {
        if (strchr(pairs[i], '=') == NULL)
            return base_fail(err, BASE_ERR_USAGE, "--metadata: '%s' is not KEY=VALUE", pairs[i]);
    }
    return 0;
}

int cli_bench_read(cli_bench *b, const cli_options *o, base_err *err) {
    *b = (cli_bench){.o = o, .compat_2025 = cli_has(o, "compat")};
    b->metrics.compat_2025 = b->load.compat_2025 = b->compat_2025;
    b->load.logprobs = cli_has(o, "logprobs") ? (int)cli_int(o, "logprobs") : -1;
    b->load.max_concurrency = (int)cli_int(o, "max-concurrency");
    b->load.keep_texts = cli_bool(o, "save-detailed");
    b->report.load = &b->load;
    b->report.metrics = &b->metrics;
    int rc = read_server(b, err);
    if (rc == 0)
        rc = read_arrivals(b, err);
    if (rc == 0)
        rc = read_extra(b, err);
    if (rc == 0)
        rc = make_id_prefix(b, err);
    if (rc == 0)
        rc = each_part(cli_string(o, "percentile-metrics"), take_kind, b, err);
    if (rc == 0)
        rc = each_part(cli_string(o, "metric-percentiles"), take_percentile, b, err);
    if (rc == 0)
        rc = read_goodput(b, err);
    return rc == 0 ? check_metadata(o, err) : rc;
}

void cli_bench_free(cli_bench *b) {
    measure_client_free(b->client);
    measure_samples_free(&b->samples);
    token_vocab_free(b->vocab);
    json_decref(b->extra);
    base_str_free(&b->url);
    base_free(b->model);
    base_free(b->served);
    base_free(b->tokenizer);
    base_free(b->id_prefix);
}
