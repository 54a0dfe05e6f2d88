// Log-probabilities of every id at chosen positions of one sequence, through a backend alone.
//
//     logprobs MODEL --ids FILE --out FILE [options]
//
// FILE of ids: decimal numbers separated by white space. Output: float32 [positions][vocab], the
// natural logarithm of the probability of each id after the row's prefix. Standard error gets one
// line of statistics. Options:
//     --backend reference|cpu (cpu)      --numerics exact|fast (exact)
//     --threads N (1)                    --block-size N (16)      --interleave N (1)
//     --prefill-chunks A,B,...           rows of each step; the last one repeats (64)
//     --decode-from P                    from position P on, one row a step
//     --first P                          first position that is written (0)
//     --inner-eps E                      eps of the two inner norms (the config's)
//     --experts FILE                     cpu only: int32 [positions][layers][experts per token],
//     the
//                                        experts chosen, ascending; -1 in dense layers
//     --force-experts FILE               cpu only: takes those experts instead of choosing
#include "backend/cpu/cpu.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *model, *ids, *out, *backend, *chunks, *experts, *forced;
    backend_options options;
    int decode_from, first;
    double inner_eps;
} arguments;

static _Noreturn void die(const char *text, const char *what) {
    fprintf(stderr, "logprobs: %s%s%s\n", text, what ? ": " : "", what ? what : "");
    exit(64);
}

static int number(const char *text, int low) {
    int64_t n;
    if (!base_parse_i64(text, low, 1 << 30, &n))
        die("not a number in range", text);
    return (int)n;
}

