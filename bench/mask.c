// How long masks take: random walks along JSON Schemas, ids drawn so that frequent ones come often,
// on one core. Times are CPU time of the thread.
//   mask TOKENIZER_DIR FILE... [--walks N] [--steps N]
// Each line of a FILE is a JSON Schema. Languages begin with no mask known; "cold" are those masks
// that had to be found, "warm" those that were in the cache.
#include "grammar/language.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct times {
    double *at; // microseconds
    size_t n, cap;
} times;

typedef struct bench {
    const token_vocab *vocab;
    const grammar_trie *trie;
    int n_ids, walks, steps;
    uint32_t *mask;
    uint64_t seed;
    times all, cold, warm, create;
    uint64_t nodes, bytes;
    int n_languages, n_refused;
} bench;

static double cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static void add_time(times *t, double us) {
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 1024;
        t->at = base_realloc(t->at, t->cap * sizeof *t->at);
    }
    t->at[t->n++] = us;
}

static uint32_t draw(bench *b, uint32_t below) {
    b->seed = b->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((b->seed >> 33) % below);
}

static bool allowed(const bench *b, int32_t id) {
    return b->mask[id / 32] >> (id % 32) & 1;
}

// Ids are by rank: their logarithm is drawn evenly. What ends strings and containers comes more
// often than that, so that walks see all of a schema.
static int32_t choose(bench *b) {
    static const char ends[] = "\"}],:";
    for (int i = 0; ends[i] && draw(b, 4) == 0; i++)
        for (int32_t id = 0; id < 256; id++) {
            size_t len;
            const char *at = token_bytes(b->vocab, id, &len);
            if (len == 1 && at[0] == ends[i] && allowed(b, id))
                return id;
        }
    for (int i = 0; i < 4000; i++) {
        double u = draw(b, 1 << 24) / (double)(1 << 24);
        int32_t id = (int32_t)exp(u * log((double)b->n_ids)) - 1;
        if (allowed(b, id))
            return id;
    }
    int32_t start = (int32_t)draw(b, (uint32_t)b->n_ids);
    for (int i = 0; i < b->n_ids; i++) {
        int32_t id = (start + i) % b->n_ids;
        if (allowed(b, id))
            return id;
    }
    return -1;
}

static void walk(bench *b, grammar_language *l) {
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    for (int i = 0; i < b->steps && !grammar_matcher_must_end(m); i++) {
        uint64_t before, after, found_before, found_after;
        grammar_language_counts(l, &before, &found_before);
        double start = cpu_us();
        grammar_matcher_mask(m, b->mask, b->n_ids);
        double us = cpu_us() - start;
        grammar_language_counts(l, &after, &found_after);
        add_time(&b->all, us);
        add_time(after - before == found_after - found_before ? &b->warm : &b->cold, us);
        int32_t id = choose(b);
        size_t len;
        const char *bytes = token_bytes(b->vocab, id, &len);
        if (!bytes || !grammar_matcher_push(m, bytes, len)) {
            fprintf(stderr, "mask: an id that was allowed is refused\n");
            exit(1);
        }
    }
    grammar_matcher_free(m);
}

static void run_schema(bench *b, const char *line, size_t len) {
    base_err err;
    json_t *schema = base_json_parse(line, len, "schema", BASE_ERR_USAGE, &err);
    grammar_program *p = NULL;
    base_str relaxed = {0};
    grammar_schema_options options = {.field = "schema"};
    if (!schema || grammar_program_schema(&p, schema, &options, &relaxed, &err)) {
        b->n_refused++;
    } else {
        double start = cpu_us();
        grammar_language *l = grammar_language_create(b->trie, p);
        add_time(&b->create, cpu_us() - start);
        for (int i = 0; i < b->walks; i++)
            walk(b, l);
        b->n_languages++;
        b->nodes += l->walker->n_nodes;
        b->bytes = grammar_language_bytes(l) > b->bytes ? grammar_language_bytes(l) : b->bytes;
        grammar_language_free(l);
    }
    base_str_free(&relaxed);
    json_decref(schema);
}

static int run_file(bench *b, const char *path, base_err *err) {
    base_str text = {0};
    int rc = base_file_read(path, (size_t)1 << 28, BASE_ERR_USAGE, &text, err);
    for (size_t at = 0, len; !rc && at < text.len; at += len + 1) {
        const char *end = memchr(text.data + at, '\n', text.len - at);
        len = end ? (size_t)(end - text.data) - at : text.len - at;
        if (len > 0)
            run_schema(b, text.data + at, len);
    }
    base_str_free(&text);
    return rc;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static void print_times(const char *name, times *t) {
    if (t->n == 0)
        return;
    qsort(t->at, t->n, sizeof *t->at, compare);
    printf("\"%s\": {\"n\": %zu, \"median_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f},\n",
           name, t->n, t->at[t->n / 2], t->at[t->n * 9 / 10], t->at[t->n * 99 / 100],
           t->at[t->n * 999 / 1000], t->at[t->n - 1]);
    base_free(t->at);
}

static int run(bench *b, int argc, char **argv, base_err *err) {
    token_vocab *vocab;
    int rc = token_vocab_load(&vocab, argv[1], err);
    if (rc)
        return rc;
    double start = cpu_us();
    grammar_trie *trie = grammar_trie_create(vocab);
    double made = cpu_us() - start;
    b->vocab = vocab;
    b->trie = trie;
    b->n_ids = token_vocab_size(vocab);
    b->mask = base_calloc(((size_t)b->n_ids + 31) / 32, sizeof *b->mask);
    for (int i = 2; i < argc && !rc; i++) {
        if (strncmp(argv[i], "--", 2) == 0)
            i++;
        else
            rc = run_file(b, argv[i], err);
    }
    size_t n = b->all.n ? b->all.n : 1, n_warm = b->warm.n, n_cold = b->cold.n ? b->cold.n : 1;
    printf("{\"trie_ms\": %.0f, \"trie_bytes\": %zu, \"nodes\": %u, \"closing_nodes\": %u,\n",
           made / 1e3, grammar_trie_bytes(trie), trie->all.n, trie->closing.n);
    print_times("all", &b->all);
    print_times("cold", &b->cold);
    print_times("warm", &b->warm);
    print_times("create", &b->create);
    printf("\"languages\": %d, \"refused\": %d, \"warm_share\": %.3f, \"nodes_per_cold\": %.0f, "
           "\"most_bytes\": %llu}\n",
           b->n_languages, b->n_refused, (double)n_warm / (double)n,
           (double)b->nodes / (double)n_cold, (unsigned long long)b->bytes);
    base_free(b->mask);
    grammar_trie_free(trie);
    token_vocab_free(vocab);
    return rc;
}

int main(int argc, char **argv) {
    bench b = {.walks = 4, .steps = 400, .seed = 1};
    base_err err = {0};
    for (int i = 2; i + 1 < argc; i++) {
        int64_t n;
        if (strncmp(argv[i], "--", 2) == 0 && base_parse_i64(argv[i + 1], 1, 1000000, &n))
            *(strcmp(argv[i], "--walks") == 0 ? &b.walks : &b.steps) = (int)n;
    }
    if (argc < 3) {
        fprintf(stderr, "usage: mask TOKENIZER_DIR FILE... [--walks N] [--steps N]\n");
        return BASE_ERR_USAGE;
    }
    if (run(&b, argc, argv, &err)) {
        fprintf(stderr, "mask: %s\n", err.message);
        return err.code;
    }
    return 0;
}