static arguments parse(int argc, char **argv) {
    static const struct option flags[] = {
        {"ids", 1, NULL, 'i'},           {"out", 1, NULL, 'o'},
        {"backend", 1, NULL, 'b'},       {"numerics", 1, NULL, 'n'},
        {"threads", 1, NULL, 't'},       {"block-size", 1, NULL, 's'},
        {"interleave", 1, NULL, 'l'},    {"prefill-chunks", 1, NULL, 'c'},
        {"decode-from", 1, NULL, 'd'},   {"first", 1, NULL, 'f'},
        {"inner-eps", 1, NULL, 'e'},     {"experts", 1, NULL, 'x'},
        {"force-experts", 1, NULL, 'y'}, {0},
    };
    arguments a = {.backend = "cpu",
                   .chunks = "64",
                   .decode_from = INT32_MAX,
                   .options = {.threads = 1, .block_size = 16, .interleave = 1}};
    for (int c; (c = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (c) {
        case 'i':
            a.ids = optarg;
            break;
        case 'o':
            a.out = optarg;
            break;
        case 'b':
            a.backend = optarg;
            break;
        case 'n':
            if (strcmp(optarg, "exact") != 0 && strcmp(optarg, "fast") != 0)
                die("numerics", optarg);
            a.options.numerics = strcmp(optarg, "fast") == 0 ? BACKEND_FAST : BACKEND_EXACT;
            break;
        case 't':
            a.options.threads = number(optarg, 1);
            break;
        case 's':
            a.options.block_size = number(optarg, 8);
            break;
        case 'l':
            a.options.interleave = number(optarg, 1);
            break;
        case 'c':
            a.chunks = optarg;
            break;
        case 'd':
            a.decode_from = number(optarg, 0);
            break;
        case 'f':
            a.first = number(optarg, 0);
            break;
        case 'e':
            if (!base_parse_f64(optarg, 0, 1, &a.inner_eps))
                die("inner-eps", optarg);
            break;
        case 'x':
            a.experts = optarg;
            break;
        case 'y':
            a.forced = optarg;
            break;
        default:
            exit(64);
        }
    }
    if (optind + 1 != argc || !a.ids || !a.out)
        die("wants MODEL, --ids and --out", NULL);
    if ((a.experts || a.forced) && strcmp(a.backend, "cpu") != 0)
        die("--experts and --force-experts want --backend cpu", NULL);
    if (a.experts && a.forced)
        die("--experts and --force-experts exclude each other", NULL);
    a.model = argv[optind];
    return a;
}

static base_ids read_ids(const char *path) {
    base_ids ids = {0};
    FILE *f = fopen(path, "r");
    if (!f)
        die(strerror(errno), path);
    for (int id; fscanf(f, "%d", &id) == 1;)
        base_ids_add(&ids, id);
    if (!feof(f) || ids.len == 0 || ids.len > INT32_MAX)
        die("holds something that is not an id", path);
    fclose(f);
    return ids;
}

// Rows of the next step. `chunks` moves to the next number but for the last.
static int next_rows(const char **chunks, int position, int n_ids, int decode_from) {
    if (position >= decode_from)
        return 1;
    char *end;
    long rows = strtol(*chunks, &end, 10);
    if (rows < 1 || rows > 1 << 20 || (*end && *end != ','))
        die("prefill-chunks", *chunks);
    if (*end == ',')
        *chunks = end + 1;
    int limit = (decode_from < n_ids ? decode_from : n_ids) - position;
    return rows < limit ? (int)rows : limit;
}

static int widest_step(const char *chunks, int n_ids, int decode_from) {
    int widest = 1;
    for (int position = 0; position < n_ids;) {
        int rows = next_rows(&chunks, position, n_ids, decode_from);
        widest = rows > widest ? rows : widest;
        position += rows;
    }
    return widest;
}

static void write_row(FILE *f, const backend_output_result *r, int position, float *line,
                      int vocab) {
    if (r->status != BACKEND_OUTPUT_OK || r->n_top != vocab) {
        fprintf(stderr, "logprobs: position %d: status %d, %d log-probabilities\n", position,
                (int)r->status, r->n_top);
        exit(70);
    }
    for (int i = 0; i < vocab; i++)
        line[r->top_ids[i]] = r->top_logprobs[i];
    if (fwrite(line, sizeof *line, (size_t)vocab, f) != (size_t)vocab)
        die(strerror(errno), "output");
}

// The experts of the sequence's positions on their way between a file and the backend's trace.
typedef struct expert_file {
    FILE *file; // NULL: neither option was given
    bool forced;
    int *trace; // [layers][max_rows][experts per token]
} expert_file;

static expert_file experts_open(backend *b, const arguments *a) {
    expert_file x = {.forced = a->forced != NULL};
    const char *path = x.forced ? a->forced : a->experts;
    if (!path)
        return x;
    if (!(x.file = fopen(path, x.forced ? "rb" : "wb")))
        die(strerror(errno), path);
    size_t n = (size_t)b->config->n_layers * b->options.max_rows * b->config->n_experts_per_tok;
    x.trace = base_alloc(n * sizeof *x.trace);
    memset(x.trace, 0xff, n * sizeof *x.trace); // -1
    ((cpu_backend *)b)->route_trace = x.trace;
    ((cpu_backend *)b)->route_mode = x.forced ? CPU_ROUTE_FORCED : CPU_ROUTE_TRACED;
    return x;
}

static void experts_move(const expert_file *x, const backend *b, int row) {
    const model_config *c = b->config;
    size_t k = (size_t)c->n_experts_per_tok;
    for (int layer = 0; layer < c->n_layers; layer++) {
        int *at = x->trace + ((size_t)layer * b->options.max_rows + row) * k;
        size_t n =
            x->forced ? fread(at, sizeof *at, k, x->file) : fwrite(at, sizeof *at, k, x->file);
        if (n != k)
            die("too short, or not writable", "experts");
        for (size_t i = 0; i < k && model_layer_is_moe(c, layer); i++)
            if (at[i] < 0 || at[i] >= c->n_routed_experts)
                die("not an expert", "experts");
    }
}

static void run(backend *b, const arguments *a, const base_ids *ids, int vocab, FILE *f) {
    expert_file experts = experts_open(b, a);
    int n = (int)ids->len, n_blocks = (int)a->options.n_blocks;
    int32_t *table = base_calloc((size_t)n_blocks, sizeof *table);
    for (int i = 0; i < n_blocks; i++) // descending: paging must not matter
        table[i] = n_blocks - 1 - i;
    backend_output *outputs = base_calloc((size_t)a->options.max_outputs, sizeof *outputs);
    float *line = base_calloc((size_t)vocab, sizeof *line);
    const char *chunks = a->chunks;
    for (int position = 0; position < n;) {
        int rows = next_rows(&chunks, position, n, a->decode_from), n_outputs = 0;
        for (int i = 0; i < rows; i++)
            if (position + i >= a->first)
                outputs[n_outputs++] = (backend_output){.row = i, .n_logprobs = vocab};
        backend_seq seq = {0, rows, position, table, n_blocks};
        backend_plan plan = {rows, ids->data + position, 1, &seq, n_outputs, outputs};
        backend_result result;
        for (int i = 0; experts.file && experts.forced && i < rows; i++)
            experts_move(&experts, b, i);
        backend_submit(b, &plan);
        backend_wait(b, &result);
        for (int i = 0; i < n_outputs; i++)
            write_row(f, &result.outputs[i], position + outputs[i].row, line, vocab);
        for (int i = 0; experts.file && !experts.forced && i < rows; i++)
            experts_move(&experts, b, i);
        position += rows;
    }
    if (experts.file && fclose(experts.file))
        die(strerror(errno), "experts");
    base_free(experts.trace);
    base_free(line);
    base_free(outputs);
    base_free(table);
}

int main(int argc, char **argv) {
    arguments a = parse(argc, argv);
    base_ids ids = read_ids(a.ids);
    base_err err;
    model *m;
    backend *b;
    if (model_open(&m, a.model, &(model_open_options){.inner_norm_eps = a.inner_eps}, &err))
        die(err.message, NULL);
    const model_config *config = model_get_config(m);
    for (size_t i = 0; i < ids.len; i++)
        if (ids.data[i] < 0 || ids.data[i] >= config->vocab_size)
            die("an id is not in the vocabulary", a.ids);
    int n = (int)ids.len;
    a.options.n_blocks = (n + a.options.block_size - 1) / a.options.block_size;
    a.options.max_rows = a.options.max_outputs = widest_step(a.chunks, n, a.decode_from);
    a.options.max_seqs = 1;
    a.options.max_logprobs = config->vocab_size;
    a.options.max_model_len = n;
    if (backend_open(&b, a.backend, m, &a.options, &err))
        die(err.message, NULL);
    FILE *f = fopen(a.out, "wb");
    if (!f)
        die(strerror(errno), a.out);
    run(b, &a, &ids, config->vocab_size, f);
    if (fclose(f))
        die(strerror(errno), a.out);
    backend_stats stats;
    backend_get_stats(b, &stats);
    fprintf(stderr, "%s: %d tokens, %.3f s, %llu near ties\n", backend_describe(b), n,
            stats.seconds, (unsigned long long)stats.near_ties);
    backend_close(b);
    model_close(m);
    base_ids_free(&ids);
    return 0;
}
